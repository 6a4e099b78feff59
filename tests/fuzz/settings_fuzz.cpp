// libFuzzer target: any bytes as a settings file. They are refused with an Error, or understood - and then the written
// TOML must read back to the same settings.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "engine/settings.h"
#include "kernels/error.h"

namespace {

agon::Settings declared() {
  agon::Settings settings;
  settings.declare({{"run.seed", "1", "an integer"},
                    {"run.precision", "\"fp32\"", "a choice", {"fp32", "bf16"}},
                    {"data.path", "\"\"", "a text"},
                    {"algorithm.kappa", "1", "an integer or a word", {"log"}},
                    {"algorithm.rate", "2e-4", "a number"},
                    {"algorithm.distinct", "false", "a truth value"},
                    {"generator.layers", "[]", "a list"},
                    {"world.network", "{}", "a table"}});
  return settings;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  agon::Settings settings = declared();
  try {
    settings.read_toml(text, "fuzzed.toml");
  } catch (const agon::Error&) {
  }
  try {
    settings.set(text.substr(0, 2000));
  } catch (const agon::Error&) {
  }
  agon::Settings copy = declared();
  copy.read_toml(settings.to_toml(), "written.toml");  // an Error here is a finding
  if (copy.to_toml() != settings.to_toml() || copy.to_json() != settings.to_json()) std::abort();
  return 0;
}
