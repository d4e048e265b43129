// Convolution as a matrix product on mma.sync, without writing the matrix of input patches:
//   result[pixel, channel] = sum over k of input[pixel's window, k] * weight[channel, k],
// where k runs over (kernel row, kernel column, input channel). Input and result are NHWC; the
// channels of a group are a multiple of 8, so that 16 bytes of k belong to one window position.
#pragma once

#include <climits>
#include <cstdint>

#include "fx2ait/cuda/check.h"
#include "fx2ait/cuda/launch.cuh"
#include "fx2ait/cuda/mma.cuh"
#include "fx2ait_conv/warp_epilogue.cuh"

namespace fx2ait_conv {

/// Work of a thread block: `Pixels` x `Channels` results, k in steps of `Depth`, `WarpPixels` x
/// `WarpChannels` per warp, `Stages` steps in shared memory at once, `Splits` blocks sharing the
/// k of one tile, `Resident` blocks per multiprocessor at least.
template <int Pixels, int Channels, int Depth, int WarpPixels, int WarpChannels, int Stages, int Splits, int Resident>
struct GemmTile {
  static constexpr int pixels = Pixels, channels = Channels, depth = Depth;
  static constexpr int warp_pixels = WarpPixels, warp_channels = WarpChannels;
  static constexpr int stages = Stages, splits = Splits, resident = Resident;
  static constexpr int warps_along_pixels = Pixels / WarpPixels;
  static constexpr int warps = warps_along_pixels * (Channels / WarpChannels);
  static constexpr int threads = warps * 32;
  static constexpr int row_bytes = Depth * 2;
  static constexpr int stage_bytes = (Pixels + Channels) * row_bytes;
  static constexpr int pipeline_bytes = Stages * stage_bytes;
  static constexpr int staging_bytes = warps * staging_floats<WarpChannels> * 4;
  static constexpr int shared_bytes = pipeline_bytes > staging_bytes ? pipeline_bytes : staging_bytes;

  static_assert(Depth == 32 || Depth == 64);
  static_assert(WarpPixels % 16 == 0 && WarpChannels % 16 == 0);
  static_assert(Pixels % WarpPixels == 0 && Channels % WarpChannels == 0);
  static_assert(Stages >= 2);

  /// Position of a row's 16-byte `chunk`, such that 8 consecutive rows lie in different banks.
  static __device__ __forceinline__ int swizzle(int row, int chunk) {
    return Depth == 64 ? chunk ^ (row & 7) : chunk ^ ((row >> 1) & 3);
  }
};

/// Brings rows of the two operands to shared memory, one step of k after the other.
template <class Shape, class Tile, class Element>
class OperandLoader {
  static constexpr int chunks = Tile::depth / 8;
  static constexpr int rows_per_pass = Tile::threads / chunks;
  static constexpr int pixel_passes = Tile::pixels / rows_per_pass;
  static constexpr int channel_passes = (Tile::channels + rows_per_pass - 1) / rows_per_pass;
  static_assert(Tile::pixels % rows_per_pass == 0 && rows_per_pass % 8 == 0);
  static constexpr bool partial_pass = Tile::channels % rows_per_pass != 0;

 public:
  __device__ __forceinline__ OperandLoader(const Element* input, const Element* weight, int first_pixel,
                                           int first_channel, int pixels, int group, int first_step) {
    const int row = static_cast<int>(threadIdx.x) / chunks;
    const int chunk = static_cast<int>(threadIdx.x) % chunks;
    row_ = row;
    k_ = first_step * Tile::depth + chunk * 8;
    locate();
    target_ = row * Tile::row_bytes + Tile::swizzle(row, chunk) * 16;
#pragma unroll
    for (int i = 0; i < pixel_passes; ++i) {
      const int pixel = first_pixel + row + i * rows_per_pass;
      constexpr int image_pixels = Shape::out_height * Shape::out_width;
      const int image = pixel / image_pixels;
      const int y = pixel % image_pixels / Shape::out_width;
      const int x = pixel % Shape::out_width;
      const bool inside = pixel < pixels;
      // A row past the end reads nothing: its window lies above any image.
      top_[i] = inside ? y * Shape::stride_h - Shape::pad_top : INT_MIN / 2;
      left_[i] = x * Shape::stride_w - Shape::pad_left;
      source_[i] = input + group * Shape::group_in +
                   (inside ? int64_t{image} * (Shape::height * Shape::width * Shape::channels) : 0);
    }
#pragma unroll
    for (int i = 0; i < channel_passes; ++i) {
      const int channel = first_channel + row + i * rows_per_pass;
      kept_[i] = channel < Shape::group_out;
      weight_[i] = weight + (group * Shape::group_out + (kept_[i] ? channel : 0)) * int64_t{Shape::packed_k} + k_;
    }
  }

  /// Starts copying this thread's part of the present step into the stage at `stage`, moves on.
  __device__ __forceinline__ void load(uint32_t stage) {
    const int tap_y = kernel_y_ * Shape::dilation_h;
    const int tap_x = kernel_x_ * Shape::dilation_w;
    const bool tap = kernel_y_ < Shape::kernel_h;
#pragma unroll
    for (int i = 0; i < pixel_passes; ++i) {
      const int y = top_[i] + tap_y, x = left_[i] + tap_x;
      bool valid = tap;
      if constexpr (Shape::padded) {
        valid = valid && static_cast<unsigned>(y) < static_cast<unsigned>(Shape::height) &&
                static_cast<unsigned>(x) < static_cast<unsigned>(Shape::width);
      } else {
        valid = valid && y >= 0;
      }
      const int offset = valid ? (y * Shape::width + x) * Shape::channels + channel_ : 0;
      fx2ait::copy_async_16(stage + target_ + i * rows_per_pass * Tile::row_bytes, source_[i] + offset, valid);
    }
#pragma unroll
    for (int i = 0; i < channel_passes; ++i) {
      if (!partial_pass || row_ + i * rows_per_pass < Tile::channels) {
        fx2ait::copy_async_16(stage + Tile::pixels * Tile::row_bytes + target_ + i * rows_per_pass * Tile::row_bytes,
                              weight_[i], kept_[i]);
      }
      weight_[i] += Tile::depth;
    }
    advance();
  }

 private:
  __device__ __forceinline__ void locate() {
    const int tap = k_ / Shape::group_in;
    channel_ = k_ % Shape::group_in;
    kernel_y_ = tap / Shape::kernel_w;
    kernel_x_ = tap % Shape::kernel_w;
  }

  __device__ __forceinline__ void advance() {
    if constexpr (Shape::group_in % Tile::depth == 0) {
      channel_ += Tile::depth;
      if (channel_ >= Shape::group_in) {
        channel_ -= Shape::group_in;
        if (++kernel_x_ == Shape::kernel_w) {
          kernel_x_ = 0;
          ++kernel_y_;
        }
      }
    } else {
      k_ += Tile::depth;
      locate();
    }
  }

  int row_, k_, channel_, kernel_y_, kernel_x_;
  uint32_t target_;
  int top_[pixel_passes], left_[pixel_passes];
  const Element* source_[pixel_passes];
  const Element* weight_[channel_passes];
  bool kept_[channel_passes];
};

/// Adds one step of k, in shared memory at `stage`, to the accumulators of this warp.
template <class Tile, class Element>
__device__ __forceinline__ void multiply(float (&accumulators)[Tile::warp_pixels / 16][Tile::warp_channels / 8][4],
                                         uint32_t stage, int warp_row, int warp_column) {
  constexpr int pixel_tiles = Tile::warp_pixels / 16, channel_pairs = Tile::warp_channels / 16;
  constexpr int steps = Tile::depth / 16;
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int pixel_row = warp_row + lane % 16;
  const int channel_row = warp_column + lane % 8 + lane / 16 * 8;
  const uint32_t pixel_base = stage + pixel_row * Tile::row_bytes;
  const uint32_t channel_base = stage + (Tile::pixels + channel_row) * Tile::row_bytes;

  uint32_t a[2][pixel_tiles][4], b[2][channel_pairs][4];
  const auto fetch = [&](int step) {
    const int buffer = step % 2;
#pragma unroll
    for (int i = 0; i < pixel_tiles; ++i) {
      fx2ait::load_matrix_x4(a[buffer][i], pixel_base + i * 16 * Tile::row_bytes +
                                               Tile::swizzle(pixel_row, step * 2 + lane / 16) * 16);
    }
#pragma unroll
    for (int j = 0; j < channel_pairs; ++j) {
      fx2ait::load_matrix_x4(b[buffer][j], channel_base + j * 16 * Tile::row_bytes +
                                               Tile::swizzle(channel_row, step * 2 + lane / 8 % 2) * 16);
    }
  };
  fetch(0);
#pragma unroll
  for (int step = 0; step < steps; ++step) {
    if (step + 1 < steps) fetch(step + 1);
#pragma unroll
    for (int i = 0; i < pixel_tiles; ++i) {
#pragma unroll
      for (int j = 0; j < channel_pairs; ++j) {
        const uint32_t(&pair)[4] = b[step % 2][j];
        fx2ait::mma_m16n8k16<Element>(accumulators[i][2 * j], a[step % 2][i], pair[0], pair[1]);
        fx2ait::mma_m16n8k16<Element>(accumulators[i][2 * j + 1], a[step % 2][i], pair[2], pair[3]);
      }
    }
  }
}

/// Adds up the accumulators of all blocks that share a tile. True in the block that came last,
/// which then holds the sum, always added in the same order; the others are done.
template <class Tile, int Count>
__device__ __forceinline__ bool reduce_splits(float (&accumulators)[Count], float* partials, unsigned* counters,
                                              int tile, int split) {
  static_assert(Count % 4 == 0);
  __shared__ bool is_last;
  float4* own = reinterpret_cast<float4*>(partials) + int64_t{tile} * (Tile::splits * Count / 4 * Tile::threads) +
                threadIdx.x;
  float4* mine = own + split * (Count / 4 * Tile::threads);
#pragma unroll
  for (int i = 0; i < Count; i += 4) {
    __stcg(mine + i / 4 * Tile::threads,
           make_float4(accumulators[i], accumulators[i + 1], accumulators[i + 2], accumulators[i + 3]));
  }
  __threadfence();
  __syncthreads();
  if (threadIdx.x == 0) {
    is_last = atomicAdd(counters + tile, 1u) == static_cast<unsigned>(Tile::splits - 1);
  }
  __syncthreads();
  if (!is_last) return false;
  __threadfence();
#pragma unroll
  for (int i = 0; i < Count; ++i) accumulators[i] = 0.0f;
#pragma unroll 1
  for (int s = 0; s < Tile::splits; ++s) {
#pragma unroll
    for (int i = 0; i < Count; i += 4) {
      const float4 part = __ldcg(own + (s * (Count / 4) + i / 4) * Tile::threads);
      accumulators[i] += part.x;
      accumulators[i + 1] += part.y;
      accumulators[i + 2] += part.z;
      accumulators[i + 3] += part.w;
    }
  }
  if (threadIdx.x == 0) counters[tile] = 0;  // as it was found, for the next launch
  return true;
}

/// Grid: (channel tiles x pixel tiles, groups, splits). Channel tiles of the same pixels are
/// neighbours, so that they find the input in L2.
template <class Shape, class Tile, class Element, class Result, class Epilogue>
__global__ void __launch_bounds__(Tile::threads, Tile::resident)
implicit_gemm(Result* result, const Element* input, const Element* weight, const Epilogue epilogue,
              [[maybe_unused]] float* partials, [[maybe_unused]] unsigned* counters, int pixels) {
  extern __shared__ __align__(128) unsigned char shared[];
  constexpr int pixel_tiles = Tile::warp_pixels / 16, column_tiles = Tile::warp_channels / 8;
  constexpr int channel_blocks = (Shape::group_out + Tile::channels - 1) / Tile::channels;
  constexpr int steps = (Shape::k + Tile::depth - 1) / Tile::depth;
  const int first_pixel = static_cast<int>(blockIdx.x) / channel_blocks * Tile::pixels;
  const int first_channel = static_cast<int>(blockIdx.x) % channel_blocks * Tile::channels;
  const int group = blockIdx.y, split = blockIdx.z;
  const int first_step = steps * split / Tile::splits;
  const int count = steps * (split + 1) / Tile::splits - first_step;
  const int warp = static_cast<int>(threadIdx.x) / 32;
  const int warp_row = warp % Tile::warps_along_pixels * Tile::warp_pixels;
  const int warp_column = warp / Tile::warps_along_pixels * Tile::warp_channels;
  const uint32_t base = fx2ait::shared_address(shared);

  OperandLoader<Shape, Tile, Element> loader(input, weight, first_pixel, first_channel, pixels, group, first_step);
  float accumulators[pixel_tiles][column_tiles][4] = {};
  fx2ait::begin_kernel<Shape::dependent>();
#pragma unroll
  for (int s = 0; s < Tile::stages - 1; ++s) {
    if (s < count) loader.load(base + s * Tile::stage_bytes);
    fx2ait::copy_async_commit();
  }
  int reading = 0, writing = Tile::stages - 1;
#pragma unroll 1
  for (int step = 0; step < count; ++step) {
    fx2ait::copy_async_wait<Tile::stages - 2>();
    __syncthreads();  // the stage to read has arrived for all, the one to write was read by all
    if (step + Tile::stages - 1 < count) loader.load(base + writing * Tile::stage_bytes);
    fx2ait::copy_async_commit();
    multiply<Tile, Element>(accumulators, base + reading * Tile::stage_bytes, warp_row, warp_column);
    if (++reading == Tile::stages) reading = 0;
    if (++writing == Tile::stages) writing = 0;
  }

  if constexpr (Tile::splits > 1) {
    constexpr int values = pixel_tiles * column_tiles * 4;
    const int tile = static_cast<int>(blockIdx.y * gridDim.x + blockIdx.x);
    if (!reduce_splits<Tile>(reinterpret_cast<float(&)[values]>(accumulators), partials, counters, tile, split)) {
      return;
    }
  }
  __syncthreads();  // the pipeline's memory becomes the staging slabs
  float* staging = reinterpret_cast<float*>(shared) + warp * staging_floats<Tile::warp_channels>;
#pragma unroll
  for (int i = 0; i < pixel_tiles; ++i) {
    const int first_row = first_pixel + warp_row + i * 16;
    const auto pixel = [&](int row) -> int64_t { return first_row + row < pixels ? first_row + row : -1; };
    finish_rows<Shape::vector, Tile::warp_channels>(accumulators[i], staging, result, epilogue, pixel,
                                                    first_channel + warp_column, Shape::group_out,
                                                    group * Shape::group_out, Shape::out_channels);
  }
}

/// Launches implicit_gemm for `batch` images. With splits, the workspace begins with
/// `counter_bytes` of tile counters, zero between launches, before the partial sums.
template <class Shape, class Tile, class Element, class Result, class Epilogue>
void launch_implicit_gemm(const char* name, Result* result, const Element* input, const Element* weight,
                          const Epilogue& epilogue, void* workspace, int64_t counter_bytes, int64_t batch,
                          cudaStream_t stream) {
  const int64_t pixels = batch * Shape::out_height * Shape::out_width;
  if (pixels > INT_MAX - Tile::pixels) {
    throw fx2ait::Error({name, ": ", fx2ait::Digits(batch), " images have too many pixels"});
  }
  constexpr int channel_blocks = (Shape::group_out + Tile::channels - 1) / Tile::channels;
  const auto blocks = static_cast<unsigned>((pixels + Tile::pixels - 1) / Tile::pixels * channel_blocks);
  const auto kernel = implicit_gemm<Shape, Tile, Element, Result, Epilogue>;
  FX2AIT_CUDA_CHECK(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, Tile::shared_bytes));
  auto* counters = static_cast<unsigned*>(workspace);
  auto* partials = reinterpret_cast<float*>(static_cast<char*>(workspace) + counter_bytes);
  fx2ait::launch<Shape::dependent>(name, kernel, dim3(blocks, Shape::groups, Tile::splits), Tile::threads,
                                   Tile::shared_bytes, stream, result, input, weight, epilogue, partials, counters,
                                   static_cast<int>(pixels));
}

}  // namespace fx2ait_conv
