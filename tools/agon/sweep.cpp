// agon sweep: a grid of settings and seeds, run one after the other, and what came out.
#include "tools/agon/sweep.h"

#include <CLI/CLI.hpp>
#include <filesystem>
#include <memory>
#include <optional>

#include "algorithms/presets.h"
#include "datasets/synthetic.h"
#include "engine/files.h"
#include "engine/text.h"
#include "kernels/error.h"
#include "tools/agon/commands.h"
#include "tools/agon/record.h"
#include "tools/agon/sources.h"
#include "tools/agon/training.h"

namespace agon::cli {
namespace {

using nlohmann::json;
namespace fs = std::filesystem;

struct SweepArguments {
  std::string source, data, out;
  std::vector<std::string> assignments;
  bool json = false, quiet = false, plan = false;
};

/// A sweep file, or a built-in sweep by name.
Sweep open_sweep(const std::string& name, const std::vector<std::string>& sets) {
  const bool is_file = fs::path(name).extension() == ".toml" || fs::exists(name);
  if (is_file && !fs::is_regular_file(name)) fail(Fault::kUsage, "there is no sweep file {}", name);
  Sweep sweep =
      is_file ? read_sweep(read_text(name), name, sets) : read_sweep(sweep_preset(name).toml, "sweep " + name, sets);
  sweep.name = fs::path(name).stem().string();
  return sweep;
}

/// The data of the runs, which mostly share them: read again only when another set is named.
class SharedData {
 public:
  const DataSource& of(const Settings& settings) {
    const std::string key = settings.text("data.path") + "\n" + std::to_string(settings.integer("run.seed"));
    const bool seeded = is_synthetic(settings.text("data.path"));
    const std::string wanted = seeded ? key : settings.text("data.path");
    if (!data_ || wanted != key_) data_ = open_data(settings), key_ = wanted;
    return *data_;
  }

 private:
  std::string key_;
  std::optional<DataSource> data_;
};

/// The summary of a run that has ended already; nothing for one that has not.
std::optional<json> finished_summary(const std::string& folder, const Settings& settings) {
  check_summary(folder);
  if (folder_state(folder) == FolderState::kEmpty) return std::nullopt;
  if (folder_state(folder) == FolderState::kForeign)
    fail(Fault::kUsage, "{} holds other things than a run; give the sweep another folder with --out", folder);
  if (settings_of_run(folder).to_toml() != settings.to_toml())
    fail(Fault::kUsage, "{} holds a run of other settings than the sweep now asks for; give another folder with --out",
         folder);
  if (folder_state(folder) != FolderState::kFinished) return std::nullopt;
  return read_summary(folder);
}

void sweep(SweepArguments arguments) {
  std::vector<std::string> sets = arguments.assignments;
  if (!arguments.data.empty()) sets.push_back("data.path=" + arguments.data);
  const Sweep sweep = open_sweep(arguments.source, sets);
  if (arguments.out.empty()) arguments.out = "runs/" + sweep.name;

  // Everything is checked before anything runs.
  std::vector<Settings> settings;
  for (const SweepRun& run : sweep.runs) {
    const SettingsSource source = settings_source(run.preset);
    settings.push_back(resolve_settings(source.text, source.origin, run.assignments));
    locate_data(settings.back());
  }
  if (arguments.plan) {
    for (const SweepRun& run : sweep.runs) fmt::print("{}\n", run.name);
    return;
  }
  catch_signals();
  SharedData data;
  std::vector<json> summaries;
  for (size_t i = 0; i < sweep.runs.size(); ++i) {
    const std::string folder = arguments.out + "/" + sweep.runs[i].name;
    std::optional<json> summary = finished_summary(folder, settings[i]);
    if (!arguments.quiet)
      fmt::print(stderr, "run {} of {}: {}{}\n", i + 1, sweep.runs.size(), sweep.runs[i].name,
                 summary ? ", done before" : "");
    if (!summary) {
      const bool resumes = folder_state(folder) == FolderState::kUnfinished;
      const Summary result = train_into(folder, settings[i], data.of(settings[i]), resumes, arguments.quiet);
      if (result.interrupted) {
        fmt::print(stderr, "interrupted with a checkpoint; the same command goes on\n");
        return;
      }
      summary = result.to_json();
    }
    summaries.push_back(std::move(*summary));
  }

  const std::vector<SweepPoint> points = sweep_points(sweep, summaries);
  write_atomically(arguments.out + "/sweep.csv", sweep_csv(points));
  write_atomically(arguments.out + "/sweep.html", sweep_page(sweep, points));
  if (!arguments.quiet) fmt::print(stderr, "written {0}/sweep.csv and {0}/sweep.html\n", arguments.out);
  if (arguments.json) {
    fmt::print("{}\n", json_text({{"points", sweep_json(points)}, {"failures", failure_points(sweep, points)}}));
    return;
  }
  fmt::print("{}", sweep_table(points));
  for (const std::string& sentence : failure_points(sweep, points)) fmt::print("{}\n", sentence);
}

}  // namespace

void add_sweep(CLI::App& program) {
  const auto arguments = std::make_shared<SweepArguments>();
  CLI::App* command = program.add_subcommand("sweep", "The same experiment over a grid of settings and seeds");
  std::string names;
  for (const Preset& preset : sweep_presets()) names += fmt::format("  {:<16}{}\n", preset.name, preset.about);
  command->add_option("FILE.toml|SWEEP", arguments->source, "A sweep file, or a built-in sweep")->required();
  command->add_option("--set", arguments->assignments, "Sets one key of all runs; repeatable")
      ->allow_extra_args(false)
      ->type_name("KEY=VALUE");
  command->add_option("--data", arguments->data, "The data of all runs")->type_name("PATH|NAME");
  command->add_option("--out", arguments->out, "Folder of the run folders (default: runs/<sweep>)")->type_name("DIR");
  command->add_flag("--plan", arguments->plan, "Only list the runs");
  command->add_flag("--json", arguments->json, "Print means and deviations as the last line of stdout");
  command->add_flag("--quiet", arguments->quiet, "No progress");
  command->footer("Built-in sweeps:\n" + names +
                  "A sweep file:\n"
                  "  base  = \"md-gan-mnist-mlp\"            or a list of presets\n"
                  "  seeds = [1, 2, 3]\n"
                  "  set   = {run.iterations = 2000}       what all runs have in common\n"
                  "  set_for = {quickstart = {...}}        what those of one base have\n"
                  "  grid  = {data.skew = [0, 50, 100], algorithm.kappa = [1, \"log\"]}\n"
                  "  plot  = {x = \"data.skew\", score = \"ms\", fails_below = 0.9}\n"
                  "A sweep that was stopped or killed goes on when the same command is given again.");
  command->callback([arguments] { sweep(*arguments); });
}

}  // namespace agon::cli
