// Elements of operands as a pointwise kernel computes on them: float, or raw words in copies.
#pragma once

#include <cstdint>
#include <type_traits>

#include "fx2ait/cuda/external.cuh"
#include "fx2ait/cuda/vector.cuh"

namespace fx2ait {

/// V neighbours from `source`, converted to float unless Value is the element type itself.
template <int V, typename Value, typename T>
__device__ __forceinline__ void read(Value (&values)[V], const T* source) {
  if constexpr (std::is_same_v<Value, T>) {
    detail::Packet<T, V> packet;
    packet.load(source);
#pragma unroll
    for (int i = 0; i < V; ++i) values[i] = packet.elements[i];
  } else {
    load_vector<V>(values, source);
  }
}

/// V elements `stride` apart.
template <int V, typename Value, typename T>
__device__ __forceinline__ void read_strided(Value (&values)[V], const T* source, int64_t stride) {
#pragma unroll
  for (int i = 0; i < V; ++i) {
    Value one[1];
    read<1>(one, source + i * stride);
    values[i] = one[0];
  }
}

/// V neighbours from element `offset` of an external tensor; aligned as read() asks.
template <int V>
__device__ __forceinline__ void read_external(float (&values)[V], const ExternalTensor& tensor, int64_t offset) {
  switch (tensor.dtype) {
    case DType::half: return load_vector<V>(values, static_cast<const __half*>(tensor.data) + offset);
    case DType::bfloat16: return load_vector<V>(values, static_cast<const __nv_bfloat16*>(tensor.data) + offset);
    default: return load_vector<V>(values, static_cast<const float*>(tensor.data) + offset);
  }
}

/// V elements of an external tensor, `stride` apart.
template <int V>
__device__ __forceinline__ void read_external_strided(
    float (&values)[V], const ExternalTensor& tensor, int64_t offset, int64_t stride) {
#pragma unroll
  for (int i = 0; i < V; ++i) values[i] = load_external(tensor.data, tensor.dtype, offset + i * stride);
}

/// V results to neighbouring elements, rounded unless Value is the element type itself.
template <int V, typename Value, typename T>
__device__ __forceinline__ void write(T* destination, const Value (&values)[V]) {
  if constexpr (std::is_same_v<Value, T>) {
    detail::Packet<T, V> packet;
#pragma unroll
    for (int i = 0; i < V; ++i) packet.elements[i] = values[i];
    packet.store(destination);
  } else {
    store_vector<V>(destination, values);
  }
}

}  // namespace fx2ait
