#pragma once

#include <cstdint>

namespace fx2ait {

/// Element types, numbered as in the AITemplate C ABI.
enum class DType : int {
  unset = 0,
  half = 1,
  float32 = 2,
  int32 = 3,
  int64 = 4,
  boolean = 5,
  bfloat16 = 6,
};

/// Bytes per element; 0 for `unset`.
constexpr int64_t item_size(DType dtype) {
  return dtype == DType::int64                               ? 8
         : dtype == DType::float32 || dtype == DType::int32  ? 4
         : dtype == DType::half || dtype == DType::bfloat16 ? 2
         : dtype == DType::boolean                           ? 1
                                                             : 0;
}

constexpr bool is_floating(DType dtype) {
  return dtype == DType::half || dtype == DType::float32 || dtype == DType::bfloat16;
}

/// The name that PyTorch gives the type.
constexpr const char* dtype_name(DType dtype) {
  return dtype == DType::half       ? "float16"
         : dtype == DType::float32  ? "float32"
         : dtype == DType::int32    ? "int32"
         : dtype == DType::int64    ? "int64"
         : dtype == DType::boolean  ? "bool"
         : dtype == DType::bfloat16 ? "bfloat16"
                                    : "unset";
}

}  // namespace fx2ait
