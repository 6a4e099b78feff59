#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json_fwd.hpp>

namespace agon {

/// The configuration of a run: every key that a user may set, with its default, its meaning and its present value.
///
/// Keys are "section.name" ("algorithm.kappa"). A key exists because some part of agon declared it; setting another
/// one is an error that names the nearest key. Values come, in this order, from the declared defaults, a TOML file
/// (or preset) and `--set key=value`.
class Settings {
 public:
  struct Option {
    std::string key;
    std::string value;    ///< default, as it would stand in TOML: `10`, `2e-4`, `"iid"`, `true`, `[]`; gives the type
    std::string meaning;  ///< one line for the user
    /// The allowed words, if it is a choice; a numeric key with choices takes a number or one of these words.
    std::vector<std::string> choices = {};
  };

  Settings();
  Settings(const Settings&);
  Settings& operator=(const Settings&);
  Settings(Settings&&) noexcept;
  Settings& operator=(Settings&&) noexcept;
  ~Settings();

  /// Adds keys; declaring a key again replaces its default and meaning (an algorithm may have its own default).
  void declare(const std::vector<Option>& options);

  /// Keys that may be given, but mean nothing here: they are passed over with a warning (a key of another algorithm).
  void pass_over(const std::vector<Option>& options);

  /// Takes the values of a TOML text. `origin` (a file name) stands in error messages, with line numbers.
  void read_toml(std::string_view text, const std::string& origin);
  /// Takes one `key=value` of the command line, or of another `origin`; the value is TOML, or a bare word for a string.
  void set(std::string_view assignment, const std::string& origin = "--set");
  void set_integer(const std::string& key, int64_t value);
  void set_text(const std::string& key, const std::string& value);

  bool flag(const std::string& key) const;
  /// The number, checked against the bounds: "algorithm.batch is 0, expected at least 1".
  int64_t integer(const std::string& key, int64_t least = INT64_MIN, int64_t most = INT64_MAX) const;
  double number(const std::string& key, double least = -1e300, double most = 1e300) const;
  std::string text(const std::string& key) const;
  bool is_text(const std::string& key) const;
  const nlohmann::json& raw(const std::string& key) const;  ///< lists and tables (generator.layers)
  bool has(const std::string& key) const;                   ///< declared
  bool is_default(const std::string& key) const;
  const std::vector<Option>& options() const;  ///< everything declared, in order

  std::string to_toml(bool with_meanings = false) const;  ///< fully resolved; reads back to the same settings
  nlohmann::json to_json() const;                         ///< {"run": {"seed": 1, ...}, ...}

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace agon
