// Convolution of few channels on Hopper's tensor cores, its result perhaps reduced over windows before it
// is stored.
//
// Of a block's two warpgroups one brings rows of the image and stores rows of the result; the other
// only multiplies and finishes. What a lane reads of a row goes from its registers to the tensor cores,
// for all rows of the convolution that cover it.
#pragma once

#include <cstdint>
#include <utility>

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

/// Where a block's two warpgroups meet: rows that have come, rows that are free again, a band that is
/// staged, and its place that is free again. Each thread of a side arrives once.
template <class Tile>
struct PlaneBarriers {
  uint32_t come, free, staged, stored;

  static constexpr int count = 2 * Tile::parts + 2;

  __device__ __forceinline__ explicit PlaneBarriers(const uint64_t (&barriers)[count])
      : come(fx2ait::shared_address(barriers)),
        free(come + Tile::parts * 8),
        staged(free + Tile::parts * 8),
        stored(staged + 8) {}

  /// By one thread, before the block meets.
  __device__ __forceinline__ void init() const {
    for (int i = 0; i < count; ++i) fx2ait::mbarrier_init(come + i * 8, Tile::threads);
    fx2ait::mbarrier_fence_init();
  }
  /// By each thread of a side: what it did before is done.
  static __device__ __forceinline__ void arrive(uint32_t barrier) { fx2ait::mbarrier_arrive(barrier); }
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
template <class Shape, class Window, class Tile, class Source, class Element, class Result>
struct PlaneBlock {
  unsigned char* weights;
  unsigned char* ring;
  unsigned char* raw;
  unsigned char* staging;
  int image, first_channel;
  StripPlace place;
  int first_band;  // -1 where the first band's windows reach over rows of an earlier strip
  PlaneImage<Shape, Tile, Source, Element> source;
  int offset;  // elements from a plane's beginning to the first window

  __device__ __forceinline__ PlaneBlock(unsigned char* shared, const ImageView<Source>& input,
                                        const StripExtent& extent)
      : weights(shared),
        ring(shared + Tile::weight_bytes),
        raw(ring + Tile::ring_bytes),
        staging(raw + Tile::template raw_bytes<Source>) {
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
  __device__ __forceinline__ void load_weights(const Element* weight, int thread) const {
    const auto* from = reinterpret_cast<const unsigned char*>(weight) + int64_t{blockIdx.y} * Tile::weight_bytes;
    for (int i = thread * 16; i < Tile::weight_bytes; i += 2 * Tile::threads * 16) {
      fx2ait::copy_async_16(fx2ait::shared_address(weights + i), from + i, true);
    }
    fx2ait::copy_async_commit();
  }

  /// Brings the rows that the first band reads to the beginning of the ring; all warps do it together.
  /// Rows are counted from those that band 0 begins with.
  __device__ __forceinline__ void fill(int warp) const {
    constexpr int skipped = (Tile::band_rows - Tile::kept_rows) * Shape::stride_h;  // of the band before band 0
    const int first = first_band * Tile::fresh, begin = first + (first_band < 0 ? skipped : 0);
    source.template prefetch<2 * warps>(raw, begin, end_of(first_band), warp);
    source.template finish<2 * warps>(ring + (begin - first) * Tile::row_bytes, raw, begin, end_of(first_band), warp);
  }
  /// Starts bringing the rows that are new to `band`, if there is one.
  __device__ __forceinline__ void prefetch(int band, int warp) const {
    if (band < place.bands) source.template prefetch<warps>(raw, end_of(band - 1), end_of(band), warp);
  }
  /// Brings those rows to `turn` of the ring.
  __device__ __forceinline__ void bring(int band, int turn, int warp) const {
    source.template finish<warps>(ring + turn * Tile::part_bytes, raw, end_of(band - 1), end_of(band), warp);
  }

 private:
  static constexpr int warps = Tile::threads / 32;  // of a warpgroup

  /// Behind the last row that is brought for `band`; behind its part, or where no band reads further.
  __device__ __forceinline__ int end_of(int band) const {
    return min((band + Tile::blocks) * Tile::fresh, (place.bands - 1) * Tile::fresh + Tile::needed);
  }
};

/// What the warpgroup does that brings and stores; the rows of the first band have come.
template <class Shape, class Window, class Tile, class Finish, class Block, class Result>
__device__ __forceinline__ void move_strip(Result* result, const Block& block, const PlaneBarriers<Tile>& barriers,
                                           const StripExtent& extent, int thread) {
  const int warp = thread / 32;
  PlaneTurn<Tile> turn;
  for (; turn.part < Tile::blocks; turn.advance()) barriers.arrive(barriers.come + turn.part * 8);
  uint32_t staged = 0;
  block.prefetch(block.first_band + 1, warp);
#pragma unroll 1
  for (int band = block.first_band; band <= block.place.bands; ++band) {
    if (band + 1 < block.place.bands) {
      fx2ait::mbarrier_wait(barriers.free + turn.part * 8, turn.parity ^ 1);
      block.bring(band + 1, turn.part, warp);
      barriers.arrive(barriers.come + turn.part * 8);
      turn.advance();
      block.prefetch(band + 2, warp);
    }
    if (band > 0) {
      fx2ait::mbarrier_wait(barriers.staged, staged);
      staged ^= 1;
      store_band<Shape, Window, Tile, Finish>(result, block, extent, band - 1, thread);
      barriers.arrive(barriers.stored);
    }
  }
}

/// The strip as the warpgroup sees it that multiplies.
template <class Shape, class Window, class Tile, class Source, class Element, class Result, class Epilogue>
struct PlaneMultiplier {
  using Block = PlaneBlock<Shape, Window, Tile, Source, Element, Result>;
  const Block& block;
  const PlaneBarriers<Tile>& barriers;
  const Epilogue& epilogue;
  const StripExtent& extent;
  PlaneLane<Shape, Tile> lane;
  uint64_t weights;
  KeptRows<Tile, Result> kept;
  int ring[Tile::parts];  // offsets of the parts that the present band reads, then of the free one
  PlaneTurn<Tile> oldest, newest;
  uint32_t parity = 1;  // of the bands stored

  __device__ __forceinline__ PlaneMultiplier(const Block& block, const PlaneBarriers<Tile>& barriers,
                                             const Epilogue& epilogue, const StripExtent& extent)
      : block(block), barriers(barriers), epilogue(epilogue), extent(extent), lane(block.ring, block.offset) {
    weights = fx2ait::wgmma_plain_descriptor(fx2ait::shared_address(block.weights), Tile::channels * 16, 8 * 16);
#pragma unroll
    for (int i = 0; i < Tile::parts; ++i) ring[i] = i * Tile::part_bytes;
    for (; newest.part < Tile::blocks - 1; newest.advance()) wait_for_newest();
  }

  /// Rows First.. of a band.
  template <int First, bool Staged>
  __device__ __forceinline__ void run(int band) {
    float sums[Tile::band_rows - First][Tile::channels / 2];
    PlaneQuads quads;
    wait_for_newest();
    multiply_groups<Shape, Tile, Element, First, -plane_groups_ahead>(
        sums, quads, ring, lane, weights, std::make_integer_sequence<int, plane_group>());
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
  const PlaneBlock<Shape, Window, Tile, Source, Element, Result> block(shared, input, extent);
  const PlaneBarriers<Tile> barriers(meetings);
  const int thread = static_cast<int>(threadIdx.x);
  const bool moves = thread >= Tile::threads;
  if (thread == 0) barriers.init();
  block.load_weights(weight, thread);
  fx2ait::begin_kernel<Shape::dependent>();
  block.fill(thread / 32);
  fx2ait::copy_async_wait<0>();
  fx2ait::fence_shared_for_wgmma();
  __syncthreads();  // weights and rows have come, the barriers are there

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
