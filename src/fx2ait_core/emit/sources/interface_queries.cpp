// The C ABI: inputs and outputs, constants, launches.

#include "abi_arguments.h"

namespace {

using namespace fx2ait::abi;
using fx2ait::Container;
using fx2ait::Error;
using fx2ait::ConstantEntry;
using fx2ait::GivenTensor;
using fx2ait::Port;

template <class T>
const T& element(const T* items, std::size_t count, std::size_t index, const char* what) {
  if (index >= count) {
    throw Error(std::string(what) + " " + std::to_string(index) + " does not exist; there are " +
                std::to_string(count) + ".");
  }
  return items[index];
}

const Port& input_port(AITemplateModelHandle handle, std::size_t index) {
  const auto& model = container(handle).interface();
  return element(model.inputs, model.input_count, index, "input");
}

const Port& output_port(AITemplateModelHandle handle, std::size_t index) {
  const auto& model = container(handle).interface();
  return element(model.outputs, model.output_count, index, "output");
}

const ConstantEntry& constant(const Container& engine, const char* name) {
  const std::string wanted = &present(name, "name");
  for (const auto& entry : engine.constants()) {
    if (wanted == entry.name) return entry;
  }
  throw Error("constant \"" + wanted + "\" does not exist; GetConstantNames lists the names.");
}

struct NewConstants {
  std::vector<const ConstantEntry*> entries;
  std::vector<const void*> data;
};

/// All are checked before any is written.
NewConstants new_constants(const Container& engine, const char** names, const AITData* tensors, std::size_t count) {
  NewConstants made;
  if (count > 0) {
    present(names, "names");
    present(tensors, "tensors");
  }
  for (std::size_t i = 0; i < count; ++i) {
    const ConstantEntry& entry = constant(engine, names[i]);
    const std::string where = std::string("constant \"") + entry.name + "\"";
    const GivenTensor given = given_tensor(tensors[i], where);
    if (given.dtype != entry.dtype) {
      throw Error(where + " is " + fx2ait::dtype_name(given.dtype) + "; accepted is " +
                  fx2ait::dtype_name(entry.dtype) + ".");
    }
    int64_t elements = 1;
    for (int axis = 0; axis < given.rank; ++axis) elements *= given.shape[axis];
    const int64_t item = fx2ait::item_size(entry.dtype);
    if (item != 0 && elements * item != entry.bytes) {
      throw Error(where + " has " + std::to_string(elements * item) + " bytes; accepted is the packed form of " +
                  std::to_string(entry.bytes) + " bytes.");
    }
    if (given.data == nullptr) throw Error(where + " has a null data pointer.");
    made.entries.push_back(&entry);
    made.data.push_back(given.data);
  }
  return made;
}

const fx2ait::LaunchNames& bucket_launches(AITemplateModelHandle handle, std::size_t bucket) {
  const auto& buckets = container(handle).buckets();
  return element(buckets.data(), buckets.size(), bucket, "bucket");
}

}  // namespace

extern "C" {

AITemplateError AITemplateModelContainerGetNumInputs(AITemplateModelHandle handle, size_t* out) {
  return guarded([&] { present(out, "out") = container(handle).interface().input_count; });
}

AITemplateError AITemplateModelContainerGetNumOutputs(AITemplateModelHandle handle, size_t* out) {
  return guarded([&] { present(out, "out") = container(handle).interface().output_count; });
}

AITemplateError AITemplateModelContainerGetNumRuntimes(AITemplateModelHandle handle, size_t* out) {
  return guarded([&] { present(out, "out") = container(handle).runtime_count(); });
}

AITemplateError AITemplateModelContainerGetInputName(AITemplateModelHandle handle, size_t index, const char** out) {
  return guarded([&] { present(out, "out") = input_port(handle, index).name; });
}

AITemplateError AITemplateModelContainerGetOutputName(AITemplateModelHandle handle, size_t index, const char** out) {
  return guarded([&] { present(out, "out") = output_port(handle, index).name; });
}

AITemplateError AITemplateModelContainerGetMaximumInputShape(AITemplateModelHandle handle, size_t index,
                                                             AITemplateParamShape* out) {
  return guarded([&] {
    const Port& port = input_port(handle, index);
    present(out, "out") = {port.maximum, static_cast<size_t>(port.rank)};
  });
}

AITemplateError AITemplateModelContainerGetMaximumOutputShape(AITemplateModelHandle handle, size_t index,
                                                              AITemplateParamShape* out) {
  return guarded([&] {
    const Port& port = output_port(handle, index);
    present(out, "out") = {port.maximum, static_cast<size_t>(port.rank)};
  });
}

AITemplateError AITemplateModelContainerGetInputDtype(AITemplateModelHandle handle, size_t index,
                                                      AITemplateDtype* out) {
  return guarded([&] { present(out, "out") = static_cast<int>(input_port(handle, index).dtype); });
}

AITemplateError AITemplateModelContainerGetOutputDtype(AITemplateModelHandle handle, size_t index,
                                                       AITemplateDtype* out) {
  return guarded([&] { present(out, "out") = static_cast<int>(output_port(handle, index).dtype); });
}

AITemplateError AITemplateModelContainerSetConstant(AITemplateModelHandle handle, const char* name,
                                                    const AITData* tensor) {
  return AITemplateModelContainerSetManyConstants(handle, &name, tensor, 1);
}

AITemplateError AITemplateModelContainerSetManyConstants(AITemplateModelHandle handle, const char** names,
                                                         const AITData* tensors, size_t num_tensors) {
  return guarded([&] {
    Container& engine = container(handle);
    const NewConstants made = new_constants(engine, names, tensors, num_tensors);
    engine.set_constants(made.entries, made.data);
  });
}

AITemplateError AITemplateModelContainerSetDoubleBufferConstant(AITemplateModelHandle handle,
                                                                AITemplateStreamHandle stream, const char* name,
                                                                const AITData* tensor) {
  return AITemplateModelContainerSetManyDoubleBufferConstants(handle, stream, &name, tensor, 1);
}

AITemplateError AITemplateModelContainerSetManyDoubleBufferConstants(AITemplateModelHandle handle,
                                                                     AITemplateStreamHandle stream,
                                                                     const char** names, const AITData* tensors,
                                                                     size_t num_tensors) {
  return guarded([&] {
    Container& engine = container(handle);
    const NewConstants made = new_constants(engine, names, tensors, num_tensors);
    engine.set_second_constants(stream, made.entries, made.data);
  });
}

AITemplateError AITemplateModelContainerSwapConstants(AITemplateModelHandle handle) {
  return guarded([&] { container(handle).swap_constants(); });
}

AITemplateError AITemplateModelContainerFoldConstants(AITemplateModelHandle handle, AITemplateStreamHandle stream,
                                                      bool sync) {
  return guarded([&] {
    Container& engine = container(handle);
    if (sync) engine.synchronize(stream);
  });
}

AITemplateError AITemplateModelContainerFoldConstantsInDoubleBuffer(AITemplateModelHandle handle,
                                                                    AITemplateStreamHandle stream, bool sync) {
  return AITemplateModelContainerFoldConstants(handle, stream, sync);
}

AITemplateError AITemplateModelContainerGetNumConstants(AITemplateModelHandle handle, bool unbound_only,
                                                        bool constant_folding_inputs_only, size_t* out) {
  return guarded([&] {
    const Container& engine = container(handle);
    present(out, "out") = unbound_only || constant_folding_inputs_only ? 0 : engine.constants().size();
  });
}

AITemplateError AITemplateModelContainerGetConstantNames(AITemplateModelHandle handle, bool unbound_only,
                                                         bool constant_folding_inputs_only, const char** out) {
  return guarded([&] {
    const Container& engine = container(handle);
    if (unbound_only || constant_folding_inputs_only || engine.constants().empty()) return;
    const char** next = &present(out, "out");
    for (const auto& entry : engine.constants()) *next++ = entry.name;
  });
}

AITemplateError AITemplateModelContainerGetConstantDtype(AITemplateModelHandle handle, const char* name,
                                                         AITemplateDtype* out) {
  return guarded([&] { present(out, "out") = static_cast<int>(constant(container(handle), name).dtype); });
}

AITemplateError AITemplateModelContainerGetConstantOriginalName(AITemplateModelHandle handle, const char* name,
                                                                const char** out) {
  return guarded([&] { present(out, "out") = constant(container(handle), name).name; });
}

AITemplateError Fx2aitGetBucketCount(AITemplateModelHandle handle, size_t* out) {
  return guarded([&] { present(out, "out") = container(handle).buckets().size(); });
}

AITemplateError Fx2aitGetLaunchCount(AITemplateModelHandle handle, size_t bucket, size_t* out) {
  return guarded([&] { present(out, "out") = bucket_launches(handle, bucket).count; });
}

AITemplateError Fx2aitGetLaunchName(AITemplateModelHandle handle, size_t bucket, size_t index, const char** node,
                                    const char** kernel) {
  return guarded([&] {
    const auto& launches = bucket_launches(handle, bucket);
    const auto& launch = element(launches.names, launches.count, index, "launch");
    if (node != nullptr) *node = launch.node;
    if (kernel != nullptr) *kernel = launch.kernel;
  });
}

AITemplateError Fx2aitGetMemoryBytes(AITemplateModelHandle handle, size_t* out) {
  return guarded([&] { present(out, "out") = container(handle).memory_bytes(); });
}

AITemplateError Fx2aitSetThreads(AITemplateModelHandle handle, size_t threads) {
  return guarded([&] {
    if (threads == 0) throw Error("threads is 0; at least 1 is accepted.");
    container(handle).set_threads(threads);
  });
}

}  // extern "C"
