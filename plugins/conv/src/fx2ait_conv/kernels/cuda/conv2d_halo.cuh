// 2-d convolution of stride 1 on Hopper's warpgroup tensor cores (sm_90a), for few input channels.
//
// A tile is `Height` rows of 8 pixels of one image. One copy brings all the pixels that its windows
// touch, the tile and a halo around it, into shared memory, one row of channels per pixel. Every
// filter tap reads this same box, shifted by whole pixels: rows of a matrix operand may begin
// anywhere in it, and its groups of 8 rows, the 8 pixels of an image row, lie one pitch of the box
// apart. Filters of all taps stay in shared memory while a block walks over the tiles.
//
// Filters are the rows of the products and pixels their columns, because an instruction has 64 rows
// and up to 256 columns: 64 channels x 224 pixels need half the reads of shared memory of 64 pixels
// x 64 channels.
//
//   producer warp     one thread lets the copy engine fetch the filters, then a ring of boxes
//   consumer warps    one or two warpgroups multiply into registers and finish tiles
#pragma once

#include <cuda_runtime.h>

#include <algorithm>
#include <cstdint>

#include "fx2ait/cuda/check.h"
#include "fx2ait/cuda/dependent_launch.cuh"
#include "fx2ait/cuda/mbarrier.cuh"
#include "fx2ait/cuda/tensor_map.h"
#include "fx2ait/cuda/tma.cuh"
#include "fx2ait/cuda/wgmma.cuh"
#include "fx2ait_conv/halo_tile.cuh"
#include "fx2ait_conv/pair_epilogue.cuh"

namespace fx2ait_conv {

/// Fetches the filters, which are constants, before the predecessor kernel has ended, and then the
/// boxes and operands of all tiles of the block; run by one thread.
template <class Tile>
struct HaloProducer {
  const CUtensorMap &pixels, &filters, &operand;
  const HaloGeometry& g;
  HaloBarriers<Tile>& barriers;
  const HaloMemory<Tile>& memory;
  int channel = static_cast<int>(blockIdx.x) % g.slices * Tile::kChannels;

  __device__ void run() {
    load_filters();
    fx2ait::wait_for_predecessor();
    constexpr int kLag = Tile::kOperandLag;
    const int first = static_cast<int>(blockIdx.x) / g.slices, stride = static_cast<int>(gridDim.x) / g.slices;
    const int count = (g.tiles() - first + stride - 1) / stride;
    HaloRing<Tile::kStages> position;
    HaloRing<Tile::kStaged> operand_position;
    for (int i = 0; i < count + (Tile::kStaged > 0 ? kLag : 0); ++i) {
      if (i < count) load_boxes(HaloPlace<Tile>(first + i * stride, g), position);
      if (Tile::kStaged > 0 && i >= kLag) {
        load_operand(HaloPlace<Tile>(first + (i - kLag) * stride, g), operand_position);
      }
    }
  }

  __device__ void load_filters() {
    constexpr int kBlocks = Tile::Channels::kBlocks;
    for (int row = 0; row < Tile::kFilterRows; ++row) {
      const uint32_t full = fx2ait::shared_address(&barriers.filters[row]);
      fx2ait::mbarrier_arrive_expecting(full, Tile::Window::kWidth * Tile::kSlices * Tile::kFilterBytes);
      for (int step = row * Tile::Window::kWidth; step < (row + 1) * Tile::Window::kWidth; ++step) {
        const int block = step / Tile::Window::kTaps, tap = step - block * Tile::Window::kTaps;
        for (int slice = 0; slice < Tile::kSlices; ++slice) {
          fx2ait::tma_load_3d(
              memory.filter(slice, step), filters, full, 0, channel + 64 * slice, tap * kBlocks + block);
        }
      }
    }
  }

  __device__ void load_boxes(const HaloPlace<Tile>& place, HaloRing<Tile::kStages>& position) {
    for (int block = 0; block < Tile::Channels::kBlocks; ++block) {
      // A stage is free again once its previous content was consumed; at first it is free.
      fx2ait::mbarrier_wait(fx2ait::shared_address(&barriers.empty[position.stage]), position.parity ^ 1);
      const uint32_t full = fx2ait::shared_address(&barriers.full[position.stage]);
      fx2ait::mbarrier_arrive_expecting(full, Tile::kBoxBytes);
      fx2ait::tma_load_4d(
          memory.box(position.stage), pixels, full, block * Tile::Channels::kRow, place.column - g.padding_left,
          place.row - g.padding_top, place.image);
      position.advance();
    }
  }

  __device__ void load_operand(const HaloPlace<Tile>& place, HaloRing<Tile::kStaged>& position) {
    fx2ait::mbarrier_wait(fx2ait::shared_address(&barriers.operand_empty[position.stage]), position.parity ^ 1);
    const uint32_t full = fx2ait::shared_address(&barriers.operand_full[position.stage]);
    fx2ait::mbarrier_arrive_expecting(full, Tile::kSlices * Tile::kOperandBytes);
    for (int slice = 0; slice < Tile::kSlices; ++slice) {
      fx2ait::tma_load_4d(
          memory.operand(position.stage, slice), operand, full, channel + 64 * slice, place.column, place.row,
          place.image);
    }
    position.advance();
  }
};

/// Starts the products of all taps with one box.
///
/// @param block            which input channels the box holds
/// @param await_filters    whether filters may still be on their way
template <class Tile, class Element>
__device__ __forceinline__ void multiply_halo(
    float (&sums)[4 * Tile::kHeight], int block, int slice, uint32_t box, const HaloMemory<Tile>& memory,
    HaloBarriers<Tile>& barriers, bool await_filters) {
  using Window = typename Tile::Window;
  using Product = fx2ait::Wgmma<Element, 8 * Tile::kHeight>;
  constexpr int kRowBytes = Tile::Channels::kRowBytes, kPitch = Tile::kBoxWidth * kRowBytes;
  int row = block * Window::kHeight;
  uint64_t filters = fx2ait::wgmma_rows<kRowBytes>(memory.filter(slice, row * Window::kWidth), 8 * kRowBytes);
  uint64_t pixels = fx2ait::wgmma_rows<kRowBytes>(box, kPitch);
#pragma unroll 1
  for (int r = 0; r < Window::kHeight; ++r, ++row) {
    if (await_filters) fx2ait::mbarrier_wait(fx2ait::shared_address(&barriers.filters[row]), 0);
    fx2ait::wgmma_fence();  // after the branch, or the compiler waits for each product
#pragma unroll
    for (int s = 0; s < Window::kWidth; ++s) {
#pragma unroll
      for (int k = 0; k < Tile::Channels::kDepth; ++k) {  // descriptors count 16 bytes
        Product::multiply_add(
            sums, filters + s * (Tile::kFilterBytes / 16) + 2 * k,
            pixels + s * (Window::kDilationWidth * kRowBytes / 16) + 2 * k, (row | s | k) != 0);
      }
    }
    fx2ait::wgmma_commit();
    filters += Window::kWidth * (Tile::kFilterBytes / 16);
    pixels += Window::kDilationHeight * (kPitch / 16);
  }
}

/// What finishes a tile's 64 channels from `channel` on.
template <class Tile, class Result, class Epilogue>
__device__ __forceinline__ PairFinish<Tile::kHeight, ImageRows, Result, Epilogue> finish_halo(
    const HaloPlace<Tile>& place, int channel, const HaloGeometry& g) {
  const PairPlace mine;
  const int c = channel + mine.channel, x = place.column + mine.pixel;
  const bool inside = c < g.out_channels;
  const int64_t line = static_cast<int64_t>(place.image) * g.out_height + place.row;
  const int64_t first = (line * g.out_width + min(x, g.out_width - 1)) * g.out_channels + (inside ? c : 0);
  return {
      first, inside ? c : 0, g.out_channels, g.out_width * g.out_channels,
      ImageRows{inside ? g.out_height - place.row : 0, g.out_width - x}};
}

/// Computes and stores all tiles of the block.
template <class Tile, class Element, class Result, class Epilogue, class Operand>
__device__ __forceinline__ void consume_halos(
    const HaloGeometry& g, HaloBarriers<Tile>& barriers, const HaloMemory<Tile>& memory, Result* __restrict__ result,
    const Epilogue& epilogue) {
  constexpr int kTeams = Tile::kTeams, kBlocks = Tile::Channels::kBlocks;
  // The same in all threads of a warp, which lets the compiler keep descriptors in uniform registers.
  const int group = __shfl_sync(0xffffffffu, static_cast<int>(threadIdx.x) / 128, 0);
  const int team = kTeams > 1 ? group : 0, slice = kTeams > 1 ? 0 : group;
  const int channel = static_cast<int>(blockIdx.x) % g.slices * Tile::kChannels + 64 * slice;
  const int tiles = g.tiles(), stride = static_cast<int>(gridDim.x) / g.slices;
  const auto release = [&](int stage) {
    if (threadIdx.x % 32 == 0) fx2ait::mbarrier_arrive(fx2ait::shared_address(&barriers.empty[stage]));
  };

  fx2ait::wait_for_predecessor();  // before operands are read or results written
  float sums[4 * Tile::kHeight];
  int turns = 0;
  for (int tile = static_cast<int>(blockIdx.x) / g.slices + team * stride; tile < tiles;
       tile += kTeams * stride, ++turns) {
    const HaloPlace<Tile> place(tile, g);
    auto finish = finish_halo<Tile, Result, Epilogue>(place, channel, g);
    if constexpr (Tile::kStaged == 0) finish.load(epilogue);

    // Teams take turns at the tensor cores, so that one multiplies while the other finishes.
    HaloRing<Tile::kStages> position((turns * kTeams + team) * kBlocks);
    if (kTeams > 1 && (team > 0 || turns > 0)) {
      fx2ait::mbarrier_wait(fx2ait::shared_address(&barriers.turn[team]), (turns - (team == 0)) & 1);
    }
    int previous = 0;
#pragma unroll 1
    for (int block = 0; block < kBlocks; ++block) {
      fx2ait::mbarrier_wait(fx2ait::shared_address(&barriers.full[position.stage]), position.parity);
      multiply_halo<Tile, Element>(sums, block, slice, memory.box(position.stage), memory, barriers, turns == 0);
      if (block > 0) {
        fx2ait::wgmma_wait<Tile::Window::kHeight>();  // a group for each row of the filter
        release(previous);
      }
      previous = position.stage;
      position.advance();
    }
    if (kTeams > 1 && threadIdx.x % 32 == 0) {
      fx2ait::mbarrier_arrive(fx2ait::shared_address(&barriers.turn[(team + 1) % kTeams]));
    }
    fx2ait::wgmma_wait<0>();
    release(previous);
    if constexpr (Tile::kStaged > 0) {
      const HaloRing<Tile::kStaged> place(turns * kTeams + team);
      fx2ait::mbarrier_wait(fx2ait::shared_address(&barriers.operand_full[place.stage]), place.parity);
      finish.load_staged(Operand::from(epilogue, memory.operand(place.stage, slice)));
      fx2ait::copy_engine_fence();
      __syncwarp();
      if (threadIdx.x % 32 == 0) {
        fx2ait::mbarrier_arrive(fx2ait::shared_address(&barriers.operand_empty[place.stage]));
      }
    }
    fx2ait::wgmma_pin(sums);
    finish.store(sums, result, epilogue);
  }
}

template <class Tile, class Element, class Result, class Epilogue, class Operand>
__global__ void __launch_bounds__(Tile::kThreads, Tile::kResident) conv2d_halo(
    const __grid_constant__ CUtensorMap pixels, const __grid_constant__ CUtensorMap filters,
    const __grid_constant__ CUtensorMap operand, const __grid_constant__ HaloGeometry geometry,
    Result* __restrict__ result, const __grid_constant__ Epilogue epilogue) {
  extern __shared__ char shared[];
  __shared__ HaloBarriers<Tile> barriers;
  const HaloMemory<Tile> memory((fx2ait::shared_address(shared) + 1023) & ~1023u);
  const bool producer = threadIdx.x >= Tile::kConsumers;

  fx2ait::release_successor();
  if (threadIdx.x == Tile::kConsumers) {
    fx2ait::tma_prefetch_map(filters);
    fx2ait::tma_prefetch_map(pixels);
    if constexpr (Tile::kStaged > 0) fx2ait::tma_prefetch_map(operand);
    barriers.init();
  }
  __syncthreads();

  if (producer) {
    if constexpr (Tile::kHandsOver) fx2ait::release_registers<Tile::kProducerRegisters>();
    if (threadIdx.x == Tile::kConsumers) {
      HaloProducer<Tile>{pixels, filters, operand, geometry, barriers, memory}.run();
    }
  } else {
    if constexpr (Tile::kHandsOver) fx2ait::claim_registers<Tile::kConsumerRegisters>();
    consume_halos<Tile, Element, Result, Epilogue, Operand>(geometry, barriers, memory, result, epilogue);
  }
}

/// A convolution of stride 1 over dense images [images, height, width, channels].
struct HaloProblem {
  int images, height, width, channels;
  int out_height, out_width, out_channels;
  int padding_top, padding_left;
};

/// No operand of the epilogue is fetched ahead.
struct NoHaloOperand {};

/// Enqueues result = epilogue(conv2d(input, filters)).
///
/// `filters` are packed as [taps * channel blocks, filter rows, row], zeros where there are no
/// channels. The rows are the out_channels padded to a multiple of 16; of each 16, the first 8 are
/// the even channels and the last 8 the odd ones. channels and out_channels are multiples of 8.
///
/// With `Tile::kStaged`, `Operand::of(epilogue)` is the one operand of the epilogue that is laid out
/// as the result, of a two-byte type, and `Operand::from(epilogue, address)` is an epilogue that reads
/// it in shared memory.
template <class Tile, class Operand, class Element, class Result, class Epilogue>
void launch_conv2d_halo(
    Result* result, const Element* input, const Element* filters, const Epilogue& epilogue, const HaloProblem& p,
    int multiprocessors, cudaStream_t stream) {
  const auto parts = [](int count, int size) { return (count + size - 1) / size; };
  const HaloGeometry geometry{
      p.images, p.out_height, p.out_width, p.out_channels, p.padding_top, p.padding_left,
      parts(p.out_height, Tile::kHeight), parts(p.out_width, Tile::kWidth), parts(p.out_channels, Tile::kChannels)};
  constexpr int kRow = Tile::Channels::kRow;
  const CUtensorMap pixel_map = fx2ait::encode_pixels_map<kRow>(
      input, p.images, p.height, p.width, p.channels, Tile::kBoxHeight, Tile::kBoxWidth);
  const CUtensorMap filter_map =
      fx2ait::encode_blocks_map<kRow>(filters, Tile::kSteps, parts(p.out_channels, 16) * 16, 64);
  CUtensorMap operand_map = {};
  if constexpr (Tile::kStaged > 0) {
    operand_map = fx2ait::encode_pixels_map(
        Operand::of(epilogue), p.images, p.out_height, p.out_width, p.out_channels, Tile::kHeight, Tile::kWidth);
  }

  constexpr auto kernel = conv2d_halo<Tile, Element, Result, Epilogue, Operand>;
  FX2AIT_CUDA_CHECK(
      cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, Tile::kSharedBytes));
  // Each block keeps the filters of one slice of channels and walks over the tiles.
  const int walkers = std::max(1, multiprocessors * Tile::kResident / geometry.slices);
  const int blocks = std::min(geometry.tiles(), walkers) * geometry.slices;
  fx2ait::launch_dependent(
      kernel, dim3(static_cast<unsigned>(blocks)), Tile::kThreads, Tile::kSharedBytes, 1, stream, pixel_map,
      filter_map, operand_map, geometry, result, epilogue);
}

}  // namespace fx2ait_conv
