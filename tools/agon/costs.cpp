#include "tools/agon/costs.h"

#include <nlohmann/json.hpp>

#include "tools/agon/format.h"

namespace agon::cli {

using nlohmann::json;

double total_bytes(const json& summary) {
  double bytes = 0;
  const json traffic = summary.value("traffic", json::object());
  for (const auto& [kind, entry] : traffic.items()) bytes += entry.value("bytes", 0.0);
  return bytes;
}

std::optional<double> cost_of(const json& summary, const std::string& name) {
  if (name == "bytes") return total_bytes(summary);
  if (name == "generator_flops_at_worker") {
    const json flops = summary.value("flops", json::object());
    if (!flops.contains("generator_at_worker_per_iteration")) return std::nullopt;
    return flops["generator_at_worker_per_iteration"].get<double>() * summary.value("iterations", 0.0);
  }
  if (!summary.contains(name)) return std::nullopt;
  return summary[name].get<double>();
}

std::string shown_cost(const std::string& name, double value) {
  if (name.ends_with("bytes")) return mebibytes(value);
  return name.starts_with("generator_flops") ? count_of_flops(value) : significant(value);
}

}  // namespace agon::cli
