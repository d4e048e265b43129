// From the accumulators of a warpgroup to finished results: each thread gathers 8 neighbouring
// channels of a pixel, applies the epilogue in float32 and stores them at once.
#pragma once

#include <cstdint>

#include "fx2ait/cuda/vector.cuh"

namespace fx2ait_conv {

/// Channels that a quad of lanes covers at a time, 8 each.
inline constexpr int kSpan = 32;

/// The result as [pixels, channels]; vectors of 8 channels, of which none crosses the edge.
template <class Result>
struct ResultRange {
  Result* result;
  int pixels, channels;

  __device__ bool contains(int pixel, int channel) const { return pixel < pixels && channel < channels; }
  __device__ int64_t offset(int pixel, int channel) const {
    return static_cast<int64_t>(pixel) * channels + channel;
  }
};

/// Exchanges `mine` with the lane whose number differs in `bit`: lanes without the bit give their
/// `high` and keep `low`, the others give `low` and keep `high`.
__device__ __forceinline__ void exchange(float& low, float& high, int bit) {
  const bool upper = threadIdx.x & static_cast<unsigned>(bit);
  const float received = __shfl_xor_sync(0xffffffffu, upper ? low : high, bit);
  (upper ? low : high) = received;
}

/// Transposes among the 4 lanes of a quad: pairs[j] of lane q goes to pairs[q] of lane j.
__device__ __forceinline__ void transpose_quad(float (&pairs)[8]) {
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    exchange(pairs[i], pairs[2 + i], 1);
    exchange(pairs[4 + i], pairs[6 + i], 1);
  }
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    exchange(pairs[i], pairs[4 + i], 2);
    exchange(pairs[2 + i], pairs[6 + i], 2);
  }
}

/// The sums that a thread holds of span `span` in its pixel of the upper or lower 8 rows (`half`), as
/// wgmma.cuh lays them out: after `transpose_quad`, 8 neighbouring channels.
template <int Count>
__device__ __forceinline__ void gather_span(float (&values)[8], const float (&sums)[Count], int span, int half) {
#pragma unroll
  for (int j = 0; j < 4; ++j) {
#pragma unroll
    for (int i = 0; i < 2; ++i) values[2 * j + i] = sums[span * 16 + 4 * j + 2 * half + i];
  }
}

/// What all vectors of 8 channels of a tile are finished with: the epilogue, with operands read where
/// they are, and the result. Rows and channels count from the tile's first on.
template <class Epilogue, class Result>
struct DirectOperands {
  using Loaded = typename Epilogue::template Operands<8>;

  const Epilogue& epilogue;
  const ResultRange<Result>& range;
  int first_pixel, first_channel;  // of the tile

  __device__ __forceinline__ Loaded load(int row, int column) const {
    const int pixel = first_pixel + row, channel = first_channel + column;
    const bool inside = range.contains(pixel, channel);
    // Outside, anything that can be read will do.
    return epilogue.template load<8>(inside ? range.offset(pixel, channel) : 0, inside ? channel : 0);
  }

  /// Stores 8 neighbouring channels, if they lie inside the result.
  __device__ __forceinline__ void finish(float (&values)[8], const Loaded& loaded, int row, int column) const {
    transpose_quad(values);
    epilogue.apply(values, loaded);
    const int pixel = first_pixel + row, channel = first_channel + column;
    if (range.contains(pixel, channel)) fx2ait::store_vector<8>(range.result + range.offset(pixel, channel), values);
  }
};

/// The place of the thread in its warpgroup's rows of a tile.
struct ThreadPlace {
  int row, column;

  __device__ explicit ThreadPlace(int first_row) {
    const int thread = static_cast<int>(threadIdx.x) % 128, lane = thread % 32;
    row = first_row + thread / 32 * 16 + lane / 4;
    column = lane % 4 * 8;
  }
};

/// Finishes the `Rows` x 64 pixels x `Spans` spans of a tile that a warpgroup holds. Operands are loaded
/// `Ahead` vectors before their use, the first by `load`, which may come long before `finish`.
template <int Ahead, int Rows, int Spans, class Epilogue>
struct DirectFinish {
  static constexpr int kVectors = 2 * Rows * Spans;  // of a thread; a pixel's are neighbours
  static constexpr int kAhead = Ahead < kVectors ? Ahead : kVectors;

  typename Epilogue::template Operands<8> loaded[kAhead];

  static __device__ int row_of(const ThreadPlace& place, int vector) {
    return place.row + vector / (2 * Spans) * 64 + vector / Spans % 2 * 8;
  }
  static __device__ int column_of(const ThreadPlace& place, int vector) {
    return place.column + vector % Spans * kSpan;
  }

  template <class Operands>
  __device__ __forceinline__ void load(const Operands& operands, int first_row) {
    const ThreadPlace place(first_row);
#pragma unroll
    for (int v = 0; v < kAhead; ++v) loaded[v] = operands.load(row_of(place, v), column_of(place, v));
  }

  template <class Operands>
  __device__ __forceinline__ void finish(
      const float (&sums)[Rows][Spans * 16], const Operands& operands, int first_row) {
    const ThreadPlace place(first_row);
#pragma unroll
    for (int v = 0; v < kVectors; ++v) {
      float values[8];
      gather_span(values, sums[v / (2 * Spans)], v % Spans, v / Spans % 2);
      const auto now = loaded[v % kAhead];
      if (v + kAhead < kVectors) {
        loaded[v % kAhead] = operands.load(row_of(place, v + kAhead), column_of(place, v + kAhead));
      }
      operands.finish(values, now, row_of(place, v), column_of(place, v));
    }
  }
};

}  // namespace fx2ait_conv
