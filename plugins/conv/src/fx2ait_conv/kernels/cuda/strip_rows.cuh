// Brings rows of an image to shared memory as pixels of few channels, for strip_conv.
#pragma once

#include <cstdint>

#include "fx2ait/cuda/mma.cuh"
#include "fx2ait_conv/patch_loader.cuh"

namespace fx2ait_conv {

/// The part of an image that a block reads: from column `first_column` on, which may be outside;
/// `chunks` of 16 bytes, as it lies in shared memory, per row.
template <class Source>
struct StripImage {
  const Source* data;  // of the image
  int64_t channel_stride, row_stride, column_stride;
  int height, width, first_column, chunks;

  __device__ __forceinline__ Source at(int channel, int row, int column) const {
    if (static_cast<unsigned>(row) >= static_cast<unsigned>(height) ||
        static_cast<unsigned>(column) >= static_cast<unsigned>(width)) {
      return fx2ait::from_float<Source>(0.0f);
    }
    return data[channel * channel_stride + row * row_stride + column * column_stride];
  }
};

/// Writes rows [begin, end) of the patch, which starts at `patch`, `chunks` per row; each warp its own.
/// `source(channel, row, column)` gives an element, columns counted from the patch's first. A thread
/// has `AtOnce` rows on their way to it at a time.
template <class Shape, class Tile, int AtOnce, class Element, class Fetch>
__device__ __forceinline__ void write_rows(unsigned char* patch, int begin, int end, int chunks,
                                           const Fetch& source) {
  const int lane = static_cast<int>(threadIdx.x) % 32, warp = static_cast<int>(threadIdx.x) / 32;
#pragma unroll 1
  for (int first = begin + warp; first < end; first += Tile::warps * AtOnce) {
#pragma unroll
    for (int copy = 0; copy < Tile::copies; ++copy) {
#pragma unroll(AtOnce > 1 ? 1 : 2)
      for (int chunk = lane; chunk < chunks; chunk += 32) {
        const int first_column = chunk * Tile::unit + copy * Tile::residue;
        float values[AtOnce][8];
#pragma unroll
        for (int i = 0; i < AtOnce * 8; ++i) {
          const int row = first + i / 8 * Tile::warps, channel = i % 8 % Shape::pixel;
          values[i / 8][i % 8] = channel < Shape::channels && (AtOnce == 1 || row < end)
                                     ? fx2ait::to_float(source(channel, row, first_column + i % 8 / Shape::pixel))
                                     : 0.0f;
        }
#pragma unroll
        for (int i = 0; i < AtOnce; ++i) {
          const int row = first + i * Tile::warps;
          if (AtOnce > 1 && row >= end) break;
          alignas(16) Element elements[8];
#pragma unroll
          for (int e = 0; e < 8; ++e) elements[e] = fx2ait::from_float<Element>(values[i][e]);
          *reinterpret_cast<uint4*>(patch + copy * Tile::copy_bytes + row * Tile::row_bytes + chunk * 16) =
              *reinterpret_cast<const uint4*>(elements);
        }
      }
    }
  }
}

/// Starts copying `fresh` rows, the first of which is `first_row` of the image, to `raw` as they are.
/// The image's rows are made of whole quads of pixels, aligned to their size.
template <class Shape, class Tile, class Source>
__device__ __forceinline__ void prefetch_rows(Source* raw, const StripImage<Source>& image, int first_row) {
  const int lane = static_cast<int>(threadIdx.x) % 32, warp = static_cast<int>(threadIdx.x) / 32;
  const int first_column = image.first_column & ~3;
  const int columns = (image.first_column & 3) + (image.chunks * Tile::unit + (Tile::copies - 1) * Tile::residue);
#pragma unroll 1
  for (int line = warp; line < Tile::fresh; line += Tile::warps) {
    const int row = first_row + line;
    const bool row_valid = static_cast<unsigned>(row) < static_cast<unsigned>(image.height);
    const Source* from_row = image.data + row * image.row_stride;
#pragma unroll 1
    for (int quad = lane; quad * 4 < columns; quad += 32) {
      const int column = first_column + quad * 4;
      const bool valid = row_valid && static_cast<unsigned>(column) < static_cast<unsigned>(image.width);
#pragma unroll
      for (int channel = 0; channel < Shape::channels; ++channel) {
        const Source* from = valid ? from_row + channel * image.channel_stride + column : image.data;
        const uint32_t to = fx2ait::shared_address(raw + ((channel * Tile::fresh + line) * Tile::raw_quads + quad) * 4);
        if constexpr (sizeof(Source) == 4) {
          fx2ait::copy_async_16(to, from, valid);
        } else {
          fx2ait::copy_async_8(to, from, valid);
        }
      }
    }
  }
}

/// Turns what prefetch_rows brought, and this thread has waited for, into rows of the patch.
template <class Shape, class Tile, class Element, class Source>
__device__ __forceinline__ void convert_rows(unsigned char* patch, const Source* raw, const StripImage<Source>& image) {
  const int shift = image.first_column & 3;
  write_rows<Shape, Tile, 1, Element>(patch, 0, Tile::fresh, image.chunks, [&](int channel, int row, int column) {
    return raw[(channel * Tile::fresh + row) * (Tile::raw_quads * 4) + shift + column];
  });
}

}  // namespace fx2ait_conv
