// The core's header of this name, on emulated CUDA. Threads may be held up at each of these calls.
#pragma once

#include <map>

#include "fx2ait/cuda/mma.cuh"

namespace fx2ait {

namespace detail {
struct Barrier {
  int expected, pending;
  int64_t bytes;
  unsigned phase, cluster;

  void settle() {
    emulation::idle_rounds = 0;
    if (pending < 0) emulation::fail("more arrivals at a barrier than it counts");
    if (pending == 0 && bytes == 0) {
      pending = expected;
      ++phase;
    }
  }
};
inline std::map<uint32_t, Barrier> barriers;

inline Barrier& barrier_at(uint32_t address) {
  const auto found = barriers.find(cluster_address(address));
  if (found == barriers.end() || found->second.cluster != emulation::clusters_run) emulation::fail("a barrier that was not initialized");
  return found->second;
}
inline void hesitate() {
  while (std::rand() % 4 == 0) emulation::yield();
}
}  // namespace detail

inline void mbarrier_init(uint32_t barrier, int arrivals) {
  detail::barriers[cluster_address(barrier)] = {arrivals, arrivals, 0, 0, emulation::clusters_run};
}
inline void mbarrier_fence_init() {}
inline void copy_engine_fence() { emulation::fibers[emulation::current].views.clear(); }
inline void mbarrier_arrive(uint32_t barrier) {
  detail::hesitate();
  detail::Barrier& at = detail::barrier_at(barrier);
  --at.pending;
  at.settle();
}
inline void mbarrier_arrive_expecting(uint32_t barrier, int bytes) {
  detail::hesitate();
  detail::Barrier& at = detail::barrier_at(barrier);
  at.bytes += bytes;
  --at.pending;
  at.settle();
}
inline void mbarrier_wait(uint32_t barrier, uint32_t parity) {
  detail::hesitate();
  while ((detail::barrier_at(barrier).phase & 1) == parity) emulation::yield();
}

}  // namespace fx2ait
