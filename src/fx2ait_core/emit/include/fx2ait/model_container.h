#pragma once

#include <cstring>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "fx2ait/benchmark.h"
#include "fx2ait/call.h"
#include "fx2ait/container.h"
#include "fx2ait/device_memory.h"
#include "fx2ait/error.h"
#include "fx2ait/model.h"
#include "fx2ait/runtime_pool.h"

namespace fx2ait {

/// A model on a device: its constants, its runtimes, and how runs are served.
///
/// `Device` is a policy: `Context` (what launchers take), `Guard` (makes the device current), `Lane` (what
/// each runtime keeps there), `Probe` (times launches), `Stream` (a stream of its own), and memory. See
/// `fx2ait/cpu/device.h`, the simplest.
template <class Device>
class ModelContainer final : public Container {
  using Guard = typename Device::Guard;
  using Probe = typename Device::Probe;

 public:
  ModelContainer(const Model<Device>& model, std::size_t runtimes, AITemplateAllocator* allocator)
      : model_(model),
        device_(model.arch),
        memory_(device_, aligned_size(model.constant_bytes) + runtimes * aligned_size(model.arena_bytes), allocator),
        constants_(memory_.data()) {
    const Guard guard(device_);
    for (const ConstantEntry& entry : model.constants) {
      device_.copy(constants_ + entry.offset, model.weights + entry.file_offset,
                   static_cast<std::size_t>(entry.bytes));
    }
    std::byte* arena = constants_ + aligned_size(model.constant_bytes);
    for (std::size_t i = 0; i < runtimes; ++i, arena += aligned_size(model.arena_bytes)) {
      pool_.add(std::make_unique<Runtime<Device>>(device_, arena));
    }
    for (const auto& bucket : model.buckets) launches_.push_back(bucket.launches);
  }

  ~ModelContainer() override {
    const Guard guard(device_);
    const auto lease = pool_.acquire_all();
    for (Runtime<Device>* runtime : lease.all()) runtime->lane.wait();
  }

  const char* name() const override { return model_.name; }
  const Interface& interface() const override { return model_.interface; }
  const std::vector<ConstantEntry>& constants() const override { return model_.constants; }
  const std::vector<LaunchNames>& buckets() const override { return launches_; }
  std::size_t runtime_count() const override { return pool_.size(); }
  std::size_t memory_bytes() const override { return memory_.bytes(); }
  std::size_t alignment() const override { return Device::alignment; }

  std::vector<int64_t> run(const Request& request) override {
    Prepared prepared = prepare(request);
    const Guard guard(device_);
    const auto lease = pool_.acquire(device_.identity(request.stream));
    execute(*lease, request, prepared, nullptr);
    return std::move(prepared.sizes);
  }

  std::vector<int64_t> run_to_host(Request request) override {
    if (Device::host_memory) return run(request);
    std::vector<int64_t> sizes = bind_inputs(model_.interface, request.inputs, Device::alignment);
    check_outputs(model_.interface, request.outputs, sizes, request.form, 1);
    const Guard guard(device_);
    const std::vector<GivenTensor> on_host = request.outputs;
    const Blocks blocks = redirect_outputs(request, sizes);
    request.graph_mode = false;  // a graph would remember memory that is freed below
    run(request);
    device_.synchronize(request.stream);
    for (std::size_t i = 0; i < blocks.size(); ++i) {
      device_.copy(on_host[i].data, blocks[i]->data(), output_bytes(i, sizes));
    }
    return sizes;
  }

  ProfileResult profile(const Request& request, std::size_t iterations) override {
    if (iterations == 0) throw Error("a profile needs at least 1 iteration.");
    const Prepared prepared = prepare(request);
    const Guard guard(device_);
    const auto lease = pool_.acquire(device_.identity(request.stream));
    execute(*lease, request, prepared, nullptr);
    const std::size_t launches = model_.buckets[prepared.bucket].launches.count;
    ProfileResult result{prepared.bucket, std::vector<double>(launches, 0.0)};
    Probe probe(launches);
    for (std::size_t i = 0; i < iterations; ++i) {
      execute(*lease, request, prepared, &probe);
      probe.collect(result.milliseconds);
    }
    for (double& milliseconds : result.milliseconds) milliseconds /= static_cast<double>(iterations);
    return result;
  }

  ProfileResult time_launches(const Request& request, double sample_ms, std::size_t samples) override {
    if (samples == 0 || !(sample_ms > 0)) throw Error("timing launches needs samples, each longer than 0 ms.");
    const Prepared prepared = prepare(request);
    const Guard guard(device_);
    const auto lease = pool_.acquire(device_.identity(request.stream));
    if (device_.is_capturing(request.stream)) throw Error("launches cannot be timed on a stream that is captured.");
    execute(*lease, request, prepared, nullptr);
    const Bucket<Device>& bucket = model_.buckets[prepared.bucket];
    ProfileResult result{prepared.bucket, {}};
    int current = -1;
    try {
      // In order, so that each finds the data that it finds in a run.
      for (int only = 0; only < static_cast<int>(bucket.launches.count); ++only) {
        const auto launch = [&](typename Device::Context context) {
          bucket.run(call(context, (*lease).arena, prepared, current, nullptr, only));
        };
        result.milliseconds.push_back((*lease).lane.time(request.stream, sample_ms, samples, launch));
      }
      (*lease).lane.finish(request.stream);
    } catch (const std::exception& error) {
      (*lease).workspaces_are_clean = false;
      (*lease).lane.finish_failed(request.stream);
      throw Error(failure_text(bucket, current) + error.what());
    }
    return result;
  }

  double benchmark(const Request& request, std::size_t count, std::size_t threads, bool stream_per_thread) override {
    const Prepared prepared = prepare(request);  // errors come before threads
    const Guard guard(device_);
    std::vector<typename Device::Stream> streams(stream_per_thread ? threads : 0);
    std::vector<Request> requests(threads, request);
    std::vector<Blocks> blocks;
    for (std::size_t i = 0; i < threads; ++i) {
      if (stream_per_thread) requests[i].stream = streams[i].handle();
      if (i > 0) blocks.push_back(redirect_outputs(requests[i], prepared.sizes));
    }
    const auto runs = [&](std::size_t thread, std::size_t times) {
      const Guard thread_guard(device_);
      for (std::size_t i = 0; i < times; ++i) run(requests[thread]);
      device_.synchronize(requests[thread].stream);
    };
    const double elapsed = time_threads(
        threads, [&](std::size_t thread) { runs(thread, Device::warm_up_runs); },
        [&](std::size_t thread) { runs(thread, count); });
    return elapsed / static_cast<double>(count * threads);
  }

  void synchronize(AITemplateStreamHandle stream) override {
    const Guard guard(device_);
    device_.synchronize(stream);
  }

  void set_constants(const std::vector<const ConstantEntry*>& entries, const std::vector<const void*>& data) override {
    const Guard guard(device_);
    const std::lock_guard<std::mutex> lock(constants_mutex_);
    const auto lease = pool_.acquire_all();
    for (Runtime<Device>* runtime : lease.all()) runtime->lane.wait();
    for (std::size_t i = 0; i < entries.size(); ++i) {
      device_.copy(constants_ + entries[i]->offset, data[i], static_cast<std::size_t>(entries[i]->bytes));
    }
  }

  void set_second_constants(AITemplateStreamHandle stream, const std::vector<const ConstantEntry*>& entries,
                            const std::vector<const void*>& data) override {
    const Guard guard(device_);
    const std::lock_guard<std::mutex> lock(constants_mutex_);
    if (second_ == nullptr) {
      second_memory_ = std::make_unique<DeviceMemory<Device>>(device_, model_.constant_bytes, nullptr);
      device_.copy(second_memory_->data(), constants_, model_.constant_bytes);
      second_ = second_memory_->data();
    }
    {  // runs that were enqueued before the last swap may still read this set
      const auto lease = pool_.acquire_all();
      for (Runtime<Device>* runtime : lease.all()) runtime->lane.precede(stream);
    }
    for (std::size_t i = 0; i < entries.size(); ++i) {
      device_.copy_on(stream, second_ + entries[i]->offset, data[i], static_cast<std::size_t>(entries[i]->bytes));
    }
    device_.synchronize(stream);
  }

  void swap_constants() override {
    const std::lock_guard<std::mutex> lock(constants_mutex_);
    if (second_ == nullptr) {
      throw Error("there is no second set of constants to swap in; call SetDoubleBufferConstant first.");
    }
    const auto lease = pool_.acquire_all();  // so that no run is between choosing a set and using it
    std::swap(constants_, second_);
  }

  void fill_activations(unsigned char byte) override {
    const Guard guard(device_);
    const auto lease = pool_.acquire_all();
    for (Runtime<Device>* runtime : lease.all()) {
      runtime->lane.wait();
      device_.fill(runtime->arena, byte, model_.arena_bytes);
      runtime->workspaces_are_clean = false;
    }
  }

  void set_threads(std::size_t threads) override {
    const auto lease = pool_.acquire_all();
    for (Runtime<Device>* runtime : lease.all()) runtime->lane.set_threads(threads);
  }

 private:
  /// A request that passed all checks.
  struct Prepared {
    std::vector<int64_t> sizes;
    std::size_t bucket = 0;
    std::vector<ExternalTensor> inputs;
    std::vector<void*> outputs;
  };

  using Blocks = std::vector<std::unique_ptr<DeviceMemory<Device>>>;

  std::size_t output_bytes(std::size_t index, const std::vector<int64_t>& sizes) const {
    const Port& port = model_.interface.outputs[index];
    int64_t shape[max_rank] = {};
    port.shape(sizes.data(), shape);
    auto bytes = static_cast<std::size_t>(item_size(port.dtype));
    for (int axis = 0; axis < port.rank; ++axis) bytes *= static_cast<std::size_t>(shape[axis]);
    return bytes;
  }

  /// Gives the request's outputs memory of their own.
  Blocks redirect_outputs(Request& request, const std::vector<int64_t>& sizes) {
    Blocks blocks;
    for (std::size_t i = 0; i < request.outputs.size(); ++i) {
      blocks.push_back(std::make_unique<DeviceMemory<Device>>(device_, output_bytes(i, sizes), nullptr));
      request.outputs[i].data = blocks.back()->data();
    }
    return blocks;
  }

  Prepared prepare(const Request& request) const {
    Prepared made;
    made.sizes = bind_inputs(model_.interface, request.inputs, Device::alignment);
    check_outputs(model_.interface, request.outputs, made.sizes, request.form, Device::alignment);
    made.bucket = bucket_for(made.sizes);
    made.inputs.reserve(request.inputs.size());
    for (const GivenTensor& given : request.inputs) {
      ExternalTensor tensor{given.data, given.dtype, {}};
      for (int axis = 0; axis < given.rank; ++axis) tensor.strides[axis] = given.strides[axis];
      made.inputs.push_back(tensor);
    }
    for (const GivenTensor& given : request.outputs) made.outputs.push_back(given.data);
    return made;
  }

  std::size_t bucket_for(const std::vector<int64_t>& sizes) const {
    for (std::size_t bucket = 0; bucket < model_.buckets.size(); ++bucket) {
      bool fits = true;
      for (std::size_t i = 0; i < sizes.size(); ++i) fits = fits && sizes[i] <= model_.buckets[bucket].sizes[i];
      if (fits) return bucket;
    }
    throw Error("the engine has no launches for these sizes.");
  }

  /// Everything that a recorded sequence of launches depends on.
  std::vector<int64_t> recording_key(const Prepared& prepared) const {
    std::vector<int64_t> key{static_cast<int64_t>(prepared.bucket), reinterpret_cast<int64_t>(constants_)};
    key.insert(key.end(), prepared.sizes.begin(), prepared.sizes.end());
    for (const ExternalTensor& input : prepared.inputs) {
      key.push_back(reinterpret_cast<int64_t>(input.data));
      key.push_back(static_cast<int64_t>(input.dtype));
      key.insert(key.end(), input.strides, input.strides + max_rank);
    }
    for (void* output : prepared.outputs) key.push_back(reinterpret_cast<int64_t>(output));
    return key;
  }

  Call<Device> call(typename Device::Context context, std::byte* arena, const Prepared& prepared, int& current,
                    Probe* probe, int only = -1) const {
    return {context, prepared.sizes.data(), constants_, arena, prepared.inputs.data(), prepared.outputs.data(),
            current, probe, only};
  }

  /// Enqueues the launches on the request's stream, after the runtime's earlier work.
  void execute(Runtime<Device>& runtime, const Request& request, const Prepared& prepared, Probe* probe) {
    const Bucket<Device>& bucket = model_.buckets[prepared.bucket];
    int current = -1;
    const auto launch = [&](typename Device::Context context) {
      bucket.run(call(context, runtime.arena, prepared, current, probe));
      if (probe != nullptr) probe->mark(context);
    };
    const bool capturing = device_.is_capturing(request.stream);
    try {
      if (!capturing) runtime.lane.precede(request.stream);
      prepare_workspaces(runtime, request.stream, capturing);
      if (request.graph_mode && !capturing && probe == nullptr) {
        runtime.lane.replay(request.stream, recording_key(prepared), launch);
      } else {
        launch(runtime.lane.context(request.stream));
      }
      if (!capturing) runtime.lane.finish(request.stream);
    } catch (const std::exception& error) {
      runtime.workspaces_are_clean = false;
      if (!capturing) runtime.lane.finish_failed(request.stream);
      throw Error(failure_text(bucket, current) + error.what());
    }
  }

  /// Kernels leave their workspaces as they found them, and no activation lies there: they are zeroed
  /// before the first run, and after one that failed.
  void prepare_workspaces(Runtime<Device>& runtime, AITemplateStreamHandle stream, bool capturing) {
    runtime.captured_by_caller = runtime.captured_by_caller || capturing;
    const bool clean = runtime.workspaces_are_clean && !runtime.captured_by_caller;
    if (!clean && model_.workspace_bytes > 0) runtime.lane.zero(stream, runtime.arena, model_.workspace_bytes);
    runtime.workspaces_are_clean = true;
  }

  std::string failure_text(const Bucket<Device>& bucket, int current) const {
    const std::string engine = std::string("engine \"") + model_.name + "\"";
    if (current < 0) return engine + ": ";
    const LaunchName& launch = bucket.launches.names[current];
    return engine + ", launch " + std::to_string(current) + ", kernel " + launch.kernel + " for node \"" +
           launch.node + "\": ";
  }

  const Model<Device>& model_;
  Device device_;
  DeviceMemory<Device> memory_;
  std::byte* constants_;
  std::unique_ptr<DeviceMemory<Device>> second_memory_;
  std::byte* second_ = nullptr;
  std::mutex constants_mutex_;
  std::vector<LaunchNames> launches_;
  RuntimePool<Device> pool_;
};

}  // namespace fx2ait
