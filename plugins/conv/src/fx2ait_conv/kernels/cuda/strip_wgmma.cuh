// strip_conv on Hopper's asynchronous tensor cores: while they multiply one band, the threads store
// the last one and bring the rows of the next.
//
// A core matrix is 8 rows of 16 bytes one after the other. Where the windows of neighbouring columns
// begin 16 bytes apart, that is how they lie in the patch, overlapping: the tensor cores read the
// matrix of windows out of it as if it had been built.
#pragma once

#include <cstdint>
#include <type_traits>

#include "fx2ait/cuda/wgmma.cuh"
#include "fx2ait_conv/strip_conv.cuh"

namespace fx2ait_conv {

/// Starts the products of a band.
template <class Shape, class Tile, class Element, class Block>
__device__ __forceinline__ void start_band(float (&sums)[Tile::band_rows][Tile::channels / 2], const Block& block) {
  constexpr uint32_t group = 8 * 16;  // bytes from 8 columns, or 8 channels, to the next
  const uint64_t pixels = fx2ait::wgmma_plain_descriptor(fx2ait::shared_address(block.patch), 16, group);
  const uint64_t weights =
      fx2ait::wgmma_plain_descriptor(fx2ait::shared_address(block.weights), Tile::weight_chunk_bytes, group);
  fx2ait::wgmma_fence();
#pragma unroll
  for (int y = 0; y < Tile::band_rows; ++y) {
#pragma unroll
    for (int r = 0; r < Shape::kernel_h; ++r) {
      const int row = y * Shape::stride_h + r * Shape::dilation_h;
      const uint32_t offset = static_cast<uint32_t>(block.ring[row / Tile::fresh]) / 16 +
                              static_cast<uint32_t>(row % Tile::fresh * Tile::row_bytes / 16);
#pragma unroll
      for (int step = 0; step < Tile::row_steps; ++step) {
        const int chunk = (r * Tile::row_steps + step) * 2;
        fx2ait::Wgmma<Element, Tile::channels>::multiply_add(
            sums[y], pixels + (offset + step * 2),
            weights + static_cast<uint32_t>(chunk * Tile::weight_chunk_bytes / 16), chunk > 0);
      }
    }
  }
  fx2ait::wgmma_commit();
}

/// As strip_conv. The tensor cores cannot mask what the padding of k reads, and zero times infinity is
/// no number: once such an element, or one too large for Element, has come, mma.sync takes over.
template <class Shape, class Window, class Tile, class Finish, class Source, class Element, class Result,
          class Epilogue>
__global__ void __launch_bounds__(Tile::threads, Tile::resident)
strip_wgmma(Result* result, const ImageView<Source> input, const Element* weight, const Epilogue epilogue,
            const StripExtent extent) {
  extern __shared__ __align__(128) unsigned char shared[];
  StripBlock<Shape, Window, Tile, Source, Element, Result> block(shared, input, extent);
  const StripLane lane = strip_lane<Shape, Tile>(block);
  block.load_weights(weight);

  KeptRows<Tile, Result> kept;
  int band = block.place.needs_rows_above ? -1 : 0;
  // Rows that threads wrote are read by the tensor cores, an asynchronous proxy.
  const auto meet = [&] {
    constexpr bool padded = Tile::real_k % 16 != 0;
    constexpr float largest = std::is_same_v<Element, __half> ? 65504.0f : 3.38e38f;
    fx2ait::fence_shared_for_wgmma();
    if constexpr (padded) return __syncthreads_or(!(block.peak <= largest)) != 0;
    __syncthreads();
    return false;
  };
  fx2ait::begin_kernel<Shape::dependent>();
  block.fill(band);
  fx2ait::copy_async_wait<0>();
  bool masked = meet();
  block.prefetch(band);
  block.prefetch(band + 1);

#pragma unroll 1
  for (; band < block.place.bands; ++band) {
    const auto meanwhile = [&] {
      if (band > 0) store_band<Shape, Window, Tile, Finish>(result, block, extent, band - 1);
      fx2ait::copy_async_wait<1>();
      __syncthreads();  // the last band was stored, the next rows have come
      block.bring(block.ring[Tile::blocks], band);
    };
    if (Tile::kept_rows > 0 && band < 0) {
      constexpr int first = Tile::kept_rows > 0 ? Tile::band_rows - Tile::kept_rows : 0;
      float sums[Tile::band_rows - first][Tile::channels / 2] = {};
      multiply_band<Shape, Tile, first, Element>(sums, block.ring, lane);
      finish_band<Shape, Window, Tile, first, false>(block, kept, sums, epilogue, extent, band);
      meanwhile();
    } else if (masked) {
      float sums[Tile::band_rows][Tile::channels / 2] = {};
      multiply_band<Shape, Tile, 0, Element>(sums, block.ring, lane);
      meanwhile();
      finish_band<Shape, Window, Tile, 0, true>(block, kept, sums, epilogue, extent, band);
    } else {
      float sums[Tile::band_rows][Tile::channels / 2];
      start_band<Shape, Tile, Element>(sums, block);
      meanwhile();
      fx2ait::wgmma_wait<0>();
#pragma unroll
      for (int y = 0; y < Tile::band_rows; ++y) fx2ait::wgmma_pin(sums[y]);
      finish_band<Shape, Window, Tile, 0, true>(block, kept, sums, epilogue, extent, band);
    }
    masked = meet() || masked;
    block.advance();
    block.prefetch(band + 2);
  }
  store_band<Shape, Window, Tile, Finish>(result, block, extent, band - 1);
}

template <class Shape, class Window, class Tile, class Finish, class Source, class Element, class Result,
          class Epilogue>
void launch_strip_wgmma(const char* name, Result* result, const ImageView<Source>& input, const Element* weight,
                        const Epilogue& epilogue, int64_t images, const StripExtent& extent, int strip_rows,
                        cudaStream_t stream) {
  launch_strips<Shape, Window, Tile>(strip_wgmma<Shape, Window, Tile, Finish, Source, Element, Result, Epilogue>, name,
                                     result, input, weight, epilogue, images, extent, strip_rows, stream);
}

}  // namespace fx2ait_conv
