// Pooling over windows: channels fastest in memory, float32 inside.
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>

#include "fx2ait/cpu/math.h"
#include "fx2ait/cpu/thread_pool.h"
#include "fx2ait/cpu/vector.h"
#include "fx2ait/error.h"
#include "fx2ait/external_tensor.h"

namespace fx2ait_pooling {

/// Positions begin, begin + step, … before end: a window without its padding.
struct Span {
  int64_t begin, end, step;

  int64_t count() const { return end > begin ? (end - begin + step - 1) / step : 0; }
};

/// Windows of Kernel elements, Dilation apart, along an axis of Size elements.
template <int64_t Size, int64_t Kernel, int64_t Stride, int64_t Padding, int64_t Dilation>
struct FixedWindow {
  static Span span(int64_t out) {
    const int64_t first = out * Stride - Padding;
    const int64_t skipped = first < 0 ? (-first + Dilation - 1) / Dilation : 0;
    return {first + skipped * Dilation, std::min(first + (Kernel - 1) * Dilation + 1, Size), Dilation};
  }
  /// Elements inside the padded input, for windows without dilation.
  static int64_t padded_count(int64_t out) {
    const int64_t first = out * Stride - Padding;
    return std::min(first + Kernel, Size + Padding) - first;
  }
};

/// Out windows that cover an axis of Size elements.
template <int64_t Size, int64_t Out>
struct AdaptiveWindow {
  static Span span(int64_t out) { return {out * Size / Out, ((out + 1) * Size + Out - 1) / Out, 1}; }
  static int64_t padded_count(int64_t out) { return span(out).count(); }
};

/// The largest element; NaN wins.
struct Largest {
  static float start() { return -std::numeric_limits<float>::infinity(); }
  static float combine(float a, float b) { return fx::maximum(a, b); }
  template <class Rows, class Columns>
  static float divisor(int64_t, int64_t) {
    return 1.0f;
  }
};

/// What a sum is divided by: elements of the window, with or without padding, or a given number.
enum class Divisor { valid, padded, given };

template <Divisor Kind, int64_t Given = 1>
struct Average {
  static float start() { return 0.0f; }
  static float combine(float a, float b) { return a + b; }
  template <class Rows, class Columns>
  static float divisor([[maybe_unused]] int64_t row, [[maybe_unused]] int64_t column) {
    if constexpr (Kind == Divisor::given) {
      return static_cast<float>(Given);
    } else if constexpr (Kind == Divisor::padded) {
      return static_cast<float>(Rows::padded_count(row) * Columns::padded_count(column));
    } else {
      return static_cast<float>(std::max<int64_t>(1, Rows::span(row).count() * Columns::span(column).count()));
    }
  }
};

/// An input: element type and strides by logical dimension.
template <class Element>
struct Input {
  const Element* data;
  int64_t image, channel, row, column;
};

/// V channels from `channel` on of one output pixel.
template <class Shape, int V, class Element, class Result, class Epilogue>
inline void pool_channels(
    Result* result, const Input<Element>& input, const Epilogue& epilogue, int64_t image, int64_t row, int64_t column,
    int channel) {
  using Reduction = typename Shape::Reduction;
  const Span rows = Shape::Rows::span(row), columns = Shape::Columns::span(column);
  float total[V];
  for (int i = 0; i < V; ++i) total[i] = Reduction::start();
  const Element* const first = input.data + image * input.image + channel * input.channel;
  for (int64_t y = rows.begin; y < rows.end; y += rows.step) {
    for (int64_t x = columns.begin; x < columns.end; x += columns.step) {
      const Element* const element = first + y * input.row + x * input.column;
      if constexpr (Shape::dense) {
        for (int i = 0; i < V; ++i) total[i] = Reduction::combine(total[i], fx2ait::to_float(element[i]));
      } else {
        for (int i = 0; i < V; ++i) {
          total[i] = Reduction::combine(total[i], fx2ait::to_float(element[i * input.channel]));
        }
      }
    }
  }
  const float divisor = Reduction::template divisor<typename Shape::Rows, typename Shape::Columns>(row, column);
  for (int i = 0; i < V; ++i) total[i] /= divisor;
  const int64_t offset =
      ((image * Shape::out_height + row) * Shape::out_width + column) * Shape::channels + channel;
  const auto operands = epilogue.template load<V>(offset, channel);
  epilogue.template apply<V>(total, operands);
  fx2ait::store_vector<V>(result + offset, total);
}

/// Pools `images` images. A unit of work is one output row, or a group of its channels.
template <class Shape, class Element, class Result, class Epilogue>
void pool(Result* result, const Input<Element>& input, const Epilogue& epilogue, int64_t images,
          fx2ait::ThreadPool& threads) {
  constexpr int V = 4 * fx2ait::kSimdWidth;
  constexpr int64_t groups = Shape::out_width < 8 ? (Shape::channels + V - 1) / V : 1;
  threads.parallel_for(images * Shape::out_height * groups, [&](int64_t begin, int64_t end) {
    for (int64_t work = begin; work < end; ++work) {
      const int64_t group = work % groups, image = work / groups / Shape::out_height;
      const int64_t row = work / groups % Shape::out_height;
      const int first = groups == 1 ? 0 : static_cast<int>(group) * V;
      const int last = groups == 1 ? Shape::channels : std::min(first + V, Shape::channels);
      for (int64_t column = 0; column < Shape::out_width; ++column) {
        int channel = first;
        for (; channel + V <= last; channel += V) {
          pool_channels<Shape, V>(result, input, epilogue, image, row, column, channel);
        }
        for (; channel + fx2ait::kSimdWidth <= last; channel += fx2ait::kSimdWidth) {
          pool_channels<Shape, fx2ait::kSimdWidth>(result, input, epilogue, image, row, column, channel);
        }
        for (; channel < last; ++channel) {
          pool_channels<Shape, 1>(result, input, epilogue, image, row, column, channel);
        }
      }
    }
  });
}

/// As pool(), for an input of the caller. Throws Error for an element type that is not floating.
template <class Shape, class Result, class Epilogue>
void pool_external(Result* result, const fx2ait::ExternalTensor& input, const Epilogue& epilogue, int64_t images,
                   fx2ait::ThreadPool& threads) {
  const auto typed = [&](auto* data) {
    const Input<std::remove_const_t<std::remove_pointer_t<decltype(data)>>> source{
        data, input.strides[0], input.strides[1], input.strides[2], input.strides[3]};
    pool<Shape>(result, source, epilogue, images, threads);
  };
  switch (input.dtype) {
    case fx2ait::DType::float32: return typed(static_cast<const float*>(input.data));
    case fx2ait::DType::half: return typed(static_cast<const fx2ait::Half*>(input.data));
    case fx2ait::DType::bfloat16: return typed(static_cast<const fx2ait::BFloat16*>(input.data));
    default: throw fx2ait::Error("an input of the engine must be float32, float16 or bfloat16");
  }
}

}  // namespace fx2ait_pooling
