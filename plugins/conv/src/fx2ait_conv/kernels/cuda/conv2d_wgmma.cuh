// 2-d convolution on Hopper's warpgroup tensor cores (sm_90a), as an implicit matrix product:
// rows are output pixels (images x height x width), columns output channels, or the other way round, and
// the sum runs over blocks of 64 input channels for each filter tap, of one convolution or of several
// that are added.
//
//   producer warp     one thread lets the copy engine fill a ring of stages in shared memory: pixels
//                     by im2col copies, which also supply padding, stride and dilation, filters, and
//                     behind a tile's last step the operands of its epilogue (wgmma_operands.cuh)
//   consumer warps    one or two warpgroups multiply from the ring into registers and finish tiles
//
// Blocks walk over the tiles, so that the ring fills for the next tile while one is finished. Where
// tiles are few, blocks of a cluster split the sum of one tile (wgmma_split.cuh). Blocks of a cluster
// may also share filters and pixels (wgmma_share.cuh).
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
#include "fx2ait/cuda/wgmma.cuh"
#include "fx2ait_conv/pair_epilogue.cuh"
#include "fx2ait_conv/pair_split.cuh"
#include "fx2ait_conv/wgmma_epilogue.cuh"
#include "fx2ait_conv/wgmma_loader.cuh"
#include "fx2ait_conv/wgmma_operands.cuh"
#include "fx2ait_conv/wgmma_ring.cuh"
#include "fx2ait_conv/wgmma_split.cuh"

namespace fx2ait_conv {

/// Fills the ring for all tiles of the block.
///
/// The filters of the first stages are fetched before the predecessor kernel has ended.
template <class Tile, int Terms, int Operands>
__device__ void produce(
    const SourceMaps<Terms>& sources, const OperandMaps<Operands>& operands, const ConvGeometry<Terms>& g,
    const Ring<Tile>& ring) {
  using OperandCopies = OperandSteps<Tile, Operands>;
  const int blocks = static_cast<int>(gridDim.x) / Tile::kSplits, tiles = g.template tiles<Tile>();
  int tile = static_cast<int>(blockIdx.x) / Tile::kSplits;
  Work<Tile> work(tile, g);
  StepLoader<Tile, Terms> loader{sources, g};
  loader.begin(work);
  RingPosition<Tile::kStages> position;

  int step = min(work.steps, Tile::kStages);
  for (int i = 0; i < step; ++i) {
    loader.load_filters(ring.stage(position), ring.full(position), work.step + i);
    position.advance();
  }
  fx2ait::wait_for_predecessor();
  position = RingPosition<Tile::kStages>();
  for (int i = 0; i < step; ++i) {
    loader.load_pixels(ring.stage(position), ring.full(position));
    position.advance();
  }
  while (true) {
    for (; step < work.steps; ++step) {
      ring.wait_empty(position);
      loader.load_filters(ring.stage(position), ring.full(position), loader.step);
      loader.load_pixels(ring.stage(position), ring.full(position));
      position.advance();
    }
    if constexpr (Operands > 0) {
      for (int i = 0; i < OperandCopies::kSteps; ++i) {
        ring.wait_empty(position);
        OperandCopies::load(operands, i, work, ring.stage(position), ring.full(position));
        position.advance();
      }
    }
    tile += blocks;
    if (tile >= tiles) break;
    work = Work<Tile>(tile, g);
    loader.begin(work);
    step = 0;
  }
  if constexpr (Tile::kShares) {
    // The block stays until all sharers have got its copies and arrived at its barriers.
    for (int i = 0; i < Tile::kStages; ++i) {
      ring.wait_empty(position);
      position.advance();
    }
  }
}

/// Sums this warpgroup's rows of a tile from the ring and frees the stages.
///
/// `when_all_started` is called once the last products are under way and `position` is behind them.
template <class Tile, class Element, class Callback>
__device__ __forceinline__ void multiply(
    float (&sums)[Tile::kRows][Tile::kColumns / 2], int steps, RingPosition<Tile::kStages>& position,
    const Ring<Tile>& ring, int first_row, const Callback& when_all_started) {
  using Product = fx2ait::Wgmma<Element, Tile::kColumns>;
  constexpr int kRows = Tile::kRows;
  constexpr uint32_t kRowsPlace = Tile::kChannelRows ? Tile::kPixelBytes : 0;
  constexpr uint32_t kColumnsPlace = Tile::kChannelRows ? 0 : Tile::kPixelBytes;
  int previous = 0;
  for (int i = 0; i < steps; ++i) {
    ring.wait_full(position);
    const uint32_t stage = ring.stage(position);
    const uint64_t rows =
        fx2ait::wgmma_descriptor(stage + kRowsPlace + static_cast<uint32_t>(first_row * Tile::kRowBytes));
    const uint64_t columns = fx2ait::wgmma_descriptor(stage + kColumnsPlace);
    fx2ait::wgmma_fence();
#pragma unroll
    for (int k = 0; k < fx2ait::kTensorMapRow / 16; ++k) {
#pragma unroll
      for (int r = 0; r < kRows; ++r) {
        constexpr int kRowStep = 64 * Tile::kRowBytes / 16;  // descriptors count 16 bytes
        Product::multiply_add(sums[r], rows + r * kRowStep + 2 * k, columns + 2 * k, (i | k) != 0);
      }
    }
    fx2ait::wgmma_commit();
    if (i > 0) {
      fx2ait::wgmma_wait<1>();
      ring.release(previous);
    }
    previous = position.stage;
    position.advance();
  }
  when_all_started();
  fx2ait::wgmma_wait<0>();
  ring.release(previous);
#pragma unroll
  for (int r = 0; r < kRows; ++r) fx2ait::wgmma_pin(sums[r]);
}

/// What finishes `rows` of up to `Rows` runs of 8 pixels, from `pixel` on, and 64 channels.
template <int Rows, class Result, class Epilogue>
__device__ __forceinline__ PairFinish<Rows, PixelRuns, Result, Epilogue> finish_runs(
    int pixels, int channels, int pixel, int rows, int channel) {
  const PairPlace mine;
  const int p = pixel + mine.pixel, c = channel + mine.channel;
  const bool inside = p < pixels && c < channels;
  const int64_t first = inside ? static_cast<int64_t>(p) * channels + c : 0;
  return {
      first, inside ? c : 0, channels, 8 * channels,
      PixelRuns{inside ? min(pixels - p, 8 * rows - mine.pixel) : 0}};
}

/// Computes and stores all tiles of the block.
template <class Tile, class Fetched, class Element, int Terms, class Result, class Epilogue>
__device__ __forceinline__ void consume(
    const ConvGeometry<Terms>& g, const Ring<Tile>& ring, Result* result, const Epilogue& epilogue) {
  constexpr int kTeams = Tile::kTeams, kOperandSteps = OperandSteps<Tile, Fetched::kCount>::kSteps;
  // Read from one thread, so that the compiler knows it to be the same for a warp.
  const int group = __shfl_sync(0xffffffffu, static_cast<int>(threadIdx.x) / 128, 0);
  const int team = Tile::kAlternate ? group : 0;
  const int first_row = Tile::kAlternate ? 0 : group * Tile::kGroupRows;
  const int blocks = static_cast<int>(gridDim.x) / Tile::kSplits, tiles = g.template tiles<Tile>();
  const ResultRange<Result> range{result, g.pixels, g.out_channels};

  fx2ait::wait_for_predecessor();  // before operands are read or results written
  // Until the other blocks have made their barriers.
  if constexpr (Tile::Cluster::kBlocks > 1) fx2ait::cluster_wait();
  float sums[Tile::kRows][Tile::kColumns / 2];
  int turns = 0;
  for (int tile = static_cast<int>(blockIdx.x) / Tile::kSplits + team * blocks; tile < tiles;
       tile += kTeams * blocks, ++turns) {
    const Work<Tile> work(tile, g);
    // Teams take turns at the ring. A team may not wait for a stage before the other team has
    // seen its own content there, because a parity tells only neighbouring phases apart.
    RingPosition<Tile::kStages> position((turns * kTeams + team) * (work.steps + kOperandSteps));
    if (kTeams > 1 && (team > 0 || turns > 0)) {
      fx2ait::mbarrier_wait(fx2ait::shared_address(&ring.barriers.turn[team]), (turns - (team == 0)) & 1);
    }
    const auto multiply_tile = [&] {
      multiply<Tile, Element>(sums, work.steps, position, ring, first_row, [&] {
        if constexpr (kTeams > 1) {
          auto operand = position;
          for (int i = 0; i < kOperandSteps; ++i, operand.advance()) ring.wait_full(operand);
          __syncwarp();
          if (threadIdx.x % 32 == 0) {
            fx2ait::mbarrier_arrive(fx2ait::shared_address(&ring.barriers.turn[(team + 1) % kTeams]));
          }
        }
      });
    };
    const DirectOperands<Epilogue, Result> direct{epilogue, range, work.pixel, work.channel};
    if constexpr (Tile::kChannelRows) {
      using Sums = typename Tile::Sums;
      const int part = Sums::place(), channel = work.channel + first_row;
      auto finish = finish_runs<Sums::kShare, Result, Epilogue>(
          g.pixels, g.out_channels, work.pixel + 8 * Sums::first(part), Sums::count(), channel);
      finish.load(epilogue);
      multiply_tile();
      if constexpr (Tile::kSplits > 1) {
        const Sums shared_sums = ring.sums(group);
        float total[4 * Sums::kShare];
        shared_sums.send(sums[0]);
        shared_sums.add(total);
        finish.store(total, result, epilogue);
      } else {
        finish.store(sums[0], result, epilogue);
      }
    } else if constexpr (Tile::kSplits > 1) {
      const auto shared_sums = ring.sums(0);
      ShareFinish<Tile, Epilogue> share(shared_sums, direct);
      multiply_tile();
      shared_sums.send(sums, first_row);
      share.finish(direct);
    } else if constexpr (Fetched::kCount > 0) {
      multiply_tile();
      finish_fetched<Tile, Fetched>(sums, first_row, direct, ring, position);
    } else {
      constexpr int kAhead = Tile::kHandsOver ? 4 : 2;  // as registers allow
      DirectFinish<kAhead, Tile::kRows, Tile::kChannels / kSpan, Epilogue> tile_finish;
      if constexpr (Tile::kLoadsEarly) tile_finish.load(direct, first_row);
      multiply_tile();
      if constexpr (!Tile::kLoadsEarly) tile_finish.load(direct, first_row);
      tile_finish.finish(sums, direct, first_row);
    }
  }
}

template <class Tile, class Fetched, class Element, int Terms, class Result, class Epilogue>
__global__ void __launch_bounds__(Tile::kThreads, Tile::kResident) conv2d_wgmma(
    const __grid_constant__ SourceMaps<Terms> sources,
    const __grid_constant__ OperandMaps<Fetched::kCount> operands,
    const __grid_constant__ ConvGeometry<Terms> geometry, Result* result,
    const __grid_constant__ Epilogue epilogue) {
  extern __shared__ char shared[];
  __shared__ Barriers<Tile> barriers;
  const Ring<Tile> ring{barriers, (fx2ait::shared_address(shared) + 1023) & ~1023u};
  const bool producer = threadIdx.x >= Tile::kConsumers;

  fx2ait::release_successor();
  if (threadIdx.x == Tile::kConsumers) {
    for (int i = 0; i < Terms; ++i) {
      fx2ait::tma_prefetch_map(sources.filters[i]);
      fx2ait::tma_prefetch_map(sources.images[i]);
    }
    barriers.init();
    if constexpr (Tile::kSplits > 1) {
      for (int i = 0; i < Tile::kExchanges; ++i) ring.sums(i).expect();
    }
  }
  __syncthreads();
  if constexpr (Tile::Cluster::kBlocks > 1) fx2ait::cluster_arrive();

  if (producer) {
    if constexpr (Tile::kHandsOver) fx2ait::release_registers<Tile::kProducerRegisters>();
    if constexpr (Tile::kShares) fx2ait::cluster_wait();  // copies go to the other blocks' barriers
    if (threadIdx.x / 32 == Tile::kConsumers / 32 && fx2ait::elect_thread()) {
      produce<Tile>(sources, operands, geometry, ring);
    }
    __syncwarp();
    // The one inside consume.
    if constexpr (Tile::Cluster::kBlocks > 1 && !Tile::kShares) fx2ait::cluster_wait();
  } else {
    if constexpr (Tile::kHandsOver) fx2ait::claim_registers<Tile::kConsumerRegisters>();
    consume<Tile, Fetched, Element>(geometry, ring, result, epilogue);
  }
}

/// One convolution: `input` is dense [images, height, width, channels]; `filters` are packed as
/// [kernel_height * kernel_width * channel blocks, out_channels, 64], channels padded with zeros
/// to blocks of 64. With `Tile::kChannelRows`, out_channels are padded to a multiple of 16; of each 16
/// the first 8 are the even ones and the last 8 the odd ones. Channels and out_channels are multiples of 8.
template <class Element>
struct ConvSource {
  const Element *input, *filters;
  fx2ait::ImageWindows windows;
};

/// Enqueues result = epilogue(the sum of conv2d(input, filters) over all sources).
template <class Tile, class Fetched, class Element, int Terms, class Result, class Epilogue>
void launch_conv2d_wgmma(
    Result* result, const ConvSource<Element> (&sources)[Terms], const Epilogue& epilogue, int out_height,
    int out_width, int out_channels, int multiprocessors, cudaStream_t stream) {
  ConvGeometry<Terms> geometry = {};
  geometry.pixels = sources[0].windows.images * out_height * out_width;
  geometry.out_channels = out_channels;
  geometry.out_width = out_width;
  geometry.out_plane = out_height * out_width;
  SourceMaps<Terms> source_maps;
  for (int i = 0; i < Terms; ++i) {
    const fx2ait::ImageWindows& w = sources[i].windows;
    const int channel_blocks = (w.channels + fx2ait::kTensorMapRow - 1) / fx2ait::kTensorMapRow;
    const int steps = channel_blocks * w.kernel_height * w.kernel_width;
    geometry.terms[i] = {
        w.stride_height, w.stride_width, w.padding_top, w.padding_left, w.kernel_width, w.dilation_height,
        w.dilation_width, channel_blocks, geometry.steps};
    geometry.steps += steps;
    source_maps.images[i] = fx2ait::encode_im2col_map(sources[i].input, w, Tile::kPixelPart);
    const int rows = Tile::kChannelRows ? (out_channels + 15) / 16 * 16 : out_channels;
    source_maps.filters[i] = fx2ait::encode_blocks_map(sources[i].filters, steps, rows, Tile::kFilterPart);
  }
  const auto operand_maps = Fetched::maps(epilogue, geometry.pixels, out_channels, Tile::kPixels);

  constexpr auto kernel = conv2d_wgmma<Tile, Fetched, Element, Terms, Result, Epilogue>;
  FX2AIT_CUDA_CHECK(
      cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, Tile::kSharedBytes));
  constexpr int kSharers = Tile::Cluster::kSharers;
  const int tiles = geometry.template tiles<Tile>();
  // Blocks that share tiles take one tile each; the others walk over tiles.
  const int walking = std::max(kSharers, multiprocessors * Tile::kResident / kSharers * kSharers);
  const int blocks = Tile::kSplits > 1 ? tiles * Tile::kSplits : std::min(tiles, walking);
  fx2ait::launch_dependent(
      kernel, dim3(static_cast<unsigned>(blocks)), Tile::kThreads, Tile::kSharedBytes, Tile::Cluster::kBlocks, stream,
      source_maps, operand_maps, geometry, result, epilogue);
}

}  // namespace fx2ait_conv
