// Direct convolution of channels-last float32 tensors with register tiles.
//
// Work is cut into items: some images, a strip of result rows, some blocks of result channels. An
// item copies the input rows that it needs into a padded buffer of its worker (unless they can be
// read in place), then goes over its blocks; the weights of a block stay in the cache while the
// tiles of the strip pass over them.
#pragma once

#include <vector>

#include "fx2ait/cpu/thread_pool.h"
#include "padded_rows.h"
#include "register_tile.h"

namespace fx2ait_conv {

/// `Shape` holds the sizes and the tiling as constants (see conv2d_direct.cpp.jinja). Weights lie
/// as [group][block][kernel row][kernel column][channel][channels of the block].
template <class Shape, class Epilogue, class Result>
class DirectConvolution {
  using S = Shape;

  static constexpr int64_t kGroupChannels = S::kChannels / S::kGroups;
  static constexpr int64_t kGroupResults = S::kResults / S::kGroups;
  static constexpr int64_t kBlock = S::kTileVectors * S::kWidth;  // result channels per block
  static constexpr int64_t kFullBlocks = kGroupResults / kBlock;
  static constexpr int64_t kTailResults = kGroupResults % kBlock;
  static constexpr int kTailVectors = (kTailResults + S::kWidth - 1) / S::kWidth;
  static constexpr int64_t kGroupBlocks = kFullBlocks + (kTailResults > 0);
  static constexpr int64_t kBlocks = S::kGroups * kGroupBlocks;
  static constexpr int64_t kTaps = S::kKernelHeight * S::kKernelWidth * kGroupChannels;
  static constexpr int64_t kGroupWeights = kTaps * (kFullBlocks * S::kTileVectors + kTailVectors) * S::kWidth;

  static constexpr int64_t kColumns =
      (S::kResultWidth - 1) * S::kStrideX + (S::kKernelWidth - 1) * S::kDilationX + 1;
  static constexpr int64_t kRowFloats = (S::kPadded ? kColumns : S::kInputWidth) * S::kChannels;

  static constexpr int64_t kStrips = (S::kResultHeight + S::kStripRows - 1) / S::kStripRows;
  static constexpr int64_t kChunks = (kBlocks + S::kItemBlocks - 1) / S::kItemBlocks;

  static constexpr int64_t input_rows(int64_t rows) {
    return (rows - 1) * S::kStrideY + (S::kKernelHeight - 1) * S::kDilationY + 1;
  }

  static constexpr int64_t kBufferImage = input_rows(S::kStripRows) * kRowFloats;  // floats per image

 public:
  /// `input` is a `const float*` or, with `kPadded`, an `fx2ait::ExternalTensor`.
  template <class Input>
  static void run(Result* result, const Input& input, const float* weight, const Epilogue& epilogue,
                  int64_t batch, fx2ait::ThreadPool& pool) {
    if constexpr (S::kPadded) {
      with_strided<S::kChannels, S::kInputHeight, S::kInputWidth>(input, [&](const auto& strided) {
        static_cast<void>(input);
        run_items(result, strided, weight, epilogue, batch, pool);
      });
    } else {
      run_items(result, strided<S::kChannels, S::kInputHeight, S::kInputWidth>(input), weight, epilogue, batch, pool);
    }
  }

 private:
  template <class T>
  static void run_items(Result* result, const StridedInput<T>& input, const float* weight, const Epilogue& epilogue,
                        int64_t batch, fx2ait::ThreadPool& pool) {
    const int64_t items = (batch + S::kImages - 1) / S::kImages * kStrips * kChunks;
    // The strip in each worker's buffer: items of one strip are neighbours.
    std::vector<int64_t> held(S::kPadded ? pool.size() : 0, -1);
    const auto body = [&](int64_t begin, int64_t end, [[maybe_unused]] int worker) {
      for (int64_t item = begin; item < end; ++item) {
        const int64_t strip = item / kChunks;
        const int64_t image = strip / kStrips * S::kImages;
        const int64_t images = batch - image < S::kImages ? batch - image : S::kImages;
        const int64_t row = strip % kStrips * S::kStripRows;
        const int64_t rows = S::kResultHeight - row < S::kStripRows ? S::kResultHeight - row : S::kStripRows;
        const float* rows_begin = nullptr;
        int64_t image_stride = kBufferImage;
        if constexpr (S::kPadded) {
          float* buffer = static_cast<float*>(pool.scratch(worker, S::kImages * kBufferImage * 4));
          if (held[worker] != strip) {
            for (int64_t i = 0; i < images; ++i) {
              fill_padded_rows<S::kChannels, S::kInputHeight, S::kInputWidth, kColumns, S::kPadLeft>(
                  buffer + i * kBufferImage, input, image + i, row * S::kStrideY - S::kPadTop, input_rows(rows));
            }
            held[worker] = strip;
          }
          rows_begin = buffer;
        } else {
          rows_begin = input.at(image, 0, row * S::kStrideY, 0);
          image_stride = input.image;
        }
        const int64_t first = item % kChunks * S::kItemBlocks;
        const int64_t last = kBlocks - first < S::kItemBlocks ? kBlocks : first + S::kItemBlocks;
        for (int64_t block = first; block < last; ++block) {
          for (int64_t i = 0; i < images; ++i) {
            const int64_t pixel = ((image + i) * S::kResultHeight + row) * S::kResultWidth;
            compute_block(rows_begin + i * image_stride, weight, block, rows, result, pixel, epilogue);
          }
        }
      }
    };
    pool.parallel_for(items, body);
  }

  /// One block of channels on the rows of a strip; `pixel` numbers the strip's first result pixel.
  static void compute_block(const float* input, const float* weight, int64_t block, int64_t rows, Result* result,
                            int64_t pixel, const Epilogue& epilogue) {
    const int64_t group = block / kGroupBlocks;
    const int64_t number = block % kGroupBlocks;
    input += group * kGroupChannels;
    weight += group * kGroupWeights + number * kTaps * kBlock;
    const int64_t channel = group * kGroupResults + number * kBlock;
    if (kTailVectors == 0 || number < kFullBlocks) {
      if constexpr (kFullBlocks > 0) {
        compute_rows<S::kTileVectors, kBlock>(input, weight, rows, result, pixel, channel, epilogue);
      }
    } else if constexpr (kTailVectors > 0) {
      compute_rows<kTailVectors, kTailResults>(input, weight, rows, result, pixel, channel, epilogue);
    }
  }

  template <int Vectors, int Channels>
  static void compute_rows(const float* input, const float* weight, int64_t rows, Result* result, int64_t pixel,
                           int64_t channel, const Epilogue& epilogue) {
    constexpr int kTailRows = S::kResultHeight % S::kTileRows;
    int64_t row = 0;
    for (; row + S::kTileRows <= rows; row += S::kTileRows) {
      compute_columns<Vectors, Channels, S::kTileRows>(input + row * S::kStrideY * kRowFloats, weight, result,
                                                    pixel + row * S::kResultWidth, channel, epilogue);
    }
    if constexpr (kTailRows > 0) {
      if (row < rows) {
        compute_columns<Vectors, Channels, kTailRows>(input + row * S::kStrideY * kRowFloats, weight, result,
                                                   pixel + row * S::kResultWidth, channel, epilogue);
      }
    }
  }

  template <int Vectors, int Channels, int Rows>
  static void compute_columns(const float* input, const float* weight, Result* result, int64_t pixel,
                              int64_t channel, const Epilogue& epilogue) {
    constexpr int kTailColumns = S::kResultWidth % S::kTileColumns;
    int64_t column = 0;
    for (; column + S::kTileColumns <= S::kResultWidth; column += S::kTileColumns) {
      compute_tile<Vectors, Channels, Rows, S::kTileColumns>(input + column * S::kStrideX * S::kChannels, weight,
                                                          result, pixel + column, channel, epilogue);
    }
    if constexpr (kTailColumns > 0) {
      compute_tile<Vectors, Channels, Rows, kTailColumns>(input + column * S::kStrideX * S::kChannels, weight, result,
                                                       pixel + column, channel, epilogue);
    }
  }

  template <int Vectors, int Channels, int Rows, int Columns>
  [[gnu::noinline]] static void compute_tile(const float* input, const float* weight, Result* result, int64_t pixel, int64_t channel,
                           const Epilogue& epilogue) {
    using Inputs = GridOffsets<Columns, S::kStrideY * kRowFloats, S::kStrideX * S::kChannels>;
    using Results = GridOffsets<Columns, S::kResultWidth * S::kResults, S::kResults>;
    // Neighbouring kernel columns read neighbouring floats when all channels are in one group.
    constexpr bool kContiguous = S::kDilationX == 1 && S::kGroups == 1;
    constexpr int64_t kRuns = kContiguous ? 1 : S::kKernelWidth;
    constexpr int64_t kRun = kTaps / S::kKernelHeight / kRuns;
    RegisterTile<S::kWidth, Rows * Columns, Vectors> tile;
    tile.clear();
    for (int64_t ky = 0; ky < S::kKernelHeight; ++ky) {
      for (int64_t run = 0; run < kRuns; ++run, weight += kRun * Vectors * S::kWidth) {
        tile.template accumulate_dense<Inputs>(
            input + ky * S::kDilationY * kRowFloats + run * S::kDilationX * S::kChannels, weight, kRun);
      }
    }
    tile.template finish_all<Channels, Results>(result, pixel * S::kResults + channel, static_cast<int>(channel),
                                             epilogue);
  }
};

}  // namespace fx2ait_conv
