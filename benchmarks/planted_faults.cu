// One fault per tool of compute-sanitizer, to see that it is noticed: planted_faults TOOL.
#include <cuda_runtime.h>

#include <cstdio>
#include <cstring>

__global__ void write_past_the_end(int* data, int count) { data[count + threadIdx.x] = 1; }

__global__ void read_what_others_write(int* result) {
  __shared__ int shared[64];
  shared[threadIdx.x] = threadIdx.x;
  result[threadIdx.x] = shared[63 - threadIdx.x];  // a barrier is missing
}

__global__ void copy(int* result, const int* source) { result[threadIdx.x] = source[threadIdx.x] + 1; }

__global__ void wait_alone(int* result) {
  if (threadIdx.x < 40) __syncthreads();
  result[threadIdx.x] = 1;
}

int main(int count, char** words) {
  const char* tool = count > 1 ? words[1] : "";
  int *one, *other;
  cudaMalloc(&one, 64 * sizeof(int));
  cudaMalloc(&other, 64 * sizeof(int));
  if (!std::strcmp(tool, "memcheck")) write_past_the_end<<<1, 64>>>(one, 64);
  if (!std::strcmp(tool, "racecheck")) read_what_others_write<<<1, 64>>>(one);
  if (!std::strcmp(tool, "initcheck")) copy<<<1, 64>>>(one, other);
  if (!std::strcmp(tool, "synccheck")) wait_alone<<<1, 64>>>(one);
  std::printf("%s: %s\n", tool, cudaGetErrorString(cudaDeviceSynchronize()));
  return 0;
}
