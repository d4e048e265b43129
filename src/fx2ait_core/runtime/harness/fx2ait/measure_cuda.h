// Times a launcher on the GPU, inside a CUDA graph as an engine runs it.
#pragma once

#include <cuda_runtime.h>

#include <algorithm>
#include <cstdint>

#include "fx2ait/cuda/check.h"
#include "fx2ait/measure_samples.h"

namespace fx2ait {

namespace measuring {

struct Stream {
  cudaStream_t stream = nullptr;
  Stream() { FX2AIT_CUDA_CHECK(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking)); }
  ~Stream() { cudaStreamDestroy(stream); }
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;
};

struct Event {
  cudaEvent_t event = nullptr;
  Event() { FX2AIT_CUDA_CHECK(cudaEventCreate(&event)); }
  ~Event() { cudaEventDestroy(event); }
  Event(const Event&) = delete;
  Event& operator=(const Event&) = delete;
};

/// Microseconds of what `enqueue` puts on the stream.
template <class Enqueue>
float elapsed(cudaStream_t stream, Enqueue&& enqueue) {
  Event start;
  Event stop;
  FX2AIT_CUDA_CHECK(cudaEventRecord(start.event, stream));
  enqueue();
  FX2AIT_CUDA_CHECK(cudaEventRecord(stop.event, stream));
  FX2AIT_CUDA_CHECK(cudaEventSynchronize(stop.event));
  float milliseconds = 0;
  FX2AIT_CUDA_CHECK(cudaEventElapsedTime(&milliseconds, start.event, stop.event));
  return 1000.0f * milliseconds;
}

/// `count` launches in a graph.
class Graph {
 public:
  template <class Launch>
  Graph(cudaStream_t stream, int64_t count, Launch&& launch) {
    cudaGraph_t graph = nullptr;
    FX2AIT_CUDA_CHECK(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal));
    try {
      for (int64_t i = 0; i < count; ++i) launch(i);
    } catch (...) {
      cudaStreamEndCapture(stream, &graph);
      if (graph != nullptr) cudaGraphDestroy(graph);
      throw;
    }
    FX2AIT_CUDA_CHECK(cudaStreamEndCapture(stream, &graph));
    const cudaError_t status = cudaGraphInstantiate(&executable_, graph, 0);
    cudaGraphDestroy(graph);
    check_cuda(status, "cudaGraphInstantiate");
  }
  ~Graph() { cudaGraphExecDestroy(executable_); }
  Graph(const Graph&) = delete;
  Graph& operator=(const Graph&) = delete;

  void replay(cudaStream_t stream) { FX2AIT_CUDA_CHECK(cudaGraphLaunch(executable_, stream)); }

 private:
  cudaGraphExec_t executable_ = nullptr;
};

}  // namespace measuring

/// Median microseconds per call of `launch(set, stream)` over replays of a graph in which the sets
/// take turns. The graph lasts half a millisecond or more, so that its own start counts little; it is
/// replayed 5 times, more often where the times differ, as 10 ms allow.
template <class Launch>
float measure(int64_t sets, int64_t device, int64_t /* threads */, Launch&& launch) {
  constexpr float graph_us = 500.0f;
  constexpr int64_t longest_graph = 256;
  FX2AIT_CUDA_CHECK(cudaSetDevice(static_cast<int>(device)));
  measuring::Stream owned;
  cudaStream_t stream = owned.stream;
  const auto rotate = [&](int64_t i) { launch(i % sets, stream); };
  for (int64_t i = 0; i < sets; ++i) rotate(i);
  FX2AIT_CUDA_CHECK(cudaStreamSynchronize(stream));

  const float once = std::max(1.0f, measuring::elapsed(stream, [&] {
    for (int64_t i = 0; i < sets; ++i) rotate(i);
  }) / static_cast<float>(sets));
  const int64_t wanted = std::min(longest_graph, static_cast<int64_t>(graph_us / once) + 1);
  const int64_t count = (wanted + sets - 1) / sets * sets;
  measuring::Graph graph(stream, count, rotate);
  graph.replay(stream);
  Samples samples(5, 10000.0f);
  while (!samples.enough()) samples.add(measuring::elapsed(stream, [&] { graph.replay(stream); }));
  return samples.median() / static_cast<float>(count);
}

}  // namespace fx2ait
