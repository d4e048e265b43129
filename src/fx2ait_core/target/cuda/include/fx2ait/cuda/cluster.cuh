// Clusters: blocks that run at the same time and write to each other's shared memory (sm_90 and newer).
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

namespace fx2ait {

/// This block's place in its cluster.
__device__ __forceinline__ uint32_t cluster_rank() {
  uint32_t rank;
  asm volatile("mov.u32 %0, %%cluster_ctarank;" : "=r"(rank));
  return rank;
}

/// Tells the cluster's other blocks that this thread has come here. Each thread of all blocks calls it,
/// and then `cluster_wait`, warps as a whole. It shows them barriers that `mbarrier_fence_init` was called
/// for, and nothing else that was written: releasing all would wait for all of the device.
__device__ __forceinline__ void cluster_arrive() {
  asm volatile("barrier.cluster.arrive.relaxed.aligned;" ::: "memory");
}

/// Waits until all threads of all blocks of the cluster have arrived.
__device__ __forceinline__ void cluster_wait() {
  asm volatile("barrier.cluster.wait.acquire.aligned;" ::: "memory");
}

/// The address at which block `rank` keeps what this block keeps at `address`.
__device__ __forceinline__ uint32_t cluster_address(uint32_t address, uint32_t rank) {
  uint32_t mapped;
  asm volatile("mapa.shared::cluster.u32 %0, %1, %2;" : "=r"(mapped) : "r"(address), "r"(rank));
  return mapped;
}

/// Writes four floats into a block of the cluster, whose `barrier` counts the 16 bytes when they are
/// there. Both addresses are that block's, from `cluster_address`.
__device__ __forceinline__ void cluster_store(uint32_t address, float a, float b, float c, float d, uint32_t barrier) {
  asm volatile(
      "st.async.weak.shared::cluster.mbarrier::complete_tx::bytes.v4.f32 [%0], {%1, %2, %3, %4}, [%5];" ::"r"(address),
      "f"(a), "f"(b), "f"(c), "f"(d), "r"(barrier)
      : "memory");
}

/// Arrives once at a barrier of any block of the cluster; `barrier` comes from `cluster_address`.
///
/// Says that this thread has done with what it read, products and loads before `copy_engine_fence`. It does
/// not show the other block what this thread wrote: that would take a fence of the whole device each time.
__device__ __forceinline__ void cluster_arrive_at(uint32_t barrier) {
  asm volatile("mbarrier.arrive.shared::cluster.b64 _, [%0];" ::"r"(barrier) : "memory");
}

/// Waits until the phase of that parity of this block's `barrier` is complete, and with it what other
/// blocks stored (`cluster_store`).
__device__ __forceinline__ void cluster_wait_stored(uint32_t barrier, uint32_t parity) {
  uint32_t complete = 0;
  while (!complete) {
    asm volatile(
        "{\n"
        "  .reg .pred complete;\n"
        "  mbarrier.try_wait.parity.acquire.cluster.shared::cta.b64 complete, [%1], %2;\n"
        "  selp.u32 %0, 1, 0, complete;\n"
        "}"
        : "=r"(complete)
        : "r"(barrier), "r"(parity)
        : "memory");
  }
}

/// Four floats that were stored in this block; after `cluster_wait_stored`.
__device__ __forceinline__ float4 cluster_load_stored(uint32_t address) {
  float4 v;
  asm volatile("ld.shared.v4.f32 {%0, %1, %2, %3}, [%4];" : "=f"(v.x), "=f"(v.y), "=f"(v.z), "=f"(v.w) : "r"(address));
  return v;
}

}  // namespace fx2ait
