// Launches kernels whose blocks walk down strips of a result.
#pragma once

#include <cstdint>

#include "fx2ait/cuda/check.h"
#include "fx2ait/cuda/launch.cuh"
#include "fx2ait_conv/patch_loader.cuh"
#include "fx2ait_conv/strip_windows.cuh"

namespace fx2ait_conv {

/// Launches `kernel` over `images` images, `threads` per block: strips of `strip_rows` rows, a multiple of
/// a band's.
template <class Shape, class Window, class Tile, class Source, class Element, class Result, class Epilogue>
void launch_strips(void (*kernel)(Result*, ImageView<Source>, const Element*, Epilogue, StripExtent), int threads,
                   const char* name, Result* result, const ImageView<Source>& input, const Element* weight,
                   const Epilogue& epilogue, int64_t images, StripExtent extent, int strip_rows,
                   cudaStream_t stream) {
  extent.divide(Window::kernel_w, Window::stride_w, Tile::columns, strip_rows);
  constexpr int shared_bytes = Tile::template shared_bytes<Source, Result>;
  FX2AIT_CUDA_CHECK(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, shared_bytes));
  const dim3 grid(static_cast<unsigned>(images * extent.strips * extent.splits),
                  (Shape::out_channels + Tile::channels - 1) / Tile::channels);
  fx2ait::launch<Shape::dependent>(name, kernel, grid, threads, shared_bytes, stream, result, input, weight, epilogue,
                                   extent);
}

}  // namespace fx2ait_conv
