// The first operand of a matrix product: rows of K elements in the engine's memory or the caller's.
#pragma once

#include <cstdint>

#include "fx2ait/cuda/external.cuh"
#include "fx2ait/cuda/vector.cuh"

namespace fx2ait_linear {

/// Rows of neighbours, `stride` elements apart. With Aligned, vectors of 16 bytes may be loaded:
/// the stride and K are multiples of them, and so is the address.
template <class T, bool Aligned>
struct DenseRows {
  static constexpr bool aligned = Aligned;
  using Element = T;

  const T* data;
  int64_t stride;

  /// Elements k to k + V - 1 of a row; zeros from `depth` on.
  template <int V>
  __device__ __forceinline__ void load(float (&values)[V], int64_t row, int k, int depth) const {
    if constexpr (Aligned) {
      if (k < depth) {
        fx2ait::load_vector<V>(values, data + row * stride + k);
        return;
      }
    }
#pragma unroll
    for (int i = 0; i < V; ++i) values[i] = k + i < depth ? fx2ait::to_float(data[row * stride + k + i]) : 0.0f;
  }
};

/// Rows of the caller's tensor, with any strides and element type.
struct ExternalRows {
  static constexpr bool aligned = false;
  using Element = void;

  fx2ait::ExternalTensor tensor;
  int64_t row_stride, stride;

  template <int V>
  __device__ __forceinline__ void load(float (&values)[V], int64_t row, int k, int depth) const {
#pragma unroll
    for (int i = 0; i < V; ++i) {
      const int64_t offset = row * row_stride + (k + i) * stride;
      values[i] = k + i < depth ? fx2ait::load_external(tensor.data, tensor.dtype, offset) : 0.0f;
    }
  }
};

}  // namespace fx2ait_linear
