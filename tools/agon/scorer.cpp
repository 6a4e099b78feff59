// agon scorer: the classifier behind MNIST score and Frechet distance.
#include "algorithms/scorer.h"

#include <CLI/CLI.hpp>
#include <memory>
#include <nlohmann/json.hpp>

#include "engine/files.h"
#include "engine/text.h"
#include "tools/agon/commands.h"
#include "tools/agon/format.h"
#include "tools/agon/numbers.h"
#include "tools/agon/progress.h"
#include "tools/agon/sources.h"

namespace agon::cli {

void add_scorer(CLI::App& program) {
  struct Arguments {
    std::string data, out, device = "auto";
    int64_t epochs = 0;
    uint64_t seed = 1;
    bool json = false, quiet = false;
  };
  const auto arguments = std::make_shared<Arguments>();
  CLI::App* command =
      program.add_subcommand("scorer", "Trains the classifier that MS and FID use, prints its accuracy");
  command->add_option("--data", arguments->data, "Labelled images")->type_name("PATH|NAME")->required();
  command->add_option("--out", arguments->out, "The file to write, .safetensors")->type_name("FILE")->required();
  add_number(*command, "--epochs", arguments->epochs, 1, "Passes over the data (default: about 3,000 steps)")
      ->type_name("N");
  add_seed(*command, arguments->seed, "Of initial weights and order");
  command->add_option("--device", arguments->device, "auto, cpu, cuda or cuda:K")->type_name("DEVICE");
  command->add_flag("--json", arguments->json, "Print accuracy and hash as JSON on one line");
  command->add_flag("--quiet", arguments->quiet, "No progress");
  command->footer(
      "Examples:\n"
      "  agon scorer --data mnist/ --out mnist-scorer.safetensors\n"
      "  agon eval runs/md-gan-mnist-mlp-1 --data mnist/ --scorer mnist-scorer.safetensors");
  command->callback([arguments] {
    Settings settings;
    settings.declare({{"data.path", "\"\"", "the data"}, {"run.seed", "1", "seed"}});
    settings.set_text("data.path", arguments->data);
    const DataSource data = open_data(settings);
    AtomicFile file(arguments->out);  // before the training, which would be in vain
    Progress progress;
    const Scorer scorer =
        train_scorer(open_device(arguments->device), data, {.epochs = arguments->epochs, .seed = arguments->seed},
                     arguments->quiet ? ScorerWatch() : progress.scorer_watch());
    scorer.save(file);
    file.commit();
    const ScorerCard& card = scorer.card();
    if (arguments->json) {
      const nlohmann::json result = {{"accuracy", card.accuracy},   {"tested", card.tested},
                                     {"tested_on", card.tested_on}, {"classes", card.classes},
                                     {"hash", scorer.hash()},       {"file", arguments->out}};
      fmt::print("{}\n", json_text(result));
    } else {
      fmt::print("{:.2f}% of {} {} pictures recognised; {} classes, weights {}; written to {}\n", 100 * card.accuracy,
                 grouped(card.tested), card.tested_on, card.classes, scorer.hash(), arguments->out);
    }
  });
}

}  // namespace agon::cli
