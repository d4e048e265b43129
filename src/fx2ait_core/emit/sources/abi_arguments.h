// Arguments of the C ABI: checked, translated, every exception caught.
#pragma once

#include <exception>
#include <string>
#include <vector>

#include "fx2ait/container.h"
#include "fx2ait/error.h"
#include "fx2ait/model_interface.h"

namespace fx2ait::abi {

inline thread_local std::string last_error;

inline void remember(const char* text) noexcept {
  try {
    last_error = text;
  } catch (...) {
    last_error.clear();  // no memory for the text itself
  }
}

template <class Body>
AITemplateError guarded(Body&& body) noexcept {
  try {
    body();
    return 0;
  } catch (const std::exception& error) {
    remember(error.what());
  } catch (...) {
    remember("an exception of unknown type");
  }
  return 1;
}

template <class T>
T& present(T* pointer, const char* name) {
  if (pointer == nullptr) throw Error(std::string("argument \"") + name + "\" is null.");
  return *pointer;
}

inline Container& container(AITemplateModelHandle handle) {
  return present(reinterpret_cast<Container*>(handle), "handle");
}

inline DType known_dtype(AITemplateDtype dtype, const std::string& where) {
  if (dtype < static_cast<int>(DType::unset) || dtype > static_cast<int>(DType::bfloat16)) {
    throw Error(where + " has dtype " + std::to_string(dtype) + ", which is none of the ABI's 0..6.");
  }
  return static_cast<DType>(dtype);
}

inline GivenTensor given_tensor(void* data, AITemplateDtype dtype, const int64_t* shape, const int64_t* strides,
                         std::size_t rank, const std::string& where) {
  if (rank > max_rank) {
    throw Error(where + " has rank " + std::to_string(rank) + "; at most " + std::to_string(max_rank) +
                " is accepted.");
  }
  if (rank > 0 && shape == nullptr) throw Error(where + " has a null shape.");
  GivenTensor given;
  given.data = data;
  given.dtype = known_dtype(dtype, where);
  given.rank = static_cast<int>(rank);
  for (std::size_t axis = 0; axis < rank; ++axis) {
    given.shape[axis] = shape[axis];
    if (strides != nullptr) given.strides[axis] = strides[axis];
  }
  if (strides == nullptr) dense_strides(given.rank, given.shape, nullptr, given.strides);
  return given;
}

inline GivenTensor given_tensor(const AITData& tensor, const std::string& where) {
  return given_tensor(tensor.ptr, tensor.dtype, tensor.shape.shape_data, nullptr, tensor.shape.size, where);
}

inline GivenTensor given_tensor(const Fx2aitTensor& tensor, const std::string& where) {
  return given_tensor(tensor.ptr, tensor.dtype, tensor.shape, tensor.strides, tensor.rank, where);
}

template <class T>
std::vector<GivenTensor> given_tensors(const T* tensors, std::size_t count, const char* kind) {
  if (count > 0) present(tensors, kind);
  std::vector<GivenTensor> given;
  given.reserve(count);
  for (std::size_t i = 0; i < count; ++i) {
    given.push_back(given_tensor(tensors[i], std::string(kind) + " " + std::to_string(i)));
  }
  return given;
}

template <class T>
Request request(const T* inputs, std::size_t input_count, const T* outputs, std::size_t output_count,
                AITemplateStreamHandle stream, bool graph_mode, OutputForm form) {
  Request made;
  made.inputs = given_tensors(inputs, input_count, "input");
  made.outputs = given_tensors(outputs, output_count, "output");
  made.form = form;
  made.stream = stream;
  made.graph_mode = graph_mode;
  return made;
}

}  // namespace fx2ait::abi
