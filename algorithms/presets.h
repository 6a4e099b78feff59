#pragma once

#include <string>
#include <vector>

namespace agon {

/// A settings file that is compiled in: every algorithms/presets/*.toml is one, named after its file.
struct Preset {
  std::string name;
  std::string about;  ///< one line for the user, the key `about` of the file
  std::string toml;   ///< the file as it is
};

const std::vector<Preset>& presets();  ///< by name
/// Throws Error(kUsage) naming the nearest.
const Preset& preset(const std::string& name);

/// Sweeps that are compiled in, algorithms/sweeps/*.toml: one experiment over a grid of settings, as `agon sweep` runs
/// them.
const std::vector<Preset>& sweep_presets();
const Preset& sweep_preset(const std::string& name);

/// A settings text and what it is called in error messages.
struct TomlText {
  std::string text, origin;
};

/// The texts that make up a settings file, to be read in this order: those it builds on (`extends = "PRESET"` at its
/// top), the most basic one first, and the text itself last. Throws Error(kUsage) for an unknown preset or a circle.
std::vector<TomlText> with_bases(const std::string& text, const std::string& origin);

/// These texts as one: what a later one sets replaces what an earlier one set. Sections in order, `extends` resolved.
std::string merged_toml(const std::vector<TomlText>& texts);

}  // namespace agon
