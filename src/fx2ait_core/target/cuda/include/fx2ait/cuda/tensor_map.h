// Tensor maps for the copy engine, encoded on the host (sm_90 and newer).
//
// The driver's encoders are looked up at run time, so nothing links against libcuda. The maps of
// images, pixels and blocks deliver rows of 64 two-byte elements (128 bytes) in the 128-byte swizzle
// that `wgmma.cuh` reads, some also rows of 32 or 16 in the swizzle of their width; the map of a
// matrix delivers its boxes row by row.
#pragma once

#include <cuda.h>
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include <cstdint>

#include "fx2ait/cuda/check.h"
#include "fx2ait/error.h"

namespace fx2ait {

/// Elements in a row of shared memory.
inline constexpr int kTensorMapRow = 64;

namespace detail {

template <typename Element>
struct TensorMapType;
template <>
struct TensorMapType<__half> {
  static constexpr CUtensorMapDataType value = CU_TENSOR_MAP_DATA_TYPE_FLOAT16;
};
template <>
struct TensorMapType<__nv_bfloat16> {
  static constexpr CUtensorMapDataType value = CU_TENSOR_MAP_DATA_TYPE_BFLOAT16;
};

template <typename Function>
Function driver_function(const char* name) {
  void* address = nullptr;
  cudaDriverEntryPointQueryResult found = cudaDriverEntryPointSymbolNotFound;
  FX2AIT_CUDA_CHECK(cudaGetDriverEntryPointByVersion(name, &address, 12000, cudaEnableDefault, &found));
  if (found != cudaDriverEntryPointSuccess) {
    throw Error({"the CUDA driver lacks ", name, "; install a driver for CUDA 12.0 or newer"});
  }
  return reinterpret_cast<Function>(address);
}

inline void check_encoded(CUresult result, const char* what) {
  if (result != CUDA_SUCCESS) {
    throw Error({"cannot describe ", what, " to the copy engine: CUDA driver error ", Digits(result)});
  }
}

/// The swizzle for rows of that many two-byte elements: 64, 32 or 16.
constexpr CUtensorMapSwizzle swizzle_of_row(int elements) {
  return elements == 64   ? CU_TENSOR_MAP_SWIZZLE_128B
         : elements == 32 ? CU_TENSOR_MAP_SWIZZLE_64B
                          : CU_TENSOR_MAP_SWIZZLE_32B;
}

}  // namespace detail

/// A dense batch of images [images, height, width, channels], and how a filter moves over it.
struct ImageWindows {
  int images, height, width, channels;
  int kernel_height, kernel_width;
  int stride_height, stride_width;
  int padding_top, padding_bottom, padding_left, padding_right;
  int dilation_height, dilation_width;
};

/// A map whose copies (`tma_load_im2col`) bring 64 channels of one filter tap for `pixels`
/// consecutive output pixels. `channels` must be a multiple of 8 and the data 16-byte aligned.
template <typename Element>
CUtensorMap encode_im2col_map(const Element* data, const ImageWindows& windows, int pixels) {
  static const auto encode = detail::driver_function<decltype(&cuTensorMapEncodeIm2col)>("cuTensorMapEncodeIm2col");
  const auto& w = windows;
  const cuuint64_t pixel_bytes = static_cast<cuuint64_t>(w.channels) * sizeof(Element);
  const cuuint64_t row_bytes = pixel_bytes * static_cast<cuuint64_t>(w.width);
  const cuuint64_t sizes[4] = {
      static_cast<cuuint64_t>(w.channels), static_cast<cuuint64_t>(w.width), static_cast<cuuint64_t>(w.height),
      static_cast<cuuint64_t>(w.images)};
  const cuuint64_t strides[3] = {pixel_bytes, row_bytes, row_bytes * static_cast<cuuint64_t>(w.height)};
  const int lower[2] = {-w.padding_left, -w.padding_top};
  const int upper[2] = {
      w.padding_right - (w.kernel_width - 1) * w.dilation_width,
      w.padding_bottom - (w.kernel_height - 1) * w.dilation_height};
  const cuuint32_t steps[4] = {
      1, static_cast<cuuint32_t>(w.stride_width), static_cast<cuuint32_t>(w.stride_height), 1};
  CUtensorMap map;
  detail::check_encoded(
      encode(
          &map, detail::TensorMapType<Element>::value, 4, const_cast<Element*>(data), sizes, strides, lower, upper,
          kTensorMapRow, static_cast<cuuint32_t>(pixels), steps, CU_TENSOR_MAP_INTERLEAVE_NONE,
          CU_TENSOR_MAP_SWIZZLE_128B, CU_TENSOR_MAP_L2_PROMOTION_L2_128B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE),
      "the windows of an image");
  return map;
}

/// A map of a dense array [blocks, rows, `Row`], whose copies (`tma_load_3d`) bring `box_rows` rows
/// of one block. `Row` is 64, 32 or 16; the data must be 16-byte aligned.
template <int Row = kTensorMapRow, typename Element>
CUtensorMap encode_blocks_map(const Element* data, int blocks, int rows, int box_rows) {
  static const auto encode = detail::driver_function<decltype(&cuTensorMapEncodeTiled)>("cuTensorMapEncodeTiled");
  constexpr cuuint64_t row_bytes = Row * sizeof(Element);
  const cuuint64_t sizes[3] = {Row, static_cast<cuuint64_t>(rows), static_cast<cuuint64_t>(blocks)};
  const cuuint64_t strides[2] = {row_bytes, row_bytes * static_cast<cuuint64_t>(rows)};
  const cuuint32_t box[3] = {Row, static_cast<cuuint32_t>(box_rows), 1};
  const cuuint32_t steps[3] = {1, 1, 1};
  CUtensorMap map;
  detail::check_encoded(
      encode(
          &map, detail::TensorMapType<Element>::value, 3, const_cast<Element*>(data), sizes, strides, box, steps,
          CU_TENSOR_MAP_INTERLEAVE_NONE, detail::swizzle_of_row(Row), CU_TENSOR_MAP_L2_PROMOTION_L2_256B,
          CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE),
      "blocks of rows");
  return map;
}

/// A map of a dense matrix [rows, columns] of two-byte elements, whose copies (`tma_load_2d`) bring
/// `box_rows` rows of `box_columns` columns, one row after the other. Columns must be a multiple of
/// 8 and the data 16-byte aligned.
template <typename Element>
CUtensorMap encode_matrix_map(const Element* data, int rows, int columns, int box_rows, int box_columns) {
  static const auto encode = detail::driver_function<decltype(&cuTensorMapEncodeTiled)>("cuTensorMapEncodeTiled");
  const cuuint64_t sizes[2] = {static_cast<cuuint64_t>(columns), static_cast<cuuint64_t>(rows)};
  const cuuint64_t strides[1] = {static_cast<cuuint64_t>(columns) * sizeof(Element)};
  const cuuint32_t box[2] = {static_cast<cuuint32_t>(box_columns), static_cast<cuuint32_t>(box_rows)};
  const cuuint32_t steps[2] = {1, 1};
  CUtensorMap map;
  detail::check_encoded(
      encode(
          &map, detail::TensorMapType<Element>::value, 2, const_cast<Element*>(data), sizes, strides, box, steps,
          CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_NONE, CU_TENSOR_MAP_L2_PROMOTION_L2_256B,
          CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE),
      "a matrix");
  return map;
}

/// A map of dense images [images, height, width, channels], whose copies (`tma_load_4d` at channel,
/// column, row, image) bring `Row` channels of `box_height` x `box_width` pixels of one image. `Row`
/// is 64, 32 or 16, both box sizes at most 256; `channels` must be a multiple of 8 and the data
/// 16-byte aligned.
template <int Row = kTensorMapRow, typename Element>
CUtensorMap encode_pixels_map(
    const Element* data, int images, int height, int width, int channels, int box_height, int box_width) {
  static const auto encode = detail::driver_function<decltype(&cuTensorMapEncodeTiled)>("cuTensorMapEncodeTiled");
  const cuuint64_t pixel_bytes = static_cast<cuuint64_t>(channels) * sizeof(Element);
  const cuuint64_t row_bytes = pixel_bytes * static_cast<cuuint64_t>(width);
  const cuuint64_t sizes[4] = {
      static_cast<cuuint64_t>(channels), static_cast<cuuint64_t>(width), static_cast<cuuint64_t>(height),
      static_cast<cuuint64_t>(images)};
  const cuuint64_t strides[3] = {pixel_bytes, row_bytes, row_bytes * static_cast<cuuint64_t>(height)};
  const cuuint32_t box[4] = {Row, static_cast<cuuint32_t>(box_width), static_cast<cuuint32_t>(box_height), 1};
  const cuuint32_t steps[4] = {1, 1, 1, 1};
  CUtensorMap map;
  detail::check_encoded(
      encode(
          &map, detail::TensorMapType<Element>::value, 4, const_cast<Element*>(data), sizes, strides, box, steps,
          CU_TENSOR_MAP_INTERLEAVE_NONE, detail::swizzle_of_row(Row), CU_TENSOR_MAP_L2_PROMOTION_L2_128B,
          CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE),
      "boxes of pixels");
  return map;
}

}  // namespace fx2ait
