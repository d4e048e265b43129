// 3x3 convolution of stride 1 by Winograd's algorithm, on channels-last float32 tensors.
//
// Tiles of all images are numbered through. For some tiles at a time: transform the input to one
// matrix [tile][channel] per position of the transformed tile, multiply each by the position's
// weights [channel][result], transform back with the epilogue. Either each worker does all three
// for tiles of its own (`kShared` false: the matrices stay in its cache), or the workers share
// each of the three steps (few tiles, or weights too large to be read once per worker).
#pragma once

#include "fx2ait/cpu/thread_pool.h"
#include "register_tile.h"
#include "winograd_transform.h"

namespace fx2ait_conv {

/// `Shape` holds the sizes and the tiling as constants (see conv2d_winograd.cpp.jinja). Weights
/// lie as [position][block][channel][channels of the block], the last block filled up with zeros.
template <class Shape, class Epilogue, class Result>
class WinogradConvolution {
  using S = Shape;
  using Transform = Winograd<S::kResultTile>;
  using V = Simd<S::kWidth>;

  static constexpr int M = S::kResultTile;
  static constexpr int T = Transform::kTile;
  static constexpr int64_t kPositions = T * T;
  static constexpr int64_t kTilesX = (S::kResultWidth + M - 1) / M;
  static constexpr int64_t kTilesY = (S::kResultHeight + M - 1) / M;
  static constexpr int64_t kImageTiles = kTilesX * kTilesY;

  static constexpr int64_t kBlock = S::kTileVectors * S::kWidth;
  static constexpr int64_t kBlocks = (S::kResults + kBlock - 1) / kBlock;
  static constexpr int64_t kChunkResults = S::kChunkBlocks * kBlock;
  static constexpr int64_t kChunks = (kBlocks + S::kChunkBlocks - 1) / S::kChunkBlocks;

  // One vector more than needed: a power of two would crowd few sets of the cache.
  static constexpr int64_t kInputPitch = (S::kChannels + S::kWidth - 1) / S::kWidth * S::kWidth + S::kWidth;
  static constexpr int64_t kProductPitch = (S::kShared ? kBlocks * kBlock : kChunkResults) + S::kWidth;
  static constexpr int64_t kInputMatrix = S::kTiles * kInputPitch;
  static constexpr int64_t kProductMatrix = S::kTiles * kProductPitch;

 public:
  /// Bytes of the matrices of one set of tiles.
  static constexpr int64_t kScratchBytes = (kPositions * (kInputMatrix + kProductMatrix) * 4 + 255) / 256 * 256;

  static void run(Result* result, const float* input, const float* weight, const Epilogue& epilogue,
                  [[maybe_unused]] void* workspace, int64_t batch, fx2ait::ThreadPool& pool) {
    const int64_t tiles = batch * kImageTiles;
    if constexpr (S::kShared) {
      for (int64_t first = 0; first < tiles; first += S::kTiles) {
        run_shared(result, input, weight, epilogue, static_cast<float*>(workspace), first, count_tiles(tiles, first), pool);
      }
    } else {
      const auto body = [&](int64_t begin, int64_t end, int worker) {
        float* inputs = static_cast<float*>(pool.scratch(worker, kScratchBytes));
        float* products = inputs + kPositions * kInputMatrix;
        for (int64_t first = begin * S::kTiles; first < end * S::kTiles && first < tiles; first += S::kTiles) {
          const int64_t count = count_tiles(tiles, first);
          for (int64_t tile = 0; tile < count; ++tile) transform_input(input, inputs, first + tile, tile);
          for (int64_t chunk = 0; chunk < kChunks; ++chunk) {
            for (int64_t position = 0; position < kPositions; ++position) {
              multiply(inputs, weight, products, position, chunk, 0, count);
            }
            for (int64_t tile = 0; tile < count; ++tile) {
              transform_result(products, result, first + tile, tile, chunk * kChunkResults, 0, epilogue);
            }
          }
        }
      };
      pool.parallel_for((tiles + S::kTiles - 1) / S::kTiles, body);
    }
  }

 private:
  static int64_t count_tiles(int64_t tiles, int64_t first) {
    return tiles - first < S::kTiles ? tiles - first : S::kTiles;
  }

  static void run_shared(Result* result, const float* input, const float* weight, const Epilogue& epilogue,
                         float* inputs, int64_t first, int64_t count, fx2ait::ThreadPool& pool) {
    float* products = inputs + kPositions * kInputMatrix;
    pool.parallel_for(count, [&](int64_t begin, int64_t end) {
      for (int64_t tile = begin; tile < end; ++tile) transform_input(input, inputs, first + tile, tile);
    });
    pool.parallel_for(kPositions * kChunks, [&](int64_t begin, int64_t end) {
      for (int64_t item = begin; item < end; ++item) {
        const int64_t chunk = item % kChunks;
        multiply(inputs, weight, products, item / kChunks, chunk, chunk * kChunkResults, count);
      }
    });
    pool.parallel_for(count * kChunks, [&](int64_t begin, int64_t end) {
      for (int64_t item = begin; item < end; ++item) {
        const int64_t channel = item % kChunks * kChunkResults;
        transform_result(products, result, first + item / kChunks, item / kChunks, channel, channel, epilogue);
      }
    });
  }

  /// Writes row `row` of every position's input matrix; `tile` counts over all images.
  static void transform_input(const float* input, float* inputs, int64_t tile, int64_t row) {
    const int64_t image = tile / kImageTiles;
    const int64_t y = tile % kImageTiles / kTilesX * M - S::kPadTop;
    const int64_t x = tile % kTilesX * M - S::kPadLeft;
    const float* corner = input + ((image * S::kInputHeight + y) * S::kInputWidth + x) * S::kChannels;
    float* to = inputs + row * kInputPitch;
    if (y >= 0 && x >= 0 && y + T <= S::kInputHeight && x + T <= S::kInputWidth) {
      transform_input_channels<true>(corner, y, x, to);
    } else {
      transform_input_channels<false>(corner, y, x, to);
    }
  }

  template <bool Inside>
  static void transform_input_channels(const float* corner, int64_t y, int64_t x, float* to) {
    constexpr int64_t kWhole = S::kChannels / S::kWidth * S::kWidth;
    for (int64_t channel = 0; channel < kWhole; channel += S::kWidth) {
      transform_input_vector<Inside, S::kWidth>(corner + channel, y, x, to + channel);
    }
    if constexpr (kWhole < S::kChannels) {
      transform_input_vector<Inside, S::kChannels - kWhole>(corner + kWhole, y, x, to + kWhole);
    }
  }

  template <bool Inside, int Lanes>
  [[gnu::noinline]] static void transform_input_vector(const float* from, [[maybe_unused]] int64_t y, [[maybe_unused]] int64_t x,
                                     float* to) {
    V half[T][T];
    for (int j = 0; j < T; ++j) {
      V column[T], transformed[T];
#pragma GCC unroll 8
      for (int i = 0; i < T; ++i) {
        const bool valid = Inside || (y + i >= 0 && y + i < S::kInputHeight && x + j >= 0 && x + j < S::kInputWidth);
        const float* pixel = from + (i * S::kInputWidth + j) * S::kChannels;
        if constexpr (Lanes == S::kWidth) {
          column[i] = valid ? load<S::kWidth>(pixel) : V{};
        } else {
          column[i] = valid ? load_lanes<S::kWidth>(pixel, Lanes) : V{};
        }
      }
      Transform::input(transformed, column);
#pragma GCC unroll 8
      for (int i = 0; i < T; ++i) half[i][j] = transformed[i];
    }
    for (int i = 0; i < T; ++i) {
      V transformed[T];
      Transform::input(transformed, half[i]);
#pragma GCC unroll 8
      for (int j = 0; j < T; ++j) store<S::kWidth>(to + (i * T + j) * kInputMatrix, transformed[j]);
    }
  }

  /// products[position][row][column + ...] = inputs[position] * weights of the chunk.
  [[gnu::noinline]] static void multiply(const float* inputs, const float* weight, float* products, int64_t position, int64_t chunk,
                       int64_t column, int64_t rows) {
    const int64_t first = chunk * S::kChunkBlocks;
    const int64_t last = kBlocks - first < S::kChunkBlocks ? kBlocks : first + S::kChunkBlocks;
    for (int64_t block = first; block < last; ++block, column += kBlock) {
      const float* w = weight + (position * kBlocks + block) * S::kChannels * kBlock;
      // The last rows may be past `rows`: the matrices have room for whole register tiles.
      for (int64_t row = 0; row < rows; row += S::kTileRows) {
        RegisterTile<S::kWidth, S::kTileRows, S::kTileVectors> tile;
        tile.clear();
        tile.template accumulate_dense<GridOffsets<S::kTileRows, 0, kInputPitch>>(
            inputs + position * kInputMatrix + row * kInputPitch, w, S::kChannels);
        tile.template store_all<kProductPitch>(products + position * kProductMatrix + row * kProductPitch + column);
      }
    }
  }

  /// One tile's results of a chunk of channels, which start at `column` of the product matrices.
  static void transform_result(const float* products, Result* result, int64_t tile, int64_t row, int64_t channel,
                               int64_t column, const Epilogue& epilogue) {
    const int64_t image = tile / kImageTiles;
    const int64_t y = tile % kImageTiles / kTilesX * M;
    const int64_t x = tile % kTilesX * M;
    const int64_t pixel = (image * S::kResultHeight + y) * S::kResultWidth + x;
    const int64_t rows = S::kResultHeight - y < M ? S::kResultHeight - y : M;
    const int64_t columns = S::kResultWidth - x < M ? S::kResultWidth - x : M;
    const float* from = products + row * kProductPitch + column;
    constexpr int64_t kGroup = kChunkResults % (2 * S::kWidth) == 0 ? 2 * S::kWidth : S::kWidth;
    for (int64_t c = 0; c < kChunkResults && channel + c < S::kResults; c += kGroup) {
      if (S::kResults % kGroup == 0 || channel + c + kGroup <= S::kResults) {
        transform_result_vectors<kGroup / S::kWidth, kGroup>(from + c, result, pixel, rows, columns, channel + c,
                                                             epilogue);
      } else if constexpr (S::kResults % kGroup != 0) {
        constexpr int64_t kRest = S::kResults % kGroup;
        transform_result_vectors<(kRest + S::kWidth - 1) / S::kWidth, kRest>(from + c, result, pixel, rows, columns,
                                                                             channel + c, epilogue);
      }
    }
  }

  template <int Vectors, int Channels>
  [[gnu::noinline]] static void transform_result_vectors(const float* from, Result* result, int64_t pixel, int64_t rows,
                                       int64_t columns, int64_t channel, const Epilogue& epilogue) {
    alignas(64) float sums[M][M][Vectors * S::kWidth];
    for (int v = 0; v < Vectors; ++v) {
      V half[M][T];
      for (int j = 0; j < T; ++j) {
        V column[T], transformed[M];
#pragma GCC unroll 8
        for (int i = 0; i < T; ++i) column[i] = load<S::kWidth>(from + (i * T + j) * kProductMatrix + v * S::kWidth);
        Transform::result(transformed, column);
#pragma GCC unroll 8
        for (int i = 0; i < M; ++i) half[i][j] = transformed[i];
      }
      for (int i = 0; i < M; ++i) {
        V transformed[M];
        Transform::result(transformed, half[i]);
#pragma GCC unroll 8
        for (int j = 0; j < M; ++j) store<S::kWidth>(&sums[i][j][v * S::kWidth], transformed[j]);
      }
    }
    for (int64_t i = 0; i < rows; ++i) {
      for (int64_t j = 0; j < columns; ++j) {
        finish<S::kWidth, Channels>(sums[i][j], result, (pixel + i * S::kResultWidth + j) * S::kResults + channel,
                                    static_cast<int>(channel), epilogue);
      }
    }
  }
};

}  // namespace fx2ait_conv
