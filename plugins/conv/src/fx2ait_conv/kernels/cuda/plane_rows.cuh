// Brings rows of an image to shared memory, plane by plane, for plane_conv.
#pragma once

#include <cstdint>

#include "fx2ait_conv/patch_loader.cuh"

namespace fx2ait_conv {

/// The part of an image that a block reads: from row `first_row` and column `first_column` on, both of
/// which may be outside; the latter is a multiple of 4. `columns` of them are read.
template <class Shape, class Tile, class Source, class Element>
struct PlaneImage {
  ImageView<Source> view;  // its `data` is the image's
  int height, width, first_row, first_column, columns;

  /// Brings rows [begin, end), counted from the first, to `rows`, where row `begin` begins:
  /// [row][channel][column]. What is outside the image is zeros. `Threads` threads do it together.
  template <int Threads>
  __device__ __forceinline__ void bring(unsigned char* rows, int begin, int end, int thread) const {
    if (view.order == ReadOrder::four_along_width) {
      bring_quads<Threads>(rows, begin, end, thread);
    } else {
      bring_pixels<Threads>(rows, begin, end, thread);
    }
  }

 private:
  template <int Threads>
  __device__ __forceinline__ void bring_quads(unsigned char* rows, int begin, int end, int thread) const {
    using Quad = detail::Four<Source>;
    constexpr int at_once = 4;  // on their way to a thread
    const int items = (end - begin) * Shape::channels * Tile::quads;
#pragma unroll 1
    for (int first = thread; first < items; first += at_once * Threads) {
      Quad quads[at_once];
#pragma unroll
      for (int i = 0; i < at_once; ++i) {
        const int item = first + i * Threads, quad = item % Tile::quads, plane = item / Tile::quads;
        const int row = first_row + begin + plane / Shape::channels, column = first_column + quad * 4;
        quads[i] = Quad{};
        if (item < items && quad * 4 < columns && inside(row, column)) {
          quads[i] = *reinterpret_cast<const Quad*>(view.data + plane % Shape::channels * view.channel_stride +
                                                    row * view.row_stride + column);
        }
      }
#pragma unroll
      for (int i = 0; i < at_once; ++i) {
        const int item = first + i * Threads;
        detail::Four<Element> converted;
#pragma unroll
        for (int e = 0; e < 4; ++e) converted.values[e] = detail::convert<Element>(quads[i].values[e]);
        if (item < items) *reinterpret_cast<detail::Four<Element>*>(rows + item * (4 * int{sizeof(Element)})) = converted;
      }
    }
  }

  template <int Threads>
  __device__ __forceinline__ void bring_pixels(unsigned char* rows, int begin, int end, int thread) const {
    constexpr int width = Tile::quads * 4;
    constexpr int at_once = Shape::channels < 8 ? 8 / Shape::channels : 1;
    const int items = (end - begin) * width;
#pragma unroll 1
    for (int first = thread; first < items; first += at_once * Threads) {
      Source pixels[at_once][Shape::channels];
#pragma unroll
      for (int i = 0; i < at_once; ++i) {
        const int item = first + i * Threads, column = item % width, row = first_row + begin + item / width;
        const bool valid = item < items && column < columns && inside(row, first_column + column);
        const Source* from =
            view.data + (valid ? row * view.row_stride + (first_column + column) * view.column_stride : 0);
#pragma unroll
        for (int channel = 0; channel < Shape::channels; ++channel) {
          pixels[i][channel] = valid ? from[channel * view.channel_stride] : fx2ait::from_float<Source>(0.0f);
        }
      }
#pragma unroll
      for (int i = 0; i < at_once; ++i) {
        const int item = first + i * Threads;
        if (item >= items) continue;
        auto* to = reinterpret_cast<Element*>(rows) + item / width * Shape::channels * width + item % width;
#pragma unroll
        for (int channel = 0; channel < Shape::channels; ++channel) {
          to[channel * width] = detail::convert<Element>(pixels[i][channel]);
        }
      }
    }
  }

  __device__ __forceinline__ bool inside(int row, int column) const {
    return static_cast<unsigned>(row) < static_cast<unsigned>(height) &&
           static_cast<unsigned>(column) < static_cast<unsigned>(width);
  }
};

}  // namespace fx2ait_conv
