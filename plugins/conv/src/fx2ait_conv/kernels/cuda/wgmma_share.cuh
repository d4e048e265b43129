// Filters and pixels that the blocks of a cluster share in conv2d_wgmma: each block lets the copy engine
// bring its part of a step's filters (pixels) to all blocks that need them, so that they cross from the
// second-level cache once.
#pragma once

#include <cstdint>

#include "fx2ait/cuda/cluster.cuh"

namespace fx2ait_conv {

/// A cluster holds Filters x Pixels tiles of the result, neighbours along the pixels and along the
/// channels, and for each tile the blocks that split its sum, whose ranks follow each other. Blocks
/// with the same part of the sum share
///
/// @tparam Filters  their filters, as that many tiles lie along the pixels
/// @tparam Pixels   their pixels, as that many tiles lie along the channels
template <int Filters, int Pixels, int Splits>
struct ClusterShape {
  static constexpr int kFilterSharers = Filters, kPixelSharers = Pixels;
  static constexpr int kSharers = Filters * Pixels, kBlocks = kSharers * Splits;

  static_assert(kBlocks <= 8, "no more than a cluster that every device runs");

  /// Where the tile of index `tile` lies among the tiles of its cluster.
  static __host__ __device__ int pixel_place(int tile) { return tile % kSharers / Pixels; }
  static __host__ __device__ int channel_place(int tile) { return tile % Pixels; }

  /// The blocks with this block's channels and part of the sum.
  static __device__ uint16_t same_filters() {
    return static_cast<uint16_t>(kSameFilters << fx2ait::cluster_rank() % (Pixels * Splits));
  }
  /// The blocks with this block's pixels and part of the sum.
  static __device__ uint16_t same_pixels() {
    const uint32_t rank = fx2ait::cluster_rank();
    return static_cast<uint16_t>(kSamePixels << (rank - rank / Splits % Pixels * Splits));
  }

  /// Arrives at what each sharer, this block included, keeps at the place of this block's `barrier`;
  /// lanes 0 to kSharers - 1 of a warp call it.
  static __device__ void arrive(uint32_t barrier, uint32_t lane) {
    const uint32_t part = fx2ait::cluster_rank() % Splits;
    fx2ait::cluster_arrive_at(fx2ait::cluster_address(barrier, lane * Splits + part));
  }

 private:
  // A bit for the first block of each tile with the same channels, and with the same pixels.
  static constexpr uint32_t kSameFilters = ((1u << kBlocks) - 1) / ((1u << Pixels * Splits) - 1);
  static constexpr uint32_t kSamePixels = ((1u << Pixels * Splits) - 1) / ((1u << Splits) - 1);
};

}  // namespace fx2ait_conv
