#pragma once

#include <CLI/CLI.hpp>
#include <string>

#include "kernels/error.h"

namespace agon::cli {

/// An option for a whole number that may not be less than `least`.
template <class Number>
CLI::Option* add_number(CLI::App& command, const std::string& name, Number& number, int64_t least,
                        const std::string& meaning, int64_t most = INT64_MAX) {
  const auto take = [&number, name, least, most](const int64_t& value) {
    if (value < least) fail(Fault::kUsage, "{} is {}, expected at least {}", name, value, least);
    if (value > most) fail(Fault::kUsage, "{} is {}, expected at most {}", name, value, most);
    number = static_cast<Number>(value);
  };
  return command.add_option_function<int64_t>(name, take, meaning);
}

/// --seed, as run.seed.
inline void add_seed(CLI::App& command, uint64_t& seed, const std::string& meaning) {
  add_number(command, "--seed", seed, 0, meaning)->type_name("S");
}

}  // namespace agon::cli
