// Reading tensors that the caller of the engine owns: dtype and strides known only at run time.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cstdint>
#include <type_traits>
#include <utility>

#include "fx2ait/error.h"
#include "fx2ait/external_tensor.h"

namespace fx2ait {

#ifdef FX2AIT_EXTERNAL_TYPE  // while kernels are measured: the one type that they meet
template <typename T>
inline constexpr bool is_external_type = std::is_same_v<T, FX2AIT_EXTERNAL_TYPE>;
#else
template <typename T>
inline constexpr bool is_external_type = true;
#endif

/// Calls `body(T{})` with T the element type of `dtype`: float, __half or __nv_bfloat16.
/// Throws Error for any other. For kernels compiled once per element type.
template <typename Body>
void dispatch_external(DType dtype, Body&& body) {
  if constexpr (is_external_type<float>) {
    if (dtype == DType::float32) return std::forward<Body>(body)(float{});
  }
  if constexpr (is_external_type<__half>) {
    if (dtype == DType::half) return std::forward<Body>(body)(__half{});
  }
  if constexpr (is_external_type<__nv_bfloat16>) {
    if (dtype == DType::bfloat16) return std::forward<Body>(body)(__nv_bfloat16{});
  }
  throw Error("an input of the engine must be float32, float16 or bfloat16");
}

/// Element `offset` of a tensor of `dtype` (float32, float16 or bfloat16) as float32. For kernels
/// that are compiled once and read few elements per thread.
__device__ __forceinline__ float load_external(const void* data, DType dtype, int64_t offset) {
  switch (dtype) {
    case DType::half: return __half2float(static_cast<const __half*>(data)[offset]);
    case DType::bfloat16: return __bfloat162float(static_cast<const __nv_bfloat16*>(data)[offset]);
    default: return static_cast<const float*>(data)[offset];
  }
}

}  // namespace fx2ait
