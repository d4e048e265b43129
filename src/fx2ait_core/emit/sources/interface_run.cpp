// The C ABI: life of a container, running, profiling.

#include <fstream>

#include "abi_arguments.h"
#include "fx2ait/profile_report.h"

namespace {

using namespace fx2ait::abi;
using fx2ait::Container;
using fx2ait::Error;

void write_shapes(const Container& engine, const std::vector<int64_t>& sizes, int64_t** shapes) {
  if (shapes == nullptr) return;
  const auto& model = engine.interface();
  for (std::size_t i = 0; i < model.output_count; ++i) {
    if (shapes[i] != nullptr) model.outputs[i].shape(sizes.data(), shapes[i]);
  }
}

void write_times(const fx2ait::ProfileResult& result, float* milliseconds, std::size_t capacity, std::size_t* bucket) {
  if (result.milliseconds.size() > capacity) {
    throw Error("there are " + std::to_string(result.milliseconds.size()) + " launches, but room for only " +
                std::to_string(capacity) + " times.");
  }
  if (capacity > 0) present(milliseconds, "milliseconds");
  for (std::size_t i = 0; i < result.milliseconds.size(); ++i) {
    milliseconds[i] = static_cast<float>(result.milliseconds[i]);
  }
  if (bucket != nullptr) *bucket = result.bucket;
}

}  // namespace

extern "C" {

const char* Fx2aitGetLastError(void) { return last_error.c_str(); }

AITemplateError AITemplateModelContainerCreate(AITemplateModelHandle* out, size_t num_runtimes,
                                               AITemplateAllocator* allocator) {
  return guarded([&] {
    present(out, "out") = nullptr;
    if (num_runtimes == 0) throw Error("num_runtimes is 0; at least 1 is accepted.");
    *out = reinterpret_cast<AITemplateModelHandle>(fx2ait::make_container(num_runtimes, allocator).release());
  });
}

AITemplateError AITemplateModelContainerDelete(AITemplateModelHandle handle) {
  return guarded([&] { delete &container(handle); });
}

AITemplateError AITemplateModelContainerRun(AITemplateModelHandle handle, const AITData* inputs, size_t num_inputs,
                                            AITData* outputs, size_t num_outputs, AITemplateStreamHandle stream,
                                            bool sync, bool graph_mode, int64_t** output_shapes) {
  return guarded([&] {
    Container& engine = container(handle);
    const auto sizes = engine.run(request<AITData>(inputs, num_inputs, outputs, num_outputs, stream, graph_mode,
                                                   fx2ait::OutputForm::room));
    write_shapes(engine, sizes, output_shapes);
    if (sync) engine.synchronize(stream);
  });
}

AITemplateError AITemplateModelContainerRunWithOutputsOnHost(AITemplateModelHandle handle, const AITData* inputs,
                                                             size_t num_inputs, AITData* outputs,
                                                             size_t num_outputs, AITemplateStreamHandle stream,
                                                             bool graph_mode, int64_t** output_shapes) {
  return guarded([&] {
    Container& engine = container(handle);
    const auto sizes = engine.run_to_host(request<AITData>(inputs, num_inputs, outputs, num_outputs, stream,
                                                           graph_mode, fx2ait::OutputForm::room));
    write_shapes(engine, sizes, output_shapes);
  });
}

AITemplateError AITemplateModelContainerProfile(AITemplateModelHandle handle, const AITData* inputs,
                                                size_t num_inputs, AITData* outputs, size_t num_outputs,
                                                AITemplateStreamHandle stream, size_t iterations,
                                                const char* path) {
  return guarded([&] {
    Container& engine = container(handle);
    const std::string file = &present(path, "path");
    const auto result = engine.profile(request<AITData>(inputs, num_inputs, outputs, num_outputs, stream, false,
                                                        fx2ait::OutputForm::room),
                                       iterations);
    std::ofstream stream_out(file);
    stream_out << fx2ait::profile_report(engine, result, iterations);
    stream_out.close();
    if (!stream_out) throw Error("the profile could not be written to " + file + ".");
  });
}

AITemplateError Fx2aitProfile(AITemplateModelHandle handle, const Fx2aitTensor* inputs, size_t num_inputs,
                              const Fx2aitTensor* outputs, size_t num_outputs, AITemplateStreamHandle stream,
                              size_t iterations, float* milliseconds, size_t capacity, size_t* bucket) {
  return guarded([&] {
    const auto result =
        container(handle).profile(request<Fx2aitTensor>(inputs, num_inputs, outputs, num_outputs, stream, false,
                                                        fx2ait::OutputForm::real_shape),
                                  iterations);
    write_times(result, milliseconds, capacity, bucket);
  });
}

AITemplateError Fx2aitTimeLaunches(AITemplateModelHandle handle, const Fx2aitTensor* inputs, size_t num_inputs,
                                   const Fx2aitTensor* outputs, size_t num_outputs, AITemplateStreamHandle stream,
                                   float sample_ms, size_t samples, float* milliseconds, size_t capacity,
                                   size_t* bucket) {
  return guarded([&] {
    const auto result = container(handle).time_launches(
        request<Fx2aitTensor>(inputs, num_inputs, outputs, num_outputs, stream, false,
                              fx2ait::OutputForm::real_shape),
        static_cast<double>(sample_ms), samples);
    write_times(result, milliseconds, capacity, bucket);
  });
}

AITemplateError Fx2aitFillActivations(AITemplateModelHandle handle, unsigned char byte) {
  return guarded([&] { container(handle).fill_activations(byte); });
}

AITemplateError AITemplateModelContainerBenchmark(AITemplateModelHandle handle, const AITData* inputs,
                                                  size_t num_inputs, AITData* outputs, size_t num_outputs,
                                                  AITemplateStreamHandle stream, bool graph_mode, size_t count,
                                                  size_t num_threads, bool use_unique_stream_per_thread,
                                                  float* runtime_ms, int64_t** output_shapes) {
  return guarded([&] {
    Container& engine = container(handle);
    if (count == 0 || num_threads == 0) throw Error("a benchmark needs a count and num_threads of at least 1.");
    const auto made = request<AITData>(inputs, num_inputs, outputs, num_outputs, stream, graph_mode,
                                       fx2ait::OutputForm::room);
    float& milliseconds = present(runtime_ms, "runtime_ms");
    write_shapes(engine, fx2ait::bind_inputs(engine.interface(), made.inputs, engine.alignment()), output_shapes);
    milliseconds = static_cast<float>(engine.benchmark(made, count, num_threads, use_unique_stream_per_thread));
  });
}

AITemplateError Fx2aitRun(AITemplateModelHandle handle, const Fx2aitTensor* inputs, size_t num_inputs,
                          const Fx2aitTensor* outputs, size_t num_outputs, AITemplateStreamHandle stream,
                          bool graph_mode) {
  return guarded([&] {
    container(handle).run(request<Fx2aitTensor>(inputs, num_inputs, outputs, num_outputs, stream, graph_mode,
                                                fx2ait::OutputForm::real_shape));
  });
}

AITemplateError Fx2aitInferOutputShapes(AITemplateModelHandle handle, const Fx2aitTensor* inputs, size_t num_inputs,
                                        int64_t** output_shapes, size_t num_outputs) {
  return guarded([&] {
    const Container& engine = container(handle);
    if (num_outputs != engine.interface().output_count) throw Error("num_outputs is not the engine's.");
    const auto sizes = fx2ait::bind_inputs(engine.interface(), given_tensors(inputs, num_inputs, "input"),
                                           engine.alignment());
    write_shapes(engine, sizes, output_shapes);
  });
}

}  // extern "C"
