// Depthwise and narrow grouped convolution of channels-last float32 tensors.
//
// Every lane of a vector is one result channel and reads its own group's input: the vectors run
// across groups. Input rows are copied to a padded buffer in which lane l of vector c holds the
// c-th channel of the group that result channel l belongs to, so the arithmetic is plain.
#pragma once

#include "fx2ait/cpu/thread_pool.h"
#include "padded_rows.h"
#include "register_tile.h"

namespace fx2ait_conv {

/// `Shape` holds the sizes and the tiling as constants (see conv2d_lanewise.cpp.jinja). Weights
/// lie as [block][kernel row][kernel column][group channel][lanes of the block], filled up with zeros.
template <class Shape, class Epilogue, class Result>
class LanewiseConvolution {
  using S = Shape;

  static constexpr int64_t kGroupChannels = S::kChannels / S::kGroups;
  static constexpr int64_t kGroupResults = S::kResults / S::kGroups;
  static constexpr int64_t kBlock = S::kTileVectors * S::kWidth;  // result channels per register tile
  static constexpr int64_t kBlocks = (S::kResults + kBlock - 1) / kBlock;
  static constexpr int64_t kTail = S::kResults % kBlock;
  static constexpr int64_t kLanes = S::kItemBlocks * kBlock;  // result channels per item
  static constexpr int64_t kChunks = (kBlocks + S::kItemBlocks - 1) / S::kItemBlocks;
  static constexpr int64_t kStrips = (S::kResultHeight + S::kStripRows - 1) / S::kStripRows;

  static constexpr int64_t kColumns =
      (S::kResultWidth - 1) * S::kStrideX + (S::kKernelWidth - 1) * S::kDilationX + 1;
  static constexpr int64_t kPixelFloats = kGroupChannels * kLanes;
  static constexpr int64_t kRowFloats = kColumns * kPixelFloats;

  static constexpr int64_t input_rows(int64_t rows) {
    return (rows - 1) * S::kStrideY + (S::kKernelHeight - 1) * S::kDilationY + 1;
  }

 public:
  /// `input` is a `const float*` or an `fx2ait::ExternalTensor`.
  template <class Input>
  static void run(Result* result, const Input& input, const float* weight, const Epilogue& epilogue,
                  int64_t batch, fx2ait::ThreadPool& pool) {
    with_strided<S::kChannels, S::kInputHeight, S::kInputWidth>(input, [&](const auto& strided) {
      const auto body = [&](int64_t begin, int64_t end, int worker) {
        float* buffer = static_cast<float*>(pool.scratch(worker, input_rows(S::kStripRows) * kRowFloats * 4));
        for (int64_t item = begin; item < end; ++item) {
          const int64_t chunk = item % kChunks;
          const int64_t row = item / kChunks % kStrips * S::kStripRows;
          const int64_t image = item / kChunks / kStrips;
          const int64_t rows = S::kResultHeight - row < S::kStripRows ? S::kResultHeight - row : S::kStripRows;
          fill_rows(buffer, strided, image, row * S::kStrideY - S::kPadTop, input_rows(rows), chunk * kLanes);
          const int64_t last = kBlocks - chunk * S::kItemBlocks < S::kItemBlocks ? kBlocks - chunk * S::kItemBlocks
                                                                                 : S::kItemBlocks;
          for (int64_t block = 0; block < last; ++block) {
            compute_block(buffer + block * kBlock, weight, chunk * S::kItemBlocks + block, rows, result,
                          (image * S::kResultHeight + row) * S::kResultWidth, epilogue);
          }
        }
      };
      pool.parallel_for(batch * kStrips * kChunks, body);
    });
  }

 private:
  /// Rows from input row `y0` on, for result channels from `first` on; what lies outside is zero.
  template <class T>
  static void fill_rows(float* to, const StridedInput<T>& input, int64_t image, int64_t y0, int64_t rows,
                        int64_t first) {
    const int64_t lanes = S::kResults - first < kLanes ? S::kResults - first : kLanes;
    for (int64_t row = 0; row < rows; ++row) {
      const int64_t y = y0 + row;
      for (int64_t column = 0; column < kColumns; ++column, to += kPixelFloats) {
        const int64_t x = column - S::kPadLeft;
        if (y < 0 || y >= S::kInputHeight || x < 0 || x >= S::kInputWidth) {
          std::memset(to, 0, kPixelFloats * sizeof(float));
        } else if (input.channel == 1) {
          fill_pixel(to, input.at(image, 0, y, x), 1, first, lanes);
        } else {
          fill_pixel(to, input.at(image, 0, y, x), input.channel, first, lanes);
        }
      }
    }
  }

  template <class T>
  static inline void fill_pixel(float* to, const T* from, int64_t channel_stride, int64_t first, int64_t lanes) {
    for (int64_t c = 0; c < kGroupChannels; ++c, to += kLanes) {
      for (int64_t lane = 0; lane < lanes; ++lane) {
        const int64_t channel = (first + lane) / kGroupResults * kGroupChannels + c;
        to[lane] = fx2ait::to_float(from[channel * channel_stride]);
      }
      for (int64_t lane = lanes; lane < kLanes; ++lane) to[lane] = 0.0f;
    }
  }

  static void compute_block(const float* input, const float* weight, int64_t block, int64_t rows, Result* result,
                            int64_t pixel, const Epilogue& epilogue) {
    weight += block * S::kKernelHeight * S::kKernelWidth * kGroupChannels * kBlock;
    if (kTail == 0 || block + 1 < kBlocks) {
      if constexpr (S::kResults >= kBlock) compute_rows<kBlock>(input, weight, block, rows, result, pixel, epilogue);
    } else if constexpr (kTail > 0) {
      compute_rows<kTail>(input, weight, block, rows, result, pixel, epilogue);
    }
  }

  template <int Channels>
  static void compute_rows(const float* input, const float* weight, int64_t block, int64_t rows, Result* result,
                           int64_t pixel, const Epilogue& epilogue) {
    constexpr int kTailPixels = S::kResultWidth % S::kTilePixels;
    for (int64_t row = 0; row < rows; ++row) {
      const float* from = input + row * S::kStrideY * kRowFloats;
      int64_t column = 0;
      for (; column + S::kTilePixels <= S::kResultWidth; column += S::kTilePixels) {
        compute_tile<Channels, S::kTilePixels>(from + column * S::kStrideX * kPixelFloats, weight, block, result,
                                               pixel + row * S::kResultWidth + column, epilogue);
      }
      if constexpr (kTailPixels > 0) {
        compute_tile<Channels, kTailPixels>(from + column * S::kStrideX * kPixelFloats, weight, block, result,
                                            pixel + row * S::kResultWidth + column, epilogue);
      }
    }
  }

  template <int Channels, int Pixels>
  [[gnu::noinline]] static void compute_tile(const float* input, const float* weight, int64_t block, Result* result, int64_t pixel,
                           const Epilogue& epilogue) {
    RegisterTile<S::kWidth, Pixels, S::kTileVectors> tile;
    tile.clear();
    for (int64_t ky = 0; ky < S::kKernelHeight; ++ky) {
      for (int64_t kx = 0; kx < S::kKernelWidth; ++kx) {
        const float* from = input + ky * S::kDilationY * kRowFloats + kx * S::kDilationX * kPixelFloats;
        for (int64_t c = 0; c < kGroupChannels; ++c, weight += kBlock) {
          tile.template accumulate_lanes<GridOffsets<Pixels, 0, S::kStrideX * kPixelFloats>>(from + c * kLanes,
                                                                                              weight);
        }
      }
    }
    tile.template finish_all<Channels, GridOffsets<Pixels, 0, S::kResults>>(
        result, pixel * S::kResults + block * kBlock, static_cast<int>(block * kBlock), epilogue);
  }
};

}  // namespace fx2ait_conv
