// agon train: from a preset or settings file to a run folder.
#include <CLI/CLI.hpp>
#include <memory>
#include <nlohmann/json.hpp>

#include "engine/comm/communicator.h"
#include "engine/text.h"
#include "kernels/error.h"
#include "tools/agon/commands.h"
#include "tools/agon/record.h"
#include "tools/agon/sources.h"
#include "tools/agon/training.h"

namespace agon::cli {
namespace {

struct TrainArguments {
  std::string source, data, out, device, seed, iterations;
  std::vector<std::string> assignments;
  bool resume = false, json = false, quiet = false;

  /// Everything that the command line sets, as key=value; the short flags come after --set.
  std::vector<std::string> overrides() const {
    std::vector<std::string> all = assignments;
    const auto add = [&](const char* key, const std::string& value) {
      if (!value.empty()) all.push_back(std::string(key) + "=" + value);
    };
    add("data.path", data), add("run.device", device), add("run.seed", seed), add("run.iterations", iterations);
    return all;
  }
};

/// A run goes on with the settings it was started with; a preset named again must mean the same game.
Settings settings_to_resume(const TrainArguments& arguments, const std::string& folder) {
  Settings settings = settings_of_run(folder, arguments.overrides());
  if (arguments.source.empty()) return settings;
  const SettingsSource source = settings_source(arguments.source);
  const Settings named = resolve_settings(source.text, source.origin, arguments.overrides());
  for (const char* key :
       {"algorithm.name", "generator.net", "generator.layers", "discriminator.net", "discriminator.layers"})
    if (settings.raw(key) != named.raw(key))
      fail(Fault::kUsage,
           "{} was started with {} = {}, but {} says {}; give another folder with --out, or leave {} out", folder, key,
           settings.raw(key).dump(), source.origin, named.raw(key).dump(), arguments.source);
  return settings;
}

void train(TrainArguments arguments) {
  if (arguments.source.empty() && !(arguments.resume && !arguments.out.empty()))
    fail(Fault::kUsage,
         "agon train expects a preset or a TOML file (agon presets lists them), or --resume with --out RUN");
  catch_signals();

  const auto fresh = [&] {
    const SettingsSource source = settings_source(arguments.source);
    Settings settings = resolve_settings(source.text, source.origin, arguments.overrides());
    locate_data(settings);
    if (arguments.out.empty()) arguments.out = fmt::format("runs/{}-{}", source.name, settings.integer("run.seed"));
    return settings;
  };
  Settings settings = arguments.source.empty() ? Settings() : fresh();
  // Of several processes, the first looks whether there is a run already, before anybody begins a new one.
  const std::shared_ptr<Communicator> processes = communicator();
  const bool first = processes->rank() == 0;
  const FolderState state = first ? folder_state(arguments.out) : FolderState::kEmpty;
  const bool there = state == FolderState::kUnfinished || state == FolderState::kFinished;
  const bool resumes = processes->from_first(arguments.resume && there) != 0;
  if (resumes) {
    settings = settings_to_resume(arguments, arguments.out);
  } else if (arguments.source.empty()) {
    fail(Fault::kUsage, "there is no run in {} that could go on; give a preset or a TOML file to start one",
         arguments.out);
  }

  if (resumes && first && !arguments.quiet && !arguments.assignments.empty())
    fmt::print(stderr, "agon: from here on with {}\n", listed(arguments.assignments));
  const Summary summary = train_into(arguments.out, settings, open_data(settings), resumes, arguments.quiet);
  if (!first) return;
  if (!arguments.quiet) {
    if (summary.interrupted)
      fmt::print(stderr, "interrupted with a checkpoint; go on with: agon train --resume --out {}\n", arguments.out);
    else
      fmt::print(stderr, "written to {}\n", arguments.out);
  }
  if (arguments.json) fmt::print("{}\n", json_text(summary.to_json()));
}

}  // namespace

void add_train(CLI::App& program) {
  const auto arguments = std::make_shared<TrainArguments>();
  CLI::App* command = program.add_subcommand("train", "Trains a GAN as a preset or a settings file says");
  command->add_option("PRESET|FILE.toml", arguments->source, "What to train; `agon presets` lists what is built in");
  command->add_option("--set", arguments->assignments, "Sets one key, e.g. --set algorithm.kappa=log; repeatable")
      ->allow_extra_args(false)
      ->type_name("KEY=VALUE");
  command->add_option("--data", arguments->data, "A data file or folder, or strokes, ring, grid")
      ->type_name("PATH|NAME");
  command->add_option("--out", arguments->out, "Run folder (default: runs/<preset>-<seed>)")->type_name("DIR");
  command->add_option("--device", arguments->device, "auto, cpu, cuda or cuda:K")->type_name("DEVICE");
  command->add_option("--seed", arguments->seed, "Everything random follows from it")->type_name("S");
  command->add_option("--iterations", arguments->iterations, "Global iterations; with --resume also to prolong")
      ->type_name("I");
  command->add_flag("--resume", arguments->resume, "Go on from the newest checkpoint in the run folder");
  command->add_flag("--json", arguments->json, "Print the summary as the last line of stdout");
  command->add_flag("--quiet", arguments->quiet, "No progress");
  command->footer(
      "Examples:\n"
      "  agon train md-gan-mnist-mlp --data mnist/ --seed 1\n"
      "  agon train md-gan-mnist-mlp --data mnist/ --set algorithm.kappa=1 --set world.workers=25 --out runs/k1\n"
      "  agon train mine.toml --data strokes --iterations 2000\n"
      "  agon train --resume --out runs/md-gan-mnist-mlp-1 --iterations 100000\n"
      "Ctrl-C saves a checkpoint and ends the run; --resume goes on from it.");
  command->callback([arguments] { train(*arguments); });
}

}  // namespace agon::cli
