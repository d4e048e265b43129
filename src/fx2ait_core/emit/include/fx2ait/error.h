// Every kernel's file includes this, so that it asks for the lightest of headers: <string> and <stdexcept>
// would take a fifth of the time that a compiler needs for headers.
#pragma once

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <initializer_list>

namespace fx2ait {

/// Every failure of an engine that is raised on purpose; its text says what, where and what is accepted.
/// Caught at the C ABI and handed out by `Fx2aitGetLastError()`.
class Error : public std::exception {
 public:
  explicit Error(const char* text) : Error({text}) {}
  /// The text is `parts`, one after the other.
  explicit Error(std::initializer_list<const char*> parts) noexcept : text_(joined(parts)) {}
  /// For std::string.
  template <class String>
  explicit Error(const String& text) : Error(text.c_str()) {}
  Error(const Error& other) noexcept : std::exception(other), text_(joined({other.what()})) {}
  Error& operator=(const Error&) = delete;
  ~Error() override { std::free(text_); }

  const char* what() const noexcept override {
    return text_ != nullptr ? text_ : "an error, and no memory to say which";
  }

 private:
  static char* joined(std::initializer_list<const char*> parts) noexcept {
    std::size_t length = 0;
    for (const char* part : parts) length += std::strlen(part);
    char* const text = static_cast<char*>(std::malloc(length + 1));
    char* end = text;
    if (text == nullptr) return nullptr;
    for (const char* part : parts) {
      const std::size_t size = std::strlen(part);
      std::memcpy(end, part, size);
      end += size;
    }
    *end = '\0';
    return text;
  }

  char* text_;
};

/// An integer as a part of an Error's text.
class Digits {
 public:
  explicit Digits(int64_t value) { std::snprintf(text_, sizeof(text_), "%lld", static_cast<long long>(value)); }
  operator const char*() const { return text_; }

 private:
  char text_[24];
};

}  // namespace fx2ait
