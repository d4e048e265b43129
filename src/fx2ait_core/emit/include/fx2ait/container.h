#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "fx2ait/model_interface.h"
#include "fx2ait/ports.h"

namespace fx2ait {

/// A packed constant: its place in `weights.safetensors` and in the engine's memory.
struct ConstantEntry {
  const char* name;
  DType dtype;  // unset for an element type that the ABI has no number for
  int64_t bytes;
  int64_t file_offset;  // from the start of the file's tensor data
  int64_t offset;       // from the start of the engine's constants
};

/// The node that a launch computes and the kernel that computes it.
struct LaunchName {
  const char* node;
  const char* kernel;
};

struct LaunchNames {
  const LaunchName* names;
  std::size_t count;
};

/// One inference as asked for.
struct Request {
  std::vector<GivenTensor> inputs;
  std::vector<GivenTensor> outputs;
  OutputForm form = OutputForm::room;
  AITemplateStreamHandle stream = nullptr;
  bool graph_mode = false;
};

/// Milliseconds of each launch of the bucket that served a request.
struct ProfileResult {
  std::size_t bucket = 0;
  std::vector<double> milliseconds;
};

/// A loaded engine, apart from its device; what the C ABI calls. Throws `Error`.
class Container {
 public:
  Container() = default;
  Container(const Container&) = delete;
  Container& operator=(const Container&) = delete;
  virtual ~Container() = default;

  virtual const char* name() const = 0;
  virtual const Interface& interface() const = 0;
  virtual const std::vector<ConstantEntry>& constants() const = 0;
  virtual const std::vector<LaunchNames>& buckets() const = 0;
  virtual std::size_t runtime_count() const = 0;
  virtual std::size_t memory_bytes() const = 0;

  /// The alignment in bytes that exact inputs and outputs need; 1: that of their elements.
  virtual std::size_t alignment() const = 0;

  /// Checks the request, enqueues it and returns the sizes of the symbols.
  virtual std::vector<int64_t> run(const Request& request) = 0;
  /// Outputs are host memory; waits.
  virtual std::vector<int64_t> run_to_host(Request request) = 0;
  virtual ProfileResult profile(const Request& request, std::size_t iterations) = 0;
  /// Milliseconds of each launch repeated by itself: the median of `samples` of about `sample_ms` each.
  virtual ProfileResult time_launches(const Request& request, double sample_ms, std::size_t samples) = 0;
  /// Mean milliseconds per run.
  virtual double benchmark(const Request& request, std::size_t count, std::size_t threads,
                           bool stream_per_thread) = 0;
  virtual void synchronize(AITemplateStreamHandle stream) = 0;

  virtual void set_constants(const std::vector<const ConstantEntry*>& entries,
                             const std::vector<const void*>& data) = 0;
  virtual void set_second_constants(AITemplateStreamHandle stream, const std::vector<const ConstantEntry*>& entries,
                                    const std::vector<const void*>& data) = 0;
  virtual void swap_constants() = 0;
  /// Overwrites activations and workspaces of all runtimes; the next run finds them as a first run does.
  virtual void fill_activations(unsigned char byte) = 0;
  virtual void set_threads(std::size_t threads) = 0;
};

/// Defined by the generated model.
std::unique_ptr<Container> make_container(std::size_t runtimes, AITemplateAllocator* allocator);

}  // namespace fx2ait
