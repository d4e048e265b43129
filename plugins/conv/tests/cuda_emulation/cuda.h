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
  int box[5];                    // tiled maps
  CUtensorMapSwizzle swizzle;
};

inline CUresult cuTensorMapEncodeTiled(
    CUtensorMap* map, CUtensorMapDataType, cuuint32_t rank, void* data, const cuuint64_t* sizes,
    const cuuint64_t* strides, const cuuint32_t* box, const cuuint32_t* steps, CUtensorMapInterleave,
    CUtensorMapSwizzle swizzle, CUtensorMapL2promotion, CUtensorMapFloatOOBfill) {
  const unsigned span = swizzle == CU_TENSOR_MAP_SWIZZLE_NONE ? 512u : 16u << swizzle;
  if (reinterpret_cast<uintptr_t>(data) % 16 != 0 || box[0] * 2 > span) return CUDA_ERROR_INVALID_VALUE;
  *map = {static_cast<int>(rank), static_cast<const unsigned char*>(data), {}, {2}, {}, swizzle};
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
    CUtensorMap*, CUtensorMapDataType, cuuint32_t, void*, const cuuint64_t*, const cuuint64_t*, const int*,
    const int*, cuuint32_t, cuuint32_t, const cuuint32_t*, CUtensorMapInterleave, CUtensorMapSwizzle,
    CUtensorMapL2promotion, CUtensorMapFloatOOBfill) {
  return CUDA_ERROR_INVALID_VALUE;
}

inline cudaError_t cudaGetDriverEntryPointByVersion(
    const char* name, void** address, unsigned, int, cudaDriverEntryPointQueryResult* found) {
  *address = std::strcmp(name, "cuTensorMapEncodeTiled") == 0 ? reinterpret_cast<void*>(&cuTensorMapEncodeTiled)
                                                             : reinterpret_cast<void*>(&cuTensorMapEncodeIm2col);
  *found = cudaDriverEntryPointSuccess;
  return cudaSuccess;
}
