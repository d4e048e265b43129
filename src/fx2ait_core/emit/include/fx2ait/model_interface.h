/// The C ABI of an engine's shared library: the AITemplate model container, plus calls named `Fx2ait…`.
///
/// Every function returns 0 on success and 1 on failure; after a failure `Fx2aitGetLastError()` gives the
/// text of it, per thread. Nothing throws through this interface. All functions may be called from several
/// threads at once, except `Delete`, which must be the last call. This header is C11 and C++11.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define FX2AIT_EXPORT __attribute__((visibility("default")))

/// A loaded engine.
typedef struct AITemplateModelOpaque* AITemplateModelHandle;

/// A `cudaStream_t` on CUDA (null: the default stream), ignored on CPU.
typedef struct AITemplateStreamOpaque* AITemplateStreamHandle;

/// 0 success, 1 failure.
typedef int AITemplateError;

/// Element types: 0 unset, 1 half, 2 float, 3 int, 4 long, 5 bool, 6 bfloat16.
typedef int AITemplateDtype;

typedef struct AITemplateParamShape {
  const int64_t* shape_data;
  size_t size;
} AITemplateParamShape;

/// A dense, row-major tensor in the engine's memory (device memory on CUDA).
typedef struct AITData {
  void* ptr;
  AITemplateParamShape shape;
  AITemplateDtype dtype;
} AITData;

#ifdef __cplusplus
}

/// Where the engine's memory comes from; asked once, while the container is created. Must outlive it.
/// Blocks must be aligned to 256 bytes.
class AITemplateAllocator {
 public:
  virtual void* Allocate(size_t bytes) = 0;
  virtual void Free(void* block) = 0;
  virtual ~AITemplateAllocator() = default;
};

extern "C" {
#else
typedef struct AITemplateAllocator AITemplateAllocator;
#endif

// ---- life ---------------------------------------------------------------------------------------------

/// Loads the weights and allocates everything that runs need. At most `num_runtimes` (at least 1) runs
/// are under way at a time; each runtime has activation memory of its own. On CUDA the container belongs
/// to the device that is current here. `allocator` may be null.
FX2AIT_EXPORT AITemplateError AITemplateModelContainerCreate(AITemplateModelHandle* out, size_t num_runtimes,
                                                             AITemplateAllocator* allocator);

/// Waits for work under way and frees everything. A null handle is an error.
FX2AIT_EXPORT AITemplateError AITemplateModelContainerDelete(AITemplateModelHandle handle);

// ---- running ------------------------------------------------------------------------------------------

/// Enqueues one inference on `stream`.
///
/// Inputs and outputs come in the order of their names (`GetInputName`, `GetOutputName`). A floating-point
/// input may be half, float or bfloat16, whatever `GetInputDtype` says, unless the kernel that reads it
/// needs it exactly (the error says so). Outputs have their port's dtype, hold at least as many elements
/// as the real shape, and the real shape is written to `output_shapes[i]` where that is not null.
/// `sync`: return when the work is done. `graph_mode`: keep a CUDA graph per shapes and pointers and
/// replay it; ignored on CPU. Inside the capture of `stream` by the caller the kernels are enqueued
/// plainly; the caller must then not let replays of its graph overlap other runs of this container.
FX2AIT_EXPORT AITemplateError AITemplateModelContainerRun(AITemplateModelHandle handle, const AITData* inputs,
                                                          size_t num_inputs, AITData* outputs, size_t num_outputs,
                                                          AITemplateStreamHandle stream, bool sync, bool graph_mode,
                                                          int64_t** output_shapes);

/// As `Run`, but the output pointers are host memory; waits for the work.
FX2AIT_EXPORT AITemplateError AITemplateModelContainerRunWithOutputsOnHost(
    AITemplateModelHandle handle, const AITData* inputs, size_t num_inputs, AITData* outputs, size_t num_outputs,
    AITemplateStreamHandle stream, bool graph_mode, int64_t** output_shapes);

/// Runs `iterations` times and writes milliseconds per launch to the JSON file `path`.
FX2AIT_EXPORT AITemplateError AITemplateModelContainerProfile(AITemplateModelHandle handle, const AITData* inputs,
                                                              size_t num_inputs, AITData* outputs,
                                                              size_t num_outputs, AITemplateStreamHandle stream,
                                                              size_t iterations, const char* path);

/// Mean milliseconds of a run over `count` runs on each of `num_threads` threads (elapsed time divided by
/// the number of all runs), after a warm-up. The first thread writes the outputs, others memory of their own.
FX2AIT_EXPORT AITemplateError AITemplateModelContainerBenchmark(
    AITemplateModelHandle handle, const AITData* inputs, size_t num_inputs, AITData* outputs, size_t num_outputs,
    AITemplateStreamHandle stream, bool graph_mode, size_t count, size_t num_threads,
    bool use_unique_stream_per_thread, float* runtime_ms, int64_t** output_shapes);

// ---- inputs and outputs -------------------------------------------------------------------------------

FX2AIT_EXPORT AITemplateError AITemplateModelContainerGetNumInputs(AITemplateModelHandle handle, size_t* out);
FX2AIT_EXPORT AITemplateError AITemplateModelContainerGetNumOutputs(AITemplateModelHandle handle, size_t* out);
FX2AIT_EXPORT AITemplateError AITemplateModelContainerGetNumRuntimes(AITemplateModelHandle handle, size_t* out);
FX2AIT_EXPORT AITemplateError AITemplateModelContainerGetInputName(AITemplateModelHandle handle, size_t index,
                                                                   const char** out);
FX2AIT_EXPORT AITemplateError AITemplateModelContainerGetOutputName(AITemplateModelHandle handle, size_t index,
                                                                    const char** out);
FX2AIT_EXPORT AITemplateError AITemplateModelContainerGetMaximumInputShape(AITemplateModelHandle handle,
                                                                           size_t index, AITemplateParamShape* out);
FX2AIT_EXPORT AITemplateError AITemplateModelContainerGetMaximumOutputShape(AITemplateModelHandle handle,
                                                                            size_t index, AITemplateParamShape* out);
FX2AIT_EXPORT AITemplateError AITemplateModelContainerGetInputDtype(AITemplateModelHandle handle, size_t index,
                                                                    AITemplateDtype* out);
FX2AIT_EXPORT AITemplateError AITemplateModelContainerGetOutputDtype(AITemplateModelHandle handle, size_t index,
                                                                     AITemplateDtype* out);

// ---- constants ----------------------------------------------------------------------------------------
// Constants are packed as the kernels read them: their names, shapes and dtypes are those of
// `weights.safetensors`. All are bound when the engine is created and folding is done when it is compiled.
// Data may be in host or device memory.

/// Overwrites a constant; waits until no run is under way.
FX2AIT_EXPORT AITemplateError AITemplateModelContainerSetConstant(AITemplateModelHandle handle, const char* name,
                                                                  const AITData* tensor);
FX2AIT_EXPORT AITemplateError AITemplateModelContainerSetManyConstants(AITemplateModelHandle handle,
                                                                       const char** names, const AITData* tensors,
                                                                       size_t num_tensors);

/// Writes a constant in the second set, which begins as a copy of the first and is allocated by the first
/// such call; runs go on with the first set. The copy is ordered on `stream`.
FX2AIT_EXPORT AITemplateError AITemplateModelContainerSetDoubleBufferConstant(AITemplateModelHandle handle,
                                                                              AITemplateStreamHandle stream,
                                                                              const char* name,
                                                                              const AITData* tensor);
FX2AIT_EXPORT AITemplateError AITemplateModelContainerSetManyDoubleBufferConstants(
    AITemplateModelHandle handle, AITemplateStreamHandle stream, const char** names, const AITData* tensors,
    size_t num_tensors);

/// Later runs use the second set, and the first becomes the second.
FX2AIT_EXPORT AITemplateError AITemplateModelContainerSwapConstants(AITemplateModelHandle handle);

/// Nothing is left to fold in an engine; waits for `stream` if `sync`.
FX2AIT_EXPORT AITemplateError AITemplateModelContainerFoldConstants(AITemplateModelHandle handle,
                                                                    AITemplateStreamHandle stream, bool sync);
FX2AIT_EXPORT AITemplateError AITemplateModelContainerFoldConstantsInDoubleBuffer(AITemplateModelHandle handle,
                                                                                  AITemplateStreamHandle stream,
                                                                                  bool sync);

/// `unbound_only` and `constant_folding_inputs_only` select none, since there are none of either.
FX2AIT_EXPORT AITemplateError AITemplateModelContainerGetNumConstants(AITemplateModelHandle handle,
                                                                      bool unbound_only,
                                                                      bool constant_folding_inputs_only,
                                                                      size_t* out);
/// Writes as many pointers to `out` as `GetNumConstants` says.
FX2AIT_EXPORT AITemplateError AITemplateModelContainerGetConstantNames(AITemplateModelHandle handle,
                                                                       bool unbound_only,
                                                                       bool constant_folding_inputs_only,
                                                                       const char** out);
FX2AIT_EXPORT AITemplateError AITemplateModelContainerGetConstantDtype(AITemplateModelHandle handle,
                                                                       const char* name, AITemplateDtype* out);
/// The same name: a packed constant keeps the name that the model gives it.
FX2AIT_EXPORT AITemplateError AITemplateModelContainerGetConstantOriginalName(AITemplateModelHandle handle,
                                                                              const char* name, const char** out);

// ---- beyond AITemplate --------------------------------------------------------------------------------

/// A tensor with strides in elements; `strides` may be null, for a dense row-major one.
typedef struct Fx2aitTensor {
  void* ptr;
  const int64_t* shape;
  const int64_t* strides;
  size_t rank;
  AITemplateDtype dtype;
} Fx2aitTensor;

/// The text of the last failure on this thread, empty before the first; valid until the next failure.
FX2AIT_EXPORT const char* Fx2aitGetLastError(void);

/// As `Run`, for inputs of any strides. Outputs have exactly the real shape and their port's layout.
FX2AIT_EXPORT AITemplateError Fx2aitRun(AITemplateModelHandle handle, const Fx2aitTensor* inputs, size_t num_inputs,
                                        const Fx2aitTensor* outputs, size_t num_outputs,
                                        AITemplateStreamHandle stream, bool graph_mode);

/// Checks the inputs and writes each output's real shape to `output_shapes[i]`; launches nothing.
FX2AIT_EXPORT AITemplateError Fx2aitInferOutputShapes(AITemplateModelHandle handle, const Fx2aitTensor* inputs,
                                                      size_t num_inputs, int64_t** output_shapes,
                                                      size_t num_outputs);

/// Mean milliseconds of each launch over `iterations` runs, into `milliseconds[capacity]`. `bucket` gets
/// the index of the bucket that served, whose launches `Fx2aitGetLaunchName` names.
FX2AIT_EXPORT AITemplateError Fx2aitProfile(AITemplateModelHandle handle, const Fx2aitTensor* inputs,
                                            size_t num_inputs, const Fx2aitTensor* outputs, size_t num_outputs,
                                            AITemplateStreamHandle stream, size_t iterations, float* milliseconds,
                                            size_t capacity, size_t* bucket);

/// Milliseconds of each launch repeated by itself, without gaps between the repetitions: the median of
/// `samples` samples, each of as many repetitions (at most 200) as take about `sample_ms`. On CUDA a sample is
/// one graph, so that no time on the host is in it. Results as for `Fx2aitProfile`.
FX2AIT_EXPORT AITemplateError Fx2aitTimeLaunches(AITemplateModelHandle handle, const Fx2aitTensor* inputs,
                                                 size_t num_inputs, const Fx2aitTensor* outputs,
                                                 size_t num_outputs, AITemplateStreamHandle stream,
                                                 float sample_ms, size_t samples, float* milliseconds,
                                                 size_t capacity, size_t* bucket);

/// Fills the activations and workspaces of all runtimes with `byte` once no run is under way, e.g. with 255,
/// which is NaN in every floating-point type. For tests: later runs must not tell the difference.
FX2AIT_EXPORT AITemplateError Fx2aitFillActivations(AITemplateModelHandle handle, unsigned char byte);

/// Buckets: sequences of launches, each for sizes up to some limit.
FX2AIT_EXPORT AITemplateError Fx2aitGetBucketCount(AITemplateModelHandle handle, size_t* out);
FX2AIT_EXPORT AITemplateError Fx2aitGetLaunchCount(AITemplateModelHandle handle, size_t bucket, size_t* out);
/// The node that a launch computes and the kernel that computes it; either pointer may be null.
FX2AIT_EXPORT AITemplateError Fx2aitGetLaunchName(AITemplateModelHandle handle, size_t bucket, size_t index,
                                                  const char** node, const char** kernel);

/// Bytes of the one allocation: constants and every runtime's activations.
FX2AIT_EXPORT AITemplateError Fx2aitGetMemoryBytes(AITemplateModelHandle handle, size_t* out);

/// Threads of each runtime (at least 1); waits until no run is under way. An error on CUDA.
FX2AIT_EXPORT AITemplateError Fx2aitSetThreads(AITemplateModelHandle handle, size_t threads);

#ifdef __cplusplus
}
#endif
