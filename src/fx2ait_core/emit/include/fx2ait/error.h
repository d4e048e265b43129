#pragma once

#include <stdexcept>
#include <string>

namespace fx2ait {

/// Every failure of an engine that is raised on purpose; its text says what, where and what is accepted.
/// Caught at the C ABI and handed out by `Fx2aitGetLastError()`.
class Error : public std::runtime_error {
 public:
  explicit Error(const std::string& text) : std::runtime_error(text) {}
};

}  // namespace fx2ait
