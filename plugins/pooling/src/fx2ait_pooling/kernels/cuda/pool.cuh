// Pooling over windows: channels fastest in memory, float32 inside.
#pragma once

#include <cstdint>

#include "fx2ait/cuda/external.cuh"
#include "fx2ait/cuda/launch.cuh"
#include "fx2ait/cuda/math.cuh"
#include "fx2ait/cuda/vector.cuh"

namespace fx2ait_pooling {

/// Windows of Kernel elements, Dilation apart, along an axis of Size elements.
template <int Size, int Kernel, int Stride, int Padding, int Dilation>
struct FixedWindow {
  static constexpr int most = Kernel;

  /// Position of element k of window `out`; outside of [0, Size) when it is padding.
  static __device__ __forceinline__ int at(int out, int k) { return out * Stride - Padding + k * Dilation; }
  static __device__ __forceinline__ bool valid(int, int position) { return position >= 0 && position < Size; }

  /// Elements that are not padding, for windows without dilation.
  static __device__ __forceinline__ int valid_count(int out) {
    const int begin = out * Stride - Padding;
    return max(0, min(begin + Kernel, Size) - max(begin, 0));
  }
  /// Elements inside the padded input.
  static __device__ __forceinline__ int padded_count(int out) {
    const int begin = out * Stride - Padding;
    return min(begin + Kernel, Size + Padding) - begin;
  }
};

/// Out windows that cover an axis of Size elements.
template <int Size, int Out>
struct AdaptiveWindow {
  static constexpr int most = Size % Out == 0 ? Size / Out : (Size / Out + 2 < Size ? Size / Out + 2 : Size);

  static __device__ __forceinline__ int begin(int out) { return static_cast<int>(int64_t{1} * out * Size / Out); }
  static __device__ __forceinline__ int end(int out) {
    return static_cast<int>((int64_t{1} * (out + 1) * Size + Out - 1) / Out);
  }
  static __device__ __forceinline__ int at(int out, int k) { return begin(out) + k; }
  static __device__ __forceinline__ bool valid(int out, int position) { return position < end(out); }
  static __device__ __forceinline__ int valid_count(int out) { return end(out) - begin(out); }
  static __device__ __forceinline__ int padded_count(int out) { return valid_count(out); }
};

/// The largest element; NaN wins.
struct Largest {
  static __device__ __forceinline__ float start() { return -CUDART_INF_F; }
  static __device__ __forceinline__ float combine(float a, float b) { return fx::maximum(a, b); }
  template <class Rows, class Columns>
  static __device__ __forceinline__ float scale(int, int) {
    return 1.0f;
  }
  static __device__ __forceinline__ float finish(float value, float) { return value; }
};

/// What a sum is divided by: elements of the window, with or without padding, or a given number.
enum class Divisor { valid, padded, given };

template <Divisor Kind, int Given = 1>
struct Average {
  static __device__ __forceinline__ float start() { return 0.0f; }
  static __device__ __forceinline__ float combine(float a, float b) { return a + b; }
  template <class Rows, class Columns>
  static __device__ __forceinline__ float scale(int row, int column) {
    if constexpr (Kind == Divisor::given) {
      return static_cast<float>(Given);
    } else if constexpr (Kind == Divisor::padded) {
      return static_cast<float>(Rows::padded_count(row) * Columns::padded_count(column));
    } else {
      return static_cast<float>(max(1, Rows::valid_count(row) * Columns::valid_count(column)));
    }
  }
  static __device__ __forceinline__ float finish(float sum, float divisor) { return sum / divisor; }
};

/// Input in the engine's memory, channels fastest.
template <class Element, int Height, int Width, int Channels>
struct DenseInput {
  const Element* data;

  template <int V>
  __device__ __forceinline__ void load(float (&values)[V], int64_t image, int row, int column, int channel) const {
    const int64_t pixel = (image * Height + row) * Width + column;
    fx2ait::load_vector<V>(values, data + pixel * Channels + channel);
  }
};

/// Input of the caller, with any strides and element type.
struct ExternalInput {
  fx2ait::ExternalTensor tensor;

  template <int V>
  __device__ __forceinline__ void load(float (&values)[V], int64_t image, int row, int column, int channel) const {
    const int64_t* const strides = tensor.strides;
    const int64_t offset = image * strides[0] + channel * strides[1] + row * strides[2] + column * strides[3];
#pragma unroll
    for (int i = 0; i < V; ++i) {
      values[i] = fx2ait::load_external(tensor.data, tensor.dtype, offset + i * strides[1]);
    }
  }
};

/// One output pixel: its image, row and column.
template <class Shape, class Index>
struct Pixel {
  Index linear;
  int64_t image;
  int row, column;

  explicit __device__ __forceinline__ Pixel(Index index) : linear(index) {
    column = static_cast<int>(index % Shape::out_width);
    const Index rest = index / Shape::out_width;
    row = static_cast<int>(rest % Shape::out_height);
    image = static_cast<int64_t>(rest / Shape::out_height);
  }

  __device__ __forceinline__ int64_t offset(int channel) const {
    return static_cast<int64_t>(linear) * Shape::channels + channel;
  }
};

/// Combines elements first, first + step, … of the window of `pixel`.
template <class Shape, int V, class Pixel, class Input>
__device__ __forceinline__ void reduce_window(
    float (&total)[V], const Input& input, const Pixel& pixel, int channel, int first, int step) {
  using Rows = typename Shape::Rows;
  using Columns = typename Shape::Columns;
  using Reduction = typename Shape::Reduction;
  constexpr int elements = Rows::most * Columns::most;
#pragma unroll
  for (int i = 0; i < V; ++i) total[i] = Reduction::start();
#pragma unroll(elements <= 25 ? elements : 4)
  for (int k = first; k < elements; k += step) {
    const int row = Rows::at(pixel.row, k / Columns::most), column = Columns::at(pixel.column, k % Columns::most);
    if (!Rows::valid(pixel.row, row) || !Columns::valid(pixel.column, column)) continue;
    float values[V];
    input.template load<V>(values, pixel.image, row, column, channel);
#pragma unroll
    for (int i = 0; i < V; ++i) total[i] = Reduction::combine(total[i], values[i]);
  }
}

/// Finishes, applies the epilogue and stores V channels of an output pixel.
template <class Shape, int V, class Pixel, class Result, class Epilogue>
__device__ __forceinline__ void store_pixel(
    Result* result, float (&total)[V], const Pixel& pixel, int channel, const Epilogue& epilogue) {
  using Reduction = typename Shape::Reduction;
  const int64_t offset = pixel.offset(channel);
  const auto operands = epilogue.template load<V>(offset, channel);
  const float scale =
      Reduction::template scale<typename Shape::Rows, typename Shape::Columns>(pixel.row, pixel.column);
#pragma unroll
  for (int i = 0; i < V; ++i) total[i] = Reduction::finish(total[i], scale);
  epilogue.template apply<V>(total, operands);
  fx2ait::store_vector<V>(result + offset, total);
}

constexpr int direct_threads = 256;

/// Every thread computes V channels of one output pixel.
template <class Shape, bool Dependent, class Index, class Result, class Input, class Epilogue>
__global__ void __launch_bounds__(direct_threads)
pool_direct(Result* result, const Input input, const Epilogue epilogue, Index pixels) {
  constexpr int V = Shape::vector, vectors = Shape::channels / V;
  fx2ait::begin_kernel<Dependent>();
  const Index index = static_cast<Index>(blockIdx.x) * direct_threads + threadIdx.x;
  if (index >= pixels * vectors) return;
  const Pixel<Shape, Index> pixel(index / vectors);
  const int channel = static_cast<int>(index % vectors) * V;
  float total[V];
  reduce_window<Shape, V>(total, input, pixel, channel, 0, 1);
  store_pixel<Shape, V>(result, total, pixel, channel, epilogue);
}

/// A block computes Lanes vectors of channels of one output pixel; Parts threads share a window.
template <class Shape, bool Dependent, int Lanes, int Parts, class Index, class Result, class Input, class Epilogue>
__global__ void __launch_bounds__(Lanes* Parts)
pool_split(Result* result, const Input input, const Epilogue epilogue) {
  constexpr int V = Shape::vector, vectors = Shape::channels / V, groups = (vectors + Lanes - 1) / Lanes;
  __shared__ float partial[Parts][V][Lanes];
  fx2ait::begin_kernel<Dependent>();
  const int lane = threadIdx.x % Lanes, part = threadIdx.x / Lanes;
  const Pixel<Shape, Index> pixel(static_cast<Index>(blockIdx.x) / groups);
  const int vector = static_cast<int>(blockIdx.x % groups) * Lanes + lane;
  const int channel = vector * V;
  float total[V];
  if (vector < vectors) {
    reduce_window<Shape, V>(total, input, pixel, channel, part, Parts);
#pragma unroll
    for (int i = 0; i < V; ++i) partial[part][i][lane] = total[i];
  }
#pragma unroll
  for (int half = Parts / 2; half > 0; half /= 2) {
    __syncthreads();
    if (vector < vectors && part < half) {
#pragma unroll
      for (int i = 0; i < V; ++i) {
        total[i] = Shape::Reduction::combine(total[i], partial[part + half][i][lane]);
        partial[part][i][lane] = total[i];
      }
    }
  }
  if (vector < vectors && part == 0) store_pixel<Shape, V>(result, total, pixel, channel, epilogue);
}

/// Enqueues the pooling of `images` images; Parts > 1 shares each window among threads.
template <class Shape, bool Dependent, int Lanes, int Parts, class Index, class Result, class Input, class Epilogue>
void launch_pool(const char* name, Result* result, const Input& input, const Epilogue& epilogue, int64_t images,
                 cudaStream_t stream) {
  constexpr int64_t vectors = Shape::channels / Shape::vector;
  const int64_t pixels = images * Shape::out_height * Shape::out_width;
  if constexpr (Parts == 1) {
    const int64_t blocks = (pixels * vectors + direct_threads - 1) / direct_threads;
    fx2ait::launch<Dependent>(name, pool_direct<Shape, Dependent, Index, Result, Input, Epilogue>,
                              dim3(static_cast<unsigned>(blocks)), direct_threads, 0, stream, result, input, epilogue,
                              static_cast<Index>(pixels));
  } else {
    const int64_t blocks = pixels * ((vectors + Lanes - 1) / Lanes);
    fx2ait::launch<Dependent>(name, pool_split<Shape, Dependent, Lanes, Parts, Index, Result, Input, Epilogue>,
                              dim3(static_cast<unsigned>(blocks)), Lanes * Parts, 0, stream, result, input, epilogue);
  }
}

}  // namespace fx2ait_pooling
