// Turns failures of CUDA runtime calls into fx2ait::Error.
#pragma once

#include <cuda_runtime.h>

#include "fx2ait/error.h"

namespace fx2ait {

/// Throws Error, naming `what`, unless `status` is cudaSuccess.
inline void check_cuda(cudaError_t status, const char* what) {
  if (status != cudaSuccess) {
    throw Error({what, ": ", cudaGetErrorName(status), ": ", cudaGetErrorString(status)});
  }
}

/// Throws Error when the launch just made by kernel `name` was refused (configuration, resources).
/// Faults while the kernel runs appear later, at the next synchronization.
inline void launch_check(const char* name) {
  const cudaError_t status = cudaGetLastError();
  if (status != cudaSuccess) {
    throw Error({"launch of ", name, ": ", cudaGetErrorName(status), ": ", cudaGetErrorString(status)});
  }
}

}  // namespace fx2ait

/// Evaluates a call that returns cudaError_t and throws fx2ait::Error with its text on failure.
#define FX2AIT_CUDA_CHECK(call) ::fx2ait::check_cuda((call), #call)
