// From the accumulators of a warpgroup to finished results: each thread gathers 8 neighbouring
// channels of a pixel, applies the epilogue in float32 and stores them at once.
#pragma once

#include <cstdint>

#include "fx2ait/cuda/cluster.cuh"
#include "fx2ait/cuda/vector.cuh"

namespace fx2ait_conv {

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

/// Finishes 64 pixels x `Channels` channels, the accumulator of one warpgroup (see wgmma.cuh), and
/// stores what lies inside the result. Operands are loaded `Ahead` vectors before their use.
template <int Channels, int Ahead, class Result, class Epilogue>
__device__ __forceinline__ void finish_rows(
    const float (&sums)[Channels / 2], int first_pixel, int first_channel, const ResultRange<Result>& range,
    const Epilogue& epilogue) {
  constexpr int kSpans = Channels / 32;    // a quad covers 32 channels of a pixel
  constexpr int kVectors = 2 * kSpans;     // per thread: two pixels
  constexpr int kAhead = Ahead < kVectors ? Ahead : kVectors;
  using Operands = typename Epilogue::template Operands<8>;

  const int thread = static_cast<int>(threadIdx.x) % 128, lane = thread % 32;
  const int pixel = first_pixel + thread / 32 * 16 + lane / 4, channel = first_channel + lane % 4 * 8;
  const auto pixel_of = [&](int vector) { return pixel + vector / kSpans * 8; };
  const auto channel_of = [&](int vector) { return channel + vector % kSpans * 32; };
  const auto load = [&](int vector) {
    const bool inside = range.contains(pixel_of(vector), channel_of(vector));
    // Outside, anything that can be read will do.
    return epilogue.template load<8>(
        inside ? range.offset(pixel_of(vector), channel_of(vector)) : 0, inside ? channel_of(vector) : 0);
  };

  Operands operands[kAhead];
#pragma unroll
  for (int v = 0; v < kAhead; ++v) operands[v] = load(v);
#pragma unroll
  for (int v = 0; v < kVectors; ++v) {
    float values[8];
#pragma unroll
    for (int j = 0; j < 4; ++j) {
#pragma unroll
      for (int i = 0; i < 2; ++i) values[2 * j + i] = sums[v % kSpans * 16 + 4 * j + v / kSpans * 2 + i];
    }
    transpose_quad(values);
    epilogue.apply(values, operands[v % kAhead]);
    if (v + kAhead < kVectors) operands[v % kAhead] = load(v + kAhead);
    if (range.contains(pixel_of(v), channel_of(v))) {
      fx2ait::store_vector<8>(range.result + range.offset(pixel_of(v), channel_of(v)), values);
    }
  }
}

/// A block's part of the sums of a tile, in its shared memory, where the cluster can read it.
template <int Pixels, int Channels>
struct PartialSums {
  static constexpr int kPitch = Channels + 8;  // spreads rows over the banks
  static constexpr int kBytes = Pixels * kPitch * 4;

  uint32_t address;

  /// Writes the accumulator of one warpgroup to rows `first_row` to `first_row + 63`.
  __device__ __forceinline__ void put(const float (&sums)[Channels / 2], int first_row) const {
    const int thread = static_cast<int>(threadIdx.x) % 128, lane = thread % 32;
    const int row = first_row + thread / 32 * 16 + lane / 4;
    const uint32_t place = address + static_cast<uint32_t>(row * kPitch + lane % 4 * 2) * 4;
#pragma unroll
    for (int j = 0; j < Channels / 8; ++j) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        asm volatile("st.shared.v2.f32 [%0], {%1, %2};" ::"r"(place + (half * 8 * kPitch + j * 8) * 4),
                     "f"(sums[4 * j + 2 * half]), "f"(sums[4 * j + 2 * half + 1])
                     : "memory");
      }
    }
  }

  /// Adds the parts of all blocks of the cluster, in the order of their ranks, and stores this
  /// block's share of the finished tile.
  template <int Splits, int Threads, class Result, class Epilogue>
  __device__ __forceinline__ void finish(
      int first_pixel, int first_channel, const ResultRange<Result>& range, const Epilogue& epilogue) const {
    constexpr int kRowVectors = Channels / 8;
    constexpr int kAtOnce = 4;  // parts in flight, as registers allow
    for (int v = static_cast<int>(fx2ait::cluster_rank()) * Threads + static_cast<int>(threadIdx.x);
         v < Pixels * kRowVectors; v += Splits * Threads) {
      const int row = v / kRowVectors, column = v % kRowVectors * 8;
      if (!range.contains(first_pixel + row, first_channel + column)) continue;
      const int64_t offset = range.offset(first_pixel + row, first_channel + column);
      const auto operands = epilogue.template load<8>(offset, first_channel + column);
      const uint32_t place = address + static_cast<uint32_t>(row * kPitch + column) * 4;
      float values[8] = {};
#pragma unroll
      for (int first = 0; first < Splits; first += kAtOnce) {
        float4 parts[kAtOnce][2];
#pragma unroll
        for (int s = 0; s < kAtOnce && first + s < Splits; ++s) {
          const uint32_t part = fx2ait::cluster_address(place, static_cast<uint32_t>(first + s));
          parts[s][0] = fx2ait::cluster_load(part);
          parts[s][1] = fx2ait::cluster_load(part + 16);
        }
#pragma unroll
        for (int s = 0; s < kAtOnce && first + s < Splits; ++s) {
#pragma unroll
          for (int half = 0; half < 2; ++half) {
            values[4 * half] += parts[s][half].x;
            values[4 * half + 1] += parts[s][half].y;
            values[4 * half + 2] += parts[s][half].z;
            values[4 * half + 3] += parts[s][half].w;
          }
        }
      }
      epilogue.apply(values, operands);
      fx2ait::store_vector<8>(range.result + offset, values);
    }
  }
};

}  // namespace fx2ait_conv
