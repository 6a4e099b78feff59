// agon presets: the built-in settings files.
#include "algorithms/presets.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <memory>

#include "algorithms/trainer.h"
#include "tools/agon/commands.h"

namespace agon::cli {
namespace {

void list_presets() {
  size_t width = 0;
  for (const Preset& preset : presets()) width = std::max(width, preset.name.size());
  for (const Preset& preset : presets()) fmt::print("{:<{}}  {}\n", preset.name, width, preset.about);
  fmt::print(
      "\n`agon presets NAME` prints one, to save and edit; `agon presets NAME --all` prints every key there is.\n");
}

}  // namespace

void add_presets(CLI::App& program) {
  struct Arguments {
    std::string name;
    bool all = false;
  };
  const auto arguments = std::make_shared<Arguments>();
  CLI::App* command = program.add_subcommand("presets", "Lists the presets; with a name, prints its TOML");
  command->add_option("NAME", arguments->name, "A preset to print");
  command->add_flag("--all", arguments->all, "Every key with its meaning, not only what the preset sets");
  command->footer(
      "Examples:\n"
      "  agon presets md-gan-mnist-mlp > mine.toml\n"
      "A settings file may begin with  extends = \"md-gan-mnist-mlp\"  and hold only what differs.");
  command->callback([arguments] {
    if (arguments->name.empty()) return list_presets();
    const Preset& chosen = preset(arguments->name);
    const std::string origin = "preset " + chosen.name;
    fmt::print("{}", arguments->all ? resolve_settings(chosen.toml, origin, {}).to_toml(/*with_meanings=*/true)
                                    : merged_toml(with_bases(chosen.toml, origin)));
  });
}

}  // namespace agon::cli
