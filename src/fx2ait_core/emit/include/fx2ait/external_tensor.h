#pragma once

#include <cstdint>

#include "fx2ait/dtype.h"

namespace fx2ait {

/// The highest rank of an engine's inputs and outputs.
constexpr int max_rank = 8;

/// A tensor that the caller owns: element type and strides are known only at run time.
///
/// `strides` count elements by logical dimension (PyTorch's order); entries past the rank are 0.
/// `data` is aligned to the element size only. Passed by value to device code.
struct ExternalTensor {
  const void* data;
  DType dtype;
  int64_t strides[max_rank];
};

}  // namespace fx2ait
