// Barriers in shared memory on which threads and bulk copies meet (sm_90 and newer).
//
// A barrier counts arrivals and, while copies are under way, bytes. When both are complete its
// phase flips. Waiters name the parity (0, 1, 0, …) of the phase that they wait for.
#pragma once

#include <cstdint>

#include "fx2ait/cuda/shared_address.cuh"

namespace fx2ait {

/// Make a barrier that flips after `arrivals` arrivals. Needs `mbarrier_fence_init` afterwards.
__device__ __forceinline__ void mbarrier_init(uint32_t barrier, int arrivals) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(barrier), "r"(arrivals) : "memory");
}

/// Show initialized barriers to the copy engine and to the other blocks of a cluster.
__device__ __forceinline__ void mbarrier_fence_init() {
  asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
}

/// Arrive once.
__device__ __forceinline__ void mbarrier_arrive(uint32_t barrier) {
  asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(barrier) : "memory");
}

/// This thread's earlier accesses to shared memory come before later ones by the copy engine, once a
/// barrier lets it go on. Loads not waited for could otherwise find what the engine writes next.
__device__ __forceinline__ void copy_engine_fence() {
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
}

/// Arrive once, and let the current phase also wait for `bytes` written by bulk copies.
__device__ __forceinline__ void mbarrier_arrive_expecting(uint32_t barrier, int bytes) {
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(barrier), "r"(bytes) : "memory");
}

/// Wait until the phase of that parity is complete.
__device__ __forceinline__ void mbarrier_wait(uint32_t barrier, uint32_t parity) {
  uint32_t complete = 0;
  while (!complete) {
    asm volatile(
        "{\n"
        "  .reg .pred complete;\n"
        "  mbarrier.try_wait.parity.shared::cta.b64 complete, [%1], %2;\n"
        "  selp.u32 %0, 1, 0, complete;\n"
        "}"
        : "=r"(complete)
        : "r"(barrier), "r"(parity)
        : "memory");
  }
}

/// A barrier among `threads` threads of the block; `id` is 1 to 15 (0 is `__syncthreads`).
__device__ __forceinline__ void named_barrier_sync(int id, int threads) {
  asm volatile("bar.sync %0, %1;" ::"r"(id), "r"(threads) : "memory");
}

}  // namespace fx2ait
