// agon compare: runs beside each other: what differs in their settings, and what came out.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <memory>

#include "algorithms/run_folder.h"
#include "engine/text.h"
#include "kernels/error.h"
#include "tools/agon/commands.h"
#include "tools/agon/costs.h"
#include "tools/agon/format.h"
#include "tools/agon/record.h"
#include "tools/agon/report_page.h"
#include "tools/agon/sources.h"

namespace agon::cli {
namespace {

using nlohmann::json;

struct ComparedRun {
  std::string label;
  json settings, summary;
};

ComparedRun read_compared(const std::string& path) {
  const RunRecord record = read_record(path);
  if (!record.summary) fail(Fault::kData, "{} holds no summary.json: the run has not ended yet", path);
  return {path, settings_of_run(path).to_json(), *record.summary};
}

/// Scores that are single numbers, in the order of the first run that has them.
std::vector<std::string> score_names(const std::vector<ComparedRun>& runs) {
  std::vector<std::string> names;
  for (const ComparedRun& run : runs) {
    const json scores = run.summary.value("scores", json::object());
    for (const auto& [name, value] : scores.items())
      if (value.is_number() && std::find(names.begin(), names.end(), name) == names.end()) names.push_back(name);
  }
  return names;
}

/// What came out: every row a name and a JSON value for each run (null where it has none).
std::vector<std::pair<std::string, std::vector<json>>> results(const std::vector<ComparedRun>& runs) {
  std::vector<std::pair<std::string, std::vector<json>>> rows;
  const auto add = [&](const std::string& name, const auto& value_of) {
    rows.emplace_back(name, std::vector<json>{});
    for (const ComparedRun& run : runs) rows.back().second.push_back(value_of(run.summary));
  };
  for (const std::string& name : score_names(runs))
    add(name, [&](const json& summary) { return summary.value("scores", json::object()).value(name, json()); });
  for (const char* name : {"iterations", "iterations_per_second"})
    add(name, [&](const json& summary) { return summary.value(name, json()); });
  for (const char* name : kCosts)
    add(name, [&](const json& summary) {
      const std::optional<double> cost = cost_of(summary, name);
      return cost ? json(*cost) : json();
    });
  add("weights_hash", [](const json& summary) { return summary.value("weights_hash", json()); });
  return rows;
}

std::string shown(const std::string& name, const json& value) {
  if (value.is_number_integer()) return grouped(value.get<int64_t>());
  if (value.is_number()) return shown_cost(name, value.get<double>());
  return value.is_string() ? value.get<std::string>() : "–";
}

void compare(const std::vector<std::string>& paths, bool as_json) {
  std::vector<ComparedRun> runs;
  std::vector<json> settings;
  for (const std::string& path : paths) runs.push_back(read_compared(path));
  for (const ComparedRun& run : runs) settings.push_back(run.settings);
  const auto differing = differing_settings(settings);
  const auto values = results(runs);
  if (as_json) {
    json list = json::array();
    for (size_t i = 0; i < runs.size(); ++i) {
      list.push_back({{"run", runs[i].label}, {"settings", json::object()}, {"traffic", runs[i].summary["traffic"]}});
      for (const auto& [key, row] : differing) {
        const size_t dot = key.find('.');
        const json section = runs[i].settings.value(key.substr(0, dot), json::object());
        list.back()["settings"][key] = section.value(key.substr(dot + 1), json());
      }
      for (const auto& [name, row] : values) list.back()[name] = row[i];
    }
    fmt::print("{}\n", json_text(list));
    return;
  }
  std::vector<std::vector<std::string>> rows{{""}};
  for (const ComparedRun& run : runs) rows[0].push_back(run.label);
  for (const auto& [key, row] : differing) {
    rows.push_back({key});
    rows.back().insert(rows.back().end(), row.begin(), row.end());
  }
  for (const auto& [name, row] : values) {
    rows.push_back({name});
    for (const json& value : row) rows.back().push_back(shown(name, value));
  }
  fmt::print("{}", aligned_table(rows));
}

}  // namespace

void add_compare(CLI::App& program) {
  struct Arguments {
    std::vector<std::string> runs;
    bool json = false;
  };
  const auto arguments = std::make_shared<Arguments>();
  CLI::App* command = program.add_subcommand("compare", "Settings that differ, scores, traffic and seconds of runs");
  command->add_option("RUN", arguments->runs, "Run folders")->required();
  command->add_flag("--json", arguments->json, "As JSON on one line");
  command->footer("Example:\n  agon compare runs/md-gan-mnist-mlp-1 runs/fl-gan-mnist-mlp-1");
  command->callback([arguments] { compare(arguments->runs, arguments->json); });
}

}  // namespace agon::cli
