// Matrix products on mma.sync tensor cores: 16-bit operands, float32 sums.
#pragma once

#include <algorithm>

#include "fx2ait/cuda/launch.cuh"
#include "fx2ait/cuda/math.cuh"
#include "fx2ait/cuda/mma.cuh"
#include "fx2ait_linear/rows.cuh"

namespace fx2ait_linear {

/// A block's share: M rows by N columns, `Depth` of k at a time in Stages buffers. Warps take
/// WarpM x WarpN pieces, and Splits of them share the depth of each piece.
template <int M_, int N_, int Depth, int WarpM, int WarpN, int Splits_, int Stages>
struct Tile {
  static constexpr int m = M_, n = N_, depth = Depth, warp_m = WarpM, warp_n = WarpN, splits = Splits_;
  static constexpr int stages = Stages;
  static constexpr int warps_m = m / warp_m, warps_n = n / warp_n;
  static constexpr int threads = warps_m * warps_n * splits * 32;
  static constexpr int padding = 8;  // elements after each row, so that ldmatrix meets no bank twice
  static constexpr int sums_stride = n + 4;
  static_assert(warp_m % 16 == 0 && warp_n % 16 == 0 && depth % (16 * splits) == 0);
};

/// Where a buffer of one stage keeps A as [m][depth], and B as [n][depth] or, if it is stored
/// [k][n], as [depth][n].
template <class Tile, bool Transposed>
struct Buffers {
  static constexpr int a_stride = Tile::depth + Tile::padding;
  static constexpr int b_rows = Transposed ? Tile::n : Tile::depth;
  static constexpr int b_columns = Transposed ? Tile::depth : Tile::n;
  static constexpr int b_stride = b_columns + Tile::padding;
  static constexpr int a_elements = Tile::m * a_stride, b_elements = b_rows * b_stride;
  static constexpr int stage_elements = a_elements + b_elements;
  static constexpr int sums_bytes = Tile::splits * Tile::m * Tile::sums_stride * 4;
  static constexpr int bytes = std::max(Tile::stages * stage_elements * 2, sums_bytes);
};

/// Stores 8 floats as 16-bit elements in shared memory.
template <class T>
__device__ __forceinline__ void store_chunk(T* shared, const float (&values)[8]) {
  fx2ait::store_vector<8>(shared, values);
}

/// Brings rows first_row.. of A, columns k.. to k + depth - 1, zeros outside.
template <class Shape, class Tile, class T, class Source>
__device__ __forceinline__ void load_a(T* shared, int stride, const Source& source, int64_t first_row, int k, int64_t m) {
  constexpr int chunks = Tile::depth / 8;
  for (int item = threadIdx.x; item < Tile::m * chunks; item += Tile::threads) {
    const int row = item / chunks, column = item % chunks * 8;
    const bool inside = first_row + row < m && k + column < Shape::k;
    T* const destination = shared + row * stride + column;
    if constexpr (Source::aligned) {
      const T* const from = source.data + (inside ? (first_row + row) * source.stride + k + column : 0);
      fx2ait::copy_async_16(fx2ait::shared_address(destination), from, inside);
    } else {
      float values[8] = {};
      if (inside) source.template load<8>(values, first_row + row, k + column, Shape::k);
      store_chunk(destination, values);
    }
  }
}

/// Brings the block's part of B. Shape: packed_k, the row stride of B stored [n][k]; `aligned_b`.
template <class Shape, class Tile, bool Transposed, class T>
__device__ __forceinline__ void load_b(T* shared, int stride, const T* b, int first_column, int k) {
  constexpr int rows = Transposed ? Tile::n : Tile::depth, chunks = (Transposed ? Tile::depth : Tile::n) / 8;
  constexpr int row_limit = Transposed ? Shape::n : Shape::k;
  constexpr int column_limit = Transposed ? Shape::packed_k : Shape::n;
  constexpr int64_t row_stride = column_limit;
  const int row0 = Transposed ? first_column : k, column0 = Transposed ? k : first_column;
  for (int item = threadIdx.x; item < rows * chunks; item += Tile::threads) {
    const int row = row0 + item / chunks, column = column0 + item % chunks * 8;
    T* const destination = shared + item / chunks * stride + item % chunks * 8;
    if constexpr (column_limit % 8 == 0) {
      const bool inside = row < row_limit && column < column_limit;
      fx2ait::copy_async_16(fx2ait::shared_address(destination), b + (inside ? row * row_stride + column : 0), inside);
    } else {
#pragma unroll
      for (int i = 0; i < 8; ++i) {
        const bool inside = row < row_limit && column + i < column_limit;
        destination[i] = inside ? b[row * row_stride + column + i] : fx2ait::from_float<T>(0.0f);
      }
    }
  }
}

/// The sums of one warp's piece.
template <class Tile>
using Accumulators = float[Tile::warp_m / 16][Tile::warp_n / 8][4];

/// Adds the product of one stage to the warp's sums.
template <class Tile, bool Transposed, class T>
__device__ __forceinline__ void multiply_stage(
    Accumulators<Tile>& sums, const T* a, const T* b, int warp_row, int warp_column, int split) {
  using Layout = Buffers<Tile, Transposed>;
  const int lane = threadIdx.x % 32;
#pragma unroll
  for (int step = 0; step < Tile::depth / 16 / Tile::splits; ++step) {
    const int k = (step * Tile::splits + split) * 16;
    uint32_t fragments_a[Tile::warp_m / 16][4];
#pragma unroll
    for (int i = 0; i < Tile::warp_m / 16; ++i) {
      const T* const from = a + (warp_row + i * 16 + lane % 16) * Layout::a_stride + k + lane / 16 * 8;
      fx2ait::load_matrix_x4(fragments_a[i], fx2ait::shared_address(from));
    }
#pragma unroll
    for (int j = 0; j < Tile::warp_n / 16; ++j) {
      uint32_t fragments_b[4];
      const int column = warp_column + j * 16;
      if constexpr (Transposed) {
        const T* const from =
            b + (column + lane % 8 + lane / 16 * 8) * Layout::b_stride + k + lane / 8 % 2 * 8;
        fx2ait::load_matrix_x4(fragments_b, fx2ait::shared_address(from));
      } else {
        const T* const from = b + (k + lane % 16) * Layout::b_stride + column + lane / 16 * 8;
        fx2ait::load_matrix_x4_transposed(fragments_b, fx2ait::shared_address(from));
      }
#pragma unroll
      for (int i = 0; i < Tile::warp_m / 16; ++i) {
        fx2ait::mma_m16n8k16<T>(sums[i][2 * j], fragments_a[i], fragments_b[0], fragments_b[1]);
        fx2ait::mma_m16n8k16<T>(sums[i][2 * j + 1], fragments_a[i], fragments_b[2], fragments_b[3]);
      }
    }
  }
}

/// Adds the splits' sums, applies the epilogue and stores the block's part of the result.
template <class Shape, class Tile, class Result, class Epilogue>
__device__ __forceinline__ void store_block(
    Result* result, const float* sums, const Epilogue& epilogue, int64_t first_row, int first_column, int64_t m) {
  constexpr int V = Shape::n % 8 == 0 ? 8 : Shape::n % 4 == 0 ? 4 : Shape::n % 2 == 0 ? 2 : 1;
  constexpr int vectors = Tile::n / V;
  for (int item = threadIdx.x; item < Tile::m * vectors; item += Tile::threads) {
    const int row = item / vectors, column = item % vectors * V;
    if (first_row + row >= m || first_column + column >= Shape::n) continue;
    const int64_t offset = (first_row + row) * Shape::n + first_column + column;
    const auto operands = epilogue.template load<V>(offset, first_column + column);
    float values[V];
#pragma unroll
    for (int i = 0; i < V; ++i) values[i] = sums[row * Tile::sums_stride + column + i];
#pragma unroll
    for (int split = 1; split < Tile::splits; ++split) {
#pragma unroll
      for (int i = 0; i < V; ++i) values[i] += sums[(split * Tile::m + row) * Tile::sums_stride + column + i];
    }
    epilogue.template apply<V>(values, operands);
    fx2ait::store_vector<V>(result + offset, values);
  }
}

/// result[m, n] = epilogue(source[m, k] * b), b stored [n, packed_k] if Transposed, else [k, n].
/// ConstantB: b may be read before the preceding kernel is over.
template <class Shape, class Tile, bool Transposed, bool ConstantB, bool Dependent, class T, class Result, class Source,
          class Epilogue>
__global__ void __launch_bounds__(Tile::threads)
gemm_mma(Result* result, const Source source, const T* b, const Epilogue epilogue, int64_t m) {
  using Layout = Buffers<Tile, Transposed>;
  extern __shared__ __align__(128) unsigned char memory[];
  T* const stages = reinterpret_cast<T*>(memory);
  constexpr int column_tiles = (Shape::n + Tile::n - 1) / Tile::n;
  constexpr int steps = (Shape::k + Tile::depth - 1) / Tile::depth;
  const int64_t first_row = static_cast<int64_t>(blockIdx.x / column_tiles) * Tile::m;
  const int first_column = static_cast<int>(blockIdx.x % column_tiles) * Tile::n;
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const int split = warp / (Tile::warps_m * Tile::warps_n);
  const int warp_row = warp % Tile::warps_m * Tile::warp_m;
  const int warp_column = warp / Tile::warps_m % Tile::warps_n * Tile::warp_n;

  const auto bring_a = [&](int step) {
    T* const stage = stages + step % Tile::stages * Layout::stage_elements;
    load_a<Shape, Tile>(stage, Layout::a_stride, source, first_row, step * Tile::depth, m);
  };
  const auto bring_b = [&](int step) {
    T* const stage = stages + step % Tile::stages * Layout::stage_elements + Layout::a_elements;
    load_b<Shape, Tile, Transposed>(stage, Layout::b_stride, b, first_column, step * Tile::depth);
  };

  if constexpr (!ConstantB) fx2ait::begin_kernel<Dependent>();
#pragma unroll
  for (int step = 0; step < Tile::stages - 1; ++step) {
    if (step < steps) bring_b(step);
  }
  if constexpr (ConstantB) fx2ait::begin_kernel<Dependent>();
#pragma unroll
  for (int step = 0; step < Tile::stages - 1; ++step) {
    if (step < steps) bring_a(step);
    fx2ait::copy_async_commit();
  }
  Accumulators<Tile> sums = {};
  for (int step = 0; step < steps; ++step) {
    fx2ait::copy_async_wait<Tile::stages - 2>();
    __syncthreads();
    const int coming = step + Tile::stages - 1;
    if (coming < steps) {
      bring_a(coming);
      bring_b(coming);
    }
    fx2ait::copy_async_commit();
    const T* const stage = stages + step % Tile::stages * Layout::stage_elements;
    multiply_stage<Tile, Transposed>(sums, stage, stage + Layout::a_elements, warp_row, warp_column, split);
  }
  fx2ait::copy_async_wait<0>();
  __syncthreads();

  // Through shared memory, so that threads store whole vectors of a row.
  float* const shared_sums = reinterpret_cast<float*>(memory);
#pragma unroll
  for (int i = 0; i < Tile::warp_m / 16; ++i) {
#pragma unroll
    for (int j = 0; j < Tile::warp_n / 8; ++j) {
      const int row = split * Tile::m + warp_row + i * 16 + lane / 4, column = warp_column + j * 8 + lane % 4 * 2;
      float* const upper = shared_sums + row * Tile::sums_stride + column;
      float* const lower = upper + 8 * Tile::sums_stride;
      upper[0] = sums[i][j][0];
      upper[1] = sums[i][j][1];
      lower[0] = sums[i][j][2];
      lower[1] = sums[i][j][3];
    }
  }
  __syncthreads();
  store_block<Shape, Tile>(result, shared_sums, epilogue, first_row, first_column, m);
}

/// Enqueues gemm_mma for `m` rows.
template <class Shape, class Tile, bool Transposed, bool ConstantB, bool Dependent, class T, class Result, class Source,
          class Epilogue>
void launch_gemm_mma(const char* name, Result* result, const Source& source, const T* b, const Epilogue& epilogue,
                     int64_t m, cudaStream_t stream) {
  constexpr int bytes = Buffers<Tile, Transposed>::bytes;
  const auto kernel = gemm_mma<Shape, Tile, Transposed, ConstantB, Dependent, T, Result, Source, Epilogue>;
  if constexpr (bytes > 48 * 1024) {
    FX2AIT_CUDA_CHECK(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes));
  }
  const int64_t blocks = (m + Tile::m - 1) / Tile::m * ((Shape::n + Tile::n - 1) / Tile::n);
  fx2ait::launch<Dependent>(name, kernel, dim3(static_cast<unsigned>(blocks)), Tile::threads, bytes, stream, result,
                            source, b, epilogue, m);
}

}  // namespace fx2ait_linear
