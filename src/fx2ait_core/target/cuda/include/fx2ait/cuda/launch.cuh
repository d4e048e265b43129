// Launches of small kernels, overlapped with the end of their predecessor where the device can.
#pragma once

#include <cuda_runtime.h>

#include "fx2ait/cuda/check.h"
#include "fx2ait/cuda/dependent_launch.cuh"

namespace fx2ait {

/// Device side of launch(): call once per thread before anything but constants is read.
template <bool Dependent>
__device__ __forceinline__ void begin_kernel() {
  if constexpr (Dependent) {
    wait_for_predecessor();
    release_successor();
  }
}

/// Enqueues `kernel`. With Dependent (sm_90 and newer) it may start while its predecessor ends;
/// the kernel must then go through begin_kernel<true>().
template <bool Dependent, typename... Parameters, typename... Arguments>
void launch(const char* name, void (*kernel)(Parameters...), dim3 grid, int threads, int shared_bytes,
            cudaStream_t stream, const Arguments&... arguments) {
  if constexpr (Dependent) {
    launch_dependent(kernel, grid, threads, shared_bytes, 1, stream, arguments...);
  } else {
    kernel<<<grid, threads, shared_bytes, stream>>>(arguments...);
  }
  launch_check(name);
}

}  // namespace fx2ait
