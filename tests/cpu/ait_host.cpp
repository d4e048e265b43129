// A host as written for AITemplate engines: opens the library by path, runs it, checks the numbers.
#include <dlfcn.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "fx2ait/model_interface.h"

#define ENTRY(name) const auto name = reinterpret_cast<decltype(&::AITemplateModelContainer##name)>(   \
    dlsym(library, "AITemplateModelContainer" #name))
#define CHECK(condition)                                                    \
  if (!(condition)) {                                                       \
    std::fprintf(stderr, "line %d: %s: %s\n", __LINE__, #condition, why()); \
    return 1;                                                               \
  }

namespace {

/// Counts, and gives blocks that are aligned worse than the engine needs.
class CountingAllocator final : public AITemplateAllocator {
 public:
  void* Allocate(size_t bytes) override {
    ++allocations;
    return static_cast<char*>(std::malloc(bytes + 8)) + 8;
  }
  void Free(void* block) override {
    ++frees;
    std::free(static_cast<char*>(block) - 8);
  }
  int allocations = 0;
  int frees = 0;
};

}  // namespace

int main(int, char** arguments) {
  void* library = dlopen(arguments[1], RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) {
    std::fprintf(stderr, "%s\n", dlerror());
    return 1;
  }
  const auto why = reinterpret_cast<decltype(&::Fx2aitGetLastError)>(dlsym(library, "Fx2aitGetLastError"));
  ENTRY(Create);
  ENTRY(Delete);
  ENTRY(Run);
  ENTRY(RunWithOutputsOnHost);
  ENTRY(GetNumInputs);
  ENTRY(GetInputName);
  ENTRY(GetMaximumOutputShape);
  ENTRY(GetOutputDtype);

  CountingAllocator allocator;
  AITemplateModelHandle engine = nullptr;
  CHECK(Create(&engine, 2, &allocator) == 0);
  size_t inputs = 0;
  CHECK(GetNumInputs(engine, &inputs) == 0 && inputs == 1);
  const char* name = nullptr;
  CHECK(GetInputName(engine, 0, &name) == 0 && std::strcmp(name, "image") == 0);
  AITemplateDtype dtype = 0;
  CHECK(GetOutputDtype(engine, 0, &dtype) == 0 && dtype == 2);
  AITemplateParamShape maximum{};
  CHECK(GetMaximumOutputShape(engine, 0, &maximum) == 0 && maximum.size == 2);

  std::vector<float> output(static_cast<size_t>(maximum.shape_data[0] * maximum.shape_data[1]));
  std::vector<int64_t> real(maximum.size);
  int64_t* shapes[] = {real.data()};
  for (const int64_t batch : {1, 5, 2, 8}) {
    std::vector<float> image;
    for (int64_t i = 0; i < batch * 3; ++i) image.push_back(0.25f * static_cast<float>(i));
    const int64_t shape[] = {batch, 3};
    const AITData input{image.data(), {shape, 2}, 2};
    AITData result{output.data(), maximum, 2};
    CHECK((batch == 5 ? RunWithOutputsOnHost(engine, &input, 1, &result, 1, nullptr, true, shapes)
                      : Run(engine, &input, 1, &result, 1, nullptr, true, true, shapes)) == 0);
    CHECK(real[0] == batch && real[1] == 3);
    const float weight[] = {2, 3, 5};
    for (size_t i = 0; i < image.size(); ++i) CHECK(output[i] == image[i] * weight[i % 3] + 1);
  }
  CHECK(Delete(engine) == 0);
  CHECK(allocator.allocations == 1 && allocator.frees == 1);
  dlclose(library);
  if (dlopen(arguments[1], RTLD_NOW | RTLD_NOLOAD) != nullptr) {
    std::fprintf(stderr, "the library was not unloaded\n");
    return 1;
  }
  std::puts("ok");
  return 0;
}
