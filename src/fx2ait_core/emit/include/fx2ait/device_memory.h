#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "fx2ait/error.h"
#include "fx2ait/model_interface.h"

namespace fx2ait {

/// `bytes` rounded up to the alignment of every tensor in the engine's memory.
constexpr std::size_t aligned_size(std::size_t bytes) { return (bytes + 255) / 256 * 256; }

/// A block of the device's memory, aligned to 256 bytes, from the device or from the host's allocator.
template <class Device>
class DeviceMemory {
 public:
  DeviceMemory(Device& device, std::size_t bytes, AITemplateAllocator* allocator)
      : device_(device), allocator_(allocator), bytes_(aligned_size(bytes > 0 ? bytes : 1)) {
    block_ = allocator_ != nullptr ? allocator_->Allocate(bytes_ + 255) : device_.allocate(bytes_);
    if (block_ == nullptr) throw Error("the allocator gave no memory for " + std::to_string(bytes_) + " bytes.");
  }
  DeviceMemory(const DeviceMemory&) = delete;
  DeviceMemory& operator=(const DeviceMemory&) = delete;
  ~DeviceMemory() {
    if (allocator_ == nullptr) {
      device_.release(block_);
      return;
    }
    try {
      allocator_->Free(block_);
    } catch (...) {  // the host's allocator; a destructor has nobody to tell
    }
  }

  std::byte* data() const {
    return reinterpret_cast<std::byte*>(aligned_size(reinterpret_cast<std::uintptr_t>(block_)));
  }
  std::size_t bytes() const { return bytes_; }

 private:
  Device& device_;
  AITemplateAllocator* allocator_;
  std::size_t bytes_;
  void* block_ = nullptr;
};

}  // namespace fx2ait
