// The driver's tensor maps on emulated CUDA: plain descriptions that the emulated copy engine reads.
#pragma once

#include "cuda_runtime.h"

using cuuint32_t = uint32_t;
using cuuint64_t = uint64_t;
enum CUresult { CUDA_SUCCESS, CUDA_ERROR_INVALID_VALUE };
enum CUtensorMapDataType { CU_TENSOR_MAP_DATA_TYPE_FLOAT16, CU_TENSOR_MAP_DATA_TYPE_BFLOAT16 };
enum CUtensorMapInterleave { CU_TENSOR_MAP_INTERLEAVE_NONE };
enum CUtensorMapSwizzle {
  CU_TENSOR_MAP_SWIZZLE_NONE,
  CU_TENSOR_MAP_SWIZZLE_32B,
  CU_TENSOR_MAP_SWIZZLE_64B,
  CU_TENSOR_MAP_SWIZZLE_128B
};
enum CUtensorMapL2promotion { CU_TENSOR_MAP_L2_PROMOTION_L2_128B, CU_TENSOR_MAP_L2_PROMOTION_L2_256B };
enum CUtensorMapFloatOOBfill { CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE };

/// Arrays of two-byte elements, fastest dimension first.
struct CUtensorMap {
  int rank;
  const unsigned char* data;
  int64_t sizes[5], strides[5];  // strides in bytes
  int box[5];                    // of maps of windows, the first size only
  CUtensorMapSwizzle swizzle;
  int pixels, lower[2], upper[2], steps[4];  // maps of windows
};

inline CUresult cuTensorMapEncodeTiled(
    CUtensorMap* map, CUtensorMapDataType, cuuint32_t rank, void* data, const cuuint64_t* sizes,
    const cuuint64_t* strides, const cuuint32_t* box, const cuuint32_t* steps, CUtensorMapInterleave,
    CUtensorMapSwizzle swizzle, CUtensorMapL2promotion, CUtensorMapFloatOOBfill) {
  const unsigned span = swizzle == CU_TENSOR_MAP_SWIZZLE_NONE ? 512u : 16u << swizzle;
  if (reinterpret_cast<uintptr_t>(data) % 16 != 0 || box[0] * 2 > span) return CUDA_ERROR_INVALID_VALUE;
  *map = {static_cast<int>(rank), static_cast<const unsigned char*>(data), {}, {2}, {}, swizzle, 0, {}, {}, {}};
  for (cuuint32_t i = 0; i < rank; ++i) {
    if (box[i] == 0 || box[i] > 256 || steps[i] != 1) return CUDA_ERROR_INVALID_VALUE;
    if (i > 0 && strides[i - 1] % 16 != 0) return CUDA_ERROR_INVALID_VALUE;
    map->sizes[i] = static_cast<int64_t>(sizes[i]);
    map->box[i] = static_cast<int>(box[i]);
    if (i > 0) map->strides[i] = static_cast<int64_t>(strides[i - 1]);
  }
  return CUDA_SUCCESS;
}

inline CUresult cuTensorMapEncodeIm2col(
    CUtensorMap* map, CUtensorMapDataType type, cuuint32_t rank, void* data, const cuuint64_t* sizes,
    const cuuint64_t* strides, const int* lower, const int* upper, cuuint32_t channels, cuuint32_t pixels,
    const cuuint32_t* steps, CUtensorMapInterleave interleave, CUtensorMapSwizzle swizzle,
    CUtensorMapL2promotion promotion, CUtensorMapFloatOOBfill fill) {
  if (rank != 4 || pixels == 0 || pixels > 1024) return CUDA_ERROR_INVALID_VALUE;
  const cuuint32_t box[4] = {channels, 1, 1, 1}, ones[4] = {1, 1, 1, 1};
  const CUresult result = cuTensorMapEncodeTiled(
      map, type, rank, data, sizes, strides, box, ones, interleave, swizzle, promotion, fill);
  map->pixels = static_cast<int>(pixels);
  for (int i = 0; i < 2; ++i) {
    if (std::min(lower[i], upper[i]) < -128 || std::max(lower[i], upper[i]) > 127) return CUDA_ERROR_INVALID_VALUE;
    map->lower[i] = lower[i];
    map->upper[i] = upper[i];
  }
  for (int i = 0; i < 4; ++i) {
    if (steps[i] == 0 || steps[i] > 8) return CUDA_ERROR_INVALID_VALUE;
    map->steps[i] = static_cast<int>(steps[i]);
  }
  return result;
}

inline cudaError_t cudaGetDriverEntryPointByVersion(
    const char* name, void** address, unsigned, int, cudaDriverEntryPointQueryResult* found) {
  *address = std::strcmp(name, "cuTensorMapEncodeTiled") == 0 ? reinterpret_cast<void*>(&cuTensorMapEncodeTiled)
                                                             : reinterpret_cast<void*>(&cuTensorMapEncodeIm2col);
  *found = cudaDriverEntryPointSuccess;
  return cudaSuccess;
}
