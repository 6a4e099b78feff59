#pragma once

#include <map>
#include <string>
#include <string_view>

#include <nlohmann/json_fwd.hpp>

namespace agon {

/// The contents of a TOML text as JSON, and where its keys stand: lines of "section" and "section.key", from 1.
/// Integers become int64, other numbers double.
nlohmann::json parse_toml(std::string_view text, const std::string& origin,
                          std::map<std::string, int>* lines = nullptr);

/// One JSON value as TOML, on one line; numbers read back to the same bits.
std::string to_toml(const nlohmann::json& value);
/// A key, quoted if it has to be.
std::string toml_key(const std::string& key);

}  // namespace agon
