#pragma once

#include <cuda_runtime.h>

#include <cstddef>
#include <vector>

#include "fx2ait/benchmark.h"
#include "fx2ait/cuda/check.h"
#include "fx2ait/cuda/event.h"
#include "fx2ait/cuda/recording.h"

namespace fx2ait::cuda {

/// `count` repetitions of what `launch(stream)` enqueues, in one graph, so that no time on the host shows.
class RepeatedGraph {
 public:
  template <class Launch>
  RepeatedGraph(cudaStream_t recorder, std::size_t count, Launch&& launch) : count_(count) {
    const Recording recording(recorder, [&](cudaStream_t stream) {
      for (std::size_t i = 0; i < count; ++i) launch(stream);
    });
    FX2AIT_CUDA_CHECK(cudaGraphInstantiate(&graph_, recording.graph(), 0));
  }
  RepeatedGraph(const RepeatedGraph&) = delete;
  RepeatedGraph& operator=(const RepeatedGraph&) = delete;
  ~RepeatedGraph() { cudaGraphExecDestroy(graph_); }

  /// Milliseconds of one repetition: the median of `samples` graphs that run back to back. One more goes
  /// ahead, so that the GPU never waits for the host.
  double median_milliseconds(cudaStream_t stream, std::size_t samples) {
    std::vector<Event> events;
    for (std::size_t i = 0; i <= samples; ++i) events.emplace_back(cudaEventDefault);
    FX2AIT_CUDA_CHECK(cudaGraphLaunch(graph_, stream));
    FX2AIT_CUDA_CHECK(cudaEventRecord(events.front().get(), stream));
    for (std::size_t i = 1; i <= samples; ++i) {
      FX2AIT_CUDA_CHECK(cudaGraphLaunch(graph_, stream));
      FX2AIT_CUDA_CHECK(cudaEventRecord(events[i].get(), stream));
    }
    FX2AIT_CUDA_CHECK(cudaEventSynchronize(events.back().get()));
    std::vector<double> taken;
    for (std::size_t i = 1; i <= samples; ++i) {
      float elapsed = 0;
      FX2AIT_CUDA_CHECK(cudaEventElapsedTime(&elapsed, events[i - 1].get(), events[i].get()));
      taken.push_back(static_cast<double>(elapsed) / static_cast<double>(count_));
    }
    return median(taken);
  }

 private:
  std::size_t count_;
  cudaGraphExec_t graph_ = nullptr;
};

}  // namespace fx2ait::cuda
