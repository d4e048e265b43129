// Sums of one tile that neighbouring blocks of a cluster share: each block sends parts of its sums to the
// blocks that finish them, and finishes its own share of the tile when the others' parts have come.
#pragma once

#include <cstdint>

#include "fx2ait/cuda/cluster.cuh"
#include "fx2ait_conv/split_shares.cuh"
#include "fx2ait_conv/wgmma_epilogue.cuh"

namespace fx2ait_conv {

/// A tile in units of 8 pixels x 32 channels, of which a warp holds 8 values per thread. Units are
/// numbered along the channels first.
///
/// The buffer holds [blocks][units of the share][2][32 lanes] vectors of 4 floats, as they come from
/// the accumulators. Parts are added in the order of the blocks, so that results are bit-equal each time.
template <int Pixels, int Channels, int Splits>
struct SplitSums : SplitShares<Pixels / 8 * (Channels / kSpan), Splits, 8 * kSpan * 4> {
  using Shares = SplitShares<Pixels / 8 * (Channels / kSpan), Splits, 8 * kSpan * 4>;
  using Shares::barrier, Shares::buffer, Shares::first, Shares::kShare, Shares::kUnitBytes, Shares::kUnits,
      Shares::place;
  static constexpr int kSpans = Channels / kSpan;

  static __device__ int owner(int unit) { return ((unit + 1) * Splits - 1) / kUnits; }

  /// Sends a warpgroup's sums of the tile's rows from `first_row` on; after `cluster_wait`.
  template <int Rows, int Count>
  __device__ __forceinline__ void send(const float (&sums)[Rows][Count], int first_row) const {
    const int thread = static_cast<int>(threadIdx.x) % 128, lane = thread % 32;
    const int mine = place(), first_rank = static_cast<int>(fx2ait::cluster_rank()) - mine;
#pragma unroll
    for (int r = 0; r < Rows; ++r) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const int group = (first_row + r * 64) / 8 + thread / 32 * 2 + half;  // of 8 pixels
#pragma unroll
        for (int span = 0; span < kSpans; ++span) {
          const int unit = group * kSpans + span, to = owner(unit);
          const auto rank = static_cast<uint32_t>(first_rank + to);
          const uint32_t target = buffer + static_cast<uint32_t>(
              (mine * kShare + unit - first(to)) * kUnitBytes + lane * 16);
          const uint32_t theirs = fx2ait::cluster_address(target, rank);
          const uint32_t counter = fx2ait::cluster_address(barrier, rank);
          float v[8];
          gather_span(v, sums[r], span, half);
          fx2ait::cluster_store(theirs, v[0], v[1], v[2], v[3], counter);
          fx2ait::cluster_store(theirs + kUnitBytes / 2, v[4], v[5], v[6], v[7], counter);
        }
      }
    }
  }

  /// The sum of all parts for lane `lane` of unit `unit` of this block's share.
  __device__ __forceinline__ void add_parts(float (&values)[8], int unit, int lane) const {
#pragma unroll
    for (int i = 0; i < 8; ++i) values[i] = 0.0f;
#pragma unroll
    for (int part = 0; part < Splits; ++part) {
      const uint32_t source = buffer + static_cast<uint32_t>((part * kShare + unit) * kUnitBytes + lane * 16);
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const float4 v = fx2ait::cluster_load_stored(source + half * kUnitBytes / 2);
        values[4 * half] += v.x;
        values[4 * half + 1] += v.y;
        values[4 * half + 2] += v.z;
        values[4 * half + 3] += v.w;
      }
    }
  }
};

/// Finishes and stores this block's share of a tile. Operands of each warp's first unit are loaded when
/// it is made, before the block multiplies.
template <class Tile, class Epilogue>
struct ShareFinish {
  using Sums = typename Tile::Sums;
  static constexpr int kWarps = Tile::kConsumers / 32;

  const Sums& sums;
  int first, units, warp, lane;
  typename Epilogue::template Operands<8> loaded;

  template <class Operands>
  __device__ __forceinline__ ShareFinish(const Sums& shared_sums, const Operands& operands) : sums(shared_sums) {
    first = Sums::first(Sums::place());
    units = Sums::first(Sums::place() + 1) - first;
    warp = static_cast<int>(threadIdx.x) / 32;
    lane = static_cast<int>(threadIdx.x) % 32;
    loaded = operands.load(row_of(warp), column_of(warp));
  }

  __device__ int row_of(int unit) const { return (first + unit) / Sums::kSpans * 8 + lane / 4; }
  __device__ int column_of(int unit) const { return (first + unit) % Sums::kSpans * kSpan + lane % 4 * 8; }

  template <class Operands>
  __device__ __forceinline__ void finish(const Operands& operands) {
    // All warps wait: nobody may write to a block that has gone.
    fx2ait::cluster_wait_stored(sums.barrier, 0);
    for (int unit = warp; unit < units; unit += kWarps) {
      const auto now = loaded;
      if (unit + kWarps < units) loaded = operands.load(row_of(unit + kWarps), column_of(unit + kWarps));
      float values[8];
      sums.add_parts(values, unit, lane);
      operands.finish(values, now, row_of(unit), column_of(unit));
    }
  }
};

}  // namespace fx2ait_conv
