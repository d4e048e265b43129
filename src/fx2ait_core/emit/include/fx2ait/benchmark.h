#pragma once

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <exception>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace fx2ait {

/// The middle value, the larger one of two. `values` are reordered, and not empty.
inline double median(std::vector<double>& values) {
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

/// How often something that takes `once` milliseconds is repeated to take about `wanted`: 1 to 200 times.
inline std::size_t repetitions(double wanted, double once) {
  constexpr double most = 200;
  return once > 0 ? static_cast<std::size_t>(std::clamp(wanted / once, 1.0, most)) : static_cast<std::size_t>(most);
}

/// Runs `warm_up(thread)` and, once all threads are through with it, `work(thread)`, on `threads` threads.
/// Returns the milliseconds from the first start of work to the last end. Rethrows the first exception.
inline double time_threads(std::size_t threads, const std::function<void(std::size_t)>& warm_up,
                           const std::function<void(std::size_t)>& work) {
  std::mutex mutex;
  std::condition_variable changed;
  std::size_t ready = 0;
  bool go = false;
  std::exception_ptr failure;

  const auto body = [&](std::size_t thread) {
    const auto attempt = [&](const std::function<void(std::size_t)>& action) {
      try {
        action(thread);
      } catch (...) {
        const std::lock_guard<std::mutex> lock(mutex);
        if (!failure) failure = std::current_exception();
      }
    };
    attempt(warm_up);
    std::unique_lock<std::mutex> lock(mutex);
    ++ready;
    changed.notify_all();
    changed.wait(lock, [&] { return go; });
    const bool failed = static_cast<bool>(failure);
    lock.unlock();
    if (!failed) attempt(work);
  };

  std::vector<std::thread> workers;
  workers.reserve(threads);
  for (std::size_t thread = 0; thread < threads; ++thread) {
    try {
      workers.emplace_back(body, thread);
    } catch (...) {  // no more threads to be had: let those that began end
      const std::lock_guard<std::mutex> lock(mutex);
      failure = std::current_exception();
      break;
    }
  }
  std::chrono::steady_clock::time_point start;
  {
    std::unique_lock<std::mutex> lock(mutex);
    changed.wait(lock, [&] { return ready == workers.size(); });
    go = true;
    start = std::chrono::steady_clock::now();
  }
  changed.notify_all();
  for (std::thread& worker : workers) worker.join();
  if (failure) std::rethrow_exception(failure);
  return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count();
}

}  // namespace fx2ait
