// CUDA as far as the convolution kernels use it, on one CPU thread: every CUDA thread of a block is
// a fiber, run in random order from barrier to barrier, so that index arithmetic, barriers and the
// bounds of shared memory can be tested without a GPU.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <vector>

#define __host__
#define __device__
#define __global__
#define __forceinline__ inline
#define __shared__ static
#define __align__(bytes) __attribute__((aligned(bytes)))
#define __launch_bounds__(...)
#define __grid_constant__
#define __builtin_assume(condition)

using std::max;
using std::min;

struct uint2 {
  unsigned x, y;
};
struct alignas(16) uint4 {
  unsigned x, y, z, w;
};
struct float2 {
  float x, y;
};
struct alignas(16) float4 {
  float x, y, z, w;
};
inline uint2 make_uint2(unsigned x, unsigned y) { return {x, y}; }
inline float2 make_float2(float x, float y) { return {x, y}; }
inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }

struct dim3 {
  unsigned x, y, z;
  dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
};
inline dim3 threadIdx, blockIdx, gridDim, blockDim;

using cudaStream_t = void*;
enum cudaError_t { cudaSuccess };
enum cudaDriverEntryPointQueryResult { cudaDriverEntryPointSuccess, cudaDriverEntryPointSymbolNotFound };
enum { cudaEnableDefault };
enum cudaFuncAttribute { cudaFuncAttributeMaxDynamicSharedMemorySize };
inline const char* cudaGetErrorName(cudaError_t) { return ""; }
inline const char* cudaGetErrorString(cudaError_t) { return ""; }
inline cudaError_t cudaGetLastError() { return cudaSuccess; }
template <class Kernel>
cudaError_t cudaFuncSetAttribute(Kernel, cudaFuncAttribute, int) {
  return cudaSuccess;
}

inline float4 __ldcg(const float4* address) { return *address; }
template <class T>
void __stcg(T* address, T value) {
  *address = value;
}
inline void __threadfence() {}
inline unsigned atomicAdd(unsigned* address, unsigned value) {
  const unsigned old = *address;
  *address += value;
  return old;
}

// The dynamic shared memory: kernels declare it `extern`, which the harness keeps of their words.
namespace fx2ait_conv {
alignas(1024) inline unsigned char shared[228 * 1024];
}

namespace emulation {

constexpr int most_threads = 8 * 384, most_blocks = 8, stack_bytes = 128 * 1024;  // of a cluster

/// An asynchronous copy that has not arrived.
struct Copy {
  unsigned char* target;
  const void* source;
  size_t bytes;
  bool valid;
};

struct Fiber {
  void* stack_pointer = nullptr;
  char* stack = nullptr;
  bool done = false;
  std::vector<std::vector<Copy>> groups;
  std::vector<size_t> views;  // places in shared memory that it may still read, for want of a fence
  int cluster_arrivals = 0;
};

/// A block of the cluster that runs.
struct Block {
  unsigned char* shared = nullptr;
  int running = 0;  // threads
  int arrived = 0;
  unsigned generation = 0;
};

/// What the lanes of a warp hand in to an instruction that they execute together.
struct Warp {
  int arrived = 0;
  unsigned generation = 0;
  uint32_t address[32], b[32][2];
  const uint32_t* a[32];
  uint32_t* loaded[32];
  float* d[32];
};

/// What goes on beside the threads: does one thing that is under way, and tells whether there was one.
using Engine = bool (*)();
inline std::vector<std::function<void()>> happenings;  // in no order
inline bool let_something_happen() {
  if (happenings.empty()) return false;
  std::swap(happenings[std::rand() % happenings.size()], happenings.back());
  const std::function<void()> happening = std::move(happenings.back());
  happenings.pop_back();
  happening();
  return true;
}
inline std::vector<Engine> engines{let_something_happen};

inline Fiber fibers[most_threads];
inline Warp warps[most_threads / 32];
inline unsigned asleep[most_threads / 32];  // rounds that a warp sleeps for
inline Block blocks[most_blocks];
inline int current, thread_count, block_count, cluster_arrived;  // threads of a block, blocks of the cluster
inline int idle_rounds;  // since something happened
inline unsigned clusters_run;
inline void* scheduler;
inline void (*entry)(void*);
inline void* entry_argument;

extern "C" void emulation_switch(void** save, void* load);

inline void fail(const char* what) {
  std::fprintf(stderr, "emulated CUDA: %s\n", what);
  std::abort();
}

inline int rank() { return current / thread_count; }
inline Block& block() { return blocks[rank()]; }

inline void yield() { emulation_switch(&fibers[current].stack_pointer, scheduler); }

inline void begin() {
  entry(entry_argument);
  fibers[current].done = true;
  --block().running;
  yield();
}

/// Waits for all `count` callers; the last one first does `work` for everybody.
template <class Work>
void meet(int& arrived, unsigned& generation, int count, const Work& work) {
  const unsigned mine = generation;
  if (++arrived == count) {
    work();
    idle_rounds = 0;
    arrived = 0;
    ++generation;
  } else {
    while (generation == mine) yield();
  }
}

template <class Work>
void together(const Work& work) {
  Warp& warp = warps[current / 32];
  meet(warp.arrived, warp.generation, 32, [&] { work(warp); });
}

/// Runs the blocks of a cluster, of which blockIdx is the first.
inline void run_cluster() {
  const int count = thread_count * block_count;
  const unsigned first_block = blockIdx.x;
  cluster_arrived = 0;
  ++clusters_run;
  int diligence[8];  // of each engine: in how many of 64 rounds it goes on
  for (int& rounds : diligence) rounds = 1 << std::rand() % 6;
  for (int rank = 0; rank < block_count; ++rank) blocks[rank].running = thread_count;
  for (int i = 0; i < count; ++i) {
    Fiber& fiber = fibers[i];
    if (fiber.stack == nullptr) fiber.stack = static_cast<char*>(std::malloc(stack_bytes));
    auto** top = reinterpret_cast<void**>(reinterpret_cast<uintptr_t>(fiber.stack + stack_bytes) & ~uintptr_t{15});
    *--top = nullptr;
    *--top = reinterpret_cast<void*>(&begin);
    for (int saved = 0; saved < 6; ++saved) *--top = nullptr;
    fiber.stack_pointer = top;
    fiber.done = false;
    fiber.groups.assign(1, {});
    fiber.views.clear();
    fiber.cluster_arrivals = 0;
  }
  for (bool running = true; running;) {
    running = false;
    if (++idle_rounds > 20000) fail("threads wait for each other forever");
    for (size_t i = 0; i < engines.size(); ++i) {
      while (std::rand() % 64 < diligence[i % 8] && engines[i]()) idle_rounds = 0;
    }
    // Once in a while a warp falls far behind the others.
    if (std::rand() % 32 == 0) asleep[std::rand() % ((count + 31) / 32)] = std::rand() % 500;
    for (unsigned& rounds : asleep) rounds -= rounds > 0;
    const bool backwards = std::rand() % 2 != 0;
    const int first = std::rand() % count;
    for (int i = 0; i < count; ++i) {
      const int index = (first + (backwards ? count - i : i)) % count;
      if (fibers[index].done) continue;
      running = true;
      if (asleep[index / 32] > 0) continue;
      current = index;
      threadIdx.x = static_cast<unsigned>(index % thread_count);
      blockIdx.x = first_block + static_cast<unsigned>(rank());
      emulation_switch(&scheduler, fibers[index].stack_pointer);
    }
  }
}

/// Runs the clusters of a grid one after the other, each block in shared memory that begins as NaN.
template <class Kernel, class... Arguments>
void launch_clusters(Kernel kernel, dim3 grid, int cluster, int threads, int shared_bytes, const Arguments&... arguments) {
  auto body = [&] { kernel(arguments...); };
  entry = [](void* argument) { (*static_cast<decltype(body)*>(argument))(); };
  entry_argument = &body;
  thread_count = threads;
  block_count = cluster;
  gridDim = grid;
  blockDim = dim3(static_cast<unsigned>(threads));
  constexpr int all = sizeof(fx2ait_conv::shared);
  blocks[0].shared = fx2ait_conv::shared;
  for (int i = 1; i < cluster; ++i) {
    if (blocks[i].shared == nullptr) blocks[i].shared = static_cast<unsigned char*>(std::aligned_alloc(1024, all));
  }
  for (unsigned z = 0; z < grid.z; ++z) {
    for (unsigned y = 0; y < grid.y; ++y) {
      for (unsigned x = 0; x < grid.x; x += static_cast<unsigned>(cluster)) {
        for (int i = 0; i < cluster; ++i) std::memset(blocks[i].shared, 0xff, all);
        blockIdx = dim3(x, y, z);
        run_cluster();
        for (const Engine engine : engines) {
          if (engine()) fail("a block ends before its copies and products");
        }
        for (int i = 0; i < cluster; ++i) {
          for (int byte = shared_bytes; byte < all; ++byte) {
            if (blocks[i].shared[byte] != 0xff) fail("a write past the end of shared memory");
          }
        }
      }
    }
  }
}

template <class Kernel, class... Arguments>
void launch(Kernel kernel, dim3 grid, int threads, int shared_bytes, const Arguments&... arguments) {
  launch_clusters(kernel, grid, 1, threads, shared_bytes, arguments...);
}

}  // namespace emulation

inline void __syncthreads() {
  emulation::meet(emulation::block().arrived, emulation::block().generation, emulation::thread_count, [] {});
}
inline int __syncthreads_or(int predicate) {
  static int collected, answer;
  collected |= predicate != 0;
  emulation::meet(emulation::block().arrived, emulation::block().generation, emulation::thread_count, [] {
    answer = collected;
    collected = 0;
  });
  return answer;
}
inline void __syncwarp() {
  emulation::together([](emulation::Warp&) {});
}
inline int __shfl_sync(unsigned, int value, int source) {
  static int handed[emulation::most_threads];
  handed[emulation::current] = value;
  __syncwarp();
  const int received = handed[emulation::current / 32 * 32 + source];
  __syncwarp();
  return received;
}
inline float __shfl_xor_sync(unsigned, float value, int bits) {
  static float handed[emulation::most_threads];
  handed[emulation::current] = value;
  __syncwarp();
  const float received = handed[emulation::current ^ bits];
  __syncwarp();
  return received;
}

/// Reads through the pointer count as under way until the thread fences them from the copy engine.
inline void* __cvta_shared_to_generic(size_t address) {
  emulation::fibers[emulation::current].views.push_back(address);
  return emulation::block().shared + address;
}
