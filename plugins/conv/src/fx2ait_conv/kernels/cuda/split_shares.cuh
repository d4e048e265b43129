// How the blocks of a cluster that split the sum of a tile divide up its finishing.
#pragma once

#include <cstdint>

#include "fx2ait/cuda/cluster.cuh"
#include "fx2ait/cuda/mbarrier.cuh"

namespace fx2ait_conv {

/// A tile's `Units`, dealt out to `Splits` blocks in runs whose lengths differ by one at most. A block's
/// buffer has room for all blocks' parts of its own share, `UnitBytes` for a part of a unit.
template <int Units, int Splits, int UnitBytes>
struct SplitShares {
  static constexpr int kUnits = Units, kUnitBytes = UnitBytes;
  static constexpr int kShare = (Units + Splits - 1) / Splits;  // the largest
  static constexpr int kBytes = Splits > 1 ? Splits * kShare * UnitBytes : 0;

  static_assert(Splits <= Units, "each block finishes a unit");

  uint32_t buffer;   // in this block's shared memory
  uint32_t barrier;  // counts the bytes that come

  /// This block's place among those that share the tile.
  static __device__ int place() { return static_cast<int>(fx2ait::cluster_rank()) % Splits; }
  /// The first unit of a block, and how many this one has.
  static __host__ __device__ constexpr int first(int place) { return Units * place / Splits; }
  static __device__ int count() { return first(place() + 1) - first(place()); }

  /// Lets the barrier wait for this block's share; run by one thread before `cluster_arrive`.
  __device__ void expect() const { fx2ait::mbarrier_arrive_expecting(barrier, Splits * count() * UnitBytes); }
};

}  // namespace fx2ait_conv
