// What strip_conv does with the rows it has computed: epilogue, reduction over windows, storing.
#pragma once

#include <cstdint>
#include <type_traits>

#include "fx2ait/cuda/math.cuh"
#include "fx2ait/cuda/pair.cuh"
#include "fx2ait/cuda/vector.cuh"

namespace fx2ait_conv {

/// Sizes known at run time: of the input, of the convolution's result and of what is stored, which is
/// cut into `strips` of `strip_rows` rows and `splits` of `split_columns` columns.
struct StripExtent {
  int height, width, conv_height, conv_width, result_height, result_width;
  int strips, strip_rows, splits, split_columns;

  /// Cuts as few, equal splits as `columns` columns of the convolution per block allow.
  void divide(int window, int stride, int columns, int rows) {
    const int most = conv_width <= columns ? result_width : (columns - window) / stride + 1;
    splits = (result_width + most - 1) / most;
    split_columns = (result_width + splits - 1) / splits;
    strip_rows = rows < result_height ? rows : result_height;
    strips = (result_height + strip_rows - 1) / strip_rows;
  }
};

/// A block's part of the result, and where it begins in the convolution's.
struct StripPlace {
  int result_row, result_rows, result_column, result_columns;
  int first_row, first_column;  // of the convolution: of band 0, and of the block's columns
  int columns;                  // of the convolution that are read
  int bands;
  bool needs_rows_above;  // windows of the first band reach over rows that an earlier strip computed
};

template <class Window, class Tile>
__device__ __forceinline__ StripPlace strip_place(const StripExtent& extent, int strip, int split) {
  StripPlace place;
  place.result_row = strip * extent.strip_rows;
  place.result_rows = min(extent.strip_rows, extent.result_height - place.result_row);
  place.result_column = split * extent.split_columns;
  place.result_columns = min(extent.split_columns, extent.result_width - place.result_column);
  place.first_row = place.result_row * Window::stride_h - Window::pad_top + Tile::kept_rows;
  place.first_column = max(0, place.result_column * Window::stride_w - Window::pad_left);
  const int last = (place.result_column + place.result_columns - 1) * Window::stride_w - Window::pad_left +
                   Window::kernel_w - 1;
  place.columns = min(last + 1, extent.conv_width) - place.first_column;
  place.bands = (place.result_rows + Tile::steps - 1) / Tile::steps;
  place.needs_rows_above = Tile::kept_rows > 0 && place.first_row > 0;
  return place;
}

/// The last rows of a band, for the windows of the next: this lane's elements of its two columns.
/// Rows above the image count nowhere.
template <class Tile, class Result>
struct KeptRows {
  static constexpr int rows = Tile::kept_rows;
  typename fx2ait::Pair<Result>::word words[rows > 0 ? rows : 1][Tile::channels / 8][2];

  __device__ __forceinline__ KeptRows() {
#pragma unroll
    for (int row = 0; row < rows; ++row) {
#pragma unroll
      for (int n = 0; n < Tile::channels / 8; ++n) {
#pragma unroll
        for (int half = 0; half < 2; ++half) words[row][n][half] = fx2ait::Pair<Result>::lowest();
      }
    }
  }
};

/// What the epilogue reads for each of a lane's channels, two at a time where they come in pairs. Of a
/// tensor of the convolution's shape it is read for each row anew.
template <class Shape, class Tile, class Epilogue>
struct BandOperands {
  static constexpr int tiles = Tile::channels / 8;
  static constexpr int width = Shape::vector > 1 ? 2 : 1, parts = 2 / width;  // channels at a time
  static constexpr bool whole = Shape::out_channels % Tile::channels == 0;     // there are no others
  typename Epilogue::template Operands<width> of[tiles][parts];

  __device__ __forceinline__ BandOperands(const Epilogue& epilogue, int first_channel) {
    if constexpr (!Shape::reads_elements) {
#pragma unroll
      for (int n = 0; n < tiles; ++n) {
#pragma unroll
        for (int part = 0; part < parts; ++part) {
          const int channel = channel_of(first_channel, n, part);
          if (has(channel)) of[n][part] = epilogue.template load<width>(0, channel);
        }
      }
    }
  }
  static __device__ __forceinline__ int channel_of(int first_channel, int n, int part) {
    return first_channel + n * 8 + static_cast<int>(threadIdx.x) % 4 * 2 + part;
  }
  static __device__ __forceinline__ bool has(int channel) { return whole || channel < Shape::out_channels; }
};

/// Applies the epilogue to rows First.. of a band and keeps the last ones. With Staged the band is
/// whole, and its rows, reduced vertically, go to the block's `staging` ([step][column][channel]).
/// With Inside the convolution has all of the rows.
template <class Shape, class Window, class Tile, int First, bool Staged, bool Inside, class Block, class Result,
          class Epilogue>
__device__ __forceinline__ void finish_band(const Block& block, KeptRows<Tile, Result>& kept,
                                            const float (&sums)[Tile::band_rows - First][Tile::channels / 2],
                                            BandOperands<Shape, Tile, Epilogue> operands, const Epilogue& epilogue,
                                            const StripExtent& extent, int band) {
  using Pair = fx2ait::Pair<Result>;
  using Operands = BandOperands<Shape, Tile, Epilogue>;
  constexpr int rows = Tile::band_rows - First, above = Tile::kept_rows, width = Operands::width;
  constexpr bool windows = Window::kernel_h > 1 || Window::kernel_w > 1;
  const int lane = static_cast<int>(threadIdx.x) % 32, warp = static_cast<int>(threadIdx.x) / 32;
  const int column = warp * 16 + lane / 4;
  const int first_row = block.place.first_row + band * Tile::band_rows + First;
#pragma unroll
  for (int n = 0; n < Operands::tiles; ++n) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      typename Pair::word words[above + rows];
#pragma unroll
      for (int row = 0; row < above; ++row) words[row] = kept.words[row][n][half];
#pragma unroll
      for (int y = 0; y < rows; ++y) {
        const int row = first_row + y, x = block.place.first_column + column + half * 8;
        const bool inside = Inside || static_cast<unsigned>(row) < static_cast<unsigned>(extent.conv_height);
        float values[2] = {sums[y][n * 4 + 2 * half], sums[y][n * 4 + 2 * half + 1]};
#pragma unroll
        for (int part = 0; part < Operands::parts; ++part) {
          const int channel = Operands::channel_of(block.first_channel, n, part);
          if (!Operands::has(channel)) continue;
          if constexpr (Shape::reads_elements) {
            if (!inside || x >= extent.conv_width) continue;
            const int64_t pixel = (int64_t{block.image} * extent.conv_height + row) * extent.conv_width + x;
            operands.of[n][part] = epilogue.template load<width>(pixel * Shape::out_channels + channel, channel);
          }
          epilogue.apply(*reinterpret_cast<float(*)[width]>(values + part), operands.of[n][part]);
        }
        words[above + y] = windows && !inside ? Pair::lowest() : Pair::of(values[0], values[1]);
      }
      if constexpr (Staged) {
        unsigned char* to =
            block.staging + (column + half * 8) * Tile::template staging_pitch<Result> + (n * 8 + lane % 4 * 2) * sizeof(Result);
#pragma unroll
        for (int step = 0; step < Tile::steps; ++step) {
          typename Pair::word largest = words[step * Window::stride_h];
#pragma unroll
          for (int i = 1; i < Window::kernel_h; ++i) {
            largest = Pair::maximum(largest, words[step * Window::stride_h + i]);
          }
          *reinterpret_cast<typename Pair::word*>(to + step * Tile::columns * Tile::template staging_pitch<Result>) =
              largest;
        }
      }
#pragma unroll
      for (int row = 0; row < above; ++row) kept.words[row][n][half] = words[rows + row];
    }
  }
}

/// V neighbouring channels of a pixel in shared memory, and the largest of several such.
template <class Result, int V>
struct Largest {
  using Pair = fx2ait::Pair<Result>;
  static constexpr int bytes = V * int{sizeof(Result)};
  using Access = std::conditional_t<bytes % 16 == 0, uint4, std::conditional_t<bytes == 8, uint2, uint32_t>>;
  struct alignas(sizeof(Access)) Vector {
    typename Pair::word words[V / 2];
  };
  Vector vector;

  __device__ __forceinline__ explicit Largest() {
#pragma unroll
    for (int i = 0; i < V / 2; ++i) vector.words[i] = Pair::lowest();
  }
  __device__ __forceinline__ void take(const unsigned char* pixel) {
    const Vector other = *reinterpret_cast<const Vector*>(pixel);
#pragma unroll
    for (int i = 0; i < V / 2; ++i) vector.words[i] = Pair::maximum(vector.words[i], other.words[i]);
  }
  template <class Finish>
  __device__ __forceinline__ void store(Result* to) const {
    if constexpr (Finish::identity) {
#pragma unroll
      for (int i = 0; i < bytes / int{sizeof(Access)}; ++i) {
        __stcg(reinterpret_cast<Access*>(to) + i, reinterpret_cast<const Access*>(vector.words)[i]);
      }
    } else {
      float values[V];
      fx2ait::load_vector<V>(values, reinterpret_cast<const Result*>(vector.words));
      Finish::apply(values);
      fx2ait::store_vector<V>(to, values);
    }
  }
};

template <class Result>
struct Largest<Result, 1> {
  float value[1];

  __device__ __forceinline__ explicit Largest() { value[0] = -CUDART_INF_F; }
  __device__ __forceinline__ void take(const unsigned char* pixel) {
    value[0] = fx::maximum(value[0], fx2ait::to_float(*reinterpret_cast<const Result*>(pixel)));
  }
  template <class Finish>
  __device__ __forceinline__ void store(Result* to) const {
    float finished[1] = {value[0]};
    if constexpr (!Finish::identity) Finish::apply(finished);
    fx2ait::store_vector<1>(to, finished);
  }
};

/// Reduces what finish_band staged horizontally, and stores it, channels fastest. Each of Tile::threads
/// `thread`s takes part.
template <class Shape, class Window, class Tile, class Finish, class Block, class Result>
__device__ __forceinline__ void store_band(Result* result, const Block& block, const StripExtent& extent, int band,
                                           int thread) {
  const StripPlace& place = block.place;
  constexpr int V = Shape::vector, vectors = Tile::channels / V, at_once = Tile::threads / vectors;
  static_assert(Tile::threads % vectors == 0);
  const int channel = thread % vectors * V;
  if (block.first_channel + channel >= Shape::out_channels) return;
#pragma unroll
  for (int step = 0; step < Tile::steps; ++step) {
    const int row = band * Tile::steps + step;
    if (row >= place.result_rows) return;
    const int64_t line = int64_t{block.image} * extent.result_height + place.result_row + row;
    const unsigned char* staged =
        block.staging + step * Tile::columns * Tile::template staging_pitch<Result> + channel * sizeof(Result);
#pragma unroll 2
    for (int column = thread / vectors; column < place.result_columns; column += at_once) {
      const int first = (place.result_column + column) * Window::stride_w - Window::pad_left;
      Largest<Result, V> largest;
#pragma unroll
      for (int i = 0; i < Window::kernel_w; ++i) {
        // Beyond an edge, the window's element at the edge is as good: it is taken twice.
        const int nearest = min(max(first + i, 0), extent.conv_width - 1);
        largest.take(staged + (nearest - place.first_column) * Tile::template staging_pitch<Result>);
      }
      const int64_t pixel = line * extent.result_width + place.result_column + column;
      largest.template store<Finish>(result + pixel * Shape::out_channels + block.first_channel + channel);
    }
  }
}

}  // namespace fx2ait_conv
