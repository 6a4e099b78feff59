// Presets: the compiled-in settings files, and files that extend them.
#include "algorithms/presets.h"

#include <algorithm>
#include <iterator>
#include <nlohmann/json.hpp>

#include "algorithms/options.h"
#include "algorithms/preset_files.h"
#include "engine/text.h"
#include "engine/toml.h"
#include "kernels/error.h"

namespace agon {
namespace {

/// A note at the top of a settings file, before any section: "about", "extends".
std::string note(const nlohmann::json& table, const std::string& key, const std::string& origin) {
  const auto found = table.find(key);
  if (found == table.end()) return "";
  if (!found->is_string()) fail(Fault::kUsage, "{} is {} in {}, expected a text", key, to_toml(*found), origin);
  return found->get<std::string>();
}

std::vector<Preset> read_presets(std::span<const PresetFile> files) {
  std::vector<Preset> list;
  for (const auto& [name, text] : files) {
    const std::string toml(text);
    list.push_back({std::string(name), note(parse_toml(toml, std::string(name)), "about", std::string(name)), toml});
  }
  std::sort(list.begin(), list.end(), [](const Preset& a, const Preset& b) { return a.name < b.name; });
  return list;
}

const Preset& named(const std::vector<Preset>& list, const char* what, const std::string& name) {
  std::vector<std::string> names;
  for (const Preset& candidate : list) {
    if (candidate.name == name) return candidate;
    names.push_back(candidate.name);
  }
  fail(Fault::kUsage, "there is no {} \"{}\"; did you mean \"{}\"?", what, name, nearest(name, names));
}

std::vector<std::string> sections_in_order(const nlohmann::json& table) {
  std::vector<std::string> sections;
  const auto add = [&](const std::string& section) {
    if (table.contains(section) && table[section].is_object() &&
        std::find(sections.begin(), sections.end(), section) == sections.end())
      sections.push_back(section);
  };
  for (const Settings::Option& option : run_options()) add(option.key.substr(0, option.key.find('.')));
  for (const auto& [section, keys] : table.items()) add(section);
  return sections;
}

}  // namespace

const std::vector<Preset>& presets() {
  static const std::vector<Preset> list = read_presets(preset_files());
  return list;
}

const std::vector<Preset>& sweep_presets() {
  static const std::vector<Preset> list = read_presets(sweep_files());
  return list;
}

const Preset& preset(const std::string& name) { return named(presets(), "preset", name); }
const Preset& sweep_preset(const std::string& name) { return named(sweep_presets(), "sweep", name); }

std::vector<TomlText> with_bases(const std::string& text, const std::string& origin) {
  std::vector<TomlText> chain{{text, origin}};
  std::vector<std::string> visited;
  for (;;) {
    const std::string base = note(parse_toml(chain.back().text, chain.back().origin), "extends", chain.back().origin);
    if (base.empty()) break;
    if (std::find(visited.begin(), visited.end(), base) != visited.end())
      fail(Fault::kUsage, "{} extends itself through \"{}\"", origin, base);
    visited.push_back(base);
    chain.push_back({preset(base).toml, "preset " + base});
  }
  std::reverse(chain.begin(), chain.end());
  return chain;
}

std::string merged_toml(const std::vector<TomlText>& texts) {
  nlohmann::json merged = nlohmann::json::object();
  for (const auto& [text, origin] : texts) {
    const nlohmann::json table = parse_toml(text, origin);  // outlives the loop over its items
    for (const auto& [section, value] : table.items()) {
      if (value.is_object() && merged.contains(section))
        merged[section].update(value);
      else
        merged[section] = value;
    }
  }
  merged.erase("extends");
  // Notes first, then the sections in the order in which all settings are declared.
  std::string toml;
  for (const auto& [key, value] : merged.items())
    if (!value.is_object()) toml += toml_key(key) + " = " + to_toml(value) + "\n";
  for (const std::string& section : sections_in_order(merged)) {
    toml += (toml.empty() ? "[" : "\n[") + toml_key(section) + "]\n";
    for (const auto& [key, value] : merged[section].items()) toml += toml_key(key) + " = " + to_toml(value) + "\n";
  }
  return toml;
}

}  // namespace agon
