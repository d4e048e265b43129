// Convolution of few channels on Hopper's tensor cores, its result perhaps reduced over windows before it
// is stored.
//
// Of a block's two warpgroups one brings rows of the image and stores rows of the result; the other
// only multiplies and finishes. Rows lie in shared memory as they come; what a lane reads of a row
// goes, converted, from its registers to the tensor cores, for all rows of the convolution that cover it.
#pragma once

#include <cstdint>

#include "fx2ait/cuda/external.cuh"
#include "fx2ait/cuda/mbarrier.cuh"
#include "fx2ait/cuda/mma.cuh"
#include "fx2ait/cuda/wgmma.cuh"
#include "fx2ait_conv/plane_products.cuh"
#include "fx2ait_conv/plane_rows.cuh"
#include "fx2ait_conv/plane_tile.cuh"
#include "fx2ait_conv/strip_launch.cuh"
#include "fx2ait_conv/strip_windows.cuh"

namespace fx2ait_conv {

/// Where warps of a block meet: rows that have come, rows that are free again, the weights that have come,
/// a band that is staged, and its place that is free again. Each of a side's four warps arrives once.
template <class Tile>
struct PlaneBarriers {
  uint32_t come, free, weights, staged, stored;

  static constexpr int count = 2 * Tile::parts + 3;

  __device__ __forceinline__ explicit PlaneBarriers(const uint64_t (&barriers)[count])
      : come(fx2ait::shared_address(barriers)),
        free(come + Tile::parts * 8),
        weights(free + Tile::parts * 8),
        staged(weights + 8),
        stored(staged + 8) {}

  /// By one thread, before the block meets.
  __device__ __forceinline__ void init() const {
    for (int i = 0; i < count; ++i) fx2ait::mbarrier_init(come + i * 8, Tile::threads / 32);
    fx2ait::mbarrier_fence_init();
  }
  /// By all threads of a warp: what they did before is done.
  static __device__ __forceinline__ void arrive(uint32_t barrier) {
    __syncwarp();
    if (threadIdx.x % 32 == 0) fx2ait::mbarrier_arrive(barrier);
  }
};

/// One of the ring's parts, and how often (modulo 2) it was the turn of the first.
template <class Tile>
struct PlaneTurn {
  int part = 0;
  uint32_t parity = 0;

  __device__ __forceinline__ void advance() {
    if (++part == Tile::parts) part = 0, parity ^= 1;
  }
};

/// A block's part of the work and of shared memory.
template <class Shape, class Window, class Tile, class Source, class Result>
struct PlaneBlock {
  unsigned char* weights;
  unsigned char* ring;
  unsigned char* staging;
  int image, first_channel;
  StripPlace place;
  int first_band;  // -1 where the first band's windows reach over rows of an earlier strip
  PlaneImage<Shape, Tile, Source> source;
  int offset;  // elements from a plane's beginning to the first window

  __device__ __forceinline__ PlaneBlock(unsigned char* shared, const ImageView<Source>& input,
                                        const StripExtent& extent)
      : weights(shared),
        ring(shared + Tile::weight_bytes),
        staging(ring + Tile::template ring_bytes<Source>) {
    const int block = static_cast<int>(blockIdx.x);
    image = block / (extent.splits * extent.strips);
    first_channel = static_cast<int>(blockIdx.y) * Tile::channels;
    place = strip_place<Window, Tile>(extent, block / extent.splits % extent.strips, block % extent.splits);
    first_band = place.needs_rows_above ? -1 : 0;
    const int first_column = place.first_column * Shape::stride_w - Shape::pad_left - Tile::shift;
    offset = first_column & 3;
    source = {input, extent.height, extent.width, 0, first_column - offset, offset + Tile::width_under(place.columns)};
    source.view.data += image * input.image_stride;
    source.first_row = place.first_row * Shape::stride_h - Shape::pad_top;
  }

  /// Starts copying the weights of this block's channels.
  template <class Element>
  __device__ __forceinline__ void load_weights(const Element* weight, int thread) const {
    const auto* from = reinterpret_cast<const unsigned char*>(weight) + int64_t{blockIdx.y} * Tile::weight_bytes;
    for (int i = thread * 16; i < Tile::weight_bytes; i += Tile::threads * 16) {
      fx2ait::copy_async_16(fx2ait::shared_address(weights + i), from + i, true);
    }
    fx2ait::copy_async_commit();
  }

  /// Starts bringing the rows of part `part` of the strip's rows that some band reads, as one group of
  /// asynchronous copies; to `turn` of the ring.
  __device__ __forceinline__ void bring(int part, int turn, int thread) const {
    constexpr int skipped = (Tile::band_rows - Tile::kept_rows) * Shape::stride_h;  // of the band before the first
    const int begin = part * Tile::fresh + (part < 0 ? skipped : 0);
    const int end = min((part + 1) * Tile::fresh, (place.bands - 1) * Tile::fresh + Tile::needed);
    source.bring(ring + turn * Tile::template part_bytes<Source> +
                     (begin - part * Tile::fresh) * Tile::template row_bytes<Source>,
                 begin, end, thread);
    fx2ait::copy_async_commit();
  }
};

/// What the warpgroup does that brings and stores. Parts of the rows are counted from those that the first
/// band begins with; band b, counted from that band, reads parts b to b + Tile::blocks - 1.
template <class Shape, class Window, class Tile, class Finish, class Block, class Result>
__device__ __forceinline__ void move_strip(Result* result, const Block& block, const PlaneBarriers<Tile>& barriers,
                                           const StripExtent& extent, int thread) {
  const int parts = block.place.bands - block.first_band + Tile::blocks - 1;
  PlaneTurn<Tile> come, next;
  uint32_t staged = 0;
#pragma unroll 1
  for (int part = 0; part < parts + 2; ++part) {
    if (part >= Tile::blocks && part <= parts) {  // all that the next band reads
      fx2ait::copy_async_wait<0>();
      for (; come.part != next.part; come.advance()) barriers.arrive(barriers.come + come.part * 8);
    }
    if (part < parts) {
      fx2ait::mbarrier_wait(barriers.free + next.part * 8, next.parity ^ 1);
      block.bring(block.first_band + part, next.part, thread);
      next.advance();
    }
    const int band = block.first_band + part - Tile::blocks - 1;
    if (band >= 0) {
      fx2ait::mbarrier_wait(barriers.staged, staged);
      staged ^= 1;
      store_band<Shape, Window, Tile, Finish>(result, block, extent, band, thread);
      barriers.arrive(barriers.stored);
    }
  }
}

/// The strip as the warpgroup sees it that multiplies.
template <class Shape, class Window, class Tile, class Source, class Element, class Result, class Epilogue>
struct PlaneMultiplier {
  using Block = PlaneBlock<Shape, Window, Tile, Source, Result>;
  const Block& block;
  const PlaneBarriers<Tile>& barriers;
  const Epilogue& epilogue;
  const StripExtent& extent;
  PlaneLane<Shape, Tile, Source, Element> lane;
  uint64_t weights;
  KeptRows<Tile, Result> kept;
  int ring[Tile::parts];  // offsets of the parts that the present band reads, then of the free one
  PlaneTurn<Tile> oldest, newest;
  uint32_t parity = 1;  // of the bands stored

  /// Waits for the weights, whose copies have been started.
  __device__ __forceinline__ PlaneMultiplier(const Block& block, const PlaneBarriers<Tile>& barriers,
                                             const Epilogue& epilogue, const StripExtent& extent)
      : block(block), barriers(barriers), epilogue(epilogue), extent(extent), lane(block.ring, block.offset) {
    weights = fx2ait::wgmma_plain_descriptor(fx2ait::shared_address(block.weights), Tile::channels * 16, 8 * 16);
#pragma unroll
    for (int i = 0; i < Tile::parts; ++i) ring[i] = i * Tile::template part_bytes<Source>;
    fx2ait::copy_async_wait<0>();
    fx2ait::fence_shared_for_wgmma();
    barriers.arrive(barriers.weights);
    fx2ait::mbarrier_wait(barriers.weights, 0);
    for (; newest.part < Tile::blocks - 1; newest.advance()) wait_for_newest();
  }

  /// Rows First.. of a band.
  template <int First, bool Staged>
  __device__ __forceinline__ void run(int band) {
    float sums[Tile::band_rows - First][Tile::channels / 2];
    uint32_t quads[2][plane_quads_at_once][4];
    wait_for_newest();
    multiply_groups<Shape, Tile, Element, First, 0>(sums, quads, ring, lane, Tile::template row_bytes<Source>, weights,
                                                    std::make_integer_sequence<int, plane_quads_at_once>());
    barriers.arrive(barriers.free + oldest.part * 8);
    const BandOperands<Shape, Tile, Epilogue> operands(epilogue, block.first_channel);
    fx2ait::wgmma_wait<0>();
#pragma unroll
    for (int y = 0; y < Tile::band_rows - First; ++y) fx2ait::wgmma_pin(sums[y]);
    finish<First, Staged>(sums, operands, band);
    turn();
  }

 private:
  __device__ __forceinline__ void wait_for_newest() const {
    fx2ait::mbarrier_wait(barriers.come + newest.part * 8, newest.parity);
  }

  template <int First, bool Staged>
  __device__ __forceinline__ void finish(const float (&sums)[Tile::band_rows - First][Tile::channels / 2],
                                         const BandOperands<Shape, Tile, Epilogue>& operands, int band) {
    if constexpr (Staged) {
      fx2ait::mbarrier_wait(barriers.stored, parity);
      parity ^= 1;
    }
    const int first_row = block.place.first_row + band * Tile::band_rows;
    if (first_row + First >= 0 && first_row + Tile::band_rows <= extent.conv_height) {
      finish_band<Shape, Window, Tile, First, Staged, true>(block, kept, sums, operands, epilogue, extent, band);
    } else {
      finish_band<Shape, Window, Tile, First, Staged, false>(block, kept, sums, operands, epilogue, extent, band);
    }
    if constexpr (Staged) barriers.arrive(barriers.staged);
  }

  /// What the next band reads first comes first.
  __device__ __forceinline__ void turn() {
    const int recycled = ring[0];
#pragma unroll
    for (int i = 0; i + 1 < Tile::parts; ++i) ring[i] = ring[i + 1];
    ring[Tile::parts - 1] = recycled;
    oldest.advance();
    newest.advance();
  }
};

/// Grid: (column splits x strips x images; channel tiles). Weights: [channel tile][unit of k][channel][8].
template <class Shape, class Window, class Tile, class Finish, class Source, class Element, class Result,
          class Epilogue>
__global__ void __launch_bounds__(2 * Tile::threads, Tile::resident)
plane_conv(Result* result, const ImageView<Source> input, const Element* weight, const Epilogue epilogue,
           const StripExtent extent) {
  extern __shared__ __align__(128) unsigned char shared[];
  __shared__ uint64_t meetings[PlaneBarriers<Tile>::count];
  const PlaneBlock<Shape, Window, Tile, Source, Result> block(shared, input, extent);
  const PlaneBarriers<Tile> barriers(meetings);
  const int thread = static_cast<int>(threadIdx.x);
  const bool moves = thread >= Tile::threads;
  if (thread == 0) barriers.init();
  if (!moves) block.load_weights(weight, thread);
  __syncthreads();  // the barriers are there
  fx2ait::begin_kernel<Shape::dependent>();

  if (moves) {
    if constexpr (Tile::resident == 2) fx2ait::release_registers<Tile::moving_registers>();
    move_strip<Shape, Window, Tile, Finish>(result, block, barriers, extent, thread - Tile::threads);
  } else {
    if constexpr (Tile::resident == 2) fx2ait::claim_registers<Tile::multiplying_registers>();
    PlaneMultiplier<Shape, Window, Tile, Source, Element, Result, Epilogue> multiplier(block, barriers, epilogue,
                                                                                       extent);
    if constexpr (Tile::kept_rows > 0) {
      if (block.first_band < 0) multiplier.template run<Tile::band_rows - Tile::kept_rows, false>(-1);
    }
#pragma unroll 1
    for (int band = 0; band < block.place.bands; ++band) multiplier.template run<0, true>(band);
  }
}

/// Launches plane_conv over `images` images: strips of `strip_rows` rows, a multiple of a band's.
template <class Shape, class Window, class Tile, class Finish, class Source, class Element, class Result,
          class Epilogue>
void launch_plane_conv(const char* name, Result* result, const ImageView<Source>& input, const Element* weight,
                       const Epilogue& epilogue, int64_t images, const StripExtent& extent, int strip_rows,
                       cudaStream_t stream) {
  launch_strips<Shape, Window, Tile>(plane_conv<Shape, Window, Tile, Finish, Source, Element, Result, Epilogue>,
                                     2 * Tile::threads, name, result, input, weight, epilogue, images, extent,
                                     strip_rows, stream);
}

}  // namespace fx2ait_conv
