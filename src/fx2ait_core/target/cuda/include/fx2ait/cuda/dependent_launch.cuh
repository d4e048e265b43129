// Programmatic dependent launch: a kernel starts while its predecessor in the stream still runs,
// prepares, and then waits for it (sm_90 and newer).
#pragma once

#include <cuda_runtime.h>

#include "fx2ait/cuda/check.h"

namespace fx2ait {

/// Wait until the grids before this one are complete and their writes can be seen.
///
/// Before it only constants may be read and nothing written. Every block must call it, so that
/// the end of this grid implies the end of all before it. Returns at once where the kernel was
/// launched in the ordinary way.
__device__ __forceinline__ void wait_for_predecessor() {
  asm volatile("griddepcontrol.wait;" ::: "memory");
}

/// Let the next grid start its preparation once all blocks of this one have called this.
__device__ __forceinline__ void release_successor() {
  asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
}

/// Launch `kernel` so that it may overlap the end of its predecessor; `cluster` blocks along x
/// form a cluster. The kernel must call `wait_for_predecessor`.
template <typename... Parameters, typename... Arguments>
void launch_dependent(
    void (*kernel)(Parameters...), dim3 grid, int threads, int shared_bytes, int cluster, cudaStream_t stream,
    const Arguments&... arguments) {
  cudaLaunchAttribute attributes[2] = {};
  attributes[0].id = cudaLaunchAttributeProgrammaticStreamSerialization;
  attributes[0].val.programmaticStreamSerializationAllowed = 1;
  attributes[1].id = cudaLaunchAttributeClusterDimension;
  attributes[1].val.clusterDim.x = static_cast<unsigned>(cluster);
  attributes[1].val.clusterDim.y = 1;
  attributes[1].val.clusterDim.z = 1;
  cudaLaunchConfig_t config = {};
  config.gridDim = grid;
  config.blockDim = dim3(static_cast<unsigned>(threads));
  config.dynamicSmemBytes = static_cast<size_t>(shared_bytes);
  config.stream = stream;
  config.attrs = attributes;
  config.numAttrs = cluster > 1 ? 2 : 1;
  FX2AIT_CUDA_CHECK(cudaLaunchKernelEx(&config, kernel, arguments...));
}

}  // namespace fx2ait
