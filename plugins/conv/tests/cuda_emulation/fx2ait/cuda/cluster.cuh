// The core's header of this name, on emulated CUDA.
#pragma once

#include "fx2ait/cuda/mbarrier.cuh"

namespace fx2ait {

inline uint32_t cluster_rank() { return static_cast<uint32_t>(emulation::rank()); }
inline void cluster_arrive() {
  detail::hesitate();
  ++emulation::cluster_arrived;
  ++emulation::fibers[emulation::current].cluster_arrivals;
}
inline void cluster_wait() {
  const int all = emulation::thread_count * emulation::block_count;
  while (emulation::cluster_arrived < all * emulation::fibers[emulation::current].cluster_arrivals) emulation::yield();
}
inline void cluster_store(uint32_t address, float a, float b, float c, float d, uint32_t barrier) {
  const float4 values{a, b, c, d};
  emulation::happenings.push_back([=] {
    if (emulation::blocks[(address >> 24) - 1].running == 0) emulation::fail("a store to a block that has gone");
    std::memcpy(shared_at(address, 16), &values, 16);
    detail::Barrier& at = detail::barrier_at(barrier);
    at.bytes -= 16;
    at.settle();
  });
}
inline void cluster_arrive_at(uint32_t barrier) {
  detail::hesitate();
  emulation::happenings.push_back([=] {
    if (emulation::blocks[(barrier >> 24) - 1].running == 0) emulation::fail("an arrival at a block that has gone");
    detail::Barrier& at = detail::barrier_at(barrier);
    --at.pending;
    at.settle();
  });
}
inline void cluster_wait_stored(uint32_t barrier, uint32_t parity) { mbarrier_wait(barrier, parity); }
inline float4 cluster_load_stored(uint32_t address) {
  float4 values;
  std::memcpy(&values, shared_at(address, 16), 16);
  return values;
}

}  // namespace fx2ait
