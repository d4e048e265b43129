#pragma once

#include <iomanip>
#include <locale>
#include <sstream>
#include <string>

#include "fx2ait/container.h"

namespace fx2ait {

/// `text` as a JSON string literal.
inline std::string json_string(const std::string& text) {
  std::ostringstream out;
  out << '"';
  for (const char c : text) {
    const auto code = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      out << '\\' << c;
    } else if (code < 0x20) {
      out << "\\u" << std::hex << std::setw(4) << std::setfill('0') << static_cast<int>(code) << std::dec;
    } else {
      out << c;
    }
  }
  out << '"';
  return out.str();
}

/// The profile as JSON: the model, iterations, milliseconds in all, and per launch the node, the kernel,
/// mean milliseconds and the share of the whole.
inline std::string profile_report(const Container& engine, const ProfileResult& profile, std::size_t iterations) {
  double total = 0;
  for (const double milliseconds : profile.milliseconds) total += milliseconds;
  std::ostringstream out;
  out.imbue(std::locale::classic());
  out << std::fixed << std::setprecision(6);
  out << "{\n  \"model\": " << json_string(engine.name()) << ",\n  \"iterations\": " << iterations
      << ",\n  \"bucket\": " << profile.bucket << ",\n  \"ms_per_iteration\": " << total << ",\n  \"launches\": [";
  const LaunchNames& launches = engine.buckets()[profile.bucket];
  for (std::size_t i = 0; i < profile.milliseconds.size(); ++i) {
    out << (i ? "," : "") << "\n    {\"node\": " << json_string(launches.names[i].node)
        << ", \"kernel\": " << json_string(launches.names[i].kernel)
        << ", \"ms_per_iteration\": " << profile.milliseconds[i]
        << ", \"share\": " << (total > 0 ? profile.milliseconds[i] / total : 0.0) << "}";
  }
  out << "\n  ]\n}\n";
  return out.str();
}

}  // namespace fx2ait
