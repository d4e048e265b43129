// The core's header of this name, on emulated CUDA.
#pragma once

#include "cuda_runtime.h"

namespace fx2ait {

template <bool>
inline void begin_kernel() {}

template <bool, class Kernel, class... Arguments>
void launch(const char*, Kernel kernel, dim3 grid, int threads, int shared_bytes, cudaStream_t,
            const Arguments&... arguments) {
  emulation::launch(kernel, grid, threads, shared_bytes, arguments...);
}

}  // namespace fx2ait
