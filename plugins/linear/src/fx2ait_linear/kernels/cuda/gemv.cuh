// Products of few rows: every weight is read once, by warps spread over the result's columns.
#pragma once

#include "fx2ait/cuda/launch.cuh"
#include "fx2ait/cuda/math.cuh"
#include "fx2ait_linear/rows.cuh"

namespace fx2ait_linear {

constexpr int gemv_warps = 4;

/// Shape: n, k, packed_k (elements from one column's weights to the next, a multiple of 16 bytes,
/// zeros from k on). A block computes `rows` rows by gemv_warps / splits columns; `splits` warps
/// share the depth, and their sums are added in a fixed order.
template <class Shape, int Rows, int Splits, bool Dependent, class T, class Result, class Source, class Epilogue>
__global__ void __launch_bounds__(gemv_warps * 32)
gemv(Result* result, const Source source, const T* weight, const Epilogue epilogue, int64_t m) {
  constexpr int V = 16 / static_cast<int>(sizeof(T));
  constexpr int columns = gemv_warps / Splits;
  constexpr int step = Splits * 32 * V;
  constexpr int ahead = 4;  // weight vectors of a lane under way
  __shared__ float partial[Splits][columns][Rows];
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const int split = warp % Splits, column_in_block = warp / Splits;
  const int column = static_cast<int>(blockIdx.y) * columns + column_in_block;
  const bool present = column < Shape::n;
  const T* const weights = weight + static_cast<int64_t>(present ? column : 0) * Shape::packed_k;
  const int64_t first_row = static_cast<int64_t>(blockIdx.x) * Rows;

  float sums[Rows] = {};
  const int start = (split * 32 + lane) * V;
  float next[ahead][V];
  const auto prefetch = [&](int k, float (&into)[V]) {
    if (k < Shape::packed_k) {
      fx2ait::load_vector<V>(into, weights + k);
    } else {
#pragma unroll
      for (int i = 0; i < V; ++i) into[i] = 0.0f;
    }
  };
#pragma unroll
  for (int a = 0; a < ahead; ++a) prefetch(start + a * step, next[a]);
  fx2ait::begin_kernel<Dependent>();
  for (int k = start; k < Shape::packed_k; k += ahead * step) {
#pragma unroll
    for (int a = 0; a < ahead; ++a) {
      const int at = k + a * step;
      if (at < Shape::packed_k) {
#pragma unroll
        for (int r = 0; r < Rows; ++r) {
          float values[V];
          const int64_t row = first_row + r < m ? first_row + r : m - 1;
          source.template load<V>(values, row, at, Shape::k);
#pragma unroll
          for (int i = 0; i < V; ++i) sums[r] += values[i] * next[a][i];
        }
      }
      prefetch(at + ahead * step, next[a]);
    }
  }
#pragma unroll
  for (int r = 0; r < Rows; ++r) {
#pragma unroll
    for (int distance = 16; distance > 0; distance /= 2) {
      sums[r] += __shfl_xor_sync(0xffffffffu, sums[r], distance);
    }
  }
  if (lane == 0) {
#pragma unroll
    for (int r = 0; r < Rows; ++r) partial[split][column_in_block][r] = sums[r];
  }
  __syncthreads();
  for (int item = threadIdx.x; item < columns * Rows; item += gemv_warps * 32) {
    const int of_block = item % columns, r = item / columns;
    const int out = static_cast<int>(blockIdx.y) * columns + of_block;
    if (out >= Shape::n || first_row + r >= m) continue;
    float total[1] = {0.0f};
#pragma unroll
    for (int s = 0; s < Splits; ++s) total[0] += partial[s][of_block][r];
    const int64_t offset = (first_row + r) * Shape::n + out;
    const auto operands = epilogue.template load<1>(offset, out);
    epilogue.template apply<1>(total, operands);
    fx2ait::store_vector<1>(result + offset, total);
  }
}

/// Enqueues result[m, n] = epilogue(source[m, k] * weight[n, k]^T).
template <class Shape, int Rows, int Splits, bool Dependent, class T, class Result, class Source, class Epilogue>
void launch_gemv(const char* name, Result* result, const Source& source, const T* weight, const Epilogue& epilogue,
                 int64_t m, cudaStream_t stream) {
  // Rows are the grid's fastest dimension: it takes 2^31 of them, and they share weights in L2.
  constexpr int columns = gemv_warps / Splits;
  const dim3 grid(static_cast<unsigned>((m + Rows - 1) / Rows), (Shape::n + columns - 1) / columns);
  fx2ait::launch<Dependent>(name, gemv<Shape, Rows, Splits, Dependent, T, Result, Source, Epilogue>, grid,
                            gemv_warps * 32, 0, stream, result, source, weight, epilogue, m);
}

}  // namespace fx2ait_linear
