// Brings rows of an image to shared memory, plane by plane, for plane_conv.
#pragma once

#include <cstdint>

#include "fx2ait/cuda/mma.cuh"
#include "fx2ait_conv/patch_loader.cuh"

namespace fx2ait_conv {

/// The part of an image that a block reads: from row `first_row` and column `first_column` on, both of
/// which may be outside; the latter is a multiple of 4. `columns` of them are read. Rows are counted from
/// the first; each warp of `Warps` takes whole rows. What is outside the image is zeros.
template <class Shape, class Tile, class Source, class Element>
struct PlaneImage {
  ImageView<Source> view;  // its `data` is the image's
  int height, width, first_row, first_column, columns;

  /// Starts copying rows [begin, end) to `raw` as they are, if they can be copied so: one group of
  /// asynchronous copies of each thread.
  template <int Warps>
  __device__ __forceinline__ void prefetch(unsigned char* raw, int begin, int end, int warp) const {
    if (view.order == ReadOrder::four_along_width) {
      const int lane = static_cast<int>(threadIdx.x) % 32;
#pragma unroll 1
      for (int line = warp; line < end - begin; line += Warps) {
        const int row = first_row + begin + line;
        const bool row_valid = static_cast<unsigned>(row) < static_cast<unsigned>(height);
        const Source* from_row = view.data + row * view.row_stride + first_column;
        const uint32_t to = fx2ait::shared_address(raw + line * line_bytes);
#pragma unroll
        for (int slot = 0; slot < slots; ++slot) {
          const int quad = slot * 32 + lane, column = first_column + quad * 4;
          if (quad * 4 >= columns) continue;
          const bool valid = row_valid && static_cast<unsigned>(column) < static_cast<unsigned>(width);
#pragma unroll
          for (int channel = 0; channel < Shape::channels; ++channel) {
            const Source* from = valid ? from_row + channel * view.channel_stride + quad * 4 : view.data;
            const uint32_t place = to + static_cast<uint32_t>((channel * Tile::quads + quad) * int{sizeof(Quad)});
            if constexpr (sizeof(Quad) == 16) {
              fx2ait::copy_async_16(place, from, valid);
            } else {
              fx2ait::copy_async_8(place, from, valid);
            }
          }
        }
      }
    }
    fx2ait::copy_async_commit();
  }

  /// Brings those rows to `rows`, where row `begin` begins: [row][channel][column]. A thread turns what it
  /// copied itself, so that it need only wait for its own copies.
  template <int Warps>
  __device__ __forceinline__ void finish(unsigned char* rows, const unsigned char* raw, int begin, int end,
                                         int warp) const {
    const int lane = static_cast<int>(threadIdx.x) % 32;
    fx2ait::copy_async_wait<0>();
#pragma unroll 1
    for (int line = warp; line < end - begin; line += Warps) {
      unsigned char* to = rows + line * Tile::row_bytes;
      if (view.order != ReadOrder::four_along_width) {
        read_pixels(reinterpret_cast<Element*>(to), first_row + begin + line, lane);
        continue;
      }
#pragma unroll
      for (int slot = 0; slot < slots; ++slot) {
        const int quad = slot * 32 + lane;
        if (quad * 4 >= columns) continue;
#pragma unroll
        for (int channel = 0; channel < Shape::channels; ++channel) {
          const int place = channel * Tile::quads + quad;
          const Quad read = *reinterpret_cast<const Quad*>(raw + line * line_bytes + place * int{sizeof(Quad)});
          detail::Four<Element> converted;
#pragma unroll
          for (int e = 0; e < 4; ++e) converted.values[e] = detail::convert<Element>(read.values[e]);
          reinterpret_cast<detail::Four<Element>*>(to)[place] = converted;
        }
      }
    }
  }

 private:
  using Quad = detail::Four<Source>;
  static constexpr int slots = (Tile::quads + 31) / 32;  // quads of a plane that a thread has
  static constexpr int line_bytes = Shape::channels * Tile::quads * int{sizeof(Quad)};

  __device__ __forceinline__ void read_pixels(Element* to, int row, int lane) const {
    constexpr int width_read = Tile::quads * 4;
    constexpr int at_once = Shape::channels < 8 ? 8 / Shape::channels : 1;  // pixels on their way to a thread
    const bool row_valid = static_cast<unsigned>(row) < static_cast<unsigned>(height);
    const Source* from_row = view.data + (row_valid ? row * view.row_stride : 0);
#pragma unroll 1
    for (int first = lane; first < columns; first += at_once * 32) {
      Source pixels[at_once][Shape::channels];
#pragma unroll
      for (int i = 0; i < at_once; ++i) {
        const int column = first_column + first + i * 32;
        const bool valid = row_valid && first + i * 32 < columns &&
                           static_cast<unsigned>(column) < static_cast<unsigned>(width);
        const Source* from = from_row + (valid ? column * view.column_stride : 0);
#pragma unroll
        for (int channel = 0; channel < Shape::channels; ++channel) {
          pixels[i][channel] = from[channel * view.channel_stride];
          if (!valid) pixels[i][channel] = fx2ait::from_float<Source>(0.0f);
        }
      }
#pragma unroll
      for (int i = 0; i < at_once; ++i) {
        if (first + i * 32 >= columns) continue;
#pragma unroll
        for (int channel = 0; channel < Shape::channels; ++channel) {
          to[channel * width_read + first + i * 32] = detail::convert<Element>(pixels[i][channel]);
        }
      }
    }
  }
};

}  // namespace fx2ait_conv
