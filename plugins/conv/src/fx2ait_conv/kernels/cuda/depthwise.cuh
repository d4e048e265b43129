// Depthwise convolution: result channel o reads input channel o / multiplier alone. NHWC; a thread
// computes `columns` neighbouring pixels of `vector` channels, reading each input element once.
#pragma once

#include <climits>
#include <cstdint>

#include "fx2ait/cuda/check.h"
#include "fx2ait/cuda/launch.cuh"
#include "fx2ait/cuda/vector.cuh"

namespace fx2ait_conv {

/// Sizes known at run time; strips are the groups of neighbouring pixels in a row.
struct DepthwiseExtent {
  int height, width, out_height, out_width, strips;
  int64_t threads;
};

/// The input channels that result channels [channel, channel + V) read, at one pixel.
template <class Shape, int V, class Element>
__device__ __forceinline__ void load_channels(float (&values)[V], const Element* pixel, int channel) {
  if constexpr (Shape::multiplier == 1) {
    fx2ait::load_vector<V>(values, pixel + channel);
  } else if constexpr (Shape::multiplier % V == 0) {
    const float value = fx2ait::to_float(pixel[channel / Shape::multiplier]);
#pragma unroll
    for (int i = 0; i < V; ++i) values[i] = value;
  } else {
#pragma unroll
    for (int i = 0; i < V; ++i) values[i] = fx2ait::to_float(pixel[(channel + i) / Shape::multiplier]);
  }
}

/// Weights: float32 [kernel row][kernel column][result channel].
template <class Shape, class Element, class Result, class Epilogue>
__global__ void __launch_bounds__(Shape::threads)
depthwise(Result* result, const Element* input, const float* weight, const Epilogue epilogue,
          const DepthwiseExtent extent) {
  constexpr int V = Shape::vector, columns = Shape::columns;
  constexpr int vectors = Shape::out_channels / V;
  constexpr int reach = (columns - 1) * Shape::stride_w + (Shape::kernel_w - 1) * Shape::dilation_w + 1;
  const int64_t thread = int64_t{blockIdx.x} * Shape::threads + threadIdx.x;
  fx2ait::begin_kernel<Shape::dependent>();
  if (thread >= extent.threads) return;
  const int channel = static_cast<int>(thread % vectors) * V;
  const auto strip = static_cast<unsigned>(thread / vectors);
  const int first = static_cast<int>(strip % extent.strips) * columns;
  const unsigned line = strip / extent.strips;
  const int y = static_cast<int>(line % extent.out_height);
  const int64_t image = line / extent.out_height;

  const int top = y * Shape::stride_h - Shape::pad_top;
  const int left = first * Shape::stride_w - Shape::pad_left;
  float sums[columns][V] = {};
#pragma unroll 1
  for (int kernel_y = 0; kernel_y < Shape::kernel_h; ++kernel_y) {
    const int row = top + kernel_y * Shape::dilation_h;
    if (static_cast<unsigned>(row) >= static_cast<unsigned>(extent.height)) continue;
    const Element* line_start = input + (image * extent.height + row) * extent.width * Shape::channels;
    const float* row_weights = weight + kernel_y * Shape::kernel_w * Shape::out_channels + channel;
#pragma unroll
    for (int place = 0; place < reach; ++place) {
      const int column = left + place;
      float values[V] = {};
      if (static_cast<unsigned>(column) < static_cast<unsigned>(extent.width)) {
        load_channels<Shape>(values, line_start + int64_t{column} * Shape::channels, channel);
      }
#pragma unroll
      for (int i = 0; i < columns; ++i) {
        const int distance = place - i * Shape::stride_w;  // from the window's left edge
        if (distance < 0 || distance % Shape::dilation_w != 0) continue;
        const int kernel_x = distance / Shape::dilation_w;
        if (kernel_x >= Shape::kernel_w) continue;
        float factors[V];
        fx2ait::load_vector<V>(factors, row_weights + kernel_x * Shape::out_channels);
#pragma unroll
        for (int v = 0; v < V; ++v) sums[i][v] += values[v] * factors[v];
      }
    }
  }

  const int64_t line_offset = int64_t{line} * extent.out_width;
#pragma unroll
  for (int i = 0; i < columns; ++i) {
    if (first + i >= extent.out_width) break;
    const int64_t offset = (line_offset + first + i) * Shape::out_channels + channel;
    const auto operands = epilogue.template load<V>(offset, channel);
    epilogue.apply(sums[i], operands);
    fx2ait::store_vector<V>(result + offset, sums[i]);
  }
}

/// Launches depthwise over `batch` images.
template <class Shape, class Element, class Result, class Epilogue>
void launch_depthwise(const char* name, Result* result, const Element* input, const float* weight,
                      const Epilogue& epilogue, int64_t batch, DepthwiseExtent extent, cudaStream_t stream) {
  extent.strips = (extent.out_width + Shape::columns - 1) / Shape::columns;
  extent.threads = batch * extent.out_height * extent.strips * (Shape::out_channels / Shape::vector);
  const int64_t blocks = (extent.threads + Shape::threads - 1) / Shape::threads;
  if (blocks > INT_MAX) {
    throw fx2ait::Error({name, ": ", fx2ait::Digits(batch), " images exceed a launch grid"});
  }
  fx2ait::launch<Shape::dependent>(name, depthwise<Shape, Element, Result, Epilogue>,
                                   dim3(static_cast<unsigned>(blocks)), Shape::threads, 0, stream, result, input,
                                   weight, epilogue, extent);
}

}  // namespace fx2ait_conv
