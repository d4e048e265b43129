// CUDA as far as the convolution kernels use it, on one CPU thread: every CUDA thread of a block is
// a fiber, run in random order from barrier to barrier, so that index arithmetic, barriers and the
// bounds of shared memory can be tested without a GPU.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
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

constexpr int most_threads = 1024, stack_bytes = 128 * 1024;

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
inline std::vector<Engine> engines;

inline Fiber fibers[most_threads];
inline Warp warps[most_threads / 32];
inline unsigned asleep[most_threads / 32];  // rounds that a warp sleeps for
inline int current, thread_count, arrived;
inline int idle_rounds;  // since something happened
inline unsigned generation;
inline void* scheduler;
inline void (*entry)(void*);
inline void* entry_argument;

extern "C" void emulation_switch(void** save, void* load);

inline void fail(const char* what) {
  std::fprintf(stderr, "emulated CUDA: %s\n", what);
  std::abort();
}

inline void yield() { emulation_switch(&fibers[current].stack_pointer, scheduler); }

inline void begin() {
  entry(entry_argument);
  fibers[current].done = true;
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

inline void run_block() {
  for (int i = 0; i < thread_count; ++i) {
    Fiber& fiber = fibers[i];
    if (fiber.stack == nullptr) fiber.stack = static_cast<char*>(std::malloc(stack_bytes));
    auto** top = reinterpret_cast<void**>(reinterpret_cast<uintptr_t>(fiber.stack + stack_bytes) & ~uintptr_t{15});
    *--top = nullptr;
    *--top = reinterpret_cast<void*>(&begin);
    for (int saved = 0; saved < 6; ++saved) *--top = nullptr;
    fiber.stack_pointer = top;
    fiber.done = false;
    fiber.groups.assign(1, {});
  }
  for (bool running = true; running;) {
    running = false;
    if (++idle_rounds > 20000) fail("threads wait for each other forever");
    for (const Engine engine : engines) {
      while (std::rand() % 2 != 0 && engine()) idle_rounds = 0;
    }
    // Once in a while a warp falls far behind the others.
    if (std::rand() % 32 == 0) asleep[std::rand() % ((thread_count + 31) / 32)] = std::rand() % 500;
    for (unsigned& rounds : asleep) rounds -= rounds > 0;
    const bool backwards = std::rand() % 2 != 0;
    const int first = std::rand() % thread_count;
    for (int i = 0; i < thread_count; ++i) {
      const int index = (first + (backwards ? thread_count - i : i)) % thread_count;
      if (fibers[index].done) continue;
      running = true;
      if (asleep[index / 32] > 0) continue;
      current = index;
      threadIdx.x = static_cast<unsigned>(index);
      emulation_switch(&scheduler, fibers[index].stack_pointer);
    }
  }
}

/// Runs the blocks of a grid one after the other, each in shared memory that begins as NaN.
template <class Kernel, class... Arguments>
void launch(Kernel kernel, dim3 grid, int threads, int shared_bytes, const Arguments&... arguments) {
  auto body = [&] { kernel(arguments...); };
  entry = [](void* argument) { (*static_cast<decltype(body)*>(argument))(); };
  entry_argument = &body;
  thread_count = threads;
  gridDim = grid;
  blockDim = dim3(static_cast<unsigned>(threads));
  constexpr int all = sizeof(fx2ait_conv::shared);
  for (unsigned z = 0; z < grid.z; ++z) {
    for (unsigned y = 0; y < grid.y; ++y) {
      for (unsigned x = 0; x < grid.x; ++x) {
        blockIdx = dim3(x, y, z);
        std::memset(fx2ait_conv::shared, 0xff, all);
        run_block();
        for (const Engine engine : engines) {
          if (engine()) fail("a block ends before its copies and products");
        }
        for (int i = shared_bytes; i < all; ++i) {
          if (fx2ait_conv::shared[i] != 0xff) fail("a write past the end of shared memory");
        }
      }
    }
  }
}

}  // namespace emulation

inline void __syncthreads() {
  emulation::meet(emulation::arrived, emulation::generation, emulation::thread_count, [] {});
}
inline int __syncthreads_or(int predicate) {
  static int collected, answer;
  collected |= predicate != 0;
  emulation::meet(emulation::arrived, emulation::generation, emulation::thread_count, [] {
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
inline void* __cvta_shared_to_generic(size_t address) { return fx2ait_conv::shared + address; }
