// Two neighbouring elements as one word in registers, so that 16-bit types are compared two at a time.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cstdint>

#include "fx2ait/cuda/math.cuh"
#include "fx2ait/cuda/mma.cuh"

namespace fx2ait {

/// Two elements of T: `Pair<T>::word` holds them, the first one lowest in memory.
template <typename T>
struct Pair;

template <>
struct Pair<__half> {
  using word = uint32_t;
  static __device__ __forceinline__ word of(float first, float second) { return pack_pair<__half>(first, second); }
  static __device__ __forceinline__ word lowest() { return 0xfc00fc00u; }
  /// The larger elements; NaN where either is NaN.
  static __device__ __forceinline__ word maximum(word a, word b) {
    word larger;
    asm("max.NaN.f16x2 %0, %1, %2;" : "=r"(larger) : "r"(a), "r"(b));
    return larger;
  }
};

template <>
struct Pair<__nv_bfloat16> {
  using word = uint32_t;
  static __device__ __forceinline__ word of(float first, float second) {
    return pack_pair<__nv_bfloat16>(first, second);
  }
  static __device__ __forceinline__ word lowest() { return 0xff80ff80u; }
  static __device__ __forceinline__ word maximum(word a, word b) {
    word larger;
    asm("max.NaN.bf16x2 %0, %1, %2;" : "=r"(larger) : "r"(a), "r"(b));
    return larger;
  }
};

template <>
struct Pair<float> {
  using word = float2;
  static __device__ __forceinline__ word of(float first, float second) { return make_float2(first, second); }
  static __device__ __forceinline__ word lowest() { return make_float2(-CUDART_INF_F, -CUDART_INF_F); }
  static __device__ __forceinline__ word maximum(word a, word b) {
    return make_float2(fx::maximum(a.x, b.x), fx::maximum(a.y, b.y));
  }
};

}  // namespace fx2ait
