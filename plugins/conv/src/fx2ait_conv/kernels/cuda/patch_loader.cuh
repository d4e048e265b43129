// Brings a rectangle of an image, whatever its element type and strides, to shared memory.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cstdint>

#include "fx2ait/cuda/vector.cuh"
#include "fx2ait/external_tensor.h"

namespace fx2ait_conv {

/// The order in which a patch is read, so that neighbouring threads read neighbouring addresses.
enum class ReadOrder : int {
  along_width,       // one element after the other along a row
  four_along_width,  // the same, four elements at once: every row starts on such a boundary
  along_channels,    // all channels of a pixel, then the next pixel
};

/// An image batch in memory; strides in elements.
template <class Source>
struct ImageView {
  const Source* data;
  int64_t image_stride, channel_stride, row_stride, column_stride;
  ReadOrder order;
};

/// The view of a dense NHWC tensor.
template <class Source>
inline ImageView<Source> channels_last_view(const Source* data, int64_t height, int64_t width, int64_t channels) {
  return {data, height * width * channels, 1, width * channels, channels, ReadOrder::along_channels};
}

/// The view of a caller's tensor whose elements are of type Source, in the order that suits its strides.
template <class Source>
inline ImageView<Source> external_view(const fx2ait::ExternalTensor& tensor, int64_t width) {
  const auto* data = static_cast<const Source*>(tensor.data);
  const int64_t* strides = tensor.strides;
  const bool aligned = reinterpret_cast<uintptr_t>(data) % (4 * sizeof(Source)) == 0 && width % 4 == 0 &&
                       strides[0] % 4 == 0 && strides[1] % 4 == 0 && strides[2] % 4 == 0;
  const ReadOrder order = strides[3] != 1 && strides[1] == 1 ? ReadOrder::along_channels
                          : strides[3] == 1 && aligned       ? ReadOrder::four_along_width
                                                             : ReadOrder::along_width;
  return {data, strides[0], strides[1], strides[2], strides[3], order};
}

namespace detail {

/// One element converted to the type that products are formed in.
template <class Element, class Source>
__device__ __forceinline__ Element convert(Source value) {
  return fx2ait::from_float<Element>(fx2ait::to_float(value));
}

template <class Source>
struct alignas(4 * sizeof(Source)) Four {
  Source values[4];
};

}  // namespace detail

/// Reads `Channels` x `Rows` x `Columns` elements, from pixel (first_row, first_column) of the
/// `height` x `width` image whose first channel is at `image`, to `patch[channel][row][column]`.
/// Zeros stand where the rectangle leaves the image, and for channels from `channels` on.
/// `first_column` and Columns are multiples of 4.
template <int Channels, int Rows, int Columns, int Threads, class Element, class Source>
__device__ __forceinline__ void load_patch(Element* patch, const ImageView<Source>& view, const Source* image,
                                           int first_row, int first_column, int height, int width, int channels) {
  static_assert(Columns % 4 == 0);
  const int thread = static_cast<int>(threadIdx.x);
  if (view.order == ReadOrder::four_along_width) {
    using Vector = detail::Four<Source>;
    constexpr int quads = Columns / 4, items = Channels * Rows * quads;
    constexpr int rounds = (items + Threads - 1) / Threads;
    constexpr int at_once = rounds < 6 ? rounds : 6;  // loads under way per thread
#pragma unroll 1
    for (int first = 0; first < items; first += at_once * Threads) {
      Vector vectors[at_once];
#pragma unroll
      for (int i = 0; i < at_once; ++i) {
        const int item = first + i * Threads + thread;
        const int channel = item / (Rows * quads);
        const int row = first_row + item % (Rows * quads) / quads;
        const int column = first_column + item % quads * 4;
        vectors[i] = Vector{};
        if (item < items && channel < channels && static_cast<unsigned>(row) < static_cast<unsigned>(height) &&
            static_cast<unsigned>(column) < static_cast<unsigned>(width)) {
          vectors[i] = *reinterpret_cast<const Vector*>(image + channel * view.channel_stride +
                                                        row * view.row_stride + column);
        }
      }
#pragma unroll
      for (int i = 0; i < at_once; ++i) {
        const int item = first + i * Threads + thread;
        if (item < items) {
          detail::Four<Element> converted;
#pragma unroll
          for (int e = 0; e < 4; ++e) converted.values[e] = detail::convert<Element>(vectors[i].values[e]);
          *reinterpret_cast<detail::Four<Element>*>(patch + item * 4) = converted;
        }
      }
    }
    return;
  }
  constexpr int items = Channels * Rows * Columns;
  const bool along_channels = view.order == ReadOrder::along_channels;
#pragma unroll 4
  for (int item = thread; item < items; item += Threads) {
    const int channel = along_channels ? item % Channels : item / (Rows * Columns);
    const int place = along_channels ? item / Channels : item % (Rows * Columns);
    const int row = first_row + place / Columns;
    const int column = first_column + place % Columns;
    Element value = fx2ait::from_float<Element>(0.0f);
    if (channel < channels && static_cast<unsigned>(row) < static_cast<unsigned>(height) &&
        static_cast<unsigned>(column) < static_cast<unsigned>(width)) {
      value = detail::convert<Element>(
          image[channel * view.channel_stride + row * view.row_stride + column * view.column_stride]);
    }
    patch[channel * (Rows * Columns) + place] = value;
  }
}

}  // namespace fx2ait_conv
