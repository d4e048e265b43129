// How conv2d_halo cuts a convolution up, and what its blocks keep in shared memory.
#pragma once

#include <cstdint>

#include "fx2ait/cuda/mbarrier.cuh"

namespace fx2ait_conv {

/// The filter's size and dilation.
template <int Height, int Width, int DilationHeight, int DilationWidth>
struct HaloWindow {
  static constexpr int kHeight = Height, kWidth = Width, kTaps = Height * Width;
  static constexpr int kDilationHeight = DilationHeight, kDilationWidth = DilationWidth;
  static constexpr int kReachHeight = (Height - 1) * DilationHeight, kReachWidth = (Width - 1) * DilationWidth;
};

/// How input channels are cut up: `Blocks` blocks of `Row` (64, 32 or 16) channels, of which the
/// products sum over the first 16 * `Depth`. Channels beyond the input's are zeros.
template <int Row, int Blocks, int Depth>
struct HaloChannels {
  static constexpr int kRow = Row, kRowBytes = 2 * Row, kBlocks = Blocks, kDepth = Depth;
  static_assert((Row == 64 || Row == 32 || Row == 16) && 16 * Depth <= Row);
};

/// How the work is cut up.
///
/// @tparam Height     rows of 8 pixels in a tile
/// @tparam Groups     consumer warpgroups
/// @tparam Alternate  each warpgroup works on tiles of its own, so that one multiplies while the other
///                    finishes; else each computes 64 further channels of the same pixels
/// @tparam Stages     boxes in the ring; a tile takes one for each block of input channels
/// @tparam Staged     places for the tiles of an epilogue operand that is fetched ahead, one or more
///                    for each team of warpgroups; 0 if none is
/// @tparam Resident   blocks that a multiprocessor holds at a time
template <
    class WindowOf, class ChannelsOf, int Height, int Groups, bool Alternate, int Stages, int Staged, int Resident>
struct HaloTile {
  using Window = WindowOf;
  using Channels = ChannelsOf;
  static constexpr int kHeight = Height, kWidth = 8, kStages = Stages, kStaged = Staged, kResident = Resident;
  static constexpr int kTeams = Alternate ? Groups : 1;  // sets of warpgroups that share a tile
  static constexpr int kTeamWarps = 4 * Groups / kTeams;
  static constexpr int kSlices = Groups / kTeams;  // of 64 channels, in a tile
  static constexpr int kChannels = 64 * kSlices;

  // Registers come in equal shares to the 4 schedulers, so a ninth warp costs as much as a third
  // warpgroup. Where sums are large the producer is one, and hands its registers to the others.
  static constexpr bool kHandsOver = Groups == 2 && Height > 16;
  static constexpr int kProducerRegisters = 40, kConsumerRegisters = 232;
  static constexpr int kConsumers = Groups * 128, kThreads = kConsumers + (kHandsOver ? 128 : 32);

  static constexpr int kBoxHeight = Height + Window::kReachHeight, kBoxWidth = kWidth + Window::kReachWidth;
  static constexpr int kBoxBytes = kBoxHeight * kBoxWidth * Channels::kRowBytes;
  static constexpr int kStageBytes = (kBoxBytes + 1023) / 1024 * 1024;  // boxes begin on 1024 bytes
  static constexpr int kSteps = Window::kTaps * Channels::kBlocks;
  static constexpr int kFilterRows = Window::kHeight * Channels::kBlocks;
  static constexpr int kFilterBytes = 64 * Channels::kRowBytes;  // one step of 64 filters
  static constexpr int kOperandBytes = Height * kWidth * 128;  // one slice of an operand's tile
  static constexpr int kSharedBytes =
      kSlices * kSteps * kFilterBytes + Stages * kStageBytes + Staged * kSlices * kOperandBytes + 1024;
  // An operand is needed a tile's products later than its pixels.
  static constexpr int kOperandLag = Stages >= 2 * Channels::kBlocks ? 1 : 0;

  static_assert(Height % 4 == 0 && Height <= 32, "8 pixels per row make 32, 64 … 256 columns");
  static_assert(kBoxHeight <= 256 && kBoxWidth <= 256, "the copy engine's limit");
  static_assert(Stages >= 2 || Channels::kBlocks == 1, "a box is given back once the next one is in use");
  // A parity tells only neighbouring phases apart, so teams do not wait for the same place.
  static_assert(Staged % kTeams == 0, "each team has places of its own");
  static_assert(!kHandsOver || Resident == 1, "registers are handed over within a single block");
};

/// What the kernel needs to know of the convolution, beside the tensor maps.
struct HaloGeometry {
  int images, out_height, out_width, out_channels;
  int padding_top, padding_left;
  int tile_rows, tile_columns, slices;  // tiles of an image and of the channels

  __host__ __device__ int tiles() const { return images * tile_rows * tile_columns; }
};

/// A place in the ring; `parity` is that of the phase in which the stage is full.
template <int Stages>
struct HaloRing {
  static constexpr int kStages = Stages > 0 ? Stages : 1;

  int stage;
  uint32_t parity;

  __device__ explicit HaloRing(int step = 0) : stage(step % kStages), parity(step / kStages % 2) {}
  __device__ void advance() {
    if (++stage == kStages) {
      stage = 0;
      parity ^= 1;
    }
  }
};

/// Where a tile lies. Neighbours below each other come in turn.
template <class Tile>
struct HaloPlace {
  int image, row, column;

  __device__ HaloPlace(int tile, const HaloGeometry& g) {
    const int strip = tile / g.tile_rows;
    row = (tile - strip * g.tile_rows) * Tile::kHeight;
    image = strip / g.tile_columns;
    column = (strip - image * g.tile_columns) * Tile::kWidth;
  }
};

template <class Tile>
struct HaloBarriers {
  uint64_t full[Tile::kStages], empty[Tile::kStages], turn[Tile::kTeams], filters[Tile::kFilterRows];
  uint64_t operand_full[Tile::kStaged + 1], operand_empty[Tile::kStaged + 1];

  __device__ void init() {
    for (int i = 0; i < Tile::kStages; ++i) {
      fx2ait::mbarrier_init(fx2ait::shared_address(&full[i]), 1);
      fx2ait::mbarrier_init(fx2ait::shared_address(&empty[i]), Tile::kTeamWarps);
    }
    for (int i = 0; i < Tile::kStaged; ++i) {
      fx2ait::mbarrier_init(fx2ait::shared_address(&operand_full[i]), 1);
      fx2ait::mbarrier_init(fx2ait::shared_address(&operand_empty[i]), Tile::kTeamWarps);
    }
    for (int i = 0; i < Tile::kTeams; ++i) {
      fx2ait::mbarrier_init(fx2ait::shared_address(&turn[i]), Tile::kTeamWarps);
    }
    for (int i = 0; i < Tile::kFilterRows; ++i) fx2ait::mbarrier_init(fx2ait::shared_address(&filters[i]), 1);
    fx2ait::mbarrier_fence_init();
  }
};

/// The block's shared memory: filters as [slice, block of channels, tap, 64, row], the ring of boxes,
/// then staged operands as [place, slice, pixels of a tile, 64].
template <class Tile>
struct HaloMemory {
  uint32_t filters, ring;

  __device__ explicit HaloMemory(uint32_t begin)
      : filters(begin), ring(begin + Tile::kSlices * Tile::kSteps * Tile::kFilterBytes) {}
  __device__ uint32_t filter(int slice, int step) const {
    return filters + (slice * Tile::kSteps + step) * Tile::kFilterBytes;
  }
  __device__ uint32_t box(int stage) const { return ring + stage * Tile::kStageBytes; }
  __device__ uint32_t operand(int place, int slice) const {
    return ring + Tile::kStages * Tile::kStageBytes + (place * Tile::kSlices + slice) * Tile::kOperandBytes;
  }
};

}  // namespace fx2ait_conv
