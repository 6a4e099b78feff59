// Settings: declared keys with typed values, read from TOML (toml++) and from `--set key=value`.
//
// The type of a key is the type of its default. A numeric default with choices takes a number or one of these words
// (algorithm.kappa: 2 or "log"). Values are kept as JSON in one canonical form: numbers of a
// fractional key are always doubles, so that writing them out and reading them back gives the same bits.
#include "engine/settings.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "engine/text.h"
#include "engine/toml.h"
#include "kernels/error.h"

namespace agon {
namespace {

using nlohmann::json;

/// Keys that a preset says about itself, before any section; algorithms/presets.cpp reads them.
bool is_preset_note(std::string_view key) { return key == "about" || key == "extends"; }

/// A long list stands with one item per line.
std::string to_toml_lines(const json& value) {
  std::string line = to_toml(value);
  if (!value.is_array() || line.size() <= 90) return line;
  std::string lines = "[\n";
  for (const auto& item : value) lines += "  " + to_toml(item) + ",\n";
  return lines + "]";
}

/// For error messages: short, on one line.
std::string shown(const json& value) {
  std::string text = to_toml(value);
  if (text.size() > 60) {
    text.resize(57);
    while (!text.empty() && (static_cast<unsigned char>(text.back()) & 0xc0) == 0x80) text.pop_back();
    text += "...";
  }
  return text;
}

std::string trimmed(std::string_view text) {
  const auto first = text.find_first_not_of(" \t\r\n");
  if (first == std::string_view::npos) return "";
  return std::string(text.substr(first, text.find_last_not_of(" \t\r\n") - first + 1));
}

std::string section_of(const std::string& key) {
  const auto dot = key.find('.');
  return dot == std::string::npos ? "" : key.substr(0, dot);
}

std::string name_of(const std::string& key) { return key.substr(key.rfind('.') + 1); }

}  // namespace

// ---- The declared keys ----------------------------------------------------------------------------------------------

struct Settings::Impl {
  struct Value {
    json preset;  ///< the default
    json now;
    bool set = false;  ///< by a file, the command line or the program
  };

  std::vector<Option> options;
  std::map<std::string, Value> values;
  std::set<std::string> passed_over;  ///< keys without a meaning here

  const Option& option(const std::string& key) const {
    return *std::find_if(options.begin(), options.end(), [&](const Option& option) { return option.key == key; });
  }

  const Value& find(const std::string& key) const {
    const auto found = values.find(key);
    if (found == values.end()) unknown(key, "");
    return found->second;
  }

  /// The key that a user most likely meant: the same name in another section before the nearest spelling. Empty if none
  /// comes near.
  std::string nearest_key(const std::string& key) const {
    std::vector<std::string> keys, same_name;
    for (const auto& option : options) {
      keys.push_back(option.key);
      if (name_of(option.key) == name_of(key)) same_name.push_back(option.key);
    }
    if (!same_name.empty()) return nearest(key, same_name);
    const std::string best = nearest(key, keys);
    return 2 * edit_distance(key, best) > static_cast<int64_t>(key.size()) ? "" : best;
  }

  [[noreturn]] void unknown(const std::string& key, const std::string& where) const {
    const std::string best = nearest_key(key.size() > 200 ? key.substr(0, 200) : key);
    fail(Fault::kUsage, "unknown key {}{}; {}", shown(key), where.empty() ? "" : " in " + where,
         best.empty() ? "`agon presets NAME --all` prints every key" : fmt::format("did you mean \"{}\"?", best));
  }

  /// The value in the canonical form of its key, or an error that says what was expected.
  json checked(const std::string& key, json value, const std::string& where) const {
    const json& model = find(key).preset;
    const auto& choices = option(key).choices;
    const std::string place = where.empty() ? "" : " (" + where + ")";
    const auto refuse = [&](const std::string& expected, const std::string& hint = "") {
      fail(Fault::kUsage, "{} is {}, expected {}{}{}", key, shown(value), expected, place, hint);
    };
    std::vector<std::string> words;
    for (const auto& choice : choices) words.push_back('"' + choice + '"');
    const std::string or_word = words.empty() ? "" : " or " + listed(words, "or");

    if (value.is_string() && !where.empty() &&
        !is_utf8(value.get<std::string>()))  // what a program sets is written nowhere
      refuse("a text in UTF-8; a file of another name may have a link to it");
    if (value.is_string() && !choices.empty()) {
      const auto text = value.get<std::string>();
      if (std::find(choices.begin(), choices.end(), text) != choices.end()) return value;
      if (model.is_string())
        refuse(listed(words, "or"), fmt::format("; did you mean \"{}\"?", nearest(text.substr(0, 200), choices)));
    }
    if (model.is_boolean() && !value.is_boolean()) refuse("true or false" + or_word);
    if (model.is_string() && !value.is_string()) refuse(choices.empty() ? "a text in quotes" : listed(words, "or"));
    if (model.is_array() && !value.is_array()) refuse("a list, [...]");
    if (model.is_object() && !value.is_object()) refuse("a table, {...}");
    if (model.is_number_integer()) {
      if (value.is_number_float()) {  // 5e4 is a handy way to write 50000
        const double number = value.get<double>();
        if (std::trunc(number) == number && std::abs(number) <= 0x1p53) return static_cast<int64_t>(number);
        if (std::isfinite(number) && std::abs(number) > 0x1p53)
          refuse("an integer of at most 9007199254740992" + or_word);
      }
      if (!value.is_number_integer()) refuse("an integer" + or_word);
    }
    if (model.is_number_float()) {
      if (!value.is_number()) refuse("a number" + or_word);
      const double number = value.get<double>();
      if (!std::isfinite(number)) refuse("a finite number" + or_word);
      return number;
    }
    return value;
  }

  void put(const std::string& key, json value, const std::string& where) {
    if (passed_over.contains(key)) return spdlog::warn("{} means nothing here and is passed over ({})", key, where);
    if (!values.contains(key)) unknown(key, where);
    json good = checked(key, std::move(value), where);
    Value& entry = values[key];
    entry.now = std::move(good), entry.set = true;
  }
};

Settings::Settings() : impl_(std::make_unique<Impl>()) {}
Settings::Settings(const Settings& other) : impl_(std::make_unique<Impl>(*other.impl_)) {}
Settings& Settings::operator=(const Settings& other) {
  if (this != &other) impl_ = std::make_unique<Impl>(*other.impl_);
  return *this;
}
Settings::Settings(Settings&&) noexcept = default;
Settings& Settings::operator=(Settings&&) noexcept = default;
Settings::~Settings() = default;

void Settings::declare(const std::vector<Option>& options) {
  for (const auto& option : options) {
    const json preset = parse_toml("value = " + option.value, "the default of " + option.key)["value"];
    if (const auto old = impl_->values.find(option.key); old != impl_->values.end()) {
      *std::find_if(impl_->options.begin(), impl_->options.end(), [&](auto& o) { return o.key == option.key; }) =
          option;
      old->second.preset = preset;
      if (old->second.set)
        old->second.now = impl_->checked(option.key, old->second.now, "");
      else
        old->second.now = preset;
    } else {
      impl_->options.push_back(option);
      impl_->values[option.key] = {preset, preset, false};
    }
  }
}

void Settings::pass_over(const std::vector<Option>& options) {
  for (const Option& option : options)
    if (!has(option.key)) impl_->passed_over.insert(option.key);
}

void Settings::read_toml(std::string_view text, const std::string& origin) {
  std::map<std::string, int> lines;
  const json table = parse_toml(text, origin, &lines);
  std::vector<std::string> sections;
  for (const auto& option : options()) sections.push_back(section_of(option.key));
  for (const auto& [section, keys] : table.items()) {
    const auto place = [&](const std::string& key) { return fmt::format("{} line {}", origin, lines[key]); };
    if (is_preset_note(section)) {
      if (!keys.is_string())
        fail(Fault::kUsage, "{} is {}, expected a text in quotes ({})", section, shown(keys), place(section));
      continue;
    }
    if (impl_->values.contains(section) || !keys.is_object()) {
      impl_->put(section, keys, place(section));
      continue;
    }
    if (keys.empty() && std::find(sections.begin(), sections.end(), section) == sections.end())
      fail(Fault::kUsage, "unknown section [{}] in {}; did you mean [{}]?", toml_key(section), place(section),
           nearest(section.substr(0, 200), sections));
    for (const auto& [name, value] : keys.items()) {
      const std::string key = section + "." + name;
      impl_->put(key, value, place(key));
    }
  }
}

void Settings::set(std::string_view assignment, const std::string& origin) {
  const auto equals = assignment.find('=');
  const std::string key = trimmed(assignment.substr(0, equals));
  if (equals == std::string_view::npos || key.empty())
    fail(Fault::kUsage, "{} expects key=value, found {}", origin, shown(std::string(assignment)));
  const std::string text = trimmed(assignment.substr(equals + 1));
  if (!has(key)) return impl_->put(key, text, origin);  // unknown, or passed over

  const bool quoted = !text.empty() && (text.front() == '"' || text.front() == '\'');
  if (impl_->find(key).preset.is_string() && !quoted) return impl_->put(key, text, origin);
  json value = text;  // a bare word, unless it is TOML
  try {
    const json table = parse_toml("value = " + text, origin + " " + key);
    if (table.size() == 1) value = table["value"];
  } catch (const Error&) {
    const json& preset = impl_->find(key).preset;
    if (quoted || preset.is_array() || preset.is_object()) throw;
  }
  impl_->put(key, std::move(value), origin);
}

void Settings::set_integer(const std::string& key, int64_t value) { impl_->put(key, value, ""); }
void Settings::set_text(const std::string& key, const std::string& value) { impl_->put(key, value, ""); }

bool Settings::flag(const std::string& key) const {
  const json& value = raw(key);
  if (!value.is_boolean()) fail(Fault::kUsage, "{} is {}, expected true or false", key, shown(value));
  return value.get<bool>();
}

int64_t Settings::integer(const std::string& key, int64_t least, int64_t most) const {
  const json& value = raw(key);
  if (!value.is_number_integer()) fail(Fault::kUsage, "{} is {}, expected an integer", key, shown(value));
  const auto number = value.get<int64_t>();
  if (number < least) fail(Fault::kUsage, "{} is {}, expected at least {}", key, number, least);
  if (number > most) fail(Fault::kUsage, "{} is {}, expected at most {}", key, number, most);
  return number;
}

double Settings::number(const std::string& key, double least, double most) const {
  const json& value = raw(key);
  if (!value.is_number()) fail(Fault::kUsage, "{} is {}, expected a number", key, shown(value));
  const auto number = value.get<double>();
  if (!(number >= least)) fail(Fault::kUsage, "{} is {}, expected at least {}", key, number, least);
  if (!(number <= most)) fail(Fault::kUsage, "{} is {}, expected at most {}", key, number, most);
  return number;
}

std::string Settings::text(const std::string& key) const {
  const json& value = raw(key);
  if (!value.is_string()) fail(Fault::kUsage, "{} is {}, expected a text", key, shown(value));
  return value.get<std::string>();
}

bool Settings::is_text(const std::string& key) const { return raw(key).is_string(); }
const json& Settings::raw(const std::string& key) const { return impl_->find(key).now; }
bool Settings::has(const std::string& key) const { return impl_->values.contains(key); }
bool Settings::is_default(const std::string& key) const {
  const auto& value = impl_->find(key);
  return value.now == value.preset;
}
const std::vector<Settings::Option>& Settings::options() const { return impl_->options; }

std::string Settings::to_toml(bool with_meanings) const {
  std::vector<std::string> sections;
  for (const auto& option : options()) {
    const std::string section = section_of(option.key);
    if (std::find(sections.begin(), sections.end(), section) == sections.end()) sections.push_back(section);
  }
  std::stable_partition(sections.begin(), sections.end(), [](const std::string& s) { return s.empty(); });
  std::string text;
  for (const auto& section : sections) {
    if (!text.empty()) text += '\n';
    if (!section.empty()) text += fmt::format("[{}]\n", toml_key(section));
    for (const auto& option : options()) {
      if (section_of(option.key) != section) continue;
      if (with_meanings) {
        text += "# " + option.meaning;
        if (!option.choices.empty()) text += " (" + listed(option.choices, "or") + ")";
        text += '\n';
      }
      text += toml_key(name_of(option.key)) + " = " + to_toml_lines(raw(option.key)) + "\n";
    }
  }
  return text;
}

json Settings::to_json() const {
  json object = json::object();
  for (const auto& option : options()) {
    const std::string section = section_of(option.key);
    (section.empty() ? object : object[section])[name_of(option.key)] = raw(option.key);
  }
  return object;
}

}  // namespace agon
