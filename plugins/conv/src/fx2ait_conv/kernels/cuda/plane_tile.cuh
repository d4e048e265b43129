// How a thread block of plane_conv cuts its work and orders k, and what that needs of shared memory.
#pragma once

#include <cstdint>

#include "fx2ait_conv/strip_tile.cuh"

namespace fx2ait_conv {

/// A block walks down a strip of the result, `Steps` rows (a band) at a time: 64 columns and `Channels`
/// channels of the convolution, of which each warp of one warpgroup has 16 columns. Another warpgroup
/// brings and stores. `Resident` blocks share a multiprocessor.
///
/// A channel's part of a row is a plane; planes lie in shared memory as they are. 8 neighbouring columns
/// of a plane are a chunk; the windows of a kernel row begin at a chunk's element `shift`, so that
/// where the stride is even every window's chunks begin at even columns.
template <class Shape, class Window, int Channels, int Steps, int Resident>
struct PlaneTile {
  static constexpr int channels = Channels, steps = Steps, resident = Resident;
  static constexpr int threads = 128;  // of each warpgroup
  static constexpr int columns = 64;

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

  // Rows of the convolution: a band computes new ones, and keeps the last for the next band.
  static constexpr int band_rows = Steps * Window::stride_h;
  static constexpr int kept_rows = Window::kernel_h > Window::stride_h ? Window::kernel_h - Window::stride_h : 0;
  static_assert(kept_rows <= band_rows);

  // Rows of the input: `fresh` ones per band; `blocks` times as many hold what a band reads, in a ring
  // with room for those that are new to the next band.
  static constexpr int fresh = band_rows * Shape::stride_h;
  static constexpr int needed = (band_rows - 1) * Shape::stride_h + (Shape::kernel_h - 1) * Shape::dilation_h + 1;
  static constexpr int blocks = (needed + fresh - 1) / fresh;
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

  template <class Result>
  static constexpr int staging_pitch = Channels * int{sizeof(Result)} + 16;  // bytes per column
  template <class Result>
  static constexpr int staging_bytes = Steps * columns * staging_pitch<Result>;

  template <class Source, class Result>
  static constexpr int shared_bytes = weight_bytes + ring_bytes + raw_bytes<Source> + staging_bytes<Result>;

  // Of two resident blocks' registers, those who multiply need most.
  static constexpr int multiplying_registers = 200, moving_registers = 56;

  static_assert(Shape::dilation_w == 1, "a window's columns are neighbours");
};

}  // namespace fx2ait_conv
