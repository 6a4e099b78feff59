#pragma once

#include <fmt/format.h>

#include <stdexcept>
#include <string>
#include <utility>

namespace agon {

/// What went wrong, as the exit code of the command line says it.
enum class Fault {
  kUsage = 2,  ///< bad usage or configuration
  kData = 3,   ///< bad or missing data
  kRun = 4,    ///< the run failed: diverged to NaN, disk full, device lost
};

/// The one exception of agon: a sentence for the user (what was expected, what was found, where) and its fault.
class Error : public std::runtime_error {
 public:
  Error(Fault fault, const std::string& sentence) : std::runtime_error(sentence), fault_(fault) {}
  Fault fault() const { return fault_; }
  int exit_code() const { return static_cast<int>(fault_); }

 private:
  Fault fault_;
};

/// Throws an Error with a formatted sentence: fail(Fault::kData, "expected {} bytes, found {} in {}", ...).
template <class... Args>
[[noreturn]] void fail(Fault fault, fmt::format_string<Args...> sentence, Args&&... args) {
  throw Error(fault, fmt::format(sentence, std::forward<Args>(args)...));
}

}  // namespace agon
