// Input rows copied into a buffer with the padding written out, as float32 with channels fastest:
// a convolution then reads without looking at borders, dtypes or layouts.
#pragma once

#include <cstdint>
#include <cstring>

#include "fx2ait/cpu/vector.h"
#include "fx2ait/error.h"
#include "fx2ait/external_tensor.h"

namespace fx2ait_conv {

/// Where element (image, channel, y, x) of an input lies, in elements of `T`.
template <class T>
struct StridedInput {
  const T* data;
  int64_t image, channel, row, column;

  const T* at(int64_t n, int64_t c, int64_t y, int64_t x) const {
    return data + n * image + c * channel + y * row + x * column;
  }
};

/// An input inside the engine: dense, channels fastest.
template <int64_t Channels, int64_t Height, int64_t Width>
inline StridedInput<float> strided(const float* input) {
  return {input, Height * Width * Channels, 1, Width * Channels, Channels};
}

template <class T>
inline StridedInput<T> strided(const fx2ait::ExternalTensor& input) {
  return {static_cast<const T*>(input.data), input.strides[0], input.strides[1], input.strides[2], input.strides[3]};
}

/// Calls `body` with the strided input in the caller's element type.
template <int64_t Channels, int64_t Height, int64_t Width, class Body>
inline void with_strided(const float* input, Body&& body) {
  body(strided<Channels, Height, Width>(input));
}

template <int64_t Channels, int64_t Height, int64_t Width, class Body>
inline void with_strided(const fx2ait::ExternalTensor& input, Body&& body) {
  switch (input.dtype) {
    case fx2ait::DType::float32: return body(strided<float>(input));
    case fx2ait::DType::half: return body(strided<fx2ait::Half>(input));
    case fx2ait::DType::bfloat16: return body(strided<fx2ait::BFloat16>(input));
    default: throw fx2ait::Error({"convolution: the input is ", fx2ait::dtype_name(input.dtype),
                                  "; accepted are float32, float16 and bfloat16"});
  }
}

/// Copies pixels x0 .. x0 + count of one row to `to[x * Channels + c]`.
template <int64_t Channels, class T>
inline void copy_pixels(float* to, const StridedInput<T>& input, int64_t n, int64_t y, int64_t x0, int64_t count) {
  const T* from = input.at(n, 0, y, x0);
  if (input.channel == 1 && input.column == Channels) {
    for (int64_t i = 0; i < count * Channels; ++i) to[i] = fx2ait::to_float(from[i]);
  } else if (input.channel == 1) {
    for (int64_t x = 0; x < count; ++x) {
      for (int64_t c = 0; c < Channels; ++c) to[x * Channels + c] = fx2ait::to_float(from[x * input.column + c]);
    }
  } else if (input.column == 1) {
    // Few channels at a time, so that the lines written to stay in the cache.
    constexpr int64_t kTogether = 16;
    for (int64_t c0 = 0; c0 < Channels; c0 += kTogether) {
      const int64_t together = Channels - c0 < kTogether ? Channels - c0 : kTogether;
      for (int64_t x = 0; x < count; ++x) {
        for (int64_t c = c0; c < c0 + together; ++c) {
          to[x * Channels + c] = fx2ait::to_float(from[c * input.channel + x]);
        }
      }
    }
  } else {
    for (int64_t x = 0; x < count; ++x) {
      for (int64_t c = 0; c < Channels; ++c) {
        to[x * Channels + c] = fx2ait::to_float(from[c * input.channel + x * input.column]);
      }
    }
  }
}

/// Fills `rows` rows of `Columns` pixels. Row 0 is the input's row `y0` and column 0 its column
/// `-Left`; what lies outside the input is zero.
template <int64_t Channels, int64_t Height, int64_t Width, int64_t Columns, int64_t Left, class T>
inline void fill_padded_rows(float* to, const StridedInput<T>& input, int64_t n, int64_t y0, int64_t rows) {
  constexpr int64_t kBefore = Left < Columns ? Left : Columns;
  constexpr int64_t kInside = Columns - kBefore < Width ? Columns - kBefore : Width;
  constexpr int64_t kAfter = Columns - kBefore - kInside;
  for (int64_t row = 0; row < rows; ++row, to += Columns * Channels) {
    const int64_t y = y0 + row;
    if (y < 0 || y >= Height) {
      std::memset(to, 0, Columns * Channels * sizeof(float));
      continue;
    }
    std::memset(to, 0, kBefore * Channels * sizeof(float));
    copy_pixels<Channels>(to + kBefore * Channels, input, n, y, 0, kInside);
    std::memset(to + (kBefore + kInside) * Channels, 0, kAfter * Channels * sizeof(float));
  }
}

}  // namespace fx2ait_conv
