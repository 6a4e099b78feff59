// agon eval: scores of a trained generator, or of pictures that came from elsewhere.
#include <CLI/CLI.hpp>
#include <memory>
#include <nlohmann/json.hpp>

#include "algorithms/evaluation.h"
#include "algorithms/run_folder.h"
#include "datasets/dataset.h"
#include "engine/safetensors.h"
#include "engine/text.h"
#include "tools/agon/commands.h"
#include "tools/agon/format.h"
#include "tools/agon/numbers.h"
#include "tools/agon/progress.h"
#include "tools/agon/sources.h"

namespace agon::cli {
namespace {

struct EvalArguments {
  std::string source, data, scorer, device = "auto";
  int64_t samples = 0;
  uint64_t seed = 1;
  bool extended = false, json = false;
};

Settings score_settings(const EvalArguments& arguments) {
  Settings settings;
  settings.declare({{"data.path", "\"\"", "the real data"}, {"run.seed", "1", "seed"}});
  settings.declare(evaluation_options());
  settings.set_text("data.path", arguments.data);
  settings.set_integer("run.seed", static_cast<int64_t>(arguments.seed));
  if (arguments.samples != 0) settings.set_integer("score.samples", arguments.samples);
  if (!arguments.scorer.empty()) settings.set_text("score.scorer", arguments.scorer);
  if (arguments.extended) settings.set("score.extended=true");
  return settings;
}

void print_scores(const Scores& scores) {
  const auto row = [](const char* name, const auto& value, const char* meaning) {
    if (value) fmt::print("  {:<16}{:>12}   {}\n", name, significant(static_cast<double>(*value)), meaning);
  };
  if (scores.real_samples > 0)
    fmt::print("{} samples against {} real ones ({})\n", grouped(scores.samples), grouped(scores.real_samples),
               scores.split);
  else if (scores.samples > 0)
    fmt::print("{} samples\n", grouped(scores.samples));
  if (!scores.scorer.empty())
    fmt::print("scorer trained on {}, {} of the test pictures recognised, {}\n", scores.scorer,
               scores.scorer_accuracy ? fmt::format("{:.2f}%", 100 * *scores.scorer_accuracy) : "an unknown share",
               scores.scorer_hash);
  if (!scores.note.empty()) fmt::print("{}\n", scores.note);
  row(scores.score_name.c_str(), scores.score,
      scores.score_name == "ms" ? "MNIST score, higher is better" : "inception score on this scorer, higher is better");
  row("fid", scores.fid, "Frechet distance on the logits, lower is better");
  row("tvd", scores.tvd, "total variation distance of the classes, lower is better");
  row("fid_features", scores.fid_features, "Frechet distance on the features, lower is better");
  row("kid", scores.kid, "kernel distance on the features, lower is better");
  row("precision", scores.precision, "share of samples that look real");
  row("recall", scores.recall, "share of real pictures that samples come near");
  row("density", scores.density, "");
  row("coverage", scores.coverage, "");
  if (scores.modes && scores.modes_total)
    fmt::print("  {:<16}{:>12}   Gaussians that were hit\n", "modes",
               fmt::format("{}/{}", *scores.modes, *scores.modes_total));
  row("high_quality", scores.high_quality, "share of points within three standard deviations of a centre");
}

void evaluate(const EvalArguments& arguments) {
  const Settings settings = score_settings(arguments);
  const std::string file = generator_file(arguments.source);
  const auto device = open_device(arguments.device);
  const DataSource data = open_data(settings);
  const auto print = [&](const Scores& scores) {
    arguments.json ? fmt::print("{}\n", json_text(scores.to_json())) : print_scores(scores);
  };
  // What does not fit is said before a scorer is trained.
  if (data.train.is_points() && (arguments.extended || !arguments.scorer.empty()))
    fail(Fault::kUsage, "--scorer and --extended are for pictures, but {} holds points, which need no scorer",
         arguments.data);
  Progress progress;
  const SafetensorsFile contents = SafetensorsFile::open(file);
  if (contents.contains("images") || contents.contains("points")) {
    const Dataset generated = load_data(file, arguments.seed).train;
    expect_comparable(data.train, generated);
    return print(Evaluator(device, settings, data, progress.scorer_watch()).evaluate(generated));
  }
  Generator generator = open_generator(device, arguments.source);
  expect_comparable(data.train, generator.spec());
  print(Evaluator(device, settings, data, progress.scorer_watch()).evaluate(generator, arguments.seed, 0));
}

}  // namespace

void add_eval(CLI::App& program) {
  const auto arguments = std::make_shared<EvalArguments>();
  CLI::App* command = program.add_subcommand("eval", "Scores a generator against real data");
  command
      ->add_option("RUN|CHECKPOINT", arguments->source,
                   "A run folder, a checkpoint in one, a generator file, or packed pictures")
      ->required();
  command->add_option("--data", arguments->data, "The real data")->type_name("PATH|NAME")->required();
  command
      ->add_option("--scorer", arguments->scorer,
                   "A file of `agon scorer` (default: trained once for the data, and cached)")
      ->type_name("FILE");
  add_number(*command, "--samples", arguments->samples, 2, "How many samples (default 500, as in the papers)")
      ->type_name("N");
  command->add_flag("--extended", arguments->extended, "Also KID, precision, recall, density, coverage");
  add_seed(*command, arguments->seed, "Of the noise");
  command->add_option("--device", arguments->device, "auto, cpu, cuda or cuda:K")->type_name("DEVICE");
  command->add_flag("--json", arguments->json, "As JSON on one line");
  command->footer(
      "Examples:\n"
      "  agon eval runs/md-gan-mnist-mlp-1 --data mnist/ --samples 10000\n"
      "  agon eval theirs.safetensors --data mnist/      pictures of another program, `images` U8 [N, C, H, W]");
  command->callback([arguments] { evaluate(*arguments); });
}

}  // namespace agon::cli
