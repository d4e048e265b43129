#pragma once

#include <cuda_runtime.h>

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <vector>

#include "fx2ait/cuda/check.h"
#include "fx2ait/cuda/event.h"
#include "fx2ait/cuda/graph_cache.h"
#include "fx2ait/cuda/repeated.h"
#include "fx2ait/error.h"
#include "fx2ait/model_interface.h"

#if CUDART_VERSION < 12000
#error "engines need CUDA 12.0 or newer: install a newer toolkit, or the cuda extra of fx2ait-core"
#endif

namespace fx2ait::cuda {

inline cudaStream_t native(AITemplateStreamHandle stream) { return reinterpret_cast<cudaStream_t>(stream); }

/// The policy of `fx2ait::ModelContainer` for CUDA: the device that was current at its creation.
class Device {
 public:
  /// What launchers take.
  using Context = cudaStream_t;

  static constexpr std::size_t alignment = 16;
  static constexpr bool host_memory = false;
  static constexpr std::size_t warm_up_runs = 3;  // plain, recorded, replayed

  /// Makes the engine's device current, and the former one at the end.
  class Guard {
   public:
    explicit Guard(const Device& device) {
      FX2AIT_CUDA_CHECK(cudaGetDevice(&former_));
      changed_ = former_ != device.ordinal_;
      if (changed_) FX2AIT_CUDA_CHECK(cudaSetDevice(device.ordinal_));
    }
    Guard(const Guard&) = delete;
    Guard& operator=(const Guard&) = delete;
    ~Guard() {
      if (changed_) cudaSetDevice(former_);
    }

   private:
    int former_ = 0;
    bool changed_ = false;
  };

  /// A stream of one's own.
  class Stream {
   public:
    Stream() { FX2AIT_CUDA_CHECK(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking)); }
    Stream(const Stream&) = delete;
    Stream& operator=(const Stream&) = delete;
    ~Stream() { cudaStreamDestroy(stream_); }
    AITemplateStreamHandle handle() const { return reinterpret_cast<AITemplateStreamHandle>(stream_); }

   private:
    cudaStream_t stream_ = nullptr;
  };

  /// Times launches: `mark` before each and after the last.
  class Probe {
   public:
    explicit Probe(std::size_t launches) {
      for (std::size_t i = 0; i <= launches; ++i) events_.emplace_back(cudaEventDefault);
    }
    void mark(Context stream) { FX2AIT_CUDA_CHECK(cudaEventRecord(events_.at(next_++).get(), stream)); }

    /// Waits, adds each launch's milliseconds and starts over.
    void collect(std::vector<double>& milliseconds) {
      FX2AIT_CUDA_CHECK(cudaEventSynchronize(events_.back().get()));
      for (std::size_t i = 0; i < milliseconds.size(); ++i) {
        float elapsed = 0;
        FX2AIT_CUDA_CHECK(cudaEventElapsedTime(&elapsed, events_[i].get(), events_[i + 1].get()));
        milliseconds[i] += static_cast<double>(elapsed);
      }
      next_ = 0;
    }

   private:
    std::vector<Event> events_;
    std::size_t next_ = 0;
  };

  /// A runtime's place in the order of work, whatever streams it is enqueued on, and its graphs.
  class Lane {
   public:
    explicit Lane(Device& device) : device_(device), finished_(cudaEventDisableTiming) {}

    Context context(AITemplateStreamHandle stream) const { return native(stream); }

    /// Work enqueued on `stream` from now on comes after this lane's earlier work.
    void precede(AITemplateStreamHandle stream) {
      if (used_ && device_.identity(stream) != last_stream_) {
        FX2AIT_CUDA_CHECK(cudaStreamWaitEvent(native(stream), finished_.get(), 0));
      }
    }
    void finish(AITemplateStreamHandle stream) {
      FX2AIT_CUDA_CHECK(cudaEventRecord(finished_.get(), native(stream)));
      last_stream_ = device_.identity(stream);
      used_ = true;
    }
    /// The same after a failure, of which nothing more is to be said.
    void finish_failed(AITemplateStreamHandle stream) {
      if (cudaEventRecord(finished_.get(), native(stream)) == cudaSuccess) {
        last_stream_ = device_.identity(stream);
        used_ = true;
      }
      cudaGetLastError();
    }
    void wait() {
      if (used_) cudaEventSynchronize(finished_.get());
    }

    void zero(AITemplateStreamHandle stream, std::byte* data, std::size_t bytes) {
      FX2AIT_CUDA_CHECK(cudaMemsetAsync(data, 0, bytes, native(stream)));
    }

    template <class Launch>
    void replay(AITemplateStreamHandle stream, const GraphCache::Key& key, Launch&& launch) {
      graphs_.replay(native(stream), key, launch);
    }

    /// Milliseconds of what `launch` enqueues: the median of `samples` samples of about `sample_ms` each.
    template <class Launch>
    double time(AITemplateStreamHandle stream, double sample_ms, std::size_t samples, Launch&& launch) {
      const Stream recorder;
      const double once = RepeatedGraph(native(recorder.handle()), 1, launch).median_milliseconds(native(stream), 1);
      RepeatedGraph repeated(native(recorder.handle()), repetitions(sample_ms, once), launch);
      return repeated.median_milliseconds(native(stream), samples);
    }

    void set_threads(std::size_t) { throw Error("the number of threads is a matter of cpu engines; this is cuda."); }

   private:
    Device& device_;
    Event finished_;
    GraphCache graphs_;
    std::uint64_t last_stream_ = 0;
    bool used_ = false;
  };

  /// Refuses a device that the machine code does not fit; `arch` is e.g. `sm_90a`.
  explicit Device(const char* arch) {
    FX2AIT_CUDA_CHECK(cudaGetDevice(&ordinal_));
    int major = 0;
    int minor = 0;
    FX2AIT_CUDA_CHECK(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, ordinal_));
    FX2AIT_CUDA_CHECK(cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, ordinal_));
    const std::string text = arch;
    const int wanted = std::atoi(arch + text.find('_') + 1);
    const bool exactly = text.back() == 'a';  // else PTX is there for newer devices
    const int capability = 10 * major + minor;
    if (exactly ? capability != wanted : capability < wanted) {
      throw Error("the engine was compiled for " + text + ", but device " + std::to_string(ordinal_) + " is sm_" +
                  std::to_string(capability) + "; compile it for this device.");
    }
  }

  void* allocate(std::size_t bytes) {
    void* block = nullptr;
    const cudaError_t status = cudaMalloc(&block, bytes);
    if (status != cudaSuccess) {
      cudaGetLastError();
      throw Error("no device memory for the engine's " + std::to_string(bytes) +
                  " bytes: " + cudaGetErrorString(status) + ".");
    }
    return block;
  }
  void release(void* block) { cudaFree(block); }

  /// Between any memories; returns when done.
  void copy(void* to, const void* from, std::size_t bytes) {
    const Stream stream;
    copy_on(stream.handle(), to, from, bytes);
    synchronize(stream.handle());
  }
  void copy_on(AITemplateStreamHandle stream, void* to, const void* from, std::size_t bytes) {
    if (bytes > 0) FX2AIT_CUDA_CHECK(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDefault, native(stream)));
  }
  /// Returns when done.
  void fill(void* data, unsigned char byte, std::size_t bytes) {
    const Stream stream;
    if (bytes > 0) FX2AIT_CUDA_CHECK(cudaMemsetAsync(data, byte, bytes, native(stream.handle())));
    synchronize(stream.handle());
  }
  void synchronize(AITemplateStreamHandle stream) { FX2AIT_CUDA_CHECK(cudaStreamSynchronize(native(stream))); }

  bool is_capturing(AITemplateStreamHandle stream) const {
    if (stream == nullptr) return false;  // the legacy stream cannot be captured
    cudaStreamCaptureStatus status = cudaStreamCaptureStatusNone;
    FX2AIT_CUDA_CHECK(cudaStreamIsCapturing(native(stream), &status));
    return status != cudaStreamCaptureStatusNone;
  }

  /// Distinguishes streams for the life of the process; handles may be used again. A stream that is being
  /// captured may not be asked, and is 0: its runs are ordered by the graph that they end in.
  std::uint64_t identity(AITemplateStreamHandle stream) const {
    if (is_capturing(stream)) return 0;
    unsigned long long id = 0;
    FX2AIT_CUDA_CHECK(cudaStreamGetId(native(stream), &id));
    return id;
  }

 private:
  int ordinal_ = 0;
};

}  // namespace fx2ait::cuda
