// Small helpers for the sentences that agon says to its users.
#include "engine/text.h"

#include <algorithm>
#include <nlohmann/json.hpp>

namespace agon {

int64_t edit_distance(std::string_view a, std::string_view b) {
  // Damerau's distance with adjacent swaps; only the last three rows of its table are alive at any time.
  std::vector<int64_t> two_above(b.size() + 1), above(b.size() + 1), row(b.size() + 1);
  for (size_t j = 0; j <= b.size(); ++j) row[j] = static_cast<int64_t>(j);
  for (size_t i = 1; i <= a.size(); ++i) {
    two_above.swap(above);
    above.swap(row);
    row[0] = static_cast<int64_t>(i);
    for (size_t j = 1; j <= b.size(); ++j) {
      row[j] = std::min({above[j] + 1, row[j - 1] + 1, above[j - 1] + (a[i - 1] != b[j - 1])});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
        row[j] = std::min(row[j], two_above[j - 2] + 1);
    }
  }
  return row[b.size()];
}

std::string nearest(std::string_view name, const std::vector<std::string>& candidates) {
  const auto best = std::min_element(candidates.begin(), candidates.end(), [&](const auto& a, const auto& b) {
    return edit_distance(name, a) < edit_distance(name, b);
  });
  return best == candidates.end() ? std::string() : *best;
}

std::string listed(const std::vector<std::string>& items, std::string_view last_word) {
  std::string sentence;
  for (size_t i = 0; i < items.size(); ++i) {
    if (i > 0) sentence += i + 1 == items.size() ? " " + std::string(last_word) + " " : ", ";
    sentence += items[i];
  }
  return sentence;
}

bool is_utf8(const std::string& text) {
  try {
    (void)nlohmann::json(text).dump();
    return true;
  } catch (const nlohmann::json::type_error&) {
    return false;
  }
}

std::string json_text(const nlohmann::json& value) {
  return value.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

std::string utf8_text(const std::string& text) { return nlohmann::json::parse(json_text(text)).get<std::string>(); }

}  // namespace agon
