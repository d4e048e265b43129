// The bands in which blocks walk down strips of a result, in whatever form their rows lie in shared memory.
#pragma once

namespace fx2ait_conv {

/// A block walks down a strip of the result, `Steps` rows (a band) at a time, and computes for it `Columns`
/// columns and `Channels` channels of the convolution.
template <class Shape, class Window, int Columns, int Channels, int Steps>
struct StripBands {
  static constexpr int columns = Columns, channels = Channels, steps = Steps;

  // Rows of the convolution: a band computes new ones, and keeps the last for the next band.
  static constexpr int band_rows = Steps * Window::stride_h;
  static constexpr int kept_rows = Window::kernel_h > Window::stride_h ? Window::kernel_h - Window::stride_h : 0;
  static_assert(kept_rows <= band_rows);

  // Rows of the input: `fresh` ones per band; `blocks` times as many hold what a band reads, in a ring.
  static constexpr int fresh = band_rows * Shape::stride_h;
  static constexpr int needed = (band_rows - 1) * Shape::stride_h + (Shape::kernel_h - 1) * Shape::dilation_h + 1;
  static constexpr int blocks = (needed + fresh - 1) / fresh;

  // A band, on its way to memory: [step][column][channel].
  template <class Result>
  static constexpr int staging_pitch = Channels * int{sizeof(Result)} + 16;  // bytes per column
  template <class Result>
  static constexpr int staging_bytes = Steps * Columns * staging_pitch<Result>;
};

}  // namespace fx2ait_conv
