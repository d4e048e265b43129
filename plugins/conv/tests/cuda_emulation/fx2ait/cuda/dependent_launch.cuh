// The core's header of this name, on emulated CUDA: one grid after the other.
#pragma once

#include "cuda_runtime.h"

namespace fx2ait {

inline void wait_for_predecessor() {}
inline void release_successor() {}

template <class Kernel, class... Arguments>
void launch_dependent(
    Kernel kernel, dim3 grid, int threads, int shared_bytes, int cluster, cudaStream_t, const Arguments&... arguments) {
  emulation::launch_clusters(kernel, grid, cluster, threads, shared_bytes, arguments...);
}

}  // namespace fx2ait
