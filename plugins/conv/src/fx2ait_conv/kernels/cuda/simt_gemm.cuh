// Convolution as a matrix product on the CUDA cores, in float32: any channel count, groups, window
// and input strides. k runs over (kernel row, kernel column, input channel of the group).
#pragma once

#include <cstdint>

#include "fx2ait/cuda/check.h"
#include "fx2ait/cuda/external.cuh"
#include "fx2ait/cuda/launch.cuh"
#include "fx2ait/cuda/vector.cuh"
#include "fx2ait_conv/patch_loader.cuh"

namespace fx2ait_conv {

/// Sizes known at run time.
struct SimtExtent {
  int height, width, out_height, out_width, pixels;
};

/// Work of a thread block: `Pixels` x `Channels` results, of which each thread holds
/// `ThreadPixels` x `ThreadChannels` (4 or 8 each); k in steps of 16.
template <int Pixels, int Channels, int ThreadPixels, int ThreadChannels>
struct SimtTile {
  static constexpr int pixels = Pixels, channels = Channels, depth = 16;
  static constexpr int thread_pixels = ThreadPixels, thread_channels = ThreadChannels;
  static constexpr int along_channels = Channels / ThreadChannels, along_pixels = Pixels / ThreadPixels;
  static constexpr int threads = along_channels * along_pixels;
  static constexpr int pixel_pitch = Pixels + 4, channel_pitch = Channels + 4;
  static_assert(ThreadPixels % 4 == 0 && ThreadChannels % 4 == 0);
  static_assert(threads >= Pixels && threads % Pixels == 0 && threads % 32 == 0);
};

/// Where a result pixel's window begins in the input; rows past the end lie above any image.
template <class Shape, class Source>
struct Window {
  const Source* image;
  int top, left;

  __device__ __forceinline__ void locate(const ImageView<Source>& view, const SimtExtent& extent, int pixel,
                                         int group) {
    const bool inside = pixel < extent.pixels;
    const int line = inside ? pixel / extent.out_width : 0;
    const int x = inside ? pixel % extent.out_width : 0;
    top = inside ? line % extent.out_height * Shape::stride_h - Shape::pad_top : -(1 << 30);
    left = x * Shape::stride_w - Shape::pad_left;
    image = view.data + line / extent.out_height * view.image_stride +
            group * Shape::group_in * view.channel_stride;
  }

  /// Reads V channels from element `k` of the window on; zeros outside the image.
  template <int V>
  __device__ __forceinline__ void read(float (&values)[V], const ImageView<Source>& view, const SimtExtent& extent,
                                       int k) const {
    const int tap = k / Shape::group_in, channel = k % Shape::group_in;
    const int y = top + tap / Shape::kernel_w * Shape::dilation_h;
    const int x = left + tap % Shape::kernel_w * Shape::dilation_w;
#pragma unroll
    for (int i = 0; i < V; ++i) values[i] = 0.0f;
    if (k < Shape::k && static_cast<unsigned>(y) < static_cast<unsigned>(extent.height) &&
        static_cast<unsigned>(x) < static_cast<unsigned>(extent.width)) {
      fx2ait::load_vector<V>(values, image + channel * view.channel_stride + y * view.row_stride +
                                         x * view.column_stride);
    }
  }
};

/// Grid: (channel tiles x pixel tiles, groups). Weights: [group][padded_k][padded_out].
template <class Shape, class Tile, class Source, class Result, class Epilogue>
__global__ void __launch_bounds__(Tile::threads)
simt_gemm(Result* result, const ImageView<Source> input, const float* weight, const Epilogue epilogue,
          const SimtExtent extent) {
  constexpr int depth = Tile::depth, threads = Tile::threads;
  constexpr int channel_blocks = (Shape::group_out + Tile::channels - 1) / Tile::channels;
  constexpr int steps = Shape::padded_k / depth;
  // Each thread brings `reads` x `wide` input elements per step: neighbouring channels of a few
  // pixels where vectors can be read, else one pixel's elements of every so many k.
  constexpr int wide = Shape::input_vector;
  constexpr int windows = wide == 4 ? Tile::pixels * depth / (4 * threads) : 1;
  constexpr int reads = wide == 4 ? windows : Tile::pixels * depth / threads;
  constexpr int weight_reads = (depth * Tile::channels / 4 + threads - 1) / threads;
  static_assert(wide == 1 || Tile::pixels * depth % (4 * threads) == 0);

  __shared__ __align__(16) float pixel_rows[2][depth][Tile::pixel_pitch];
  __shared__ __align__(16) float channel_rows[2][depth][Tile::channel_pitch];
  const int thread = static_cast<int>(threadIdx.x);
  const int first_pixel = static_cast<int>(blockIdx.x) / channel_blocks * Tile::pixels;
  const int first_channel = static_cast<int>(blockIdx.x) % channel_blocks * Tile::channels;
  const int group = blockIdx.y;
  const float* weights = weight + int64_t{group} * Shape::padded_k * Shape::padded_out + first_channel;

  const int own_pixel = wide == 4 ? thread / (depth / 4) : thread % Tile::pixels;
  const int own_k = wide == 4 ? thread % (depth / 4) * 4 : thread / Tile::pixels;
  Window<Shape, Source> window[windows];
#pragma unroll
  for (int i = 0; i < windows; ++i) {
    window[i].locate(input, extent, first_pixel + own_pixel + i * (threads * 4 / depth), group);
  }

  fx2ait::begin_kernel<Shape::dependent>();
  float fetched[reads][wide];
  float4 fetched_weights[weight_reads];
  const auto fetch = [&](int step) {
#pragma unroll
    for (int i = 0; i < reads; ++i) {
      const int k = step * depth + own_k + (wide == 4 ? 0 : i * (threads / Tile::pixels));
      window[wide == 4 ? i : 0].template read<wide>(fetched[i], input, extent, k);
    }
#pragma unroll
    for (int i = 0; i < weight_reads; ++i) {
      const int place = (i * threads + thread) * 4;
      const int k = place / Tile::channels, channel = place % Tile::channels;
      fetched_weights[i] = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
      if (k < depth && first_channel + channel < Shape::padded_out) {
        fetched_weights[i] =
            *reinterpret_cast<const float4*>(weights + int64_t{step * depth + k} * Shape::padded_out + channel);
      }
    }
  };
  const auto keep = [&](int buffer) {
#pragma unroll
    for (int i = 0; i < reads; ++i) {
#pragma unroll
      for (int e = 0; e < wide; ++e) {
        const int k = own_k + (wide == 4 ? e : i * (threads / Tile::pixels));
        const int pixel = own_pixel + (wide == 4 ? i * (threads * 4 / depth) : 0);
        pixel_rows[buffer][k][pixel] = fetched[i][e];
      }
    }
#pragma unroll
    for (int i = 0; i < weight_reads; ++i) {
      const int place = (i * threads + thread) * 4;
      if (place < depth * Tile::channels) {
        *reinterpret_cast<float4*>(&channel_rows[buffer][place / Tile::channels][place % Tile::channels]) =
            fetched_weights[i];
      }
    }
  };

  // A thread's results come in 4x4 squares, spread over the tile so that reads hit all banks.
  const int thread_x = thread % Tile::along_channels * 4, thread_y = thread / Tile::along_channels * 4;
  float sums[Tile::thread_pixels][Tile::thread_channels] = {};
  fetch(0);
  keep(0);
#pragma unroll 1
  for (int step = 0; step < steps; ++step) {
    __syncthreads();
    if (step + 1 < steps) fetch(step + 1);
    const int buffer = step % 2;
#pragma unroll
    for (int k = 0; k < depth; ++k) {
      float a[Tile::thread_pixels], b[Tile::thread_channels];
#pragma unroll
      for (int i = 0; i < Tile::thread_pixels; i += 4) {
        *reinterpret_cast<float4*>(a + i) =
            *reinterpret_cast<const float4*>(&pixel_rows[buffer][k][thread_y + i * Tile::along_pixels]);
      }
#pragma unroll
      for (int j = 0; j < Tile::thread_channels; j += 4) {
        *reinterpret_cast<float4*>(b + j) =
            *reinterpret_cast<const float4*>(&channel_rows[buffer][k][thread_x + j * Tile::along_channels]);
      }
#pragma unroll
      for (int i = 0; i < Tile::thread_pixels; ++i) {
#pragma unroll
        for (int j = 0; j < Tile::thread_channels; ++j) sums[i][j] += a[i] * b[j];
      }
    }
    if (step + 1 < steps) keep(1 - buffer);
  }

  constexpr int V = Shape::vector < 4 ? Shape::vector : 4;
#pragma unroll
  for (int i = 0; i < Tile::thread_pixels; ++i) {
    const int pixel = first_pixel + thread_y + i / 4 * 4 * Tile::along_pixels + i % 4;
    if (pixel >= extent.pixels) continue;
#pragma unroll
    for (int j = 0; j < Tile::thread_channels; j += V) {
      const int channel = first_channel + thread_x + j / 4 * 4 * Tile::along_channels + j % 4;
      if (channel >= Shape::group_out) continue;
      const int absolute = group * Shape::group_out + channel;
      const int64_t offset = int64_t{pixel} * Shape::out_channels + absolute;
      const auto operands = epilogue.template load<V>(offset, absolute);
      float values[V];
#pragma unroll
      for (int v = 0; v < V; ++v) values[v] = sums[i][j + v];
      epilogue.apply(values, operands);
      fx2ait::store_vector<V>(result + offset, values);
    }
  }
}

/// Launches simt_gemm over the pixels of `extent`.
template <class Shape, class Tile, class Source, class Result, class Epilogue>
void launch_simt_gemm(const char* name, Result* result, const ImageView<Source>& input, const float* weight,
                      const Epilogue& epilogue, const SimtExtent& extent, cudaStream_t stream) {
  constexpr int channel_blocks = (Shape::group_out + Tile::channels - 1) / Tile::channels;
  const auto pixel_blocks = static_cast<unsigned>((extent.pixels + Tile::pixels - 1) / Tile::pixels);
  fx2ait::launch<Shape::dependent>(name, simt_gemm<Shape, Tile, Source, Result, Epilogue>,
                                   dim3(pixel_blocks * channel_blocks, Shape::groups), Tile::threads, 0, stream,
                                   result, input, weight, epilogue, extent);
}

}  // namespace fx2ait_conv
