#pragma once

#include <cuda_runtime.h>

#include "fx2ait/cuda/check.h"

namespace fx2ait::cuda {

/// What a function enqueues, recorded as a graph instead of run.
class Recording {
 public:
  /// `recorder` is a stream that nothing else is enqueued on meanwhile.
  template <class Launch>
  Recording(cudaStream_t recorder, Launch&& launch) {
    FX2AIT_CUDA_CHECK(cudaStreamBeginCapture(recorder, cudaStreamCaptureModeThreadLocal));
    try {
      launch(recorder);
    } catch (...) {
      cudaStreamEndCapture(recorder, &graph_);
      cudaGetLastError();  // the cause is on its way
      release();
      throw;
    }
    FX2AIT_CUDA_CHECK(cudaStreamEndCapture(recorder, &graph_));
  }
  Recording(const Recording&) = delete;
  Recording& operator=(const Recording&) = delete;
  ~Recording() { release(); }

  cudaGraph_t graph() const { return graph_; }

 private:
  void release() {
    if (graph_ != nullptr) cudaGraphDestroy(graph_);
  }

  cudaGraph_t graph_ = nullptr;
};

}  // namespace fx2ait::cuda
