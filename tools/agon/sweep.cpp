// agon sweep: a grid of settings and seeds, run one after the other, and what came out.
#include "tools/agon/sweep.h"

#include <CLI/CLI.hpp>
#include <filesystem>
#include <memory>
#include <optional>

#include "algorithms/presets.h"
#include "datasets/synthetic.h"
#include "engine/comm/communicator.h"
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
  bool json = false, quiet = false, plan = false, retry = false;
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
    if (seed_of(settings) != seed_) data_.reset();
    return like(settings);
  }
  /// The same, but a built-in set may be of another seed.
  const DataSource& like(const Settings& settings) {
    const std::string path = settings.text("data.path");
    if (!data_ || path != path_) data_ = open_data(settings), path_ = path, seed_ = seed_of(settings);
    return *data_;
  }

 private:
  static int64_t seed_of(const Settings& settings) {
    return is_synthetic(settings.text("data.path")) ? settings.integer("run.seed") : 0;
  }

  std::string path_;
  int64_t seed_ = 0;
  std::optional<DataSource> data_;
};

/// Does something for a run; if that fails, the sentence says for which.
template <class Work>
void for_run(const Sweep& sweep, const SweepRun& run, Work&& work) {
  try {
    work();
  } catch (const Error& error) {
    if (communicator()->size() > 1) throw;  // they have words of their own
    throw Error(error.fault(), fmt::format("run {} of {}: {}", run.name, sweep.origin, error.what()));
  }
}

/// Checks a run as far as that can be done before it starts. A plan does with the shape of the data, or without.
void check_run(const Settings& settings, SharedData& data, bool plan) {
  try {
    check(settings, data.like(settings).train);
  } catch (const Error& error) {
    if (!plan || error.fault() != Fault::kData) throw;
    if (const auto shape = known_shape(settings.text("data.path"))) check(settings, *shape);
  }
}

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

/// Why a run did not end: kept in its folder, so that it is not tried again and again.
std::string failure_file(const std::string& folder) { return folder + "/failure.txt"; }

std::optional<std::string> failure_of(const std::string& folder) {
  return fs::exists(failure_file(folder)) ? std::optional(read_text(failure_file(folder))) : std::nullopt;
}

/// A run, and what has become of it.
struct SweptRun {
  const SweepRun& run;
  std::string folder;
  Settings settings;
  std::optional<json> summary;
  std::optional<std::string> failure;

  bool to_do() const { return !summary && !failure; }
};

/// Trains what is to do; a run that fails is left behind. False if the sweep is to stop.
bool train_all(const Sweep& sweep, std::vector<SweptRun>& runs, SharedData& data, bool quiet) {
  for (size_t i = 0; i < runs.size(); ++i) {
    SweptRun& swept = runs[i];
    if (!quiet)
      fmt::print(stderr, "run {} of {}: {}{}\n", i + 1, runs.size(), swept.run.name,
                 swept.summary   ? ", done before"
                 : swept.failure ? ", failed before"
                                 : "");
    if (!swept.to_do()) continue;
    bool interrupted = false;
    try {
      for_run(sweep, swept.run, [&] {
        fs::remove(failure_file(swept.folder));
        const bool resumes = folder_state(swept.folder) == FolderState::kUnfinished;
        const Summary result = train_into(swept.folder, swept.settings, data.of(swept.settings), resumes, quiet);
        interrupted = result.interrupted;
        swept.summary = result.to_json();
      });
    } catch (const Error& error) {
      if (error.fault() != Fault::kRun || communicator()->size() > 1) throw;
      swept.failure = error.what();
      if (folder_state(swept.folder) == FolderState::kUnfinished)
        write_atomically(failure_file(swept.folder), *swept.failure);
      if (!quiet) fmt::print(stderr, "{}\n", *swept.failure);
    }
    if (interrupted) return false;
  }
  return true;
}

/// Says what came out. Throws Error(kRun) if runs failed.
void conclude(const Sweep& sweep, const std::vector<SweptRun>& runs, const SweepArguments& arguments) {
  std::vector<json> summaries;
  std::vector<std::string> failures;
  for (const SweptRun& swept : runs) {
    summaries.push_back(swept.summary.value_or(json()));
    if (swept.failure) failures.push_back(*swept.failure);
  }
  const std::vector<SweepPoint> points = sweep_points(sweep, summaries);
  write_atomically(arguments.out + "/sweep.csv", sweep_csv(points));
  write_atomically(arguments.out + "/sweep.html", sweep_page(sweep, points));
  if (!arguments.quiet) fmt::print(stderr, "written {0}/sweep.csv and {0}/sweep.html\n", arguments.out);
  if (arguments.json) {
    fmt::print("{}\n", json_text({{"points", sweep_json(points)}, {"failures", failure_points(sweep, points)}}));
  } else {
    fmt::print("{}", sweep_table(points));
    for (const std::string& sentence : failure_points(sweep, points)) fmt::print("{}\n", sentence);
  }
  if (!failures.empty())
    fail(Fault::kRun, "{} of {} runs failed, which --retry goes on with; {}{}", failures.size(), runs.size(),
         failures.size() > 1 ? "the first: " : "", failures.front());
}

void sweep(SweepArguments arguments) {
  std::vector<std::string> sets = arguments.assignments;
  if (!arguments.data.empty()) sets.push_back("data.path=" + arguments.data);
  const Sweep sweep = open_sweep(arguments.source, sets);
  if (arguments.out.empty()) arguments.out = "runs/" + sweep.name;

  // Everything is checked before anything runs.
  std::vector<SweptRun> runs;
  for (const SweepRun& run : sweep.runs)
    for_run(sweep, run, [&] {
      const SettingsSource source = settings_source(run.preset);
      SweptRun swept{run,
                     arguments.out + "/" + run.name,
                     resolve_settings(source.text, source.origin, run.assignments, "the sweep"),
                     {},
                     {}};
      locate_data(swept.settings);
      if (!arguments.plan) swept.summary = finished_summary(swept.folder, swept.settings);
      if (!arguments.plan && !arguments.retry && !swept.summary) swept.failure = failure_of(swept.folder);
      runs.push_back(std::move(swept));
    });
  SharedData data;
  for (const SweptRun& swept : runs)
    if (swept.to_do()) for_run(sweep, swept.run, [&] { check_run(swept.settings, data, arguments.plan); });
  if (arguments.plan) {
    for (const SweepRun& run : sweep.runs) fmt::print("{}\n", run.name);
    return;
  }
  catch_signals();
  if (train_all(sweep, runs, data, arguments.quiet)) return conclude(sweep, runs, arguments);
  fmt::print(stderr, "interrupted with a checkpoint; the same command goes on\n");
}

}  // namespace

void add_sweep(CLI::App& program) {
  const auto arguments = std::make_shared<SweepArguments>();
  CLI::App* command = program.add_subcommand("sweep", "The same experiment over a grid of settings and seeds");
  std::string names;
  for (const Preset& preset : sweep_presets()) names += fmt::format("  {:<24}{}\n", preset.name, preset.about);
  command->add_option("FILE.toml|SWEEP", arguments->source, "A sweep file, or a built-in sweep")->required();
  command->add_option("--set", arguments->assignments, "Sets one key of all runs; repeatable")
      ->allow_extra_args(false)
      ->type_name("KEY=VALUE");
  command->add_option("--data", arguments->data, "The data of all runs")->type_name("PATH|NAME");
  command->add_option("--out", arguments->out, "Folder of the run folders (default: runs/<sweep>)")->type_name("DIR");
  command->add_flag("--plan", arguments->plan, "Only list the runs");
  command->add_flag("--retry", arguments->retry, "Go on with runs that failed, from their last checkpoints");
  command->add_flag("--json", arguments->json, "Print means and deviations as the last line of stdout");
  command->add_flag("--quiet", arguments->quiet, "No progress");
  command->footer(
      "Built-in sweeps:\n" + names +
      "A sweep file:\n"
      "  base  = \"md-gan-mnist-mlp\"            or a list of presets\n"
      "  seeds = [1, 2, 3]\n"
      "  set   = {run.iterations = 2000}       what all runs have in common\n"
      "  set_for = {quickstart = {...}}        what those of one base have\n"
      "  grid  = {data.skew = [0, 50, 100], algorithm.kappa = [1, \"log\"]}\n"
      "  plot  = {x = \"data.skew\", score = \"ms\", fails_below = 0.9}\n"
      "A sweep that was stopped or killed goes on when the same command is given again. A run that fails is\n"
      "counted as failed, and not tried again without --retry, or until its folder is removed.");
  command->callback([arguments] { sweep(*arguments); });
}

}  // namespace agon::cli
