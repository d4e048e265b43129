// Brings rows of an image to shared memory as they come, plane by plane, for plane_conv.
#pragma once

#include <cstdint>

#include "fx2ait/cuda/mma.cuh"
#include "fx2ait_conv/patch_loader.cuh"

namespace fx2ait_conv {

/// The part of an image that a block reads: from row `first_row` and column `first_column` on, both of
/// which may be outside; the latter is a multiple of 4. `columns` of them are read.
template <class Shape, class Tile, class Source>
struct PlaneImage {
  ImageView<Source> view;  // its `data` is the image's
  int height, width, first_row, first_column, columns;

  /// Starts bringing rows [begin, end), counted from the first, to `rows`, where row `begin` begins:
  /// [row][channel][column]. What is outside the image is zeros. A warpgroup's `thread`s do it together;
  /// each one's copies have been made when it has waited for its latest group of asynchronous copies.
  __device__ __forceinline__ void bring(unsigned char* rows, int begin, int end, int thread) const {
    if (view.order == ReadOrder::four_along_width) {
      copy_quads(rows, begin, end, thread);
    } else {
      read_elements(rows, begin, end, thread);
    }
  }

 private:
  __device__ __forceinline__ void copy_quads(unsigned char* rows, int begin, int end, int thread) const {
    constexpr int bytes = 4 * int{sizeof(Source)};
    const int items = (end - begin) * Shape::channels * Tile::quads;
#pragma unroll 2
    for (int item = thread; item < items; item += Tile::threads) {
      const int quad = item % Tile::quads, plane = item / Tile::quads;
      const int row = first_row + begin + plane / Shape::channels, column = first_column + quad * 4;
      if (quad * 4 >= columns) continue;
      const bool valid = inside(row, column);
      const Source* from =
          valid ? view.data + plane % Shape::channels * view.channel_stride + row * view.row_stride + column : view.data;
      const uint32_t to = fx2ait::shared_address(rows + item * bytes);
      if constexpr (bytes == 16) {
        fx2ait::copy_async_16(to, from, valid);
      } else {
        fx2ait::copy_async_8(to, from, valid);
      }
    }
  }

  __device__ __forceinline__ void read_elements(unsigned char* rows, int begin, int end, int thread) const {
    constexpr int width = Tile::quads * 4, line = Shape::channels * width;
    constexpr int at_once = 8;  // elements on their way to a thread
    const int items = (end - begin) * line;
    const bool along_channels = view.order == ReadOrder::along_channels;
    const auto channel_of = [&](int item) {
      return along_channels ? item % Shape::channels : item % line / width;
    };
    const auto column_of = [&](int item) {
      return along_channels ? item % line / Shape::channels : item % width;
    };
#pragma unroll 1
    for (int first = thread; first < items; first += at_once * Tile::threads) {
      Source elements[at_once];
#pragma unroll
      for (int i = 0; i < at_once; ++i) {
        const int item = first + i * Tile::threads, column = column_of(item);
        const int row = first_row + begin + item / line;
        elements[i] = fx2ait::from_float<Source>(0.0f);
        if (item < items && column < columns && inside(row, first_column + column)) {
          elements[i] = view.data[channel_of(item) * view.channel_stride + row * view.row_stride +
                                  (first_column + column) * view.column_stride];
        }
      }
#pragma unroll
      for (int i = 0; i < at_once; ++i) {
        const int item = first + i * Tile::threads, to = item - item % line + channel_of(item) * width + column_of(item);
        if (item < items) reinterpret_cast<Source*>(rows)[to] = elements[i];
      }
    }
  }

  __device__ __forceinline__ bool inside(int row, int column) const {
    return static_cast<unsigned>(row) < static_cast<unsigned>(height) &&
           static_cast<unsigned>(column) < static_cast<unsigned>(width);
  }
};

}  // namespace fx2ait_conv
