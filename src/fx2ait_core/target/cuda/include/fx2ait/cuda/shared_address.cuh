// Addresses in shared memory.
#pragma once

#include <cstdint>

namespace fx2ait {

/// The 32-bit address of an object in shared memory, as PTX instructions take it.
__device__ __forceinline__ uint32_t shared_address(const void* pointer) {
  return static_cast<uint32_t>(__cvta_generic_to_shared(pointer));
}

}  // namespace fx2ait
