// From accumulators that hold channels x pixels to finished results in channels-last memory.
//
// Products are formed with filters as rows and pixels as columns, so a thread holds two rows of an
// accumulator: g and g + 8 of the 16 of its warp. Filters are packed so that these are two
// neighbouring channels. The 8 threads with the same pixel then hold 16 neighbours, whole sectors of
// memory, and nothing needs to be exchanged between threads.
#pragma once

#include <cstdint>

#include "fx2ait/cuda/vector.cuh"

namespace fx2ait_conv {

/// Elements in shared memory, for an epilogue that does not know where its operands are.
template <class T>
__device__ __forceinline__ const T* staged_elements(uint32_t address) {
  return static_cast<const T*>(__cvta_shared_to_generic(address));
}

/// Finishes a tile of `Height` x 8 pixels and 64 channels for one warpgroup.
///
/// The epilogue's operands are loaded all at once, by `load` from where they are or by `load_staged`
/// from a copy of the tile in shared memory, and used by `store`.
template <int Height, class Result, class Epilogue>
class HaloFinish {
 public:
  /// The tile's first pixel is (`image`, `row`, `column`), its first channel `channel`.
  __device__ __forceinline__ HaloFinish(
      int image, int row, int column, int channel, int out_height, int out_width, int out_channels) {
    const int thread = static_cast<int>(threadIdx.x) % 128, lane = thread % 32;
    const int x = column + lane % 4 * 2;
    channel += thread / 32 * 16 + lane / 4 * 2;
    rows_ = channel < out_channels ? out_height - row : 0;
    columns_ = out_width - x;
    channel_ = channel < out_channels ? channel : 0;
    pixel_ = out_channels;
    pitch_ = out_width * out_channels;
    const int64_t line = static_cast<int64_t>(image) * out_height + row;
    first_ = (line * out_width + min(x, out_width - 1)) * out_channels + channel_;
  }

  /// Loads operands that are laid out as the result. Before the products, this hides behind them.
  __device__ __forceinline__ void load(const Epilogue& epilogue) {
#pragma unroll
    for (int row = 0; row < Height; ++row) {
#pragma unroll
      for (int side = 0; side < 2; ++side) {
        // Outside the result, anything that can be read will do.
        const int inside = contains(row, side) ? place(row, side) : 0;
        operands_[row][side] = epilogue.template load<2>(first_ + inside, channel_);
      }
    }
  }

  /// Loads operands that are laid out as [Height, 8 pixels, 64 channels] in the 128-byte swizzle of
  /// the copy engine: bits 3 to 5 of a channel are exchanged by those of its pixel.
  __device__ __forceinline__ void load_staged(const Epilogue& epilogue) {
    const int thread = static_cast<int>(threadIdx.x) % 128, lane = thread % 32;
    const int channel = thread / 32 * 16 + lane / 4 * 2;
#pragma unroll
    for (int side = 0; side < 2; ++side) {
      const int pixel = lane % 4 * 2 + side, place = pixel * 64 + (channel ^ pixel * 8);
#pragma unroll
      for (int row = 0; row < Height; ++row) {
        operands_[row][side] = epilogue.template load<2>(place + row * 8 * 64, channel_);
      }
    }
  }

  /// `sums` is the accumulator of the warpgroup (see wgmma.cuh), its columns 8 pixels for each row.
  __device__ __forceinline__ void store(const float (&sums)[4 * Height], Result* result, const Epilogue& epilogue) {
    Result* first = result + first_;
    // Hidden from the compiler, so that it does not keep addresses in registers since `load`.
    asm volatile("" : "+r"(rows_), "+r"(columns_), "+r"(pixel_), "+r"(pitch_), "+l"(first));
    __builtin_assume(__isGlobal(first));
#pragma unroll
    for (int row = 0; row < Height; ++row) {
#pragma unroll
      for (int side = 0; side < 2; ++side) {
        float values[2] = {sums[4 * row + side], sums[4 * row + 2 + side]};
        epilogue.apply(values, operands_[row][side]);
        if (contains(row, side)) fx2ait::store_vector<2>(first + place(row, side), values);
      }
    }
  }

 private:
  using Operands = typename Epilogue::template Operands<2>;

  __device__ __forceinline__ bool contains(int row, int side) const { return row < rows_ && side < columns_; }
  __device__ __forceinline__ int place(int row, int side) const { return row * pitch_ + side * pixel_; }

  int channel_, rows_, columns_, pixel_, pitch_;
  int64_t first_;  // an element of the result
  Operands operands_[Height][2];
};

}  // namespace fx2ait_conv
