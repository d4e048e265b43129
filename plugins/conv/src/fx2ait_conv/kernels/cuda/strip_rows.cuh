// Brings rows of an image to shared memory as pixels of few channels, for strip_conv.
#pragma once

#include <cstdint>

#include "fx2ait/cuda/mma.cuh"
#include "fx2ait_conv/patch_loader.cuh"

namespace fx2ait_conv {

/// The part of an image that a block reads: from column `first_column` on, which may be outside.
template <class Source>
struct StripImage {
  const Source* data;  // of the image
  int64_t channel_stride, row_stride, column_stride;
  int height, width, first_column;

  __device__ __forceinline__ Source at(int channel, int row, int column) const {
    if (static_cast<unsigned>(row) >= static_cast<unsigned>(height) ||
        static_cast<unsigned>(column) >= static_cast<unsigned>(width)) {
      return fx2ait::from_float<Source>(0.0f);
    }
    return data[channel * channel_stride + row * row_stride + column * column_stride];
  }
};

/// Writes rows [begin, end) of the patch, which starts at `patch`; `source(channel, row, column)` gives
/// an element, columns counted from the patch's first.
template <class Shape, class Tile, class Element, class Fetch>
__device__ __forceinline__ void write_rows(unsigned char* patch, int begin, int end, const Fetch& source) {
  constexpr int chunks = Tile::copies * Tile::row_chunks;
#pragma unroll 4
  for (int item = begin * chunks + static_cast<int>(threadIdx.x); item < end * chunks; item += Tile::threads) {
    const int row = item / chunks;
    const int copy = item % chunks / Tile::row_chunks, chunk = item % Tile::row_chunks;
    alignas(16) Element elements[8];
#pragma unroll
    for (int i = 0; i < 8; ++i) {
      const int channel = i % Shape::pixel;
      const int column = chunk * Tile::unit + copy * Tile::residue + i / Shape::pixel;
      elements[i] = channel < Shape::channels ? detail::convert<Element>(source(channel, row, column))
                                              : fx2ait::from_float<Element>(0.0f);
    }
    *reinterpret_cast<uint4*>(patch + copy * Tile::copy_bytes + row * Tile::row_bytes + chunk * 16) =
        *reinterpret_cast<const uint4*>(elements);
  }
}

/// Starts copying `fresh` rows, the first of which is `first_row` of the image, to `raw` as they are.
/// The image's rows are made of whole quads of pixels, aligned to their size.
template <class Shape, class Tile, class Source>
__device__ __forceinline__ void prefetch_rows(Source* raw, const StripImage<Source>& image, int first_row) {
  constexpr int items = Shape::channels * Tile::fresh * Tile::raw_quads;
  const int first_column = image.first_column & ~3;
#pragma unroll 2
  for (int item = static_cast<int>(threadIdx.x); item < items; item += Tile::threads) {
    const int channel = item / (Tile::fresh * Tile::raw_quads);
    const int row = first_row + item / Tile::raw_quads % Tile::fresh;
    const int column = first_column + item % Tile::raw_quads * 4;
    const bool valid = static_cast<unsigned>(row) < static_cast<unsigned>(image.height) &&
                       static_cast<unsigned>(column) < static_cast<unsigned>(image.width);
    const Source* from =
        valid ? image.data + channel * image.channel_stride + row * image.row_stride + column : image.data;
    const uint32_t to = fx2ait::shared_address(raw + item * 4);
    if constexpr (sizeof(Source) == 4) {
      fx2ait::copy_async_16(to, from, valid);
    } else {
      fx2ait::copy_async_8(to, from, valid);
    }
  }
  fx2ait::copy_async_commit();
}

/// Turns what prefetch_rows brought, and this thread has waited for, into rows of the patch.
template <class Shape, class Tile, class Element, class Source>
__device__ __forceinline__ void convert_rows(unsigned char* patch, const Source* raw,
                                             const StripImage<Source>& image) {
  const int shift = image.first_column & 3;
  write_rows<Shape, Tile, Element>(patch, 0, Tile::fresh, [&](int channel, int row, int column) {
    return raw[(channel * Tile::fresh + row) * (Tile::raw_quads * 4) + shift + column];
  });
}

}  // namespace fx2ait_conv
