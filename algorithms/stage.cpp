#include "algorithms/stage.h"

#include <sched.h>
#include <unistd.h>

#include <cmath>
#include <cstdlib>
#include <map>
#include <nlohmann/json.hpp>

#include "algorithms/algorithm.h"
#include "algorithms/options.h"

namespace agon {
namespace {

ops::GanLossKind parse_loss(const std::string& name) {
  static const std::map<std::string, ops::GanLossKind> kinds = {{"non-saturating", ops::GanLossKind::kNonSaturating},
                                                                {"minimax", ops::GanLossKind::kMinimax},
                                                                {"least-squares", ops::GanLossKind::kLeastSquares},
                                                                {"hinge", ops::GanLossKind::kHinge},
                                                                {"wasserstein", ops::GanLossKind::kWasserstein}};
  const auto found = kinds.find(name);
  if (found == kinds.end()) fail(Fault::kUsage, "gan.loss is \"{}\", which is not a loss that agon knows", name);
  return found->second;
}

Precision parse_precision(const std::string& name) {
  return name == "bf16" ? Precision::kBf16 : name == "tf32" ? Precision::kTf32 : Precision::kFp32;
}

bool is_conditional(const Settings& settings, int64_t classes) {
  const std::string choice = settings.text("gan.conditional");
  if (choice == "yes" && classes == 0) fail(Fault::kUsage, "gan.conditional is \"yes\", but the data have no labels");
  return choice == "yes" || (choice == "auto" && classes > 0);
}

}  // namespace

GamePlan make_game_plan(const Settings& settings, const Shape& sample, int64_t data_classes) {
  const int64_t classes = is_conditional(settings, data_classes) ? data_classes : 0;
  constexpr int64_t kMost = 1 << 20;
  constexpr int64_t kMostLocalSteps = 250;  // each is a random draw of its own, of 2^16 / Network::kMostLayers
  GamePlan plan{.precision = parse_precision(settings.text("run.precision")),
                .batch = settings.integer("algorithm.batch", 1, kMost),
                .local_steps = settings.integer("algorithm.local_steps", 1, kMostLocalSteps),
                .workers = settings.integer("world.workers", 1, kMost),
                .seed = static_cast<uint64_t>(settings.integer("run.seed", 0))};
  plan.loss.kind = parse_loss(settings.text("gan.loss"));
  plan.loss.classes = classes;
  plan.loss.auxiliary_weight = static_cast<float>(settings.number("gan.auxiliary_weight", 0, 1e6));

  nlohmann::json layers = layer_list(settings, "generator");
  if (classes > 0)
    layers.insert(layers.begin(), nlohmann::json{{"layer", "class_embedding"},
                                                 {"classes", classes},
                                                 {"learned", settings.text("gan.embedding") == "learned"}});
  GeneratorSpec& spec = plan.generator;
  spec.latent = settings.integer("gan.latent", 1, kMost);
  spec.classes = classes;
  spec.layers = layers.dump();
  spec.network =
      std::make_shared<Network>("generator", Shape{1, 1, spec.latent}, parse_layers(layers, "generator", 1 + classes));
  spec.sample = spec.network->output();
  if (spec.sample != sample)
    fail(Fault::kUsage,
         "the generator makes {}, but the data are {}; choose generator.net (or its layers) for these data",
         spec.sample.text(), sample.text());
  plan.discriminator = std::make_shared<Network>(
      "discriminator", sample, parse_layers(layer_list(settings, "discriminator"), "discriminator", 1 + classes));
  if (plan.discriminator->output() != Shape{1, 1, 1 + classes})
    fail(Fault::kUsage, "the discriminator ends in {}, expected {} (real/fake{}); end its layers with \"dense heads\"",
         plan.discriminator->output().text(), 1 + classes, classes ? fmt::format(" and {} classes", classes) : "");

  const auto fleet_options = [&](const char* network, uint32_t stream) {
    return FleetOptions{.precision = plan.precision,
                        .optimiser = optimiser_options(settings, network),
                        .init = parse_init(settings.text(std::string(network) + ".init")),
                        .seed = plan.seed,
                        .init_stream = stream,
                        .same_start = settings.flag("gan.same_start")};
  };
  plan.generator_options = fleet_options("generator", 1);
  plan.discriminator_options = fleet_options("discriminator", 2);
  plan.network = std::make_shared<NetworkModel>(network_options(settings), plan.workers, plan.seed);
  return plan;
}

Partition deal(const Settings& settings, const GamePlan& game, const Dataset& train) {
  Partition dealt =
      partition(train.labels(), train.count(), train.classes(), game.workers, partition_options(settings));
  if (dealt.smallest() < game.batch)
    fail(
        Fault::kUsage,
        "algorithm.batch is {}, but the smallest of the {} shards has {} samples; use fewer workers or a smaller batch",
        game.batch, game.workers, dealt.smallest());
  return dealt;
}

std::vector<double> GamePlan::shares_of(const std::vector<int64_t>& list) const {
  std::vector<double> shares;
  for (int64_t worker : list)
    shares.push_back(shard_sizes.empty() ? 1.0 : static_cast<double>(shard_sizes[static_cast<size_t>(worker)]));
  return shares;
}

namespace {

/// run.threads; 0 of several processes on one machine that may all use all of its cores is a fair share of them.
int threads_of(const Settings& settings) {
  const auto threads = static_cast<int>(settings.integer("run.threads", 0, 4096));
  const char* neighbours = std::getenv("OMPI_COMM_WORLD_LOCAL_SIZE");
  if (!neighbours) neighbours = std::getenv("LOCAL_WORLD_SIZE");
  cpu_set_t mine;
  if (threads > 0 || !neighbours || sched_getaffinity(0, sizeof(mine), &mine) != 0) return threads;
  const int cores = CPU_COUNT(&mine);
  const bool bound = cores < static_cast<int>(sysconf(_SC_NPROCESSORS_ONLN));
  return bound ? cores : std::max(1, cores / std::max(1, std::atoi(neighbours)));
}

Placement placement_of(const Settings& settings, int64_t workers, int processes) {
  std::vector<int64_t> ranks;
  for (const nlohmann::json& rank : settings.raw("world.ranks")) {
    if (!rank.is_number_integer())
      fail(Fault::kUsage, "world.ranks has {}, expected the numbers of processes, [0, 0, 1, 2, ...]", rank.dump());
    ranks.push_back(rank.get<int64_t>());
  }
  return ranks.empty() ? place_evenly(workers, processes, parse_server_place(settings.text("world.server")))
                       : place_listed(ranks, workers, processes);
}

}  // namespace

Stage::Stage(const Settings& settings, const DataSource& data, std::shared_ptr<Communicator> processes)
    : settings_(settings),
      device_(open_device(settings.text("run.device"), threads_of(settings))),
      game_(make_game_plan(settings, {data.train.height(), data.train.width(), data.train.channels()},
                           data.train.classes())) {
  const Dataset& train = data.train;
  if (game_.conditional()) game_.generator.class_names = train.class_names();
  const Partition dealt = deal(settings, game_, train);
  for (const auto& shard : dealt.shards) game_.shard_sizes.push_back(std::ssize(shard));
  world_ =
      std::make_unique<World>(device_, game_.seed, processes, placement_of(settings, game_.workers, processes->size()));
  const std::string name = settings.text("algorithm.name");
  if (world_->spread() && !algorithm_kind(name).spreads)
    fail(Fault::kUsage, "algorithm \"{}\" runs in one process only, but {} share this run", name, processes->size());
  processes->watch(settings.number("world.deadline", 0.1, 86400));
  world_->set_carrier(open_carrier(settings.text("world.wire"), device_, processes));
  shards_ = std::make_unique<Shards>(device_, train, dealt);
}

int64_t epoch_iterations(double mean_shard, double epochs, int64_t batch) {
  if (epochs == 0) return 0;
  return std::max<int64_t>(1, static_cast<int64_t>(mean_shard * epochs / static_cast<double>(batch)));
}

}  // namespace agon
