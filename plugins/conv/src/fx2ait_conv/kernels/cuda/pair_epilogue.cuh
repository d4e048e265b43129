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

/// The thread's place in a warpgroup's accumulator of 64 channels x rows of 8 pixels: its first channel, and its
/// first pixel of a row, of two each.
struct PairPlace {
  int channel, pixel;

  __device__ __forceinline__ PairPlace() {
    const int thread = static_cast<int>(threadIdx.x) % 128, lane = thread % 32;
    channel = thread / 32 * 16 + lane / 4 * 2;
    pixel = lane % 4 * 2;
  }
};

/// Rows of 8 pixels that lie below each other in an image; some may lie outside.
struct ImageRows {
  int rows, columns;  // inside, from the thread's first pixel on

  __device__ __forceinline__ bool contains(int row, int side) const { return row < rows && side < columns; }
  __device__ __forceinline__ void hide() { asm volatile("" : "+r"(rows), "+r"(columns)); }
};

/// Rows of 8 pixels that follow each other; some may lie behind the last.
struct PixelRuns {
  int pixels;  // from the thread's first one to the last

  __device__ __forceinline__ bool contains(int row, int side) const { return 8 * row + side < pixels; }
  __device__ __forceinline__ void hide() { asm volatile("" : "+r"(pixels)); }
};

/// Finishes `Rows` rows of 8 pixels and 64 channels for one warpgroup.
///
/// The epilogue's operands are loaded all at once, by `load` from where they are or by `load_staged`
/// from a copy of the tile in shared memory, and used by `store`.
///
/// @tparam Inside    `ImageRows` or `PixelRuns`: which of the pixels lie inside the result
template <int Rows, class Inside, class Result, class Epilogue>
class PairFinish {
 public:
  /// @param first    the element of the result that is the thread's first, or where that lies outside, any
  /// @param pixel    elements from one pixel to the next
  /// @param pitch    elements from one row to the next
  __device__ __forceinline__ PairFinish(int64_t first, int channel, int pixel, int pitch, Inside inside)
      : channel_(channel), pixel_(pixel), pitch_(pitch), inside_(inside), first_(first) {}

  /// Loads operands that are laid out as the result. Before the products, this hides behind them.
  __device__ __forceinline__ void load(const Epilogue& epilogue) {
#pragma unroll
    for (int row = 0; row < Rows; ++row) {
#pragma unroll
      for (int side = 0; side < 2; ++side) {
        // Outside the result, anything that can be read will do.
        const int place = inside_.contains(row, side) ? place_of(row, side) : 0;
        operands_[row][side] = epilogue.template load<2>(first_ + place, channel_);
      }
    }
  }

  /// Loads operands that are laid out as [Rows, 8 pixels, 64 channels] in the 128-byte swizzle of
  /// the copy engine: bits 3 to 5 of a channel are exchanged by those of its pixel.
  __device__ __forceinline__ void load_staged(const Epilogue& epilogue) {
    const PairPlace mine;
#pragma unroll
    for (int side = 0; side < 2; ++side) {
      const int pixel = mine.pixel + side, place = pixel * 64 + (mine.channel ^ pixel * 8);
#pragma unroll
      for (int row = 0; row < Rows; ++row) {
        operands_[row][side] = epilogue.template load<2>(place + row * 8 * 64, channel_);
      }
    }
  }

  /// `sums` is the accumulator of the warpgroup (see wgmma.cuh), its columns 8 pixels for each row.
  __device__ __forceinline__ void store(const float (&sums)[4 * Rows], Result* result, const Epilogue& epilogue) {
    Result* first = result + first_;
    // Hidden from the compiler, so that it does not keep addresses in registers since `load`.
    asm volatile("" : "+r"(pixel_), "+r"(pitch_), "+l"(first));
    inside_.hide();
    __builtin_assume(__isGlobal(first));
#pragma unroll
    for (int row = 0; row < Rows; ++row) {
#pragma unroll
      for (int side = 0; side < 2; ++side) {
        float values[2] = {sums[4 * row + side], sums[4 * row + 2 + side]};
        epilogue.apply(values, operands_[row][side]);
        if (inside_.contains(row, side)) fx2ait::store_vector<2>(first + place_of(row, side), values);
      }
    }
  }

 private:
  using Operands = typename Epilogue::template Operands<2>;

  __device__ __forceinline__ int place_of(int row, int side) const { return row * pitch_ + side * pixel_; }

  int channel_, pixel_, pitch_;
  Inside inside_;
  int64_t first_;
  Operands operands_[Rows][2];
};

}  // namespace fx2ait_conv
