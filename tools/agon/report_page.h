#pragma once

#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "algorithms/run_folder.h"

namespace agon::cli {

/// A run of the report, with its plan for as many iterations as it made.
struct ReportedRun {
  RunRecord record;
  std::string label;        ///< unique among the runs
  nlohmann::json settings;  ///< resolved, {"run": {"seed": 1, ...}, ...}
  nlohmann::json plan;      ///< null when it cannot be made; then `plan_note` says why
  std::string plan_note;
};

/// Keys whose values differ between runs, each with its value in every run (of a key that a run does not know, "–").
std::vector<std::pair<std::string, std::vector<std::string>>> differing_settings(
    const std::vector<nlohmann::json>& settings);

/// A page in agon's style: its title, and what is below it.
std::string html_page(const std::string& title, const std::string& body);

/// A page of its own: curves as inline SVG, pictures inside, no scripts, light or dark as the reader's system is.
std::string report_page(const std::vector<ReportedRun>& runs);

}  // namespace agon::cli
