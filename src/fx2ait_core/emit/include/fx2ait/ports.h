#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "fx2ait/external_tensor.h"

namespace fx2ait {

/// A dynamic size of the model and its declared range.
struct Symbol {
  const char* name;
  int64_t min;
  int64_t max;
};

/// An input or an output of the engine.
struct Port {
  const char* name;
  DType dtype;
  int rank;
  /// An input that a kernel reads as it is: exact dtype and layout, aligned. Always set for outputs.
  bool exact;
  /// For people, e.g. `[batch = 1..512, 3, 224, 224]`.
  const char* text;
  int64_t maximum[max_rank];
  /// Dimensions from the slowest to the fastest in memory.
  int order[max_rank];
  /// The symbol that a dimension equals, or -1.
  int symbol[max_rank];
  /// Writes the shape at given sizes of the symbols.
  void (*shape)(const int64_t* sizes, int64_t* shape);
};

/// A tensor that the caller gave; strides count elements.
struct GivenTensor {
  void* data = nullptr;
  DType dtype = DType::unset;
  int rank = 0;
  int64_t shape[max_rank] = {};
  int64_t strides[max_rank] = {};
};

/// Whether outputs are given at their real shape (with strides), or merely with room for it.
enum class OutputForm { real_shape, room };

/// The inputs, outputs and symbols of a model.
struct Interface {
  const Symbol* symbols;
  std::size_t symbol_count;
  const Port* inputs;
  std::size_t input_count;
  const Port* outputs;
  std::size_t output_count;
};

/// Checks inputs and finds the size of every symbol. Throws `Error` that names the input, what came and
/// what is accepted.
std::vector<int64_t> bind_inputs(const Interface& model, const std::vector<GivenTensor>& inputs,
                                 std::size_t alignment);

/// Checks outputs against the sizes. Throws `Error` likewise.
void check_outputs(const Interface& model, const std::vector<GivenTensor>& outputs,
                   const std::vector<int64_t>& sizes, OutputForm form, std::size_t alignment);

/// Strides of a dense tensor whose dimensions lie in `order`; row-major when `order` is null.
void dense_strides(int rank, const int64_t* shape, const int* order, int64_t* strides);

}  // namespace fx2ait
