// How a thread block of strip_conv cuts its work, and what that needs of shared memory.
#pragma once

#include <cstdint>

#include "fx2ait_conv/strip_bands.cuh"

namespace fx2ait_conv {

constexpr int greatest_divisor(int a, int b) { return b == 0 ? a : greatest_divisor(b, a % b); }
constexpr int round_up(int value, int multiple) { return (value + multiple - 1) / multiple * multiple; }

/// Bands of `Warps` x 16 columns; each warp has 16 columns. `Resident` blocks share a multiprocessor.
///
/// The input lies in shared memory as rows of pixels of Shape::pixel channels, a power of two up to
/// 8. 16 bytes of a row are a chunk: 8 neighbours in k. A window that does not begin at a chunk's
/// start reads another copy of the row, shifted so that it does.
template <class Shape, class Window, int Warps, int Channels, int Steps, int Resident>
struct StripTile : StripBands<Shape, Window, Warps * 16, Channels, Steps> {
  using Bands = StripBands<Shape, Window, Warps * 16, Channels, Steps>;
  using Bands::blocks;
  using Bands::columns;
  using Bands::fresh;
  static constexpr int warps = Warps, resident = Resident, threads = Warps * 32;

  static constexpr int unit = 8 / Shape::pixel;  // pixels of a chunk
  static constexpr int residue = greatest_divisor(Shape::stride_w, unit);
  static constexpr int copies = unit / residue;  // copy c begins c * residue pixels later

  // k runs over (kernel row, kernel column, channel); each kernel row is padded to whole steps of 16.
  static constexpr int real_k = Shape::kernel_w * Shape::pixel;
  static constexpr int row_steps = (real_k + 15) / 16;
  static constexpr int row_k = row_steps * 16;
  static constexpr int padded_k = Shape::kernel_h * row_k;
  static constexpr int chunk_bytes = 16 * Shape::dilation_w;  // from one of a window's chunks to the next
  static_assert(Shape::dilation_w == 1 || unit == 1, "dilated windows are made of whole chunks");

  static constexpr int reach_w = (Shape::kernel_w - 1) * Shape::dilation_w + 1;
  static constexpr int window_chunks = Shape::dilation_w > 1 ? reach_w : 2 * row_steps;
  /// Chunks of the input under `columns` columns of the convolution.
  static constexpr __host__ __device__ int chunks_under(int columns) {
    return ((columns - 1) * Shape::stride_w + unit - 1) / unit + window_chunks;
  }
  static constexpr int row_chunks = chunks_under(columns);
  static constexpr int row_bytes = row_chunks * 16;
  static constexpr int copy_bytes = blocks * fresh * row_bytes + (copies > 1 ? 64 : 0);  // to other banks
  /// Masked elements of the last window may lie behind the last row.
  static constexpr int overhang = (2 * row_steps - 1) * chunk_bytes + 16;
  static constexpr int patch_bytes = round_up(copies * copy_bytes + overhang, 128);

  /// Weights: [chunk of k][channel][8].
  static constexpr int weight_chunk_bytes = Channels * 16;
  static constexpr int weight_bytes = padded_k / 8 * weight_chunk_bytes;

  /// Rows as they come, on their way to the patch: whole quads of pixels, from a multiple of 4 on.
  static constexpr int raw_quads = (3 + (row_chunks + 1) * unit + 3) / 4;
  template <class Source>
  static constexpr int raw_bytes = round_up(Shape::channels * fresh * raw_quads * 4 * int{sizeof(Source)}, 128);

  template <class Source, class Result>
  static constexpr int shared_bytes =
      weight_bytes + patch_bytes + raw_bytes<Source> + Bands::template staging_bytes<Result>;

  static_assert(Channels % 16 == 0);
};

}  // namespace fx2ait_conv
