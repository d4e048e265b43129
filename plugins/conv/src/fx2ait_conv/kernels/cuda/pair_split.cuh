// Sums of one tile that the blocks of a cluster share: each block sums over its part of the products, sends
// rows of its sums to the blocks that finish them, and finishes its own rows when the others' sums of them
// have come. Accumulators hold channels x pixels (pair_epilogue.cuh).
#pragma once

#include <cstdint>

#include "fx2ait/cuda/cluster.cuh"
#include "fx2ait_conv/split_shares.cuh"

namespace fx2ait_conv {

/// One warpgroup's exchange of `Rows` rows of 8 pixels x 64 channels, of which each block finishes a run.
///
/// The buffer holds [blocks][rows of the share][128 threads] vectors of 4 floats, as they lie in the
/// accumulators. Sums are added in the order of the blocks, so that results are bit-equal each time.
template <int Rows, int Splits>
struct SplitRows : SplitShares<Rows, Splits, 128 * 16> {
  using Shares = SplitShares<Rows, Splits, 128 * 16>;
  using Shares::barrier, Shares::buffer, Shares::first, Shares::kShare, Shares::kUnitBytes, Shares::place;

  /// Sends this block's sums; after `cluster_wait`.
  __device__ __forceinline__ void send(const float (&sums)[4 * Rows]) const {
    const int mine = place();
    const uint32_t first_rank = fx2ait::cluster_rank() - static_cast<uint32_t>(mine);
    const uint32_t source = buffer + static_cast<uint32_t>(mine * kShare * kUnitBytes) + threadIdx.x % 128 * 16;
#pragma unroll
    for (int owner = 0; owner < Splits; ++owner) {
      const uint32_t theirs = fx2ait::cluster_address(source, first_rank + owner);
      const uint32_t counter = fx2ait::cluster_address(barrier, first_rank + owner);
#pragma unroll
      for (int row = first(owner); row < first(owner + 1); ++row) {
        const float* v = sums + 4 * row;
        fx2ait::cluster_store(theirs + (row - first(owner)) * kUnitBytes, v[0], v[1], v[2], v[3], counter);
      }
    }
  }

  /// Waits for the sums of this block's rows and adds them up. All warps wait: nobody may write to a block that
  /// has gone.
  __device__ __forceinline__ void add(float (&total)[4 * kShare]) const {
    fx2ait::cluster_wait_stored(barrier, 0);
    const uint32_t mine = buffer + threadIdx.x % 128 * 16;
#pragma unroll
    for (int part = 0; part < Splits; ++part) {
#pragma unroll
      for (int row = 0; row < kShare; ++row) {  // of a shorter share, the last is not used
        const float4 v = fx2ait::cluster_load_stored(mine + (part * kShare + row) * kUnitBytes);
        float* sum = total + 4 * row;
        sum[0] = part > 0 ? sum[0] + v.x : v.x;
        sum[1] = part > 0 ? sum[1] + v.y : v.y;
        sum[2] = part > 0 ? sum[2] + v.z : v.z;
        sum[3] = part > 0 ? sum[3] + v.w : v.w;
      }
    }
  }
};

}  // namespace fx2ait_conv
