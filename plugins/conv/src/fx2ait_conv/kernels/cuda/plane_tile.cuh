// How a thread block of plane_conv cuts its work and orders k, and what that needs of shared memory.
#pragma once

#include <cstdint>

#include "fx2ait_conv/strip_tile.cuh"

namespace fx2ait_conv {

/// Bands of 64 columns, of which each warp of one warpgroup has 16. Another warpgroup brings and stores.
/// `Resident` blocks share a multiprocessor.
///
/// A channel's part of a row is a plane; planes lie in shared memory as they are. 8 neighbouring columns
/// of a plane are a chunk; the windows of a kernel row begin at a chunk's element `shift`, so that
/// where the stride is even every window's chunks begin at even columns.
template <class Shape, class Window, int Channels, int Steps, int Resident>
struct PlaneTile : StripBands<Shape, Window, 64, Channels, Steps> {
  using Bands = StripBands<Shape, Window, 64, Channels, Steps>;
  using Bands::blocks;
  using Bands::columns;
  using Bands::fresh;
  static constexpr int resident = Resident;
  static constexpr int threads = 128;  // of each warpgroup

  static constexpr __host__ __device__ int chunks_from(int shift) { return (Shape::kernel_w + shift + 7) / 8; }
  static constexpr int parity = Shape::pad_left % 2;
  static constexpr bool even = Shape::stride_w % 2 == 0 && chunks_from(parity) == chunks_from(0);
  static constexpr int shift = even ? parity : 0;
  static constexpr int chunks = chunks_from(shift);

  // A unit is a chunk of a channel: what a window covers of it in one row. A step of k is two units: of
  // the same kernel row or, where their number is odd, the last one of a kernel row and of the next.
  static constexpr int units = Shape::channels * chunks;
  static constexpr int side_steps = units / 2;  // of a kernel row
  static constexpr int k_steps = Shape::kernel_h * side_steps + units % 2 * ((Shape::kernel_h + 1) / 2);

  // The ring has room for the rows that are new to the next band, too.
  static constexpr int parts = blocks + 1;

  /// Columns of the input under `columns` ones of the convolution, the first window's first chunk included.
  static constexpr __host__ __device__ int width_under(int columns) {
    return (columns - 1) * Shape::stride_w + chunks * 8;
  }
  /// Of a plane: quads of columns, from one on that is a multiple of 4.
  static constexpr int quads = (3 + width_under(columns) + 3) / 4;
  static constexpr int plane_bytes = quads * 4 * 2;
  static constexpr int row_bytes = Shape::channels * plane_bytes;
  static constexpr int part_bytes = fresh * row_bytes;
  static constexpr int ring_bytes = round_up(parts * part_bytes, 128);

  /// Rows as they come, on their way to the ring: at first all that a band reads.
  template <class Source>
  static constexpr int raw_bytes = round_up(blocks * fresh * Shape::channels * quads * 4 * int{sizeof(Source)}, 128);

  /// Weights: [unit of k][channel][8].
  static constexpr int weight_step_bytes = 2 * Channels * 16;
  static constexpr int weight_bytes = k_steps * weight_step_bytes;

  template <class Source, class Result>
  static constexpr int shared_bytes =
      weight_bytes + ring_bytes + raw_bytes<Source> + Bands::template staging_bytes<Result>;

  // Of two resident blocks' registers, those who multiply need most.
  static constexpr int multiplying_registers = 200, moving_registers = 56;

  static_assert(Shape::dilation_w == 1, "a window's columns are neighbours");
};

}  // namespace fx2ait_conv
