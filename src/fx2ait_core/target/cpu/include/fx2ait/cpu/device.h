#pragma once

#include <sched.h>
#include <sys/mman.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "fx2ait/benchmark.h"
#include "fx2ait/cpu/thread_pool.h"
#include "fx2ait/error.h"
#include "fx2ait/model_interface.h"

namespace fx2ait::cpu {

/// Processors that this process may run on.
inline int usable_processors() {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (sched_getaffinity(0, sizeof(set), &set) == 0) return CPU_COUNT(&set) > 0 ? CPU_COUNT(&set) : 1;
  const unsigned counted = std::thread::hardware_concurrency();
  return counted > 0 ? static_cast<int>(counted) : 1;
}

/// The policy of `fx2ait::ModelContainer` for the CPU: memory is the host's, a run computes before it
/// returns, streams and graphs mean nothing.
class Device {
 public:
  /// What launchers take.
  using Context = ThreadPool&;

  static constexpr std::size_t alignment = 1;
  static constexpr bool host_memory = true;
  static constexpr std::size_t warm_up_runs = 1;

  /// Makes the device current, which a CPU always is.
  struct Guard {
    explicit Guard(const Device&) {}
    ~Guard() {}  // not trivial: a guard is never an unused variable
  };

  /// A stream of one's own.
  struct Stream {
    AITemplateStreamHandle handle() const { return nullptr; }
  };

  /// Times launches: `mark` before each and after the last.
  class Probe {
   public:
    explicit Probe(std::size_t launches) { marks_.reserve(launches + 1); }
    void mark(Context) { marks_.push_back(std::chrono::steady_clock::now()); }

    /// Adds each launch's milliseconds and starts over.
    void collect(std::vector<double>& milliseconds) {
      for (std::size_t i = 0; i < milliseconds.size(); ++i) {
        milliseconds[i] += std::chrono::duration<double, std::milli>(marks_[i + 1] - marks_[i]).count();
      }
      marks_.clear();
    }

   private:
    std::vector<std::chrono::steady_clock::time_point> marks_;
  };

  /// A runtime's threads.
  class Lane {
   public:
    explicit Lane(Device&) : pool_(std::make_unique<ThreadPool>(usable_processors())) {}

    Context context(AITemplateStreamHandle) { return *pool_; }
    void set_threads(std::size_t threads) { pool_ = std::make_unique<ThreadPool>(static_cast<int>(threads)); }

    template <class Launch>
    void replay(AITemplateStreamHandle, const std::vector<int64_t>&, Launch&& launch) {
      launch(*pool_);
    }

    /// Milliseconds of one `launch`: the median of `samples` samples of about `sample_ms` each.
    template <class Launch>
    double time(AITemplateStreamHandle, double sample_ms, std::size_t samples, Launch&& launch) {
      const auto sample = [&](std::size_t count) {
        const auto start = std::chrono::steady_clock::now();
        for (std::size_t i = 0; i < count; ++i) launch(*pool_);
        const std::chrono::duration<double, std::milli> elapsed = std::chrono::steady_clock::now() - start;
        return elapsed.count() / static_cast<double>(count);
      };
      const std::size_t count = repetitions(sample_ms, sample(1));
      std::vector<double> taken;
      for (std::size_t i = 0; i < samples; ++i) taken.push_back(sample(count));
      return median(taken);
    }

    void zero(AITemplateStreamHandle, std::byte* data, std::size_t bytes) { std::memset(data, 0, bytes); }
    void precede(AITemplateStreamHandle) {}
    void finish(AITemplateStreamHandle) {}
    void finish_failed(AITemplateStreamHandle) {}
    void wait() {}

   private:
    std::unique_ptr<ThreadPool> pool_;
  };

  explicit Device(const char* /* arch: a wrong one is refused when the engine file is opened */) {}

  /// Aligned to 256 bytes; large blocks to huge pages, which spares the kernels address translation.
  void* allocate(std::size_t bytes) {
    constexpr std::size_t huge_page = std::size_t{2} << 20;
    const std::size_t alignment = bytes >= 2 * huge_page ? huge_page : 256;
    const std::size_t rounded = (bytes + alignment - 1) / alignment * alignment;
    void* block = std::aligned_alloc(alignment, rounded);
    if (block == nullptr) throw Error("no memory for the engine's " + std::to_string(bytes) + " bytes.");
    if (alignment == huge_page) madvise(block, rounded, MADV_HUGEPAGE);  // advice; refusal changes nothing
    return block;
  }
  void release(void* block) { std::free(block); }

  void copy(void* to, const void* from, std::size_t bytes) { std::memcpy(to, from, bytes); }
  void copy_on(AITemplateStreamHandle, void* to, const void* from, std::size_t bytes) { copy(to, from, bytes); }
  void fill(void* data, unsigned char byte, std::size_t bytes) { std::memset(data, byte, bytes); }
  void synchronize(AITemplateStreamHandle) {}
  bool is_capturing(AITemplateStreamHandle) const { return false; }
  std::uint64_t identity(AITemplateStreamHandle) const { return 0; }
};

}  // namespace fx2ait::cpu
