// Convolution of few channels on mma.sync, its result perhaps reduced over windows before it is stored.
//
// The matrix of windows is never built: 16 bytes of the input in shared memory are 8 neighbours in k
// for one pixel, and ldmatrix takes them from wherever they lie. A warp computes the same columns
// of all rows of a band, so what it reads of one input row serves every result row that covers it,
// and windows are reduced vertically in registers, horizontally through shared memory.
#pragma once

#include <cstdint>

#include "fx2ait/cuda/check.h"
#include "fx2ait/cuda/external.cuh"
#include "fx2ait/cuda/launch.cuh"
#include "fx2ait/cuda/mma.cuh"
#include "fx2ait/cuda/pair.cuh"
#include "fx2ait_conv/strip_rows.cuh"
#include "fx2ait_conv/strip_tile.cuh"
#include "fx2ait_conv/strip_windows.cuh"

namespace fx2ait_conv {

/// The matrix products of rows First.. of a band. `blocks` are the addresses, for this lane, of the
/// ring's parts in the order in which the band reads them; `weights` is this lane's.
template <class Shape, class Tile, int First, class Element>
__device__ __forceinline__ void multiply_band(float (&sums)[Tile::band_rows - First][Tile::channels / 8][4],
                                              const uint32_t (&blocks)[Tile::blocks], uint32_t weights) {
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
          fx2ait::load_matrix_x4(b[n], weights + (n * 16 * Tile::weight_pitch + r * Tile::row_k + step * 16) * 2);
        }
#pragma unroll
        for (int y = 0; y < rows; ++y) {
          if (sliding && r != phase && y + 1 < rows) {
#pragma unroll
            for (int i = 0; i < 4; ++i) a[y][i] = a[y + 1][i];
            continue;
          }
          const int row = (First + y) * Shape::stride_h + r * Shape::dilation_h;
          fx2ait::load_matrix_x4(a[y], blocks[row / Tile::fresh] + row % Tile::fresh * Tile::row_bytes +
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
            fx2ait::mma_m16n8k16<Element>(sums[y][2 * n], a[y], b[n][0], b[n][1]);
            fx2ait::mma_m16n8k16<Element>(sums[y][2 * n + 1], a[y], b[n][2], b[n][3]);
          }
        }
      }
    }
  }
}

/// Starts copying the weights of the tile's channels, of which `channels` exist.
template <class Tile, class Element>
__device__ __forceinline__ void load_strip_weights(Element* shared, const Element* weights, int channels) {
  constexpr int vectors = Tile::padded_k / 8;
  for (int i = static_cast<int>(threadIdx.x); i < Tile::channels * vectors; i += Tile::threads) {
    const int channel = i / vectors, vector = i % vectors;
    const bool kept = channel < channels;
    fx2ait::copy_async_16(fx2ait::shared_address(shared + channel * Tile::weight_pitch + vector * 8),
                          weights + (kept ? channel * Tile::padded_k + vector * 8 : 0), kept);
  }
  fx2ait::copy_async_commit();
}

/// Grid: (column splits x strips x images; channel tiles). Weights: [channel][padded_k].
template <class Shape, class Window, class Tile, class Finish, class Source, class Element, class Result,
          class Epilogue>
__global__ void __launch_bounds__(Tile::threads, Tile::resident)
strip_conv(Result* result, const ImageView<Source> input, const Element* weight, const Epilogue epilogue,
           const StripExtent extent) {
  extern __shared__ __align__(128) unsigned char shared[];
  auto* weights = reinterpret_cast<Element*>(shared);
  unsigned char* patch = shared + Tile::weight_bytes;
  auto* raw = reinterpret_cast<Source*>(patch + Tile::patch_bytes);
  unsigned char* staging = patch + Tile::patch_bytes + Tile::template raw_bytes<Source>;

  const int block = static_cast<int>(blockIdx.x);
  const int image = block / (extent.splits * extent.strips);
  const StripPlace place =
      strip_place<Window, Tile>(extent, block / extent.splits % extent.strips, block % extent.splits);
  const int first_channel = static_cast<int>(blockIdx.y) * Tile::channels;
  load_strip_weights<Tile>(weights, weight + int64_t{first_channel} * Tile::padded_k,
                           Shape::out_channels - first_channel);

  const int lane = static_cast<int>(threadIdx.x) % 32, warp = static_cast<int>(threadIdx.x) / 32;
  const int start = (warp * 16 + lane / 8 % 2 * 8 + lane % 8) * Shape::stride_w;  // of this lane's window
  const uint32_t lane_patch = fx2ait::shared_address(patch) + start % Tile::unit / Tile::residue * Tile::copy_bytes +
                              start / Tile::unit * 16 + lane / 16 * Tile::chunk_bytes;
  const uint32_t lane_weights =
      fx2ait::shared_address(weights + (lane % 8 + lane / 16 * 8) * Tile::weight_pitch + lane / 8 % 2 * 8);

  const StripImage<Source> source{input.data + image * input.image_stride,
                                  input.channel_stride,
                                  input.row_stride,
                                  input.column_stride,
                                  extent.height,
                                  extent.width,
                                  place.first_column * Shape::stride_w - Shape::pad_left};
  const bool prefetched = input.order == ReadOrder::four_along_width;
  // The first row of the patch, once the band before the strip's first has been skipped or computed.
  const int origin = place.first_row * Shape::stride_h - Shape::pad_top;
  int band = place.needs_rows_above ? -1 : 0;
  const auto read = [&](int first_row, unsigned char* rows, int begin, int end) {
    write_rows<Shape, Tile, Element>(rows, begin, end, [&](int channel, int row, int column) {
      return source.at(channel, first_row + row, source.first_column + column);
    });
  };

  KeptRows<Tile, Result> kept;
  fx2ait::begin_kernel<Shape::dependent>();
  read(origin + band * Tile::fresh, patch,
       band < 0 ? (Tile::band_rows - Tile::kept_rows) * Shape::stride_h : 0, Tile::blocks * Tile::fresh);
  uint32_t blocks[Tile::blocks];
#pragma unroll
  for (int i = 0; i < Tile::blocks; ++i) blocks[i] = lane_patch + i * Tile::fresh * Tile::row_bytes;
  int oldest = 0;  // the part of the ring that the next rows replace
  fx2ait::copy_async_wait<0>();
  __syncthreads();

#pragma unroll 1
  for (; band < place.bands; ++band) {
    const bool more = band + 1 < place.bands;
    const int next_row = origin + (band + Tile::blocks) * Tile::fresh;
    if (more && prefetched) prefetch_rows<Shape, Tile>(raw, source, next_row);

    if (Tile::kept_rows > 0 && band < 0) {
      constexpr int first = Tile::kept_rows > 0 ? Tile::band_rows - Tile::kept_rows : 0;
      float sums[Tile::band_rows - first][Tile::channels / 8][4] = {};
      multiply_band<Shape, Tile, first, Element>(sums, blocks, lane_weights);
      finish_band<Shape, Window, Tile, first, false>(staging, kept, sums, epilogue, extent, place, band, image,
                                                     first_channel);
    } else {
      float sums[Tile::band_rows][Tile::channels / 8][4] = {};
      multiply_band<Shape, Tile, 0, Element>(sums, blocks, lane_weights);
      finish_band<Shape, Window, Tile, 0, true>(staging, kept, sums, epilogue, extent, place, band, image,
                                                first_channel);
    }

    fx2ait::copy_async_wait<0>();
    __syncthreads();  // the oldest rows were read by all, the band's staged, the next rows have come
    if (more) {
      unsigned char* rows = patch + oldest * Tile::fresh * Tile::row_bytes;
      if (prefetched) {
        convert_rows<Shape, Tile, Element>(rows, raw, source);
      } else {
        read(next_row, rows, 0, Tile::fresh);
      }
      oldest = oldest + 1 < Tile::blocks ? oldest + 1 : 0;
      const uint32_t recycled = blocks[0];
#pragma unroll
      for (int i = 0; i + 1 < Tile::blocks; ++i) blocks[i] = blocks[i + 1];
      blocks[Tile::blocks - 1] = recycled;
    }
    if (band >= 0) {
      store_band<Shape, Window, Tile, Finish>(result, staging, extent, place, band, image, first_channel);
    }
    __syncthreads();
  }
}

/// Launches strip_conv over `images` images: strips of `strip_rows` rows, a multiple of a band's.
template <class Shape, class Window, class Tile, class Finish, class Source, class Element, class Result,
          class Epilogue>
void launch_strip_conv(const char* name, Result* result, const ImageView<Source>& input, const Element* weight,
                       const Epilogue& epilogue, int64_t images, StripExtent extent, int strip_rows,
                       cudaStream_t stream) {
  extent.divide(Window::kernel_w, Window::stride_w, Tile::columns, strip_rows);
  const auto kernel = strip_conv<Shape, Window, Tile, Finish, Source, Element, Result, Epilogue>;
  constexpr int shared_bytes = Tile::template shared_bytes<Source, Result>;
  FX2AIT_CUDA_CHECK(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, shared_bytes));
  const dim3 grid(static_cast<unsigned>(images * extent.strips * extent.splits),
                  (Shape::out_channels + Tile::channels - 1) / Tile::channels);
  fx2ait::launch<Shape::dependent>(name, kernel, grid, Tile::threads, shared_bytes, stream, result, input, weight,
                                   epilogue, extent);
}

}  // namespace fx2ait_conv
