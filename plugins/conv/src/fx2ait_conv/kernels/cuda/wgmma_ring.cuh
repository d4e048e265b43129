// How conv2d_wgmma cuts up its work, and the ring of stages in shared memory between the producer and
// the consumers of a block.
#pragma once

#include <cstdint>
#include <type_traits>

#include "fx2ait/cuda/mbarrier.cuh"
#include "fx2ait/cuda/tensor_map.h"
#include "fx2ait_conv/pair_split.cuh"
#include "fx2ait_conv/wgmma_share.cuh"
#include "fx2ait_conv/wgmma_split.cuh"

namespace fx2ait_conv {

/// How the work is cut up.
///
/// @tparam Pixels, Channels  size of a tile
/// @tparam Groups            consumer warpgroups
/// @tparam Alternate         each warpgroup works on tiles of its own, so that one multiplies while
///                           the other finishes; else they share each tile, half the rows each
/// @tparam Stages            depth of the ring
/// @tparam Splits            blocks (a cluster) that share the sum of a tile
/// @tparam Resident          blocks that a multiprocessor holds at a time
/// @tparam FilterSharers, PixelSharers  blocks that share filters, and pixels (wgmma_share.cuh)
/// @tparam ChannelRows       filters are the rows of the products and pixels their columns, so that a tile
///                           may have any multiple of 8 pixels: as many as spread a result over all
///                           multiprocessors. Else pixels are the rows, in steps of 64
template <
    int Pixels, int Channels, int Groups, bool Alternate, int Stages, int Splits, int Resident, int FilterSharers = 1,
    int PixelSharers = 1, bool ChannelRows = false>
struct WgmmaTile {
  static constexpr int kPixels = Pixels, kChannels = Channels, kStages = Stages, kSplits = Splits;
  static constexpr int kGroups = Groups, kResident = Resident;
  static constexpr bool kAlternate = Alternate, kChannelRows = ChannelRows;

  static constexpr int kTeams = Alternate ? Groups : 1;  // sets of warpgroups that share a tile
  static constexpr int kTeamWarps = 4 * Groups / kTeams;
  static constexpr int kGroupRows = (ChannelRows ? Channels : Pixels) * kTeams / Groups;  // of a warpgroup's products
  static constexpr int kRows = kGroupRows / 64, kColumns = ChannelRows ? Pixels : Channels;
  static constexpr int kSums = kRows * kColumns / 2;  // accumulators per thread

  // Small tiles have registers to spare to load operands of the epilogue before they multiply.
  static constexpr bool kLoadsEarly = kSums <= (Resident > 2 ? 16 : 32) && !Alternate;

  // Registers come in equal shares to the 4 schedulers, so a ninth warp costs as much as a third
  // warpgroup. Where sums are large the producer is one, and hands its registers to the others.
  static constexpr bool kHandsOver = Groups == 2 && kSums > 64;
  static constexpr int kProducerRegisters = 40, kConsumerRegisters = 232;
  static constexpr int kConsumers = Groups * 128, kThreads = kConsumers + (kHandsOver ? 128 : 32);

  static constexpr int kRowBytes = fx2ait::kTensorMapRow * 2;
  static constexpr int kPixelBytes = Pixels * kRowBytes, kFilterBytes = Channels * kRowBytes;
  static constexpr int kStageBytes = kPixelBytes + kFilterBytes;
  static constexpr int kRingBytes = Stages * kStageBytes;

  using Cluster = ClusterShape<FilterSharers, PixelSharers, Splits>;
  static constexpr bool kShares = Cluster::kSharers > 1;
  static constexpr int kFilterPart = Channels / FilterSharers, kPixelPart = Pixels / PixelSharers;

  using Sums = std::conditional_t<
      ChannelRows, SplitRows<Pixels / 8, Splits>, SplitSums<Pixels, Channels, Splits>>;
  static constexpr int kExchanges = ChannelRows ? Groups : 1;  // each warpgroup's own, or all of them together
  static constexpr int kSharedBytes = kRingBytes + kExchanges * Sums::kBytes + 1024;  // the ring begins on 1024 bytes

  static_assert(kGroupRows % 64 == 0 && Pixels % 8 == 0 && Pixels <= 256 && Channels % kSpan == 0 && Channels <= 256);
  static_assert(!ChannelRows || kRows == 1, "of an accumulator, a thread finishes two neighbouring channels");
  static_assert(!kHandsOver || Resident == 1, "registers are handed over within a single block");
  static_assert(Splits == 1 || !Alternate, "blocks that share a tile do not alternate");
  static_assert(kFilterPart % 8 == 0 && kPixelPart % 8 == 0, "the swizzle's pattern has 8 rows");
};

/// The windows of one convolution, whose result may be one of several that are added.
struct ConvTerm {
  int stride_height, stride_width;
  int padding_top, padding_left;
  int kernel_width, dilation_height, dilation_width;
  int channel_blocks;  // of 64 input channels
  int first_step;      // its steps follow those of the terms before it
};

/// What the kernel needs to know of the convolution, or of the sum of `Terms` convolutions, beside the
/// tensor maps.
template <int Terms>
struct ConvGeometry {
  int pixels;            // images * out_height * out_width
  int out_channels;
  int out_width, out_plane;  // out_plane = out_height * out_width
  int steps;             // over all terms: channel_blocks * filter taps
  ConvTerm terms[Terms];

  /// Tiles of a cluster come together, even if some lie outside the result.
  template <class Tile>
  __host__ __device__ int clusters_of_channels() const {
    constexpr int kChannels = Tile::kChannels * Tile::Cluster::kPixelSharers;
    return (out_channels + kChannels - 1) / kChannels;
  }
  template <class Tile>
  __host__ __device__ int tiles() const {
    constexpr int kPixels = Tile::kPixels * Tile::Cluster::kFilterSharers;
    return (pixels + kPixels - 1) / kPixels * clusters_of_channels<Tile>() * Tile::Cluster::kSharers;
  }
};

/// One tile, or with splits this block's part of its sum.
template <class Tile>
struct Work {
  int pixel, channel;  // first of the tile
  int step, steps;     // first step and their number

  template <int Terms>
  __device__ Work(int tile, const ConvGeometry<Terms>& g) {
    using Cluster = typename Tile::Cluster;
    const int part = static_cast<int>(blockIdx.x) % Tile::kSplits;
    const int channel_clusters = g.template clusters_of_channels<Tile>(), cluster = tile / Cluster::kSharers;
    pixel = (cluster / channel_clusters * Cluster::kFilterSharers + Cluster::pixel_place(tile)) * Tile::kPixels;
    channel = (cluster % channel_clusters * Cluster::kPixelSharers + Cluster::channel_place(tile)) * Tile::kChannels;
    step = g.steps * part / Tile::kSplits;
    steps = g.steps * (part + 1) / Tile::kSplits - step;
  }
};

/// A place in the ring; `parity` is that of the phase in which the stage is full.
template <int Stages>
struct RingPosition {
  int stage;
  uint32_t parity;

  __device__ explicit RingPosition(int step = 0) : stage(step % Stages), parity(step / Stages % 2) {}
  __device__ void advance() {
    if (++stage == Stages) {
      stage = 0;
      parity ^= 1;
    }
  }
};

/// The block's barriers.
template <class Tile>
struct Barriers {
  uint64_t full[Tile::kStages], empty[Tile::kStages], turn[Tile::kTeams], sums[Tile::kExchanges];

  __device__ void init() {
    for (int i = 0; i < Tile::kStages; ++i) {
      fx2ait::mbarrier_init(fx2ait::shared_address(&full[i]), 1);
      fx2ait::mbarrier_init(fx2ait::shared_address(&empty[i]), Tile::kTeamWarps * Tile::Cluster::kSharers);
    }
    for (int i = 0; i < Tile::kTeams; ++i) {
      fx2ait::mbarrier_init(fx2ait::shared_address(&turn[i]), Tile::kTeamWarps);
    }
    for (int i = 0; i < Tile::kExchanges; ++i) fx2ait::mbarrier_init(fx2ait::shared_address(&sums[i]), 1);
    fx2ait::mbarrier_fence_init();
  }
};

/// The stages, in shared memory from `base` on, and who may touch them.
template <class Tile>
struct Ring {
  using Position = RingPosition<Tile::kStages>;

  Barriers<Tile>& barriers;
  uint32_t base;

  __device__ uint32_t stage(Position position) const {
    return base + static_cast<uint32_t>(position.stage * Tile::kStageBytes);
  }
  __device__ uint32_t full(Position position) const {
    return fx2ait::shared_address(&barriers.full[position.stage]);
  }

  /// What the other blocks send to this one, in one of the exchanges.
  __device__ typename Tile::Sums sums(int exchange) const {
    const uint32_t begin = base + Tile::kRingBytes + static_cast<uint32_t>(exchange * Tile::Sums::kBytes);
    return {{begin, fx2ait::shared_address(&barriers.sums[exchange])}};
  }

  __device__ void wait_full(Position position) const { fx2ait::mbarrier_wait(full(position), position.parity); }
  /// Waits until the stage's previous content was consumed by all blocks to which its next one may go;
  /// at first it is free.
  __device__ void wait_empty(Position position) const {
    fx2ait::mbarrier_wait(fx2ait::shared_address(&barriers.empty[position.stage]), position.parity ^ 1);
  }
  /// This warp needs the stage's content no more.
  __device__ void release(int stage) const {
    const uint32_t empty = fx2ait::shared_address(&barriers.empty[stage]), lane = threadIdx.x % 32;
    if constexpr (Tile::kShares) {
      if (lane < Tile::Cluster::kSharers) Tile::Cluster::arrive(empty, lane);
    } else {
      if (lane == 0) fx2ait::mbarrier_arrive(empty);
    }
  }
};

}  // namespace fx2ait_conv
