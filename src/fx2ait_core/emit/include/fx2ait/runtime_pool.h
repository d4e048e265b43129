#pragma once

#include <algorithm>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

namespace fx2ait {

/// The state of one run under way: its activation memory and its lane on the device.
template <class Device>
struct Runtime {
  Runtime(Device& device, std::byte* memory) : lane(device), arena(memory) {}

  typename Device::Lane lane;
  std::byte* arena;
  /// The bucket whose launches left the workspaces clean; -1: they must be zeroed first.
  bool workspaces_are_clean = false;
  /// The caller captured launches on this memory and may replay them unseen.
  bool captured_by_caller = false;
  std::uint64_t last_stream = 0;
  std::uint64_t released_at = 0;
  bool busy = false;
};

/// Runtimes, lent one at a time to callers on any thread.
template <class Device>
class RuntimePool {
 public:
  /// One runtime, or all of them; given back at the end of its life.
  class Lease {
   public:
    Lease(RuntimePool& pool, std::vector<Runtime<Device>*> lent) : pool_(pool), lent_(std::move(lent)) {}
    Lease(const Lease&) = delete;
    Lease& operator=(const Lease&) = delete;
    ~Lease() { pool_.give_back(lent_); }

    Runtime<Device>& operator*() const { return *lent_.front(); }
    const std::vector<Runtime<Device>*>& all() const { return lent_; }

   private:
    RuntimePool& pool_;
    std::vector<Runtime<Device>*> lent_;
  };

  void add(std::unique_ptr<Runtime<Device>> runtime) { runtimes_.push_back(std::move(runtime)); }
  std::size_t size() const { return runtimes_.size(); }

  /// Waits for a free runtime: the one last used on `stream` where possible, else the one idle longest.
  Lease acquire(std::uint64_t stream) {
    std::unique_lock<std::mutex> lock(mutex_);
    Runtime<Device>* chosen = nullptr;
    freed_.wait(lock, [&] {
      chosen = exclusive_waiting_ > 0 ? nullptr : choose(stream);
      return chosen != nullptr;
    });
    std::vector<Runtime<Device>*> lent{chosen};
    chosen->busy = true;
    chosen->last_stream = stream;
    return {*this, std::move(lent)};
  }

  /// Waits until none is lent, and takes all.
  Lease acquire_all() {
    std::unique_lock<std::mutex> lock(mutex_);
    std::vector<Runtime<Device>*> lent;
    lent.reserve(runtimes_.size());
    ++exclusive_waiting_;
    freed_.wait(lock, [&] {
      return std::none_of(runtimes_.begin(), runtimes_.end(), [](const auto& runtime) { return runtime->busy; });
    });
    --exclusive_waiting_;
    for (const auto& runtime : runtimes_) {
      runtime->busy = true;
      lent.push_back(runtime.get());
    }
    return {*this, std::move(lent)};
  }

 private:
  Runtime<Device>* choose(std::uint64_t stream) const {
    Runtime<Device>* oldest = nullptr;
    for (const auto& runtime : runtimes_) {
      if (runtime->busy) continue;
      if (runtime->last_stream == stream && runtime->released_at > 0) return runtime.get();
      if (oldest == nullptr || runtime->released_at < oldest->released_at) oldest = runtime.get();
    }
    return oldest;
  }

  void give_back(const std::vector<Runtime<Device>*>& lent) {
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      for (Runtime<Device>* runtime : lent) {
        runtime->busy = false;
        runtime->released_at = ++clock_;
      }
    }
    freed_.notify_all();
  }

  std::vector<std::unique_ptr<Runtime<Device>>> runtimes_;
  std::mutex mutex_;
  std::condition_variable freed_;
  std::size_t exclusive_waiting_ = 0;
  std::uint64_t clock_ = 0;
};

}  // namespace fx2ait
