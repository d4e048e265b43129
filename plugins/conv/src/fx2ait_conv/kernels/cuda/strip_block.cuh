// What a thread block of strip_conv has in shared memory, and how the rows of its image get there.
#pragma once

#include <cstdint>

#include "fx2ait/cuda/mma.cuh"
#include "fx2ait_conv/strip_rows.cuh"
#include "fx2ait_conv/strip_tile.cuh"
#include "fx2ait_conv/strip_windows.cuh"

namespace fx2ait_conv {

/// A block's part of the work and of shared memory. `ring[i]` is the offset in the patch of the i-th
/// part of the rows that the present band reads.
template <class Shape, class Window, class Tile, class Source, class Element, class Result>
struct StripBlock {
  unsigned char* weights;
  unsigned char* patch;
  Source* raw;
  unsigned char* staging;
  int image, first_channel;
  StripPlace place;
  StripImage<Source> source;
  bool prefetches;
  int ring[Tile::blocks];

  __device__ __forceinline__ StripBlock(unsigned char* shared, const ImageView<Source>& input,
                                        const StripExtent& extent)
      : weights(shared),
        patch(shared + Tile::weight_bytes),
        raw(reinterpret_cast<Source*>(patch + Tile::patch_bytes)),
        staging(patch + Tile::patch_bytes + Tile::template raw_bytes<Source>) {
    const int block = static_cast<int>(blockIdx.x);
    image = block / (extent.splits * extent.strips);
    first_channel = static_cast<int>(blockIdx.y) * Tile::channels;
    place = strip_place<Window, Tile>(extent, block / extent.splits % extent.strips, block % extent.splits);
    source = {input.data + image * input.image_stride,
              input.channel_stride,
              input.row_stride,
              input.column_stride,
              extent.height,
              extent.width,
              place.first_column * Shape::stride_w - Shape::pad_left,
              Tile::chunks_under(place.columns)};
    prefetches = input.order == ReadOrder::four_along_width;
#pragma unroll
    for (int i = 0; i < Tile::blocks; ++i) ring[i] = i * Tile::fresh * Tile::row_bytes;
  }

  /// Starts copying the weights of this block's channels.
  __device__ __forceinline__ void load_weights(const Element* weight) const {
    const auto* from = reinterpret_cast<const unsigned char*>(weight) + int64_t{blockIdx.y} * Tile::weight_bytes;
    for (int i = static_cast<int>(threadIdx.x) * 16; i < Tile::weight_bytes; i += Tile::threads * 16) {
      fx2ait::copy_async_16(fx2ait::shared_address(weights + i), from + i, true);
    }
    fx2ait::copy_async_commit();
  }

  /// The image's row that part `part` of what `band` reads begins with.
  __device__ __forceinline__ int first_row(int band, int part) const {
    return place.first_row * Shape::stride_h - Shape::pad_top + (band + part) * Tile::fresh;
  }

  /// Writes all that the strip's first band reads. The band before band 0 needs only its last rows.
  __device__ __forceinline__ void fill(int band) {
    const int begin = band < 0 ? (Tile::band_rows - Tile::kept_rows) * Shape::stride_h : 0;
    read<4>(patch, first_row(band, 0), begin, Tile::blocks * Tile::fresh);
  }

  /// Starts bringing the rows that are new to the band after `band`, if they can be copied as they are:
  /// one group of asynchronous copies.
  __device__ __forceinline__ void prefetch(int band) const {
    if (prefetches && band + 1 < place.bands) {
      prefetch_rows<Shape, Tile>(raw, source, first_row(band, Tile::blocks));
    }
    fx2ait::copy_async_commit();
  }

  /// Writes those rows to the part of the ring at `offset`; all threads have waited for the copies.
  __device__ __forceinline__ void bring(int offset, int band) {
    if (band + 1 >= place.bands) return;
    if (prefetches) {
      convert_rows<Shape, Tile, Element>(patch + offset, raw, source);
    } else {
      read<1>(patch + offset, first_row(band, Tile::blocks), 0, Tile::fresh);
    }
  }

  /// Turns the ring: what the next band reads first comes first.
  __device__ __forceinline__ void advance() {
    const int recycled = ring[0];
#pragma unroll
    for (int i = 0; i + 1 < Tile::blocks; ++i) ring[i] = ring[i + 1];
    ring[Tile::blocks - 1] = recycled;
  }

 private:
  template <int AtOnce>
  __device__ __forceinline__ void read(unsigned char* rows, int first_row, int begin, int end) {
    write_rows<Shape, Tile, AtOnce, Element>(rows, begin, end, source.chunks, [&](int channel, int row, int column) {
      return source.at(channel, first_row + row, source.first_column + column);
    });
  }
};

}  // namespace fx2ait_conv
