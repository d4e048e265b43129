#pragma once

#include <cuda_runtime.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <list>
#include <vector>

#include "fx2ait/cuda/check.h"
#include "fx2ait/cuda/recording.h"

namespace fx2ait::cuda {

/// CUDA graphs of recorded launch sequences, by what they depend on (shapes, pointers, dtypes, strides).
///
/// A sequence is recorded when its key comes a second time: the first time it is launched plainly, which
/// loads its kernels and spares callers whose pointers never repeat the price of recording. The least
/// recently used graph makes room.
///
/// Graphs are instantiated anew, not updated in place (cudaGraphExecUpdate): with other kernels, clusters and
/// dependent launches in them, updated ones seem to have answered wrongly (docs/performance.md).
class GraphCache {
 public:
  using Key = std::vector<int64_t>;

  GraphCache() { FX2AIT_CUDA_CHECK(cudaStreamCreateWithFlags(&recorder_, cudaStreamNonBlocking)); }
  GraphCache(const GraphCache&) = delete;
  GraphCache& operator=(const GraphCache&) = delete;
  ~GraphCache() {
    for (const Entry& entry : entries_) cudaGraphExecDestroy(entry.graph);
    cudaStreamDestroy(recorder_);
  }

  /// Enqueues what `launch(stream)` would, from a graph where there is or should be one.
  template <class Launch>
  void replay(cudaStream_t stream, const Key& key, Launch&& launch) {
    const auto found = std::find_if(entries_.begin(), entries_.end(), [&](const Entry& e) { return e.key == key; });
    if (found != entries_.end()) {
      entries_.splice(entries_.begin(), entries_, found);
    } else if (!seen_before(key)) {
      launch(stream);
      return;
    } else {
      add(key, launch);
    }
    FX2AIT_CUDA_CHECK(cudaGraphLaunch(entries_.front().graph, stream));
  }

 private:
  static constexpr std::size_t capacity = 32;

  struct Entry {
    Key key;
    cudaGraphExec_t graph;
  };

  bool seen_before(const Key& key) {
    const auto found = std::find(seen_.begin(), seen_.end(), key);
    if (found != seen_.end()) {
      seen_.erase(found);
      return true;
    }
    seen_.push_front(key);
    if (seen_.size() > capacity) seen_.pop_back();
    return false;
  }

  template <class Launch>
  void add(const Key& key, Launch&& launch) {
    const Recording recording(recorder_, launch);
    std::list<Entry> made;
    made.push_back({key, nullptr});
    FX2AIT_CUDA_CHECK(cudaGraphInstantiate(&made.front().graph, recording.graph(), 0));
    if (entries_.size() >= capacity) {
      cudaGraphExecDestroy(entries_.back().graph);  // freed once it no longer runs
      entries_.pop_back();
    }
    entries_.splice(entries_.begin(), made);
  }

  cudaStream_t recorder_ = nullptr;
  std::list<Entry> entries_;  // most recently used first
  std::list<Key> seen_;
};

}  // namespace fx2ait::cuda
