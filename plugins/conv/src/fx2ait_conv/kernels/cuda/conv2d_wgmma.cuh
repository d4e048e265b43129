// 2-d convolution on Hopper's warpgroup tensor cores (sm_90a), as an implicit matrix product:
// rows are output pixels (images x height x width), columns output channels, and the sum runs over
// blocks of 64 input channels for each filter tap.
//
//   producer warp     one thread lets the copy engine fill a ring of stages in shared memory: pixels
//                     by im2col copies, which also supply padding, stride and dilation, and filters
//   consumer warps    one or two warpgroups multiply from the ring into registers and finish tiles
//
// Blocks walk over the tiles, so that the ring fills for the next tile while one is finished. Where
// tiles are few, a cluster of blocks splits the sum of one tile and adds its parts in a fixed order
// through distributed shared memory: results are the same bit by bit each time.
#pragma once

#include <cuda_runtime.h>

#include <algorithm>
#include <cstdint>

#include "fx2ait/cuda/check.h"
#include "fx2ait/cuda/cluster.cuh"
#include "fx2ait/cuda/dependent_launch.cuh"
#include "fx2ait/cuda/mbarrier.cuh"
#include "fx2ait/cuda/tensor_map.h"
#include "fx2ait/cuda/tma.cuh"
#include "fx2ait/cuda/vector.cuh"
#include "fx2ait/cuda/wgmma.cuh"
#include "fx2ait_conv/wgmma_epilogue.cuh"

namespace fx2ait_conv {

/// How the work is cut up.
///
/// @tparam Pixels, Channels  size of a tile
/// @tparam Groups            consumer warpgroups
/// @tparam Alternate         each warpgroup works on tiles of its own, so that one multiplies while
///                           the other finishes; else they share each tile, half the pixels each
/// @tparam Stages            depth of the ring
/// @tparam Splits            blocks (a cluster) that share the sum of a tile
/// @tparam Resident          blocks that a multiprocessor holds at a time
template <int Pixels, int Channels, int Groups, bool Alternate, int Stages, int Splits, int Resident>
struct WgmmaTile {
  static constexpr int kPixels = Pixels, kChannels = Channels, kStages = Stages, kSplits = Splits;
  static constexpr int kGroups = Groups, kResident = Resident;
  static constexpr bool kAlternate = Alternate;

  static constexpr int kTeams = Alternate ? Groups : 1;  // sets of warpgroups that share a tile
  static constexpr int kTeamWarps = 4 * Groups / kTeams;
  static constexpr int kGroupPixels = Pixels * kTeams / Groups;  // rows per warpgroup
  static constexpr int kSums = kGroupPixels / 64 * Channels / 2;  // accumulators per thread

  // Registers come in equal shares to the 4 schedulers, so a ninth warp costs as much as a third
  // warpgroup. Where sums are large the producer is one, and hands its registers to the others.
  static constexpr bool kHandsOver = Groups == 2 && kSums > 64;
  static constexpr int kProducerRegisters = 40, kConsumerRegisters = 232;
  static constexpr int kConsumers = Groups * 128, kThreads = kConsumers + (kHandsOver ? 128 : 32);

  static constexpr int kRowBytes = fx2ait::kTensorMapRow * 2;
  static constexpr int kPixelBytes = Pixels * kRowBytes, kFilterBytes = Channels * kRowBytes;
  static constexpr int kStageBytes = kPixelBytes + kFilterBytes;
  static constexpr int kSharedBytes = Stages * kStageBytes + 1024;  // the ring begins on 1024 bytes

  static_assert(kGroupPixels % 64 == 0 && Pixels <= 256 && Channels % 32 == 0 && Channels <= 256);
  static_assert(!kHandsOver || Resident == 1, "registers are handed over within a single block");
  static_assert(Splits == 1 || !Alternate, "blocks that share a tile do not alternate");
  static_assert(Splits == 1 || PartialSums<Pixels, Channels>::kBytes <= Stages * kStageBytes);
};

/// What the kernel needs to know of the convolution, beside the tensor maps.
struct ConvGeometry {
  int pixels;            // images * out_height * out_width
  int out_channels;
  int out_width, out_plane;  // out_plane = out_height * out_width
  int stride_height, stride_width;
  int padding_top, padding_left;
  int kernel_width, dilation_height, dilation_width;
  int channel_blocks;  // of 64 input channels
  int steps;           // channel_blocks * filter taps

  __host__ __device__ int channel_tiles(int size) const { return (out_channels + size - 1) / size; }
  __host__ __device__ int tiles(int size_pixels, int size_channels) const {
    return (pixels + size_pixels - 1) / size_pixels * channel_tiles(size_channels);
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

/// The part of the block's shared memory that is not the ring.
template <class Tile>
struct Barriers {
  uint64_t full[Tile::kStages], empty[Tile::kStages], turn[Tile::kTeams];

  __device__ void init() {
    for (int i = 0; i < Tile::kStages; ++i) {
      fx2ait::mbarrier_init(fx2ait::shared_address(&full[i]), 1);
      fx2ait::mbarrier_init(fx2ait::shared_address(&empty[i]), Tile::kTeamWarps);
    }
    for (int i = 0; i < Tile::kTeams; ++i) {
      fx2ait::mbarrier_init(fx2ait::shared_address(&turn[i]), Tile::kTeamWarps);
    }
    fx2ait::mbarrier_fence_init();
  }
};

/// One tile, or with splits this block's part of its sum.
template <class Tile>
struct Work {
  int pixel, channel;  // first of the tile
  int step, steps;     // first step and their number

  __device__ Work(int tile, int part, const ConvGeometry& g) {
    const int channel_tiles = g.channel_tiles(Tile::kChannels);
    pixel = tile / channel_tiles * Tile::kPixels;
    channel = tile % channel_tiles * Tile::kChannels;
    step = g.steps * part / Tile::kSplits;
    steps = g.steps * (part + 1) / Tile::kSplits - step;
  }
};

/// Walks over the steps of one tile and issues their copies; run by one thread.
template <class Tile>
struct StepLoader {
  const CUtensorMap &images, &filters;
  const ConvGeometry& g;
  int out_channel, image, row, column;        // where the tile's first window begins
  int step, channel_block, tap_row, tap_column;  // the next step

  __device__ StepLoader(
      const CUtensorMap& image_map, const CUtensorMap& filter_map, const ConvGeometry& geometry,
      const Work<Tile>& work)
      : images(image_map), filters(filter_map), g(geometry), out_channel(work.channel), step(work.step) {
    image = work.pixel / g.out_plane;
    const int place = work.pixel - image * g.out_plane;
    row = place / g.out_width;
    column = (place - row * g.out_width) * g.stride_width - g.padding_left;
    row = row * g.stride_height - g.padding_top;
    const int tap = step / g.channel_blocks;
    channel_block = step - tap * g.channel_blocks;
    tap_row = tap / g.kernel_width;
    tap_column = tap - tap_row * g.kernel_width;
  }

  /// The filters of a step; they are constants.
  __device__ void load_filters(uint32_t stage, uint32_t barrier, int which) const {
    fx2ait::tma_load_3d(stage + Tile::kPixelBytes, filters, barrier, 0, out_channel, which);
  }

  /// The pixels of the next step.
  __device__ void load_pixels(uint32_t stage, uint32_t barrier) const {
    fx2ait::tma_load_im2col(
        stage, images, barrier, channel_block * fx2ait::kTensorMapRow, column, row, image,
        tap_column * g.dilation_width, tap_row * g.dilation_height);
  }

  __device__ void advance() {
    ++step;
    if (++channel_block == g.channel_blocks) {
      channel_block = 0;
      if (++tap_column == g.kernel_width) {
        tap_column = 0;
        ++tap_row;
      }
    }
  }
};

/// Fills the ring for all tiles of the block.
///
/// The filters of the first stages are fetched before the predecessor kernel has ended.
template <class Tile>
__device__ void produce(
    const CUtensorMap& images, const CUtensorMap& filters, const ConvGeometry& g, Barriers<Tile>& barriers,
    uint32_t ring) {
  const int blocks = static_cast<int>(gridDim.x) / Tile::kSplits, tiles = g.tiles(Tile::kPixels, Tile::kChannels);
  const int part = static_cast<int>(blockIdx.x) % Tile::kSplits;
  int tile = static_cast<int>(blockIdx.x) / Tile::kSplits;

  const Work<Tile> first(tile, part, g);
  const int ahead = min(first.steps, Tile::kStages);
  const auto expect = [&](int stage, const StepLoader<Tile>& loader, int step) {
    const uint32_t full = fx2ait::shared_address(&barriers.full[stage]);
    fx2ait::mbarrier_arrive_expecting(full, Tile::kStageBytes);
    loader.load_filters(ring + stage * Tile::kStageBytes, full, step);
  };
  {
    const StepLoader<Tile> loader(images, filters, g, first);
    for (int i = 0; i < ahead; ++i) expect(i, loader, first.step + i);
  }
  fx2ait::wait_for_predecessor();

  RingPosition<Tile::kStages> position;
  int issued = 0;  // steps, up to `ahead`
  for (; tile < tiles; tile += blocks) {
    const Work<Tile> work(tile, part, g);
    StepLoader<Tile> loader(images, filters, g, work);
    for (int i = 0; i < work.steps; ++i) {
      if (issued < ahead) {
        ++issued;
      } else {
        // A stage is free again once its previous content was consumed; at first it is free.
        fx2ait::mbarrier_wait(fx2ait::shared_address(&barriers.empty[position.stage]), position.parity ^ 1);
        expect(position.stage, loader, loader.step);
      }
      loader.load_pixels(
          ring + position.stage * Tile::kStageBytes, fx2ait::shared_address(&barriers.full[position.stage]));
      loader.advance();
      position.advance();
    }
  }
}

/// Sums this warpgroup's rows of a tile from the ring and frees the stages.
///
/// `when_last_is_full` is called once all the tile's stages have been filled.
template <class Tile, class Element, class Callback>
__device__ __forceinline__ void multiply(
    float (&sums)[Tile::kGroupPixels / 64][Tile::kChannels / 2], int steps, RingPosition<Tile::kStages>& position,
    Barriers<Tile>& barriers, uint32_t ring, int first_row, const Callback& when_last_is_full) {
  using Product = fx2ait::Wgmma<Element, Tile::kChannels>;
  constexpr int kRows = Tile::kGroupPixels / 64;
  const auto release = [&](int stage) {
    if (threadIdx.x % 32 == 0) fx2ait::mbarrier_arrive(fx2ait::shared_address(&barriers.empty[stage]));
  };
  int previous = 0;
  for (int i = 0; i < steps; ++i) {
    fx2ait::mbarrier_wait(fx2ait::shared_address(&barriers.full[position.stage]), position.parity);
    if (i == steps - 1) when_last_is_full();
    const uint32_t stage = ring + position.stage * Tile::kStageBytes;
    const uint64_t pixels = fx2ait::wgmma_descriptor(stage + first_row * Tile::kRowBytes);
    const uint64_t filters = fx2ait::wgmma_descriptor(stage + Tile::kPixelBytes);
    fx2ait::wgmma_fence();
#pragma unroll
    for (int k = 0; k < fx2ait::kTensorMapRow / 16; ++k) {
#pragma unroll
      for (int r = 0; r < kRows; ++r) {
        constexpr int kRowStep = 64 * Tile::kRowBytes / 16;  // descriptors count 16 bytes
        Product::multiply_add(sums[r], pixels + r * kRowStep + 2 * k, filters + 2 * k, (i | k) != 0);
      }
    }
    fx2ait::wgmma_commit();
    if (i > 0) {
      fx2ait::wgmma_wait<1>();
      release(previous);
    }
    previous = position.stage;
    position.advance();
  }
  fx2ait::wgmma_wait<0>();
  release(previous);
#pragma unroll
  for (int r = 0; r < kRows; ++r) fx2ait::wgmma_pin(sums[r]);
}

/// Computes and stores all tiles of the block.
template <class Tile, class Element, class Result, class Epilogue>
__device__ __forceinline__ void consume(
    const ConvGeometry& g, Barriers<Tile>& barriers, uint32_t ring, Result* result, const Epilogue& epilogue) {
  constexpr int kTeams = Tile::kTeams;
  constexpr int kAhead = Tile::kHandsOver ? 4 : 2;  // as registers allow
  const int group = static_cast<int>(threadIdx.x) / 128;
  const int team = Tile::kAlternate ? group : 0;
  const int first_row = Tile::kAlternate ? 0 : group * Tile::kGroupPixels;
  const int blocks = static_cast<int>(gridDim.x) / Tile::kSplits, tiles = g.tiles(Tile::kPixels, Tile::kChannels);
  const int part = static_cast<int>(blockIdx.x) % Tile::kSplits;
  const ResultRange<Result> range{result, g.pixels, g.out_channels};

  fx2ait::wait_for_predecessor();  // before operands are read or results written
  float sums[Tile::kGroupPixels / 64][Tile::kChannels / 2];
  int turns = 0;
  for (int tile = static_cast<int>(blockIdx.x) / Tile::kSplits + team * blocks; tile < tiles;
       tile += kTeams * blocks, ++turns) {
    const Work<Tile> work(tile, part, g);
    // Teams take turns at the ring. A team may not wait for a stage before the other team has
    // seen its own content there, because a parity tells only neighbouring phases apart.
    RingPosition<Tile::kStages> position((turns * kTeams + team) * work.steps);
    if (kTeams > 1 && (team > 0 || turns > 0)) {
      fx2ait::mbarrier_wait(fx2ait::shared_address(&barriers.turn[team]), (turns - (team == 0)) & 1);
    }
    multiply<Tile, Element>(sums, work.steps, position, barriers, ring, first_row, [&] {
      if (kTeams > 1 && threadIdx.x % 32 == 0) {
        fx2ait::mbarrier_arrive(fx2ait::shared_address(&barriers.turn[(team + 1) % kTeams]));
      }
    });
    if constexpr (Tile::kSplits == 1) {
#pragma unroll
      for (int r = 0; r < Tile::kGroupPixels / 64; ++r) {
        finish_rows<Tile::kChannels, kAhead>(sums[r], work.pixel + first_row + 64 * r, work.channel, range, epilogue);
      }
    } else {
      fx2ait::named_barrier_sync(1, Tile::kConsumers);  // the ring is no longer read
      PartialSums<Tile::kPixels, Tile::kChannels> partial{ring};
#pragma unroll
      for (int r = 0; r < Tile::kGroupPixels / 64; ++r) partial.put(sums[r], first_row + 64 * r);
      fx2ait::cluster_sync();
      partial.template finish<Tile::kSplits, Tile::kConsumers>(work.pixel, work.channel, range, epilogue);
    }
  }
}

template <class Tile, class Element, class Result, class Epilogue>
__global__ void __launch_bounds__(Tile::kThreads, Tile::kResident) conv2d_wgmma(
    const __grid_constant__ CUtensorMap images, const __grid_constant__ CUtensorMap filters,
    const __grid_constant__ ConvGeometry geometry, Result* result, const __grid_constant__ Epilogue epilogue) {
  extern __shared__ char shared[];
  __shared__ Barriers<Tile> barriers;
  const uint32_t ring = (fx2ait::shared_address(shared) + 1023) & ~1023u;
  const bool producer = threadIdx.x >= Tile::kConsumers;

  fx2ait::release_successor();
  if (threadIdx.x == Tile::kConsumers) {
    fx2ait::tma_prefetch_map(filters);
    fx2ait::tma_prefetch_map(images);
    barriers.init();
  }
  __syncthreads();

  if (producer) {
    if constexpr (Tile::kHandsOver) fx2ait::release_registers<Tile::kProducerRegisters>();
    if (threadIdx.x == Tile::kConsumers) produce<Tile>(images, filters, geometry, barriers, ring);
    __syncwarp();
    if constexpr (Tile::kSplits > 1) fx2ait::cluster_sync();  // the one inside consume
  } else {
    if constexpr (Tile::kHandsOver) fx2ait::claim_registers<Tile::kConsumerRegisters>();
    consume<Tile, Element>(geometry, barriers, ring, result, epilogue);
  }
  if constexpr (Tile::kSplits > 1) fx2ait::cluster_sync();  // until no block reads this one's sums
}

/// Enqueues result = epilogue(conv2d(input, filters)).
///
/// `input` is dense [images, height, width, channels]; `filters` are packed as
/// [kernel_height * kernel_width * channel blocks, out_channels, 64], channels padded with zeros
/// to blocks of 64. Channels and out_channels are multiples of 8.
template <class Tile, class Element, class Result, class Epilogue>
void launch_conv2d_wgmma(
    Result* result, const Element* input, const Element* filters, const Epilogue& epilogue,
    const fx2ait::ImageWindows& windows, int out_height, int out_width, int out_channels, int multiprocessors,
    cudaStream_t stream) {
  const auto& w = windows;
  const int channel_blocks = (w.channels + fx2ait::kTensorMapRow - 1) / fx2ait::kTensorMapRow;
  const ConvGeometry geometry{
      w.images * out_height * out_width, out_channels, out_width, out_height * out_width, w.stride_height,
      w.stride_width, w.padding_top, w.padding_left, w.kernel_width, w.dilation_height, w.dilation_width,
      channel_blocks, channel_blocks * w.kernel_height * w.kernel_width};
  const CUtensorMap image_map = fx2ait::encode_im2col_map(input, windows, Tile::kPixels);
  const CUtensorMap filter_map =
      fx2ait::encode_blocks_map(filters, geometry.steps, out_channels, Tile::kChannels);

  constexpr auto kernel = conv2d_wgmma<Tile, Element, Result, Epilogue>;
  FX2AIT_CUDA_CHECK(
      cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, Tile::kSharedBytes));
  const int tiles = geometry.tiles(Tile::kPixels, Tile::kChannels);
  // Blocks that share tiles take one tile each; the others walk over tiles.
  const int blocks =
      Tile::kSplits > 1 ? tiles * Tile::kSplits : std::min(tiles, multiprocessors * Tile::kResident);
  fx2ait::launch_dependent(
      kernel, dim3(static_cast<unsigned>(blocks)), Tile::kThreads, Tile::kSharedBytes, Tile::kSplits, stream,
      image_map, filter_map, geometry, result, epilogue);
}

}  // namespace fx2ait_conv
