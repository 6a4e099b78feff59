// TOML to JSON through toml++, and back; bounded for texts that mean harm.
#include "engine/toml.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <stdexcept>

// toml++ 3.3 has assertions that malformed texts reach ("[%"), and without assertions it reads on past them. Here they
// become exceptions, in release builds too.
[[noreturn]] static void parser_is_lost(const char* why) { throw std::invalid_argument(why); }
#undef NDEBUG
#define TOML_ASSERT(expression) (static_cast<bool>(expression) ? void() : parser_is_lost(#expression))
#include <toml++/toml.h>

#include "kernels/error.h"

namespace agon {
namespace {

using nlohmann::json;

// What a hostile text may cost: toml++ turns every part of a dotted key into a level of recursion.
constexpr size_t kMostBytes = 256 * 1024;
constexpr int kMostDotsInKey = 64;
constexpr int kMostNesting = 32;

// ---- TOML -> JSON ---------------------------------------------------------------------------------------------------

/// Walks a parsed text; `key` is the path of the node, in which only the first two levels are named.
class Reader {
 public:
  Reader(const std::string& origin, std::map<std::string, int>* lines) : origin_(origin), lines_(lines) {}

  json read(const toml::node& node, const std::string& key, int depth) const {
    const auto line = static_cast<int>(node.source().begin.line);
    if (depth > kMostNesting)
      fail(Fault::kUsage, "{} is nested more than {} deep ({} line {})", key, kMostNesting, origin_, line);
    if (lines_ && (depth == 1 || depth == 2)) lines_->emplace(key, line);
    if (const auto* text = node.as_string()) return text->get();
    if (const auto* value = node.as_integer()) return value->get();
    if (const auto* value = node.as_floating_point()) return value->get();
    if (const auto* value = node.as_boolean()) return value->get();
    if (const auto* array = node.as_array()) {
      json list = json::array();
      for (const auto& item : *array) list.push_back(read(item, key, std::max(depth + 1, 3)));
      return list;
    }
    if (const auto* table = node.as_table()) {
      json object = json::object();
      for (const auto& [part, item] : *table) {
        const std::string name(part.str());
        object[name] = read(item, depth == 0 ? name : depth == 1 ? key + "." + name : key, depth + 1);
      }
      return object;
    }
    fail(Fault::kUsage, "{} is a date or a time, which no key of agon takes ({} line {})", key, origin_, line);
  }

 private:
  const std::string& origin_;
  std::map<std::string, int>* lines_;
};

/// The position after the string that starts at `at`; strings that do not end are left to the parser.
size_t after_string(std::string_view text, size_t at) {
  const char quote = text[at];
  const bool lines = text.substr(at, 3) == std::string(3, quote);  // """ and ''' go over several lines
  for (size_t i = at + (lines ? 3 : 1); i < text.size(); ++i) {
    if (text[i] == '\\' && quote == '"') {
      ++i;
    } else if (!lines && (text[i] == quote || text[i] == '\n')) {
      return i + 1;
    } else if (lines && text.substr(i, 3) == std::string(3, quote)) {
      i += 3;
      while (i < text.size() && text[i] == quote) ++i;  // up to two more belong to the string
      return i;
    }
  }
  return text.size();
}

/// Refuses what toml++ 3.3 cannot cope with: keys of very many dotted parts (each a level of recursion) and non-ASCII
/// characters outside strings and comments (TOML 1.0 has none, toml++ takes some for what cannot happen).
void check_bounds(std::string_view text, const std::string& origin) {
  if (text.size() > kMostBytes)
    fail(Fault::kUsage, "{} has {} bytes, expected settings of at most {}", origin, text.size(), kMostBytes);
  const auto line = [&](size_t at) { return 1 + std::count(text.begin(), text.begin() + at, '\n'); };
  int dots = 0;
  for (size_t i = text.starts_with("\xef\xbb\xbf") ? 3 : 0; i < text.size();) {
    const char c = text[i];
    if (c == '#') {
      i = std::min(text.find('\n', i), text.size());
      continue;
    }
    if (c == '"' || c == '\'') {
      i = after_string(text, i);
      continue;
    }
    if (static_cast<unsigned char>(c) >= 0x80)
      fail(Fault::kUsage,
           "{} line {} is not valid TOML: only texts in quotes and comments may hold other than ASCII characters",
           origin, line(i));
    if (c == '\n' || c == ',' || c == '=' || c == '{' || c == '[') dots = 0;
    if (c == '.' && ++dots > kMostDotsInKey)
      fail(Fault::kUsage, "{} line {} has a key of more than {} parts, expected section.name", origin, line(i),
           kMostDotsInKey);
    ++i;
  }
}

// ---- JSON -> TOML ---------------------------------------------------------------------------------------------------

std::string toml_string(const std::string& text) {
  std::string quoted = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') {
      quoted += '\\', quoted += c;
    } else if (c == '\n') {
      quoted += "\\n";
    } else if (c == '\t') {
      quoted += "\\t";
    } else if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) {
      quoted += fmt::format("\\u{:04X}", static_cast<unsigned char>(c));
    } else {
      quoted += c;
    }
  }
  return quoted + '"';
}

std::string toml_number(double value) {
  std::string digits = fmt::format("{}", value);  // the shortest that reads back to the same bits
  if (digits.find_first_of(".en") == std::string::npos) digits += ".0";
  return digits;
}

}  // namespace

json parse_toml(std::string_view text, const std::string& origin, std::map<std::string, int>* lines) {
  check_bounds(text, origin);
  try {
    return Reader(origin, lines).read(toml::parse(text, origin), "", 0);
  } catch (const toml::parse_error& error) {
    fail(Fault::kUsage, "{} line {}, column {} is not valid TOML: {}", origin, error.source().begin.line,
         error.source().begin.column, error.description());
  } catch (const std::invalid_argument&) {
    fail(Fault::kUsage, "{} is not valid TOML: a bracket or quote is left open, in a place that its parser cannot name",
         origin);
  }
}

std::string toml_key(const std::string& key) {
  const bool bare =
      !key.empty() &&
      key.find_first_not_of("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-") == std::string::npos;
  return bare ? key : toml_string(key);
}

std::string to_toml(const json& value) {
  if (value.is_string()) return toml_string(value.get<std::string>());
  if (value.is_boolean()) return value.get<bool>() ? "true" : "false";
  if (value.is_number_float()) return toml_number(value.get<double>());
  if (value.is_number()) return fmt::format("{}", value.get<int64_t>());
  std::string inside;
  if (value.is_array()) {
    for (const auto& item : value) inside += (inside.empty() ? "" : ", ") + to_toml(item);
    return "[" + inside + "]";
  }
  for (const auto& [key, item] : value.items())
    inside += (inside.empty() ? "" : ", ") + toml_key(key) + " = " + to_toml(item);
  return inside.empty() ? "{}" : "{ " + inside + " }";
}

}  // namespace agon
