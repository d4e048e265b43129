// Times a launcher on the CPU.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <vector>

#include "fx2ait/cpu/thread_pool.h"

namespace fx2ait {

/// Median microseconds of `launch(set, pool)`, the sets taking turns: at least 5 calls after two
/// rounds of warm-up, and as many as 40 ms allow.
template <class Launch>
float measure(int64_t sets, int64_t /* device */, int64_t threads, Launch&& launch) {
  using Clock = std::chrono::steady_clock;
  constexpr std::chrono::milliseconds budget{40};
  constexpr std::size_t fewest = 5;
  ThreadPool pool(static_cast<int>(threads));
  for (int64_t i = 0; i < 2 * sets; ++i) launch(i % sets, pool);
  std::vector<float> times;
  const auto end = Clock::now() + budget;
  for (int64_t i = 0; times.size() < fewest || Clock::now() < end; ++i) {
    const auto start = Clock::now();
    launch(i % sets, pool);
    times.push_back(std::chrono::duration<float, std::micro>(Clock::now() - start).count());
  }
  std::nth_element(times.begin(), times.begin() + static_cast<int64_t>(times.size() / 2), times.end());
  return times[times.size() / 2];
}

}  // namespace fx2ait
