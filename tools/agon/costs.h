#pragma once

// What a run cost, as tables of several runs show it.

#include <array>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>

namespace agon::cli {

/// seconds_training and, apart from them, seconds_evaluating, measured; seconds_simulated, on the machines and links of
/// network.*; bytes, of all messages; worker_bytes, received and sent by the worker that moved most;
/// generator_flops_at_worker, of the whole run.
inline constexpr std::array kCosts = {"seconds_training", "seconds_evaluating",       "seconds_simulated", "bytes",
                                      "worker_bytes",     "generator_flops_at_worker"};

/// One of kCosts from a summary.json; nothing if the run does not tell.
std::optional<double> cost_of(const nlohmann::json& summary, const std::string& name);
/// With its unit.
std::string shown_cost(const std::string& name, double value);
/// Bytes of all kinds in the traffic of a summary.json.
double total_bytes(const nlohmann::json& summary);

}  // namespace agon::cli
