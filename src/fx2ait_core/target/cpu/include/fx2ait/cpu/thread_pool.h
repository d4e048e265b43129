// A fixed set of threads that share loops.
//
// Made for many short loops in a row: idle workers spin for some 50 microseconds before they
// sleep, and a loop that is over before a sleeping worker woke up does not wait for it.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <exception>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <mutex>
#include <new>
#include <thread>
#include <type_traits>
#include <vector>

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace fx2ait {

class ThreadPool {
 public:
  /// `threads` counts the calling thread, so `threads - 1` are started; below 1 means 1.
  explicit ThreadPool(int threads) : size_(threads > 1 ? threads : 1), scratch_(size_) {
    try {
      for (int worker = 1; worker < size_; ++worker) threads_.emplace_back([this, worker] { serve(worker); });
    } catch (...) {
      stop();
      throw;
    }
  }

  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  ~ThreadPool() {
    stop();
    for (Scratch& scratch : scratch_) std::free(scratch.data);
  }

  /// Threads that take part in a loop, the caller included.
  int size() const { return size_; }

  /// Calls `body(begin, end)` on contiguous chunks that cover [0, count) once, and returns when
  /// all are done. A body with a third parameter also gets its worker's number, at least 0 and
  /// below both `size()` and `max_workers`; no two calls with the same number overlap.
  ///
  /// Chunks are handed out as workers become free, several to each. The first exception that a
  /// body throws ends the loop early and is thrown again here. Loops from several threads take
  /// turns; a body must not start a loop on its own pool.
  template <class Body>
  void parallel_for(int64_t count, Body&& body, int max_workers = std::numeric_limits<int>::max()) {
    if (count <= 0) return;
    const int workers = max_workers < size_ ? max_workers : size_;
    const std::lock_guard<std::mutex> turn(turn_);
    if (workers <= 1 || count == 1) {
      call(body, 0, count, 0);
      return;
    }
    using Callable = std::remove_reference_t<Body>;
    const auto invoke = [](void* context, int64_t begin, int64_t end, int worker) {
      call(*static_cast<Callable*>(context), begin, end, worker);
    };
    run(Loop{const_cast<void*>(static_cast<const void*>(&body)), invoke, count, chunk_size(count, workers), workers});
  }

  /// At least `bytes` of memory for the body that runs as worker number `worker`, aligned to 256
  /// bytes. It is the same memory in every loop, so it is warm in the worker's cache; contents are
  /// what the last body left, zero at first. Loops of one kernel must not rely on it in between.
  ///
  /// Only a body with a third parameter knows its number. Throws `std::bad_alloc`.
  void* scratch(int worker, int64_t bytes) {
    Scratch& scratch = scratch_[worker];
    if (scratch.bytes < bytes) scratch.grow(bytes);
    return scratch.data;
  }

 private:
  struct alignas(64) Scratch {
    void* data = nullptr;
    int64_t bytes = 0;

    void grow(int64_t wanted) {
      constexpr int64_t kPage = 2 << 20;  // large pages spare the address translation
      const int64_t rounded = (wanted + kPage - 1) / kPage * kPage;
      std::free(data);
      bytes = 0;
      data = std::aligned_alloc(kPage, rounded);
      if (data == nullptr) throw std::bad_alloc();
#if defined(__linux__)
      madvise(data, rounded, MADV_HUGEPAGE);
#endif
      std::memset(data, 0, rounded);
      bytes = rounded;
    }
  };

  struct Loop {
    void* context;
    void (*invoke)(void* context, int64_t begin, int64_t end, int worker);
    int64_t count;
    int64_t chunk;
    int workers;
  };

  static constexpr int64_t kChunksPerWorker = 8;
  static constexpr std::chrono::microseconds kSpin{50};
  static constexpr uint32_t kOpen = 1u << 31;  // bit of gate_; the others count workers inside

  template <class Body>
  static void call(Body& body, int64_t begin, int64_t end, int worker) {
    if constexpr (std::is_invocable_v<Body&, int64_t, int64_t, int>) {
      body(begin, end, worker);
    } else {
      (void)worker;
      body(begin, end);
    }
  }

  static int64_t chunk_size(int64_t count, int workers) {
    const int64_t chunk = count / (workers * kChunksPerWorker);
    return chunk > 1 ? chunk : 1;
  }

  static void pause() {
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    asm volatile("yield");
#endif
  }

  void run(const Loop& loop) {
    loop_ = loop;
    failure_ = nullptr;
    next_.store(0, std::memory_order_relaxed);
    gate_.store(kOpen, std::memory_order_release);
    generation_.fetch_add(1);
    if (sleepers_.load() > 0) {
      { const std::lock_guard<std::mutex> lock(sleep_); }
      wake_.notify_all();
    }
    work(0);
    gate_.fetch_and(~kOpen);
    for (int spins = 0; gate_.load(std::memory_order_acquire) != 0; ++spins) {
      spins < 4096 ? pause() : std::this_thread::yield();
    }
    if (failure_) std::rethrow_exception(failure_);
  }

  /// Takes chunks until none is left.
  void work(int worker) {
    const Loop loop = loop_;
    for (;;) {
      const int64_t begin = next_.fetch_add(loop.chunk, std::memory_order_relaxed);
      if (begin >= loop.count) return;
      const int64_t end = loop.count - begin < loop.chunk ? loop.count : begin + loop.chunk;
      try {
        loop.invoke(loop.context, begin, end, worker);
      } catch (...) {
        const std::lock_guard<std::mutex> lock(sleep_);
        if (!failure_) failure_ = std::current_exception();
        next_.store(loop.count, std::memory_order_relaxed);
      }
    }
  }

  /// A worker's life: wait for a loop, join it while it is open, help, wait again.
  void serve(int worker) {
    uint64_t seen = 0;
    for (;;) {
      seen = wait_for_loop(seen);
      if (stopping_.load(std::memory_order_acquire)) return;
      uint32_t gate = gate_.load(std::memory_order_relaxed);
      while ((gate & kOpen) != 0 &&
             !gate_.compare_exchange_weak(gate, gate + 1, std::memory_order_acquire, std::memory_order_relaxed)) {
      }
      if ((gate & kOpen) == 0) continue;
      if (worker < loop_.workers) work(worker);
      gate_.fetch_sub(1, std::memory_order_release);
    }
  }

  /// Returns the generation that differs from `seen`.
  uint64_t wait_for_loop(uint64_t seen) {
    const auto deadline = std::chrono::steady_clock::now() + kSpin;
    do {
      for (int i = 0; i < 32; ++i) {
        const uint64_t generation = generation_.load(std::memory_order_acquire);
        if (generation != seen) return generation;
        pause();
      }
    } while (std::chrono::steady_clock::now() < deadline);
    std::unique_lock<std::mutex> lock(sleep_);
    sleepers_.fetch_add(1);
    wake_.wait(lock, [&] { return generation_.load() != seen; });
    sleepers_.fetch_sub(1);
    return generation_.load();
  }

  void stop() {
    stopping_.store(true, std::memory_order_release);
    generation_.fetch_add(1);
    { const std::lock_guard<std::mutex> lock(sleep_); }
    wake_.notify_all();
    for (std::thread& thread : threads_) thread.join();
  }

  const int size_;
  std::vector<Scratch> scratch_;
  std::vector<std::thread> threads_;
  std::mutex turn_;   // held by the loop under way
  std::mutex sleep_;  // guards wake_ and failure_
  std::condition_variable wake_;
  std::exception_ptr failure_;
  Loop loop_{};
  std::atomic<bool> stopping_{false};
  std::atomic<int> sleepers_{0};
  // Each on a cache line of its own: workers spin on one while others are written.
  alignas(64) std::atomic<uint64_t> generation_{0};
  alignas(64) std::atomic<uint32_t> gate_{0};
  alignas(64) std::atomic<int64_t> next_{0};
};

}  // namespace fx2ait
