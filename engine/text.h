#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json_fwd.hpp>

namespace agon {

/// Number of single-character insertions, deletions, replacements and neighbour swaps that turn `a` into `b`.
int64_t edit_distance(std::string_view a, std::string_view b);

/// The candidate that a user most likely meant by `name`; empty when there are no candidates.
std::string nearest(std::string_view name, const std::vector<std::string>& candidates);

/// "a, b and c": for sentences that list what would have been valid.
std::string listed(const std::vector<std::string>& items, std::string_view last_word = "and");

/// As TOML and JSON have to be; names of files may be anything.
bool is_utf8(const std::string& text);
/// JSON on one line. Names of files need not be UTF-8, which JSON is: what is not becomes U+FFFD.
std::string json_text(const nlohmann::json& value);
/// A text as it comes back from JSON.
std::string utf8_text(const std::string& text);

}  // namespace agon
