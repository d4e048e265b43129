// Matrix products in float32 on the ordinary cores.
#pragma once

#include "fx2ait/cuda/launch.cuh"
#include "fx2ait/cuda/math.cuh"
#include "fx2ait_linear/rows.cuh"

namespace fx2ait_linear {

constexpr int simt_tile = 64, simt_depth = 16, simt_threads = 256, simt_piece = 4;

/// result[m, n] = epilogue(source[m, k] * b), b stored [n, packed_k] if Transposed, else [k, n].
/// Blocks compute 64 x 64, threads 4 x 4.
template <class Shape, bool Transposed, bool Dependent, class Result, class Source, class Epilogue>
__global__ void __launch_bounds__(simt_threads)
gemm_simt(Result* result, const Source source, const float* b, const Epilogue epilogue, int64_t m) {
  __shared__ __align__(16) float tile_a[simt_depth][simt_tile + 4], tile_b[simt_depth][simt_tile + 4];
  fx2ait::begin_kernel<Dependent>();
  constexpr int column_tiles = (Shape::n + simt_tile - 1) / simt_tile;
  const int64_t first_row = static_cast<int64_t>(blockIdx.x / column_tiles) * simt_tile;
  const int first_column = static_cast<int>(blockIdx.x % column_tiles) * simt_tile;
  const int row = static_cast<int>(threadIdx.x) / (simt_tile / simt_piece) * simt_piece;
  const int column = static_cast<int>(threadIdx.x) % (simt_tile / simt_piece) * simt_piece;
  float sums[simt_piece][simt_piece] = {};
  for (int first = 0; first < Shape::k; first += simt_depth) {
    {
      // 4 neighbours along the depth per thread, turned so that rows become neighbours.
      const int a_row = threadIdx.x / 4, k = threadIdx.x % 4 * 4;
      float values[4] = {};
      if (first_row + a_row < m) source.template load<4>(values, first_row + a_row, first + k, Shape::k);
#pragma unroll
      for (int i = 0; i < 4; ++i) tile_a[k + i][a_row] = values[i];
    }
#pragma unroll
    for (int item = threadIdx.x; item < simt_depth * simt_tile; item += simt_threads) {
      const int k = Transposed ? item % simt_depth : item / simt_tile;
      const int n = Transposed ? item / simt_depth : item % simt_tile;
      const bool inside = first + k < Shape::k && first_column + n < Shape::n;
      const int64_t offset = Transposed ? static_cast<int64_t>(first_column + n) * Shape::packed_k + first + k
                                        : static_cast<int64_t>(first + k) * Shape::n + first_column + n;
      tile_b[k][n] = inside ? b[offset] : 0.0f;
    }
    __syncthreads();
#pragma unroll
    for (int k = 0; k < simt_depth; ++k) {
      float piece_a[simt_piece], piece_b[simt_piece];
      fx2ait::load_vector<simt_piece>(piece_a, &tile_a[k][row]);
      fx2ait::load_vector<simt_piece>(piece_b, &tile_b[k][column]);
#pragma unroll
      for (int i = 0; i < simt_piece; ++i) {
#pragma unroll
        for (int j = 0; j < simt_piece; ++j) sums[i][j] += piece_a[i] * piece_b[j];
      }
    }
    __syncthreads();
  }
  constexpr int V = Shape::n % 4 == 0 ? 4 : 1;
#pragma unroll
  for (int i = 0; i < simt_piece; ++i) {
    if (first_row + row + i >= m) break;
#pragma unroll
    for (int j = 0; j < simt_piece; j += V) {
      const int out = first_column + column + j;
      if (out >= Shape::n) break;
      const int64_t offset = (first_row + row + i) * Shape::n + out;
      const auto operands = epilogue.template load<V>(offset, out);
      float values[V];
#pragma unroll
      for (int v = 0; v < V; ++v) values[v] = sums[i][j + v];
      epilogue.template apply<V>(values, operands);
      fx2ait::store_vector<V>(result + offset, values);
    }
  }
}

/// Enqueues gemm_simt for `m` rows.
template <class Shape, bool Transposed, bool Dependent, class Result, class Source, class Epilogue>
void launch_gemm_simt(const char* name, Result* result, const Source& source, const float* b, const Epilogue& epilogue,
                      int64_t m, cudaStream_t stream) {
  const int64_t blocks = (m + simt_tile - 1) / simt_tile * ((Shape::n + simt_tile - 1) / simt_tile);
  fx2ait::launch<Dependent>(name, gemm_simt<Shape, Transposed, Dependent, Result, Source, Epilogue>,
                            dim3(static_cast<unsigned>(blocks)), simt_threads, 0, stream, result, source, b, epilogue,
                            m);
}

}  // namespace fx2ait_linear
