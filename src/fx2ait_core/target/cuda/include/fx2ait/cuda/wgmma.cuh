// Matrix products of a warpgroup (4 consecutive warps) on Hopper's tensor cores (sm_90a only).
//
// `Wgmma<Element, N>::multiply_add(d, a, b, accumulate)` starts d = a * b^T (+ d) with a [64, 16] in
// shared memory, or in registers as mma_m16n8k16 takes it (each warp 16 rows), b [N, 16] in shared
// memory and d [64, N] in float32 registers. Thread t of the warpgroup holds of
// d, for j in 0..N/8 - 1 and r = 16 * (t / 32) + t % 32 / 4, c = 8 * j + 2 * (t % 4):
//     d[4j] = (r, c)   d[4j + 1] = (r, c + 1)   d[4j + 2] = (r + 8, c)   d[4j + 3] = (r + 8, c + 1)
//
// Order of calls: wgmma_fence, multiply_add…, wgmma_commit, wgmma_wait<groups still pending>.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cstdint>

namespace fx2ait {

/// Describes rows of `RowBytes` (128, 64 or 32) bytes as the copy engine's swizzle of that width lays
/// them out. Every 8 rows lie together, from one such group to the next it is `group_bytes`, and
/// `address` is that of the first row.
///
/// The swizzle permutes the 16-byte pieces of a row by bits of their place in shared memory, not by
/// the number of the row. So rows may begin anywhere in a swizzled array whose own beginning is
/// aligned to 8 * `RowBytes`. Adding 2 to a descriptor moves it on by 16 elements along the rows.
template <int RowBytes>
__device__ __forceinline__ uint64_t wgmma_rows(uint32_t address, int group_bytes) {
  static_assert(RowBytes == 128 || RowBytes == 64 || RowBytes == 32);
  constexpr uint64_t kSwizzle = RowBytes == 128 ? 1 : RowBytes == 64 ? 2 : 3;
  constexpr uint64_t kLeadingOffset = 1;  // unused with these swizzles
  return ((address & 0x3ffffu) >> 4) | kLeadingOffset << 16 | static_cast<uint64_t>(group_bytes >> 4) << 32 |
         kSwizzle << 62;
}

/// Describes consecutive rows of 64 two-byte elements (128 bytes) in the 128-byte swizzle.
__device__ __forceinline__ uint64_t wgmma_descriptor(uint32_t address) { return wgmma_rows<128>(address, 1024); }

/// Describes rows without swizzle: 8 rows of 16 bytes lie one after the other, `lead` bytes behind them
/// the next 8 elements of the same rows, `stride` bytes behind them the next 8 rows. Parts may overlap.
/// All are multiples of 16; adding 1 moves a descriptor on by 16 bytes.
__device__ __forceinline__ uint64_t wgmma_plain_descriptor(uint32_t address, uint32_t lead, uint32_t stride) {
  return ((address & 0x3ffffu) >> 4) | static_cast<uint64_t>(lead >> 4) << 16 | static_cast<uint64_t>(stride >> 4) << 32;
}

/// Shows what this thread wrote to shared memory to the tensor cores, once the block has met.
__device__ __forceinline__ void fence_shared_for_wgmma() {
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
}

/// Orders earlier accesses to the accumulators' registers before the products that follow.
__device__ __forceinline__ void wgmma_fence() {
  asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
}

/// Closes a group of products.
__device__ __forceinline__ void wgmma_commit() {
  asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
}

/// Waits until at most `Pending` of the latest groups are unfinished.
template <int Pending>
__device__ __forceinline__ void wgmma_wait() {
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(Pending) : "memory");
}

/// Keeps the compiler from moving accesses to an accumulator across this point.
template <int Count>
__device__ __forceinline__ void wgmma_pin(float (&d)[Count]) {
#pragma unroll
  for (int i = 0; i < Count; ++i) {
    asm volatile("" : "+f"(d[i])::"memory");
  }
}

/// Keeps the compiler from using the registers of an operand for something else before this point.
template <int Count>
__device__ __forceinline__ void wgmma_keep(const uint32_t (&a)[Count][4]) {
#pragma unroll
  for (int i = 0; i < Count; ++i) {
    asm volatile("" ::"r"(a[i][0]), "r"(a[i][1]), "r"(a[i][2]), "r"(a[i][3]) : "memory");
  }
}

/// Gives up registers until each thread of the warpgroup has `Count`, a multiple of 8. The kernel
/// needs `__launch_bounds__` with both arguments.
template <int Count>
__device__ __forceinline__ void release_registers() {
  asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(Count));
}

/// Waits until given-up registers raise each thread of the warpgroup to `Count`.
template <int Count>
__device__ __forceinline__ void claim_registers() {
  asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(Count));
}

template <typename Element, int N>
struct Wgmma;

// The accumulators d[i] … as asm operands, and their names %0 … in the instruction.
#define FX2AIT_D4(i) "+f"(d[i]), "+f"(d[i + 1]), "+f"(d[i + 2]), "+f"(d[i + 3])
#define FX2AIT_D16(i) FX2AIT_D4(i), FX2AIT_D4(i + 4), FX2AIT_D4(i + 8), FX2AIT_D4(i + 12)
#define FX2AIT_NAMES_0 "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15"
#define FX2AIT_NAMES_1 "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31"
#define FX2AIT_NAMES_2 "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47"
#define FX2AIT_NAMES_3 "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63"
#define FX2AIT_NAMES_4 "%64, %65, %66, %67, %68, %69, %70, %71, %72, %73, %74, %75, %76, %77, %78, %79"
#define FX2AIT_NAMES_5 "%80, %81, %82, %83, %84, %85, %86, %87, %88, %89, %90, %91, %92, %93, %94, %95"
#define FX2AIT_NAMES_6 "%96, %97, %98, %99, %100, %101, %102, %103, %104, %105, %106, %107, %108, %109, %110, %111"
#define FX2AIT_NAMES_7 "%112, %113, %114, %115, %116, %117, %118, %119, %120, %121, %122, %123, %124, %125, %126, %127"

// Names of 4 accumulators, 8 columns.
#define FX2AIT_QUAD_4 "%16, %17, %18, %19"
#define FX2AIT_QUAD_5 "%20, %21, %22, %23"
#define FX2AIT_QUAD_6 "%24, %25, %26, %27"
#define FX2AIT_QUAD_8 "%32, %33, %34, %35"
#define FX2AIT_QUAD_9 "%36, %37, %38, %39"
#define FX2AIT_QUAD_10 "%40, %41, %42, %43"
#define FX2AIT_QUAD_12 "%48, %49, %50, %51"
#define FX2AIT_QUAD_13 "%52, %53, %54, %55"
#define FX2AIT_QUAD_14 "%56, %57, %58, %59"

// A, B, P, D, E, F are the numbers of the operands behind the accumulators.
#define FX2AIT_WGMMA(ELEMENT, TYPE, N, NAMES, A, B, P, D, E, F, ...)                              \
  template <>                                                                                     \
  struct Wgmma<ELEMENT, N> {                                                                      \
    static __device__ __forceinline__ void multiply_add(                                          \
        float (&d)[N / 2], uint64_t a, uint64_t b, bool accumulate) {                             \
      asm volatile(                                                                               \
          "{\n"                                                                                   \
          "  .reg .pred accumulate;\n"                                                            \
          "  setp.ne.b32 accumulate, %" #P ", 0;\n"                                               \
          "  wgmma.mma_async.sync.aligned.m64n" #N "k16.f32." TYPE "." TYPE "\n"                   \
          "    {" NAMES "}, %" #A ", %" #B ", accumulate, 1, 1, 0, 0;\n"                          \
          "}"                                                                                     \
          : __VA_ARGS__                                                                           \
          : "l"(a), "l"(b), "r"(static_cast<int>(accumulate)));                                   \
    }                                                                                             \
    static __device__ __forceinline__ void multiply_add(                                          \
        float (&d)[N / 2], const uint32_t (&a)[4], uint64_t b, bool accumulate) {                 \
      asm volatile(                                                                               \
          "{\n"                                                                                   \
          "  .reg .pred accumulate;\n"                                                            \
          "  setp.ne.b32 accumulate, %" #F ", 0;\n"                                               \
          "  wgmma.mma_async.sync.aligned.m64n" #N "k16.f32." TYPE "." TYPE "\n"                   \
          "    {" NAMES "}, {%" #A ", %" #B ", %" #P ", %" #D "}, %" #E ", accumulate, 1, 1, 0;\n" \
          "}"                                                                                     \
          : __VA_ARGS__                                                                           \
          : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(static_cast<int>(accumulate))); \
    }                                                                                             \
  };
#define FX2AIT_WGMMA_BOTH(...)                \
  FX2AIT_WGMMA(__half, "f16", __VA_ARGS__)    \
  FX2AIT_WGMMA(__nv_bfloat16, "bf16", __VA_ARGS__)

#define FX2AIT_FIRST_1 FX2AIT_NAMES_0
#define FX2AIT_OUT_1 FX2AIT_D16(0)
#define FX2AIT_FIRST_2 FX2AIT_FIRST_1 ", " FX2AIT_NAMES_1
#define FX2AIT_OUT_2 FX2AIT_OUT_1, FX2AIT_D16(16)
#define FX2AIT_FIRST_3 FX2AIT_FIRST_2 ", " FX2AIT_NAMES_2
#define FX2AIT_OUT_3 FX2AIT_OUT_2, FX2AIT_D16(32)
#define FX2AIT_FIRST_4 FX2AIT_FIRST_3 ", " FX2AIT_NAMES_3
#define FX2AIT_OUT_4 FX2AIT_OUT_3, FX2AIT_D16(48)
#define FX2AIT_FIRST_5 FX2AIT_FIRST_4 ", " FX2AIT_NAMES_4
#define FX2AIT_OUT_5 FX2AIT_OUT_4, FX2AIT_D16(64)
#define FX2AIT_FIRST_6 FX2AIT_FIRST_5 ", " FX2AIT_NAMES_5
#define FX2AIT_OUT_6 FX2AIT_OUT_5, FX2AIT_D16(80)
#define FX2AIT_FIRST_7 FX2AIT_FIRST_6 ", " FX2AIT_NAMES_6
#define FX2AIT_OUT_7 FX2AIT_OUT_6, FX2AIT_D16(96)
#define FX2AIT_FIRST_8 FX2AIT_FIRST_7 ", " FX2AIT_NAMES_7
#define FX2AIT_OUT_8 FX2AIT_OUT_7, FX2AIT_D16(112)

FX2AIT_WGMMA_BOTH(32, FX2AIT_FIRST_1, 16, 17, 18, 19, 20, 21, FX2AIT_OUT_1)
FX2AIT_WGMMA_BOTH(40, FX2AIT_FIRST_1 ", " FX2AIT_QUAD_4, 20, 21, 22, 23, 24, 25, FX2AIT_OUT_1, FX2AIT_D4(16))
FX2AIT_WGMMA_BOTH(48, FX2AIT_FIRST_1 ", " FX2AIT_QUAD_4 ", " FX2AIT_QUAD_5, 24, 25, 26, 27, 28, 29, FX2AIT_OUT_1, FX2AIT_D4(16), FX2AIT_D4(20))
FX2AIT_WGMMA_BOTH(56, FX2AIT_FIRST_1 ", " FX2AIT_QUAD_4 ", " FX2AIT_QUAD_5 ", " FX2AIT_QUAD_6, 28, 29, 30, 31, 32, 33, FX2AIT_OUT_1, FX2AIT_D4(16), FX2AIT_D4(20), FX2AIT_D4(24))
FX2AIT_WGMMA_BOTH(64, FX2AIT_FIRST_2, 32, 33, 34, 35, 36, 37, FX2AIT_OUT_2)
FX2AIT_WGMMA_BOTH(72, FX2AIT_FIRST_2 ", " FX2AIT_QUAD_8, 36, 37, 38, 39, 40, 41, FX2AIT_OUT_2, FX2AIT_D4(32))
FX2AIT_WGMMA_BOTH(80, FX2AIT_FIRST_2 ", " FX2AIT_QUAD_8 ", " FX2AIT_QUAD_9, 40, 41, 42, 43, 44, 45, FX2AIT_OUT_2, FX2AIT_D4(32), FX2AIT_D4(36))
FX2AIT_WGMMA_BOTH(88, FX2AIT_FIRST_2 ", " FX2AIT_QUAD_8 ", " FX2AIT_QUAD_9 ", " FX2AIT_QUAD_10, 44, 45, 46, 47, 48, 49, FX2AIT_OUT_2, FX2AIT_D4(32), FX2AIT_D4(36), FX2AIT_D4(40))
FX2AIT_WGMMA_BOTH(96, FX2AIT_FIRST_3, 48, 49, 50, 51, 52, 53, FX2AIT_OUT_3)
FX2AIT_WGMMA_BOTH(104, FX2AIT_FIRST_3 ", " FX2AIT_QUAD_12, 52, 53, 54, 55, 56, 57, FX2AIT_OUT_3, FX2AIT_D4(48))
FX2AIT_WGMMA_BOTH(112, FX2AIT_FIRST_3 ", " FX2AIT_QUAD_12 ", " FX2AIT_QUAD_13, 56, 57, 58, 59, 60, 61, FX2AIT_OUT_3, FX2AIT_D4(48), FX2AIT_D4(52))
FX2AIT_WGMMA_BOTH(120, FX2AIT_FIRST_3 ", " FX2AIT_QUAD_12 ", " FX2AIT_QUAD_13 ", " FX2AIT_QUAD_14, 60, 61, 62, 63, 64, 65, FX2AIT_OUT_3, FX2AIT_D4(48), FX2AIT_D4(52), FX2AIT_D4(56))
FX2AIT_WGMMA_BOTH(128, FX2AIT_FIRST_4, 64, 65, 66, 67, 68, 69, FX2AIT_OUT_4)
FX2AIT_WGMMA_BOTH(160, FX2AIT_FIRST_5, 80, 81, 82, 83, 84, 85, FX2AIT_OUT_5)
FX2AIT_WGMMA_BOTH(192, FX2AIT_FIRST_6, 96, 97, 98, 99, 100, 101, FX2AIT_OUT_6)
FX2AIT_WGMMA_BOTH(224, FX2AIT_FIRST_7, 112, 113, 114, 115, 116, 117, FX2AIT_OUT_7)
FX2AIT_WGMMA_BOTH(256, FX2AIT_FIRST_8, 128, 129, 130, 131, 132, 133, FX2AIT_OUT_8)

#undef FX2AIT_WGMMA_BOTH
#undef FX2AIT_WGMMA
#undef FX2AIT_D16
#undef FX2AIT_D4
#undef FX2AIT_QUAD_4
#undef FX2AIT_QUAD_5
#undef FX2AIT_QUAD_6
#undef FX2AIT_QUAD_8
#undef FX2AIT_QUAD_9
#undef FX2AIT_QUAD_10
#undef FX2AIT_QUAD_12
#undef FX2AIT_QUAD_13
#undef FX2AIT_QUAD_14
#undef FX2AIT_NAMES_0
#undef FX2AIT_NAMES_1
#undef FX2AIT_NAMES_2
#undef FX2AIT_NAMES_3
#undef FX2AIT_NAMES_4
#undef FX2AIT_NAMES_5
#undef FX2AIT_NAMES_6
#undef FX2AIT_NAMES_7
#undef FX2AIT_FIRST_1
#undef FX2AIT_OUT_1
#undef FX2AIT_FIRST_2
#undef FX2AIT_OUT_2
#undef FX2AIT_FIRST_3
#undef FX2AIT_OUT_3
#undef FX2AIT_FIRST_4
#undef FX2AIT_OUT_4
#undef FX2AIT_FIRST_5
#undef FX2AIT_OUT_5
#undef FX2AIT_FIRST_6
#undef FX2AIT_OUT_6
#undef FX2AIT_FIRST_7
#undef FX2AIT_OUT_7
#undef FX2AIT_FIRST_8
#undef FX2AIT_OUT_8

}  // namespace fx2ait
