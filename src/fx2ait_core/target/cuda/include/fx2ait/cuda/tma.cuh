// Bulk tensor copies from global to shared memory by the copy engine (sm_90 and newer).
//
// One thread issues a copy; its bytes are counted by an mbarrier in shared memory. The tensor is
// described by a map that the host encoded (`tensor_map.h`) and passed as a `__grid_constant__`
// parameter. Elements outside the tensor arrive as zeros and are counted like the others.
#pragma once

#include <cuda.h>

#include <cstdint>

namespace fx2ait {

/// Bring a tensor map into the descriptor cache ahead of its first use.
__device__ __forceinline__ void tma_prefetch_map(const CUtensorMap& map) {
  asm volatile("prefetch.tensormap [%0];" ::"l"(&map) : "memory");
}

/// Whether this thread is the one of its warp to issue copies; all threads of the warp must call it.
/// The compiler knows that one thread goes on, which a comparison of thread numbers does not tell it:
/// there it wraps each copy in a loop over threads.
__device__ __forceinline__ bool elect_thread() {
  uint32_t elected;
  asm volatile(
      "{\n"
      "  .reg .pred elected;\n"
      "  elect.sync _|elected, 0xffffffff;\n"
      "  selp.u32 %0, 1, 0, elected;\n"
      "}"
      : "=r"(elected));
  return elected != 0;
}

/// Copy the box that starts at (x, y), fastest dimension first.
__device__ __forceinline__ void tma_load_2d(uint32_t destination, const CUtensorMap& map, uint32_t barrier, int x, int y) {
  asm volatile(
      "cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::complete_tx::bytes"
      " [%0], [%1, {%3, %4}], [%2];" ::"r"(destination),
      "l"(&map), "r"(barrier), "r"(x), "r"(y)
      : "memory");
}

/// Copy the box that starts at (x, y, z), fastest dimension first.
__device__ __forceinline__ void tma_load_3d(
    uint32_t destination, const CUtensorMap& map, uint32_t barrier, int x, int y, int z) {
  asm volatile(
      "cp.async.bulk.tensor.3d.shared::cluster.global.tile.mbarrier::complete_tx::bytes"
      " [%0], [%1, {%3, %4, %5}], [%2];" ::"r"(destination),
      "l"(&map), "r"(barrier), "r"(x), "r"(y), "r"(z)
      : "memory");
}

/// Copy the box that starts at (x, y, z, w), fastest dimension first.
__device__ __forceinline__ void tma_load_4d(
    uint32_t destination, const CUtensorMap& map, uint32_t barrier, int x, int y, int z, int w) {
  asm volatile(
      "cp.async.bulk.tensor.4d.shared::cluster.global.tile.mbarrier::complete_tx::bytes"
      " [%0], [%1, {%3, %4, %5, %6}], [%2];" ::"r"(destination),
      "l"(&map), "r"(barrier), "r"(x), "r"(y), "r"(z), "r"(w)
      : "memory");
}

/// Copy channels from `channel` on of the pixels that a filter tap touches.
///
/// The first output pixel's window starts at (`image`, `row`, `column`), which may lie in the
/// padding; the copy walks on from there through the bounding box of the map, over rows and
/// images. (`tap_row`, `tap_column`) is the tap's place in the window, dilation included.
__device__ __forceinline__ void tma_load_im2col(
    uint32_t destination, const CUtensorMap& map, uint32_t barrier, int channel, int column, int row, int image,
    int tap_column, int tap_row) {
  asm volatile(
      "cp.async.bulk.tensor.4d.shared::cluster.global.im2col.mbarrier::complete_tx::bytes"
      " [%0], [%1, {%3, %4, %5, %6}], [%2], {%7, %8};" ::"r"(destination),
      "l"(&map), "r"(barrier), "r"(channel), "r"(column), "r"(row), "r"(image),
      "h"(static_cast<uint16_t>(tap_column)), "h"(static_cast<uint16_t>(tap_row))
      : "memory");
}

// Multicast: one copy to the same place in several blocks of a cluster, bit i of `blocks` standing for the
// block of rank i. Each of them counts all bytes on its own barrier, at the place that `barrier` has in
// this block; barriers and places must be ready in all of them.

/// `tma_load_3d` for several blocks of the cluster.
__device__ __forceinline__ void tma_multicast_3d(
    uint32_t destination, const CUtensorMap& map, uint32_t barrier, int x, int y, int z, uint16_t blocks) {
  asm volatile(
      "cp.async.bulk.tensor.3d.shared::cluster.global.tile.mbarrier::complete_tx::bytes.multicast::cluster"
      " [%0], [%1, {%3, %4, %5}], [%2], %6;" ::"r"(destination),
      "l"(&map), "r"(barrier), "r"(x), "r"(y), "r"(z), "h"(blocks)
      : "memory");
}

/// `tma_load_im2col` for several blocks of the cluster.
__device__ __forceinline__ void tma_multicast_im2col(
    uint32_t destination, const CUtensorMap& map, uint32_t barrier, int channel, int column, int row, int image,
    int tap_column, int tap_row, uint16_t blocks) {
  asm volatile(
      "cp.async.bulk.tensor.4d.shared::cluster.global.im2col.mbarrier::complete_tx::bytes.multicast::cluster"
      " [%0], [%1, {%3, %4, %5, %6}], [%2], {%7, %8}, %9;" ::"r"(destination),
      "l"(&map), "r"(barrier), "r"(channel), "r"(column), "r"(row), "r"(image),
      "h"(static_cast<uint16_t>(tap_column)), "h"(static_cast<uint16_t>(tap_row)), "h"(blocks)
      : "memory");
}

}  // namespace fx2ait
