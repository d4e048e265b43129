// Matrix products on the CPU: float32, register tiles over panels of columns.
#pragma once

#include <algorithm>
#include <cstdint>
#include <type_traits>

#include "fx2ait/cpu/math.h"
#include "fx2ait/cpu/rows.h"
#include "fx2ait/cpu/thread_pool.h"
#include "fx2ait/cpu/vector.h"

namespace fx2ait_linear {

using fx2ait::Simd;

/// Registers per row of a tile; a panel of columns is that many registers wide.
template <int Panel>
inline constexpr int kRegisters = Panel / fx2ait::kSimdWidth;

/// Rows of a tile: as many as leave registers for a row of the panel.
template <int Panel>
inline constexpr int kTileRows =
#if defined(__AVX512F__)
    24 / kRegisters<Panel>;
#else
    12 / kRegisters<Panel> > 1 ? 12 / kRegisters<Panel> : 1;
#endif

inline constexpr int64_t kDepth = 512;  // rows of a panel that are used from the cache at once
inline constexpr int64_t kRows = 48;    // rows of the result that share a panel

/// totals[r][0..Panel) += sum over k of a[r][k] * b[k][0..Panel) for Rows rows of `a`.
template <int Rows, int Panel>
inline void multiply_tile(
    float* totals, const float* a, int64_t a_stride, const float* b, int64_t b_stride, int64_t depth) {
  constexpr int registers = kRegisters<Panel>, width = fx2ait::kSimdWidth;
  Simd sums[Rows][registers];
  for (int r = 0; r < Rows; ++r) {
    for (int j = 0; j < registers; ++j) sums[r][j] = fx2ait::simd_load(totals + r * Panel + j * width);
  }
  for (int64_t k = 0; k < depth; ++k) {
    Simd row[registers];
    for (int j = 0; j < registers; ++j) row[j] = fx2ait::simd_load(b + k * b_stride + j * width);
    for (int r = 0; r < Rows; ++r) {
      const Simd value = fx2ait::simd_broadcast(a[r * a_stride + k]);
      for (int j = 0; j < registers; ++j) sums[r][j] += value * row[j];
    }
  }
  for (int r = 0; r < Rows; ++r) {
    for (int j = 0; j < registers; ++j) fx2ait::simd_store(totals + r * Panel + j * width, sums[r][j]);
  }
}

/// As multiply_tile for any number of rows below Rows + 1.
template <int Rows, int Panel>
inline void multiply_rows(
    int64_t rows, float* totals, const float* a, int64_t a_stride, const float* b, int64_t b_stride, int64_t depth) {
  if (rows == Rows) {
    multiply_tile<Rows, Panel>(totals, a, a_stride, b, b_stride, depth);
  } else if constexpr (Rows > 1) {
    multiply_rows<Rows - 1, Panel>(rows, totals, a, a_stride, b, b_stride, depth);
  }
}

/// Row-major rows of float32 that are read where they are.
struct FloatRows {
  static constexpr int buffered = 0;

  const float* data;
  int64_t stride;

  /// `count` rows from `row` on, `depth` elements from `first` on; `stride_out` gets their distance.
  const float* block(float*, int64_t row, int64_t, int64_t first, int64_t, int64_t& stride_out) const {
    stride_out = stride;
    return data + row * stride + first;
  }
};

/// Rows of the caller's tensor, converted block by block.
struct ExternalRows {
  static constexpr int buffered = 1;

  const fx2ait::ExternalTensor& tensor;
  int64_t row_stride, stride;

  const float* block(float* buffer, int64_t row, int64_t count, int64_t first, int64_t depth,
                     int64_t& stride_out) const {
    for (int64_t r = 0; r < count; ++r) {
      fx2ait::read_row(buffer + r * kDepth, tensor, (row + r) * row_stride + first * stride, stride, depth);
    }
    stride_out = kDepth;
    return buffer;
  }
};

/// Columns packed as [ceil(N / Panel)][K][Panel], zeros beyond N.
template <int Panel>
struct PackedColumns {
  static constexpr int buffered = 0;

  const float* data;

  const float* block(float*, int64_t panel, int64_t first, int64_t, int64_t depth_all, int64_t& stride_out) const {
    stride_out = Panel;
    return data + (panel * depth_all + first) * Panel;
  }
};

/// A row-major [K, N] matrix read where it is; the last panel goes through a buffer.
template <int Panel, int64_t N>
struct PlainColumns {
  static constexpr int buffered = 1;

  const float* data;

  const float* block(float* buffer, int64_t panel, int64_t first, int64_t depth, int64_t, int64_t& stride_out) const {
    const float* const source = data + first * N + panel * Panel;
    const int64_t width = std::min<int64_t>(Panel, N - panel * Panel);
    if (width == Panel) {
      stride_out = N;
      return source;
    }
    for (int64_t k = 0; k < depth; ++k) {
      for (int64_t j = 0; j < Panel; ++j) buffer[k * Panel + j] = j < width ? source[k * N + j] : 0.0f;
    }
    stride_out = Panel;
    return buffer;
  }
};

/// Applies the epilogue to `width` neighbours of one row and stores them.
template <int V, class Result, class Epilogue>
inline void store_row(Result* result, const float* totals, int64_t offset, int column, int64_t width,
                      const Epilogue& epilogue) {
  int64_t i = 0;
  const auto store = [&](auto lanes) {
    constexpr int count = decltype(lanes)::value;
    float values[count];
    fx2ait::load_vector<count>(values, totals + i);
    const auto operands = epilogue.template load<count>(offset + i, column + static_cast<int>(i));
    epilogue.template apply<count>(values, operands);
    fx2ait::store_vector<count>(result + offset + i, values);
    i += count;
  };
  while (i + V <= width) store(std::integral_constant<int, V>{});
  while (i < width) store(std::integral_constant<int, 1>{});
}

/// result[M, N] = epilogue(rows[M, K] * columns[K, N]). A unit of work is a panel of columns by
/// kRows rows, so that threads share the columns when there are few rows.
template <int Panel, int64_t N, int64_t K, class Result, class Rows, class Columns, class Epilogue>
void multiply(Result* result, const Rows& rows, const Columns& columns, const Epilogue& epilogue, int64_t m,
              fx2ait::ThreadPool& pool) {
  constexpr int64_t panels = (N + Panel - 1) / Panel;
  const int64_t blocks = (m + kRows - 1) / kRows;
  pool.parallel_for(panels * blocks, [&](int64_t begin, int64_t end) {
    alignas(64) float totals[kRows * Panel];
    alignas(64) float row_buffer[Rows::buffered * kRows * kDepth + 1];
    alignas(64) float column_buffer[Columns::buffered * kDepth * Panel + 1];
    for (int64_t work = begin; work < end; ++work) {
      const int64_t panel = work / blocks, first_row = work % blocks * kRows;
      const int64_t count = std::min(kRows, m - first_row);
      std::fill(totals, totals + count * Panel, 0.0f);
      for (int64_t first = 0; first < K; first += kDepth) {
        const int64_t depth = std::min(kDepth, K - first);
        int64_t row_stride, column_stride;
        const float* const a = rows.block(row_buffer, first_row, count, first, depth, row_stride);
        const float* const b = columns.block(column_buffer, panel, first, depth, K, column_stride);
        for (int64_t r = 0; r < count; r += kTileRows<Panel>) {
          multiply_rows<kTileRows<Panel>, Panel>(std::min<int64_t>(kTileRows<Panel>, count - r), totals + r * Panel,
                                                 a + r * row_stride, row_stride, b, column_stride, depth);
        }
      }
      const int column = static_cast<int>(panel) * Panel;
      for (int64_t r = 0; r < count; ++r) {
        store_row<fx2ait::kSimdWidth>(result, totals + r * Panel, (first_row + r) * N + column, column,
                                      std::min<int64_t>(Panel, N - column), epilogue);
      }
    }
  });
}

}  // namespace fx2ait_linear
