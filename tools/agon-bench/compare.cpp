// Two runs of the microbenchmarks, row by row.
#include <fmt/format.h>

#include <algorithm>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>

#include "kernels/error.h"
#include "tools/agon-bench/bench.h"

namespace agon::bench {
namespace {

/// Microseconds of each row, the best of its repetitions.
std::map<std::string, double> times(const std::string& path) {
  std::ifstream file(path);
  if (!file) fail(Fault::kData, "there is no file {}; agon-bench --benchmark_out={} writes one", path, path);
  std::map<std::string, double> rows;
  try {
    const nlohmann::json json = nlohmann::json::parse(file);
    for (const auto& row : json.at("benchmarks")) {
      if (row.contains("error_occurred") || row.value("run_type", "iteration") != "iteration") continue;
      const std::string name = row.at("run_name");
      const double time = row.at("real_time");
      const auto [place, fresh] = rows.emplace(name, time);
      if (!fresh) place->second = std::min(place->second, time);
    }
  } catch (const nlohmann::json::exception&) {
    fail(Fault::kData, "expected JSON in {} as agon-bench --benchmark_out writes it, found something else", path);
  }
  return rows;
}

}  // namespace

int compare(const std::string& before, const std::string& after, double percent) {
  const auto old_times = times(before), new_times = times(after);
  struct Change {
    double factor;
    std::string name;
  };
  std::vector<Change> changes;
  int common = 0;
  for (const auto& [name, time] : new_times)
    if (const auto old = old_times.find(name); old != old_times.end()) {
      ++common;
      const double factor = time / old->second;
      if (factor > 1 + percent / 100 || factor < 1 / (1 + percent / 100)) changes.push_back({factor, name});
    }
  if (common == 0) fail(Fault::kData, "{} and {} have no row in common", before, after);
  std::sort(changes.begin(), changes.end(), [](const Change& a, const Change& b) { return a.factor > b.factor; });
  int slower = 0;
  for (const auto& [factor, name] : changes) {
    slower += factor > 1;
    fmt::print("{:>7.2f} x {}  {:.1f} us, was {:.1f}  {}\n", factor > 1 ? factor : 1 / factor,
               factor > 1 ? "slower" : "faster", new_times.at(name), old_times.at(name), name);
  }
  fmt::print("{} rows in common: {} slower by more than {}%, {} faster\n", common, slower, percent,
             static_cast<int>(changes.size()) - slower);
  return slower;
}

}  // namespace agon::bench
