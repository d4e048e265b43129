// Checks of an engine's inputs and outputs; nothing reaches a kernel before they pass.

#include "fx2ait/ports.h"

#include "fx2ait/error.h"

namespace fx2ait {
namespace {

std::string list(const int64_t* values, int count) {
  std::string text = "[";
  for (int i = 0; i < count; ++i) text += (i ? ", " : "") + std::to_string(values[i]);
  return text + "]";
}

std::string called(const char* kind, std::size_t index, const Port& port) {
  return std::string(kind) + " " + std::to_string(index) + " \"" + port.name + "\"";
}

void check_count(const char* kind, std::size_t given, std::size_t expected, const Port* ports) {
  if (given == expected) return;
  std::string text = std::to_string(given) + " " + kind + "s were given; the engine has " + std::to_string(expected);
  for (std::size_t i = 0; i < expected; ++i) text += (i ? ", " : ": ") + std::string(ports[i].name);
  throw Error(text + ".");
}

void check_rank(const char* kind, std::size_t index, const Port& port, const GivenTensor& given) {
  if (given.rank == port.rank) return;
  throw Error(called(kind, index, port) + " has shape " + list(given.shape, given.rank) + " of rank " +
              std::to_string(given.rank) + "; accepted is " + port.text + ".");
}

void check_dtype(const char* kind, std::size_t index, const Port& port, const GivenTensor& given) {
  if (given.dtype == port.dtype) return;
  const bool convertible = !port.exact && is_floating(port.dtype);
  if (convertible && is_floating(given.dtype)) return;
  throw Error(called(kind, index, port) + " is " + dtype_name(given.dtype) + "; accepted is " +
              (convertible ? "float32, float16 or bfloat16" : dtype_name(port.dtype)) + ".");
}

void check_pointer(const char* kind, std::size_t index, const Port& port, const GivenTensor& given,
                   std::size_t alignment) {
  if (given.data == nullptr) throw Error(called(kind, index, port) + " has a null data pointer.");
  const auto item = static_cast<std::size_t>(item_size(given.dtype));
  const std::size_t needed = port.exact && alignment > item ? alignment : item;
  if (reinterpret_cast<std::uintptr_t>(given.data) % needed != 0) {
    throw Error(called(kind, index, port) + " is not aligned to " + std::to_string(needed) +
                " bytes; give a tensor that begins at such an address.");
  }
}

/// Strides of dimensions of size 1 do not matter.
void check_layout(const char* kind, std::size_t index, const Port& port, const GivenTensor& given) {
  int64_t wanted[max_rank] = {};
  dense_strides(port.rank, given.shape, port.order, wanted);
  for (int axis = 0; axis < port.rank; ++axis) {
    if (given.shape[axis] != 1 && given.strides[axis] != wanted[axis]) {
      throw Error(called(kind, index, port) + " has strides " + list(given.strides, given.rank) +
                  "; accepted for shape " + list(given.shape, given.rank) + " is " + list(wanted, port.rank) + ".");
    }
  }
}

}  // namespace

void dense_strides(int rank, const int64_t* shape, const int* order, int64_t* strides) {
  int64_t running = 1;
  for (int position = rank - 1; position >= 0; --position) {
    const int axis = order == nullptr ? position : order[position];
    strides[axis] = running;
    running *= shape[axis];
  }
}

std::vector<int64_t> bind_inputs(const Interface& model, const std::vector<GivenTensor>& inputs,
                                 std::size_t alignment) {
  constexpr const char* kind = "input";
  check_count(kind, inputs.size(), model.input_count, model.inputs);
  std::vector<int64_t> sizes(model.symbol_count, 0);
  std::vector<std::size_t> binder(model.symbol_count, 0);
  for (std::size_t index = 0; index < inputs.size(); ++index) {
    const Port& port = model.inputs[index];
    const GivenTensor& given = inputs[index];
    check_rank(kind, index, port, given);
    check_dtype(kind, index, port, given);
    for (int axis = 0; axis < port.rank; ++axis) {
      if (port.symbol[axis] < 0) continue;
      const auto which = static_cast<std::size_t>(port.symbol[axis]);
      const Symbol& symbol = model.symbols[which];
      const int64_t size = given.shape[axis];
      if (size < symbol.min || size > symbol.max) {
        throw Error(called(kind, index, port) + " has shape " + list(given.shape, given.rank) + ": dimension " +
                    std::to_string(axis) + " is " + std::to_string(size) + "; accepted is " + symbol.name + " = " +
                    std::to_string(symbol.min) + ".." + std::to_string(symbol.max) + ".");
      }
      if (sizes[which] == 0) {
        sizes[which] = size;
        binder[which] = index;
      } else if (sizes[which] != size) {
        throw Error(called(kind, index, port) + " has " + symbol.name + " = " + std::to_string(size) + ", but " +
                    called(kind, binder[which], model.inputs[binder[which]]) + " has " +
                    std::to_string(sizes[which]) + "; both must agree.");
      }
    }
  }
  for (std::size_t index = 0; index < inputs.size(); ++index) {
    const Port& port = model.inputs[index];
    const GivenTensor& given = inputs[index];
    int64_t expected[max_rank] = {};
    port.shape(sizes.data(), expected);
    for (int axis = 0; axis < port.rank; ++axis) {
      if (given.shape[axis] != expected[axis]) {
        throw Error(called(kind, index, port) + " has shape " + list(given.shape, given.rank) + ": dimension " +
                    std::to_string(axis) + " is " + std::to_string(given.shape[axis]) + " and must be " +
                    std::to_string(expected[axis]) + "; accepted is " + port.text + ".");
      }
      if (given.strides[axis] < 0) throw Error(called(kind, index, port) + " has a negative stride.");
    }
    check_pointer(kind, index, port, given, alignment);
    if (port.exact) check_layout(kind, index, port, given);
  }
  return sizes;
}

void check_outputs(const Interface& model, const std::vector<GivenTensor>& outputs,
                   const std::vector<int64_t>& sizes, OutputForm form, std::size_t alignment) {
  constexpr const char* kind = "output";
  check_count(kind, outputs.size(), model.output_count, model.outputs);
  for (std::size_t index = 0; index < outputs.size(); ++index) {
    const Port& port = model.outputs[index];
    GivenTensor given = outputs[index];
    check_rank(kind, index, port, given);
    check_dtype(kind, index, port, given);
    int64_t expected[max_rank] = {};
    port.shape(sizes.data(), expected);
    int64_t needed = 1;
    int64_t room = 1;
    bool equal = true;
    for (int axis = 0; axis < port.rank; ++axis) {
      needed *= expected[axis];
      room *= given.shape[axis];
      equal = equal && expected[axis] == given.shape[axis];
    }
    if (form == OutputForm::real_shape ? !equal : room < needed) {
      throw Error(called(kind, index, port) + " has shape " + list(given.shape, given.rank) + "; the result has " +
                  list(expected, port.rank) + ".");
    }
    check_pointer(kind, index, port, given, alignment);
    if (form == OutputForm::room) {  // dense and row-major by the ABI's word
      for (int axis = 0; axis < port.rank; ++axis) given.shape[axis] = expected[axis];
      dense_strides(port.rank, given.shape, nullptr, given.strides);
    }
    check_layout(kind, index, port, given);
  }
}

}  // namespace fx2ait
