// Sweep files: read, checked, and expanded into runs.
#include <algorithm>
#include <map>
#include <set>

#include "engine/text.h"
#include "engine/toml.h"
#include "kernels/error.h"
#include "tools/agon/sweep.h"

namespace agon::cli {
namespace {

using nlohmann::json;
using Pairs = std::vector<std::pair<std::string, json>>;

/// Tables within tables as dotted keys: [grid.data] skew = ... and data.skew = ... are the same.
void flatten(const json& table, const std::string& prefix, Pairs& pairs) {
  for (const auto& [key, value] : table.items()) {
    const std::string name = prefix.empty() ? key : prefix + "." + key;
    if (value.is_object())
      flatten(value, name, pairs);
    else
      pairs.emplace_back(name, value);
  }
}

Pairs section(const json& file, const std::string& name, const std::string& origin) {
  Pairs pairs;
  const auto found = file.find(name);
  if (found == file.end()) return pairs;
  if (!found->is_object()) fail(Fault::kUsage, "{} is {} in {}, expected a table", name, to_toml(*found), origin);
  flatten(*found, "", pairs);
  return pairs;
}

std::string text_of(const json& file, const std::string& key, const std::string& origin) {
  const json value = file.value(json::json_pointer("/" + key), json());
  if (value.is_null()) return "";
  if (!value.is_string()) fail(Fault::kUsage, "{} is {} in {}, expected a text", key, to_toml(value), origin);
  return value.get<std::string>();
}

/// A value as --set takes it: TOML, but a text without quotes.
std::string assigned(const json& value) { return value.is_string() ? value.get<std::string>() : to_toml(value); }

void append(std::vector<std::string>& list, const std::vector<std::string>& more) {
  list.insert(list.end(), more.begin(), more.end());
}

/// Of a folder: only what every file system takes.
std::string as_name(const std::string& text) {
  std::string name;
  for (const char c : text) name += std::isalnum(static_cast<unsigned char>(c)) || c == '.' || c == '-' ? c : '-';
  return name.substr(0, 60);
}

/// Two runs of the same would count as two.
void refuse_twins(const json& values, const std::string& key, const std::string& origin) {
  for (size_t i = 0; i < values.size(); ++i)
    for (size_t j = 0; j < i; ++j)
      if (values[i] == values[j] || assigned(values[i]) == assigned(values[j]))
        fail(Fault::kUsage, "{} has {} twice in {}", key, to_toml(values[i]), origin);
}

std::vector<int64_t> read_seeds(const json& file, const std::string& origin) {
  std::vector<int64_t> seeds;
  const json given = file.value("seeds", json(1));
  for (const json& seed : given.is_array() ? given : json::array({given})) {
    if (!seed.is_number_integer() || seed.get<int64_t>() < 0)
      fail(Fault::kUsage, "seeds is {} in {}, expected whole numbers from 0", to_toml(given), origin);
    seeds.push_back(seed.get<int64_t>());
  }
  refuse_twins(seeds, "seeds", origin);
  if (seeds.empty()) fail(Fault::kUsage, "seeds is empty in {}, expected at least one", origin);
  return seeds;
}

std::vector<std::string> read_bases(const json& file, const std::string& origin) {
  const json given = file.value("base", json());
  std::vector<std::string> bases;
  if (!given.is_null())
    for (const json& base : given.is_array() ? given : json::array({given}))
      if (base.is_string()) bases.push_back(base.get<std::string>());
  if (bases.empty() || (given.is_array() && bases.size() != given.size()))
    fail(Fault::kUsage, "{} needs base = \"PRESET\" (or a TOML file, or a list of them), found {}", origin,
         given.is_null() ? "none" : to_toml(given));
  refuse_twins(bases, "base", origin);
  return bases;
}

/// Assignments of [set_for.BASE], by base.
std::map<std::string, std::vector<std::string>> read_set_for(const json& file, const std::vector<std::string>& bases,
                                                             const std::string& origin) {
  std::map<std::string, std::vector<std::string>> assignments;
  const json tables = file.value("set_for", json::object());
  if (!tables.is_object())
    fail(Fault::kUsage, "set_for is {} in {}, expected [set_for.BASE] with settings", to_toml(tables), origin);
  for (const auto& [base, table] : tables.items()) {
    if (std::find(bases.begin(), bases.end(), base) == bases.end())
      fail(Fault::kUsage, "set_for.{} in {} is about no base of the sweep; did you mean \"{}\"?", toml_key(base),
           origin, nearest(base, bases));
    for (const auto& [key, value] : section(tables, base, origin))
      assignments[base].push_back(key + "=" + assigned(value));
  }
  return assignments;
}

void read_plot(const json& file, const std::string& origin, Sweep& sweep) {
  if (!file.contains("plot")) return;
  for (const auto& [key, value] : section(file, "plot", origin))
    if (key != "x" && key != "score" && key != "fails_below")
      fail(Fault::kUsage, "unknown key plot.{} in {}; did you mean \"plot.{}\"?", key, origin,
           nearest(key, {"x", "score", "fails_below"}));
  sweep.x = text_of(file, "plot/x", origin), sweep.score = text_of(file, "plot/score", origin);
  if (sweep.x.empty() || sweep.score.empty())
    fail(Fault::kUsage, "[plot] in {} needs x, a key of the grid, and score, such as \"ms\"", origin);
  const json below = file["plot"].value("fails_below", json(0.0));
  if (!below.is_number() || below.get<double>() < 0 || below.get<double>() > 1)
    fail(Fault::kUsage, "plot.fails_below is {} in {}, expected a number from 0 to 1", to_toml(below), origin);
  sweep.fails_below = below.get<double>();
}

}  // namespace

Sweep read_sweep(const std::string& toml, const std::string& origin, const std::vector<std::string>& sets) {
  const json file = parse_toml(toml, origin);
  const std::vector<std::string> known = {"about", "base", "seeds", "set", "set_for", "grid", "plot"};
  for (const auto& [key, value] : file.items())
    if (std::find(known.begin(), known.end(), key) == known.end())
      fail(Fault::kUsage, "unknown key {} in {}; did you mean \"{}\"? A sweep file has {}", toml_key(key), origin,
           nearest(key, known), listed(known));

  Sweep sweep{.name = {}, .origin = origin, .about = text_of(file, "about", origin), .runs = {}, .x = {}, .score = {}};
  read_plot(file, origin, sweep);
  const std::vector<std::string> bases = read_bases(file, origin);
  const std::vector<int64_t> seeds = read_seeds(file, origin);
  Pairs grid = section(file, "grid", origin);
  constexpr size_t kMostRuns = 10000;
  size_t count = bases.size() * seeds.size();
  for (const auto& [key, values] : grid) {
    if (key == "run.seed") fail(Fault::kUsage, "run.seed is in the grid of {}; give seeds = [...] instead", origin);
    if (!values.is_array() || values.empty())
      fail(Fault::kUsage, "grid.{} is {} in {}, expected a list of values", key, to_toml(values), origin);
    refuse_twins(values, "grid." + key, origin);
    count *= values.size();
    if (count > kMostRuns)
      fail(Fault::kUsage, "{} asks for more than {} runs; make its grid smaller", origin, kMostRuns);
  }
  if (bases.size() > 1) grid.insert(grid.begin(), {"base", json(bases)});
  if (!sweep.x.empty() && std::none_of(grid.begin(), grid.end(), [&](const auto& g) { return g.first == sweep.x; }))
    fail(Fault::kUsage, "plot.x is \"{}\" in {}, which is not in its grid", sweep.x, origin);

  std::vector<std::string> common;
  for (const auto& [key, value] : section(file, "set", origin)) common.push_back(key + "=" + assigned(value));
  const auto for_base = read_set_for(file, bases, origin);
  std::set<std::string> names;
  for (size_t index = 0; index < count / seeds.size(); ++index) {
    SweepRun run{.name = {}, .preset = bases.front(), .assignments = common, .at = {}};
    std::vector<std::string> chosen;
    size_t rest = index;
    for (auto key = grid.rbegin(); key != grid.rend(); ++key) {  // the last key turns fastest
      run.at.insert(run.at.begin(), {key->first, key->second[rest % key->second.size()]});
      rest /= key->second.size();
    }
    std::string name;
    for (const auto& [key, value] : run.at) {
      if (key == "base")
        run.preset = value.get<std::string>();
      else
        chosen.push_back(key + "=" + assigned(value));
      name += as_name(key.substr(key.rfind('.') + 1)) + "-" + as_name(assigned(value)) + "_";
    }
    if (const auto own = for_base.find(run.preset); own != for_base.end()) append(run.assignments, own->second);
    append(run.assignments, chosen);
    append(run.assignments, sets);
    for (const int64_t seed : seeds) {
      run.seed = seed;
      run.name = fmt::format("{}seed-{}", name, seed);  // names that are cut short may meet
      if (!names.insert(run.name).second) names.insert(run.name = fmt::format("{}point-{}_seed-{}", name, index, seed));
      sweep.runs.push_back(run);
      sweep.runs.back().assignments.push_back(fmt::format("run.seed={}", seed));
    }
  }
  return sweep;
}

}  // namespace agon::cli
