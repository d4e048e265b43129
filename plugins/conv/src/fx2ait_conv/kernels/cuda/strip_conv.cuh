// Convolution of few channels on mma.sync, its result perhaps reduced over windows before it is stored.
//
// The matrix of windows is never built: 16 bytes of the input in shared memory are 8 neighbours in k
// for one pixel, and ldmatrix takes them from wherever they lie. A warp computes the same columns
// of all rows of a band, so what it reads of one input row serves every result row that covers it,
// and windows are reduced vertically in registers, horizontally through shared memory.
#pragma once

#include <cstdint>

#include "fx2ait/cuda/external.cuh"
#include "fx2ait/cuda/mma.cuh"
#include "fx2ait_conv/strip_block.cuh"
#include "fx2ait_conv/strip_launch.cuh"

namespace fx2ait_conv {

/// Shared-memory addresses that a lane hands to ldmatrix, of its row of the windows and of the weights.
struct StripLane {
  uint32_t patch, weights;
};

template <class Shape, class Tile, class Block>
__device__ __forceinline__ StripLane strip_lane(const Block& block) {
  const int lane = static_cast<int>(threadIdx.x) % 32, warp = static_cast<int>(threadIdx.x) / 32;
  const int start = (warp * 16 + lane / 8 % 2 * 8 + lane % 8) * Shape::stride_w;  // of this lane's window
  return {fx2ait::shared_address(block.patch) + start % Tile::unit / Tile::residue * Tile::copy_bytes +
              start / Tile::unit * 16 + lane / 16 * Tile::chunk_bytes,
          fx2ait::shared_address(block.weights) + lane / 8 % 2 * Tile::weight_chunk_bytes +
              (lane / 16 * 8 + lane % 8) * 16};
}

/// The matrix products of rows First.. of a band; `ring` as in StripBlock.
template <class Shape, class Tile, int First, class Element>
__device__ __forceinline__ void multiply_band(float (&sums)[Tile::band_rows - First][Tile::channels / 2],
                                              const int (&ring)[Tile::blocks], const StripLane& lane) {
  constexpr int rows = Tile::band_rows - First;
  constexpr int last_k = Tile::real_k - (Tile::row_steps - 1) * 16;  // real elements of a row's last step
  const auto mask = [](int element) {
    const int first = element + static_cast<int>(threadIdx.x) % 4 * 2;
    return (first < last_k ? 0x0000ffffu : 0u) | (first + 1 < last_k ? 0xffff0000u : 0u);
  };
  const uint32_t near_mask = mask(0), far_mask = mask(8);
#pragma unroll(Tile::padded_k / 16 * rows* Tile::channels <= 4096 ? Tile::row_steps : 1)
  for (int step = 0; step < Tile::row_steps; ++step) {
    // Rows of the kernel in the order in which each result row reads what the one below it has just read.
#pragma unroll
    for (int phase = 0; phase < Shape::stride_h; ++phase) {
      uint32_t a[rows][4];
#pragma unroll
      for (int r = phase; r < Shape::kernel_h; r += Shape::stride_h) {
        constexpr bool sliding = Shape::dilation_h == 1;
        uint32_t b[Tile::channels / 16][4];
#pragma unroll
        for (int n = 0; n < Tile::channels / 16; ++n) {
          const int chunk = (r * Tile::row_steps + step) * 2;
          fx2ait::load_matrix_x4(b[n], lane.weights + chunk * Tile::weight_chunk_bytes + n * 256);
        }
#pragma unroll
        for (int y = 0; y < rows; ++y) {
          if (sliding && r != phase && y + 1 < rows) {
#pragma unroll
            for (int i = 0; i < 4; ++i) a[y][i] = a[y + 1][i];
            continue;
          }
          const int row = (First + y) * Shape::stride_h + r * Shape::dilation_h;
          fx2ait::load_matrix_x4(a[y], lane.patch + ring[row / Tile::fresh] + row % Tile::fresh * Tile::row_bytes +
                                           step * 2 * Tile::chunk_bytes);
          if (last_k < 16 && step == Tile::row_steps - 1) {  // zeros of the weight meet no infinity
            if (last_k < 8) a[y][0] &= near_mask, a[y][1] &= near_mask;
            a[y][2] &= far_mask, a[y][3] &= far_mask;
          }
        }
#pragma unroll
        for (int y = 0; y < rows; ++y) {
#pragma unroll
          for (int n = 0; n < Tile::channels / 16; ++n) {
            float(*d)[4] = reinterpret_cast<float(*)[4]>(sums[y]) + 2 * n;
            fx2ait::mma_m16n8k16<Element>(d[0], a[y], b[n][0], b[n][1]);
            fx2ait::mma_m16n8k16<Element>(d[1], a[y], b[n][2], b[n][3]);
          }
        }
      }
    }
  }
}

/// Grid: (column splits x strips x images; channel tiles). Weights: [channel tile][chunk of k][channel][8].
template <class Shape, class Window, class Tile, class Finish, class Source, class Element, class Result,
          class Epilogue>
__global__ void __launch_bounds__(Tile::threads, Tile::resident)
strip_conv(Result* result, const ImageView<Source> input, const Element* weight, const Epilogue epilogue,
           const StripExtent extent) {
  extern __shared__ __align__(128) unsigned char shared[];
  StripBlock<Shape, Window, Tile, Source, Element, Result> block(shared, input, extent);
  const StripLane lane = strip_lane<Shape, Tile>(block);
  block.load_weights(weight);

  KeptRows<Tile, Result> kept;
  const auto operands = [&] { return BandOperands<Shape, Tile, Epilogue>(epilogue, block.first_channel); };
  int band = block.place.needs_rows_above ? -1 : 0;
  fx2ait::begin_kernel<Shape::dependent>();
  block.fill(band);
  fx2ait::copy_async_wait<0>();
  __syncthreads();

#pragma unroll 1
  for (; band < block.place.bands; ++band) {
    block.prefetch(band);
    if (Tile::kept_rows > 0 && band < 0) {
      constexpr int first = Tile::kept_rows > 0 ? Tile::band_rows - Tile::kept_rows : 0;
      float sums[Tile::band_rows - first][Tile::channels / 2] = {};
      multiply_band<Shape, Tile, first, Element>(sums, block.ring, lane);
      finish_band<Shape, Window, Tile, first, false, false>(block, kept, sums, operands(), epilogue, extent, band);
    } else {
      float sums[Tile::band_rows][Tile::channels / 2] = {};
      multiply_band<Shape, Tile, 0, Element>(sums, block.ring, lane);
      finish_band<Shape, Window, Tile, 0, true, false>(block, kept, sums, operands(), epilogue, extent, band);
    }

    fx2ait::copy_async_wait<0>();
    __syncthreads();  // the oldest rows were read by all, the band's staged, the next rows have come
    block.bring(block.ring[0], band);
    if (band >= 0) {
      store_band<Shape, Window, Tile, Finish>(result, block, extent, band, static_cast<int>(threadIdx.x));
    }
    block.advance();
    __syncthreads();
  }
}

/// Launches strip_conv over `images` images: strips of `strip_rows` rows, a multiple of a band's.
template <class Shape, class Window, class Tile, class Finish, class Source, class Element, class Result,
          class Epilogue>
void launch_strip_conv(const char* name, Result* result, const ImageView<Source>& input, const Element* weight,
                       const Epilogue& epilogue, int64_t images, const StripExtent& extent, int strip_rows,
                       cudaStream_t stream) {
  launch_strips<Shape, Window, Tile>(strip_conv<Shape, Window, Tile, Finish, Source, Element, Result, Epilogue>,
                                     Tile::threads, name, result, input, weight, epilogue, images, extent, strip_rows,
                                     stream);
}

}  // namespace fx2ait_conv
