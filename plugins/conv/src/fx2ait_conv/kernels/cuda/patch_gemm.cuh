// Convolution of few or odd channels on mma.sync: a rectangle of the input is brought to shared
// memory once, and the matrix of windows is read out of it through a table of offsets.
//
// k runs over (input channel, kernel row, kernel column). Where the horizontal stride is even and
// there is no dilation, each kernel row is padded to whole pairs of columns (`lead` zeros before,
// perhaps one after), so that a pair is one aligned 32-bit word; else pairs are put together from
// two elements. Padding multiplies zero by zero: its half of a word is masked.
#pragma once

#include <cstdint>

#include "fx2ait/cuda/check.h"
#include "fx2ait/cuda/external.cuh"
#include "fx2ait/cuda/launch.cuh"
#include "fx2ait/cuda/mma.cuh"
#include "fx2ait_conv/patch_loader.cuh"
#include "fx2ait_conv/warp_epilogue.cuh"

namespace fx2ait_conv {

/// Sizes known at run time. The result is cut into tiles_y x tiles_x tiles per image.
struct PatchExtent {
  int height, width, out_height, out_width, tiles_y, tiles_x, tiles;
};

/// Work of a thread block: `Rows` x `Columns` pixels, `Channels` result channels, `Sources` input
/// channels in shared memory at a time; each of `Warps` warps takes an equal share of the pixels.
template <class Shape, int Rows, int Columns, int Channels, int Sources, int Warps, int Resident>
struct PatchTile {
  static constexpr int rows = Rows, columns = Columns, channels = Channels, sources = Sources;
  static constexpr int threads = Warps * 32, resident = Resident;
  static constexpr int pixel_tiles = Rows * Columns / (Warps * 16);
  static constexpr int chunks = (Shape::group_in + Sources - 1) / Sources;

  static constexpr bool paired = Shape::stride_w % 2 == 0 && Shape::dilation_w == 1;
  /// Patches begin at a multiple of 4 columns, `shift` before the first window.
  static constexpr int shift = (4 - Shape::pad_left % 4) % 4;
  static constexpr int lead = paired ? shift % 2 : 0;
  static constexpr int row_k = paired ? (lead + Shape::kernel_w + 1) / 2 * 2 : Shape::kernel_w;
  static constexpr int k = Sources * Shape::kernel_h * row_k;
  static constexpr int padded_k = (k + 15) / 16 * 16;

  static constexpr int reach = (Shape::kernel_w - 1) * Shape::dilation_w + 1;
  static constexpr int patch_rows = (Rows - 1) * Shape::stride_h + (Shape::kernel_h - 1) * Shape::dilation_h + 1;
  static constexpr int last_column = (Columns - 1) * Shape::stride_w + shift - lead + (paired ? row_k : reach);
  static constexpr int patch_columns = (last_column + 3) / 4 * 4;

  /// Elements from one channel's weights to the next; rows of 16 bytes hit different banks.
  static constexpr int weight_pitch = padded_k + 8;
  static constexpr int weight_bytes = Channels * weight_pitch * 2;
  static constexpr int table_bytes = padded_k / 2 * 8;
  static constexpr int staging_bytes = Warps * staging_floats<Channels> * 4;
  static constexpr int patch_bytes = Sources * patch_rows * patch_columns * 2;
  static constexpr int shared_bytes = weight_bytes + table_bytes + staging_bytes + patch_bytes;

  static_assert(Rows * Columns % (Warps * 16) == 0 && Channels % 16 == 0);
  static_assert(Columns * Shape::stride_w % 4 == 0, "every tile's patch has the same shift");
  static_assert(patch_bytes <= 65536, "offsets in the table have 16 bits");

  /// Bytes from a pixel's corner of the patch to element `index` of k.
  static __device__ __forceinline__ uint32_t offset(int index) {
    const int channel = index / (Shape::kernel_h * row_k);
    const int row = index / row_k % Shape::kernel_h * Shape::dilation_h;
    const int column = shift - lead + index % row_k * Shape::dilation_w;
    return static_cast<uint32_t>(((channel * patch_rows + row) * patch_columns + column) * 2);
  }

  /// Whether element `index` of k stands for an input element rather than for padding.
  static __device__ __forceinline__ bool is_real(int index) {
    const int column = index % row_k - lead;
    return index < k && column >= 0 && column < Shape::kernel_w;
  }
};

namespace detail {

/// Two neighbours in k of the pixel whose corner of the patch is at `corner`.
template <bool Paired>
__device__ __forceinline__ uint32_t read_pair(uint32_t corner, uint2 entry) {
  if constexpr (Paired) {
    return fx2ait::load_shared_32(corner + entry.x) & entry.y;
  } else {
    const uint32_t low = fx2ait::load_shared_16(corner + (entry.x & 0xffffu));
    const uint32_t high = fx2ait::load_shared_16(corner + (entry.x >> 16));
    return (low | high << 16) & entry.y;
  }
}

}  // namespace detail

/// Fills the table: per pair of k the offsets of its elements and the mask of its real halves.
template <class Tile>
__device__ __forceinline__ void write_offsets(uint2* table) {
  for (int pair = static_cast<int>(threadIdx.x); pair < Tile::padded_k / 2; pair += Tile::threads) {
    const bool low = Tile::is_real(2 * pair), high = Tile::is_real(2 * pair + 1);
    uint2 entry = make_uint2(0, (low ? 0x0000ffffu : 0u) | (high ? 0xffff0000u : 0u));
    if constexpr (Tile::paired) {
      if (low || high) entry.x = Tile::offset(2 * pair);
    } else {
      entry.x = (low ? Tile::offset(2 * pair) : 0u) | (high ? Tile::offset(2 * pair + 1) << 16 : 0u);
    }
    table[pair] = entry;
  }
}

/// Copies the weights of one chunk of input channels; `weights` points at those of the tile's
/// first channel, of which `channels` exist.
template <class Tile, class Element>
__device__ __forceinline__ void load_weights(Element* shared, const Element* weights, int channels) {
  constexpr int vectors = Tile::padded_k / 8;
  for (int i = static_cast<int>(threadIdx.x); i < Tile::channels * vectors; i += Tile::threads) {
    const int channel = i / vectors, vector = i % vectors;
    const bool kept = channel < channels;
    fx2ait::copy_async_16(fx2ait::shared_address(shared + channel * Tile::weight_pitch + vector * 8),
                          weights + (kept ? channel * Tile::padded_k + vector * 8 : 0), kept);
  }
  fx2ait::copy_async_commit();
}

/// Grid: (blocks, which share the tiles of the result; channel tiles x groups).
/// Weights: [group][chunk][channel][padded_k].
template <class Shape, class Tile, class Source, class Element, class Result, class Epilogue>
__global__ void __launch_bounds__(Tile::threads, Tile::resident)
patch_gemm(Result* result, const ImageView<Source> input, const Element* weight, const Epilogue epilogue,
           const PatchExtent extent) {
  extern __shared__ __align__(128) unsigned char shared[];
  auto* weights = reinterpret_cast<Element*>(shared);
  auto* table = reinterpret_cast<uint2*>(shared + Tile::weight_bytes);
  auto* staging = reinterpret_cast<float*>(shared + Tile::weight_bytes + Tile::table_bytes);
  auto* patch = reinterpret_cast<Element*>(shared + Tile::weight_bytes + Tile::table_bytes + Tile::staging_bytes);

  constexpr int channel_blocks = (Shape::group_out + Tile::channels - 1) / Tile::channels;
  const int group = static_cast<int>(blockIdx.y) / channel_blocks;
  const int first_channel = static_cast<int>(blockIdx.y) % channel_blocks * Tile::channels;
  const Element* tile_weights =
      weight + (int64_t{group} * Tile::chunks * Shape::group_out + first_channel) * Tile::padded_k;
  const int lane = static_cast<int>(threadIdx.x) % 32, warp = static_cast<int>(threadIdx.x) / 32;
  const int first_row = warp * Tile::pixel_tiles * 16;  // of the tile's pixels, this warp's first

  uint32_t corners[Tile::pixel_tiles][2];
#pragma unroll
  for (int i = 0; i < Tile::pixel_tiles; ++i) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int pixel = first_row + i * 16 + half * 8 + lane / 4;
      const int y = pixel / Tile::columns * Shape::stride_h, x = pixel % Tile::columns * Shape::stride_w;
      corners[i][half] = fx2ait::shared_address(patch + y * Tile::patch_columns + x);
    }
  }
  const uint32_t weight_address = fx2ait::shared_address(
      weights + (lane % 8 + lane / 16 * 8) * Tile::weight_pitch + lane / 8 % 2 * 8);
  const uint2* entries = table + lane % 4;

  write_offsets<Tile>(table);
  if constexpr (Tile::chunks == 1) {
    load_weights<Tile>(weights, tile_weights, Shape::group_out - first_channel);
    fx2ait::copy_async_wait<0>();
  }
  fx2ait::begin_kernel<Shape::dependent>();

#pragma unroll 1
  for (int tile = static_cast<int>(blockIdx.x); tile < extent.tiles; tile += static_cast<int>(gridDim.x)) {
    const int image = tile / (extent.tiles_y * extent.tiles_x);
    const int tile_y = tile / extent.tiles_x % extent.tiles_y * Tile::rows;
    const int tile_x = tile % extent.tiles_x * Tile::columns;
    float accumulators[Tile::pixel_tiles][Tile::channels / 8][4] = {};

#pragma unroll 1
    for (int chunk = 0; chunk < Tile::chunks; ++chunk) {
      __syncthreads();  // the previous patch was read by all
      if constexpr (Tile::chunks > 1) {
        load_weights<Tile>(weights, tile_weights + int64_t{chunk} * Shape::group_out * Tile::padded_k,
                           Shape::group_out - first_channel);
      }
      const int first_source = chunk * Tile::sources;
      load_patch<Tile::sources, Tile::patch_rows, Tile::patch_columns, Tile::threads>(
          patch, input,
          input.data + image * input.image_stride + (group * Shape::group_in + first_source) * input.channel_stride,
          tile_y * Shape::stride_h - Shape::pad_top, tile_x * Shape::stride_w - Shape::pad_left - Tile::shift,
          extent.height, extent.width, Shape::group_in - first_source);
      if constexpr (Tile::chunks > 1) fx2ait::copy_async_wait<0>();
      __syncthreads();

#pragma unroll 2
      for (int step = 0; step < Tile::padded_k / 16; ++step) {
        uint32_t b[Tile::channels / 16][4];
#pragma unroll
        for (int j = 0; j < Tile::channels / 16; ++j) {
          fx2ait::load_matrix_x4(b[j], weight_address + (j * 16 * Tile::weight_pitch + step * 16) * 2);
        }
        const uint2 near = entries[step * 8], far = entries[step * 8 + 4];
#pragma unroll
        for (int i = 0; i < Tile::pixel_tiles; ++i) {
          const uint32_t a[4] = {detail::read_pair<Tile::paired>(corners[i][0], near),
                                 detail::read_pair<Tile::paired>(corners[i][1], near),
                                 detail::read_pair<Tile::paired>(corners[i][0], far),
                                 detail::read_pair<Tile::paired>(corners[i][1], far)};
#pragma unroll
          for (int j = 0; j < Tile::channels / 16; ++j) {
            fx2ait::mma_m16n8k16<Element>(accumulators[i][2 * j], a, b[j][0], b[j][1]);
            fx2ait::mma_m16n8k16<Element>(accumulators[i][2 * j + 1], a, b[j][2], b[j][3]);
          }
        }
      }
    }

#pragma unroll
    for (int i = 0; i < Tile::pixel_tiles; ++i) {
      const auto pixel = [&](int row) -> int64_t {
        const int place = first_row + i * 16 + row;
        const int y = tile_y + place / Tile::columns, x = tile_x + place % Tile::columns;
        if (y >= extent.out_height || x >= extent.out_width) return -1;
        return (int64_t{image} * extent.out_height + y) * extent.out_width + x;
      };
      finish_rows<Shape::vector, Tile::channels>(accumulators[i], staging + warp * staging_floats<Tile::channels>,
                                                 result, epilogue, pixel, first_channel, Shape::group_out,
                                                 group * Shape::group_out, Shape::out_channels);
    }
  }
}

/// Launches patch_gemm over `batch` images of the view; at most `blocks` thread blocks share the
/// tiles of each channel tile.
template <class Shape, class Tile, class Source, class Element, class Result, class Epilogue>
void launch_patch_gemm(const char* name, Result* result, const ImageView<Source>& input, const Element* weight,
                       const Epilogue& epilogue, int64_t batch, PatchExtent extent, int blocks, cudaStream_t stream) {
  constexpr int channel_blocks = (Shape::group_out + Tile::channels - 1) / Tile::channels;
  extent.tiles_y = (extent.out_height + Tile::rows - 1) / Tile::rows;
  extent.tiles_x = (extent.out_width + Tile::columns - 1) / Tile::columns;
  extent.tiles = static_cast<int>(batch * extent.tiles_y * extent.tiles_x);
  const int turns = (extent.tiles + blocks - 1) / blocks;
  const int balanced = (extent.tiles + turns - 1) / turns;
  const auto kernel = patch_gemm<Shape, Tile, Source, Element, Result, Epilogue>;
  FX2AIT_CUDA_CHECK(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, Tile::shared_bytes));
  fx2ait::launch<Shape::dependent>(name, kernel, dim3(balanced, channel_blocks * Shape::groups), Tile::threads,
                                   Tile::shared_bytes, stream, result, input, weight, epilogue, extent);
}

}  // namespace fx2ait_conv
