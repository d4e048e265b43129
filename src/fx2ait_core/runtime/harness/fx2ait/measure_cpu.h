// Times a launcher on the CPU.
#pragma once

#include <chrono>
#include <cstdint>

#include "fx2ait/cpu/thread_pool.h"
#include "fx2ait/measure_samples.h"

namespace fx2ait {

/// Median microseconds of `launch(set, pool)`, the sets taking turns: 3 calls after a round of
/// warm-up, more where they differ, as 20 ms allow.
template <class Launch>
float measure(int64_t sets, int64_t /* device */, int64_t threads, Launch&& launch) {
  using Clock = std::chrono::steady_clock;
  ThreadPool pool(static_cast<int>(threads));
  for (int64_t i = 0; i < sets; ++i) launch(i % sets, pool);
  Samples samples(3, 20000.0f);
  for (int64_t i = 0; !samples.enough(); ++i) {
    const auto start = Clock::now();
    launch(i % sets, pool);
    samples.add(std::chrono::duration<float, std::micro>(Clock::now() - start).count());
  }
  return samples.median();
}

}  // namespace fx2ait
