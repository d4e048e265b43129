// Rows of elements as floats: neighbours or strided ones, of known type or of an external tensor.
#pragma once

#include <cstdint>
#include <type_traits>

#include "fx2ait/cpu/vector.h"
#include "fx2ait/error.h"
#include "fx2ait/external_tensor.h"

namespace fx2ait {

/// row[i] = data[i * stride], converted to float unless Value is the element type itself.
template <class Value, class T>
inline void read_row(Value* row, const T* data, int64_t stride, int64_t count) {
  if constexpr (std::is_same_v<Value, T>) {
#pragma GCC ivdep
    for (int64_t i = 0; i < count; ++i) row[i] = data[i * stride];
  } else {
#pragma GCC ivdep
    for (int64_t i = 0; i < count; ++i) row[i] = to_float(data[i * stride]);
  }
}

/// row[i] = element `offset + i * stride` of an external tensor. Throws Error unless its elements
/// are float32, float16 or bfloat16.
inline void read_row(float* row, const ExternalTensor& tensor, int64_t offset, int64_t stride, int64_t count) {
  switch (tensor.dtype) {
    case DType::float32: return read_row(row, static_cast<const float*>(tensor.data) + offset, stride, count);
    case DType::half: return read_row(row, static_cast<const Half*>(tensor.data) + offset, stride, count);
    case DType::bfloat16: return read_row(row, static_cast<const BFloat16*>(tensor.data) + offset, stride, count);
    default: throw Error("an input of the engine must be float32, float16 or bfloat16");
  }
}

/// One element as a pointwise kernel computes on it.
template <class Value, class T>
inline Value read(T element) {
  if constexpr (std::is_same_v<Value, T>) {
    return element;
  } else {
    return to_float(element);
  }
}

/// One result, rounded unless Value is the element type itself.
template <class T, class Value>
inline T written(Value value) {
  if constexpr (std::is_same_v<Value, T>) {
    return value;
  } else {
    return from_float<T>(value);
  }
}

}  // namespace fx2ait
