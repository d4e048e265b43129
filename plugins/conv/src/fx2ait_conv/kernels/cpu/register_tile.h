// Register tiles: a few pixels times a few vectors of result channels, summed up without leaving
// the registers.
#pragma once

#include <cstdint>

#include "fx2ait/cpu/vector.h"

namespace fx2ait_conv {

/// `Width` floats in one register; the arithmetic operators work on all of them.
template <int Width>
struct SimdOf {
  typedef float Type __attribute__((vector_size(Width * sizeof(float))));
  typedef float Unaligned __attribute__((vector_size(Width * sizeof(float)), aligned(alignof(float)), may_alias));
};

template <int Width>
using Simd = typename SimdOf<Width>::Type;

/// `data` needs the alignment of a float only.
template <int Width>
inline Simd<Width> load(const float* data) {
  return *reinterpret_cast<const typename SimdOf<Width>::Unaligned*>(data);
}

template <int Width>
inline void store(float* data, Simd<Width> value) {
  *reinterpret_cast<typename SimdOf<Width>::Unaligned*>(data) = value;
}

/// The first `lanes` floats at `data`, the others zero; reads nothing beyond.
template <int Width>
inline Simd<Width> load_lanes(const float* data, int lanes) {
  float values[Width] = {};
  for (int lane = 0; lane < lanes; ++lane) values[lane] = data[lane];
  return load<Width>(values);
}

/// Applies the epilogue to `Channels` neighbouring channels of one pixel and stores them at
/// `result + offset`.
///
/// Goes in long vectors first, of which the compiler makes better code, then in single channels.
template <int Width, int Channels, class Epilogue, class Result>
inline void finish(const float* sums, Result* result, int64_t offset, int channel, const Epilogue& epilogue) {
  constexpr int V = Channels >= 32 ? 32 : Channels >= Width ? Width : 1;
  for (int c = 0; c + V <= Channels; c += V) {
    const auto operands = epilogue.template load<V>(offset + c, channel + c);
    float values[V];
    fx2ait::load_vector(values, sums + c);
    epilogue.apply(values, operands);
    fx2ait::store_vector(result + offset + c, values);
  }
  constexpr int kDone = Channels / V * V;
  if constexpr (kDone < Channels) {
    finish<Width, Channels - kDone>(sums + kDone, result, offset + kDone, channel + kDone, epilogue);
  }
}

/// How far ahead weights are fetched: the processor's own prefetching stops at page borders. Measured
/// to gain 5 to 30 % where weights come from beyond the second-level cache, and to cost nothing else.
inline constexpr int kPrefetchFloats = 512;

/// Sums of `Pixels` pixels times `Vectors` vectors of channels.
///
/// The loops over both are unrolled, so that `sum` lives in registers: Pixels * Vectors +
/// Vectors + 1 of them should exist.
template <int Width, int Pixels, int Vectors>
struct RegisterTile {
  Simd<Width> sum[Pixels][Vectors];

  inline void clear() {
#pragma GCC unroll 32
    for (int p = 0; p < Pixels; ++p) {
#pragma GCC unroll 8
      for (int v = 0; v < Vectors; ++v) sum[p][v] = Simd<Width>{};
    }
  }

  /// sum[p][v] += input[Offsets::at(p) + i] * weight[i][v] over i < count: every channel of the
  /// input reaches every channel of the result. `weight` is aligned to whole vectors.
  template <class Offsets>
  inline void accumulate_dense(const float* input, const float* weight, int64_t count) {
    for (int64_t i = 0; i < count; ++i) {
      Simd<Width> w[Vectors];
#pragma GCC unroll 8
      for (int v = 0; v < Vectors; ++v) {
        w[v] = *reinterpret_cast<const Simd<Width>*>(weight + (i * Vectors + v) * Width);
        __builtin_prefetch(weight + (i * Vectors + v) * Width + kPrefetchFloats);
      }
#pragma GCC unroll 32
      for (int p = 0; p < Pixels; ++p) {
        const float x = input[Offsets::at(p) + i];
#pragma GCC unroll 8
        for (int v = 0; v < Vectors; ++v) sum[p][v] += x * w[v];
      }
    }
  }

  /// sum[p][v] += input[Offsets::at(p) + v * Width ...] * weight[v]: lane by lane.
  template <class Offsets>
  inline void accumulate_lanes(const float* input, const float* weight) {
#pragma GCC unroll 8
    for (int v = 0; v < Vectors; ++v) {
      const Simd<Width> w = *reinterpret_cast<const Simd<Width>*>(weight + v * Width);
#pragma GCC unroll 32
      for (int p = 0; p < Pixels; ++p) sum[p][v] += load<Width>(input + Offsets::at(p) + v * Width) * w;
    }
  }

  /// Epilogue and store of the first `Channels` channels of each pixel, at `offset + Offsets::at(p)`.
  template <int Channels, class Offsets, class Epilogue, class Result>
  inline void finish_all(Result* result, int64_t offset, int channel, const Epilogue& epilogue) const {
    alignas(64) float sums[Pixels][Vectors * Width];
    store_all<Vectors * Width>(sums[0]);
    for (int p = 0; p < Pixels; ++p) {
      finish<Width, Channels>(sums[p], result, offset + Offsets::at(p), channel, epilogue);
    }
  }

  /// Stores pixel p at `to + p * Stride`.
  template <int64_t Stride>
  inline void store_all(float* to) const {
#pragma GCC unroll 32
    for (int p = 0; p < Pixels; ++p) {
#pragma GCC unroll 8
      for (int v = 0; v < Vectors; ++v) store<Width>(to + p * Stride + v * Width, sum[p][v]);
    }
  }
};

/// Offsets of the pixels of a tile of rows of `Columns` pixels each.
template <int Columns, int64_t RowStride, int64_t ColumnStride>
struct GridOffsets {
  static constexpr int64_t at(int pixel) { return (pixel / Columns) * RowStride + (pixel % Columns) * ColumnStride; }
};

}  // namespace fx2ait_conv
