#include "algorithms/options.h"

#include <nlohmann/json.hpp>

namespace agon {
namespace {

std::vector<Settings::Option> network_options(const std::string& network) {
  const auto key = [&](const char* name) { return network + "." + name; };
  return {
      {key("net"), "\"mnist-mlp\"", "a named network (agon info lists them); layers, if given, take its place"},
      {key("layers"), "[]",
       "its own layers: [\"dense 512\", \"leaky_relu 0.2\", {layer = \"conv2d\", filters = 16, kernel = 3}, ...]"},
      {key("init"),
       "\"glorot\"",
       "initial weights: Keras' glorot, PyTorch's, or N(0, 0.02)",
       {"glorot", "torch", "normal"}},
      {key("optimiser"), "\"adam\"", "how weights follow gradients", {"adam", "sgd", "rmsprop"}},
      {key("learning_rate"), "2e-4", "step size"},
      {key("beta1"), "0.5", "Adam: decay of the first moment"},
      {key("beta2"), "0.999", "Adam: decay of the second moment"},
      {key("epsilon"), "1e-8", "Adam, RMSprop: added to the denominator"},
      {key("momentum"), "0.0", "SGD: momentum"},
      {key("clip"), "0.0", "weights are clipped to +-clip after each step (WGAN); 0: never"},
  };
}

std::vector<Settings::Option> network_model_options() {
  return {
      {"network.kind",
       "\"links\"",
       "where simulated time passes: cables, or the radio cell of Ren et al. (2021, section IV)",
       {"links", "cell"}},
      {"network.worker_flops", "1e11", "floating-point operations per second of a worker"},
      {"network.server_flops", "1e12", "and of the server"},
      {"network.spread", "0.0", "workers are faster or slower by up to this share, for the whole run"},
      {"network.straggler_chance", "0.0", "probability that a worker is slow in an iteration"},
      {"network.straggler_slowdown", "10.0", "how many times slower it is then"},
      {"network.deadline", "0.0", "seconds that a device has for a round; late ones are left out of it; 0: no limit"},
      {"network.bandwidth", "1e8", "of a worker's cable, bit/s in each direction"},
      {"network.server_bandwidth", "1e9", "of the server's"},
      {"network.latency", "5e-3", "of a message through cables, seconds"},
      {"network.cell_radius", "300.0", "metres; devices are spread evenly over the disc around the server"},
      {"network.cell_bandwidth", "1e7", "Hz, shared by those who send at the same time"},
      {"network.noise_density", "-174.0", "dBm/Hz"},
      {"network.device_power", "24.0", "dBm"},
      {"network.server_power", "46.0", "dBm"},
      {"network.fading", "false", "Rayleigh fading: channels vary from iteration to iteration"},
  };
}

}  // namespace

std::vector<Settings::Option> run_options() {
  std::vector<Settings::Option> options = {
      {"run.iterations", "50000", "global iterations I: updates of the generator; at most 999999999"},
      {"run.seed", "1", "everything random follows from it"},
      {"run.device", "\"auto\"",
       "auto, cpu, cuda or cuda:K; cuda is, of several processes on a machine, each one's own"},
      {"run.precision",
       "\"fp32\"",
       "fp32, or bf16 or tf32 (GPUs; fp32 elsewhere) for the products of dense and convolution layers",
       {"fp32", "tf32", "bf16"}},
      {"run.threads", "0", "CPU threads; 0: all cores. Results do not depend on it"},
      {"run.evaluate_every", "1000", "iterations between scores; 0: never"},
      {"run.log_every", "100", "iterations between log lines; losses are checked for NaN there; 0: never"},
      {"run.sample_every", "1000", "iterations between sample pictures; 0: only at the end"},
      {"run.checkpoint_every", "5000", "iterations between checkpoints; 0: only when interrupted, and at the end"},
      {"run.keep_checkpoints", "2", "how many of the newest checkpoints are kept"},
      {"world.workers", "10", "N"},
      {"world.server",
       "\"auto\"",
       "the server among several processes: with workers, or alone in the first; auto: alone if there is one more "
       "process than workers",
       {"auto", "shared", "alone"}},
      {"world.ranks", "[]", "the process of each worker, [0, 0, 1, 2, ...]; []: spread evenly, as world.server says"},
      {"world.wire",
       "\"auto\"",
       "how what GPUs have made gets to other processes: through the host's memory, or from GPU to GPU by NCCL; auto: "
       "NCCL if every process has a GPU of its own",
       {"auto", "host", "nccl"}},
      {"world.deadline", "10.0", "of several processes, one that does not answer for so many seconds counts as lost"},
      {"world.crash_every",
       "0",
       "fail-stop of a random worker every so many iterations; \"auto\": I/N (section V.B.3)",
       {"auto"}},
      {"world.crash", "[]", "fail-stops at fixed times, [\"iteration:worker\", ...], workers from 0"},
      {"world.join", "[]", "workers that join, [\"iteration:worker\", ...], with a copy of a living worker's models"},
      {"data.path", "\"\"", "what --data names: a file, a folder, or strokes, ring, grid"},
      {"data.partition", "\"iid\"", "how data are dealt to workers", partition_kinds()},
      {"data.skew", "0.0", "of partition \"skew\", per cent: 0 balanced, 100 all of a class at one worker"},
      {"data.alpha", "0.5", "of \"dirichlet\" and \"quantity\": the smaller, the less alike the workers' shards"},
      {"data.smallest_shard", "10", "of \"dirichlet\" and \"quantity\": samples that every worker gets at least"},
      {"data.shards_per_worker", "2", "of \"shards\": pieces of the data sorted by class that each worker gets"},
      {"data.share", "1.0", "of \"diet\": the share of all data that every worker gets, apart from the others'"},
      {"gan.latent", "100", "length of the generator's noise vector"},
      {"gan.conditional",
       "\"auto\"",
       "class labels for both players (ACGAN); auto: if the data have them",
       {"auto", "yes", "no"}},
      {"gan.embedding",
       "\"learned\"",
       "how a label enters the generator: the noise times its class's vector",
       {"learned", "fixed"}},
      {"gan.loss",
       "\"non-saturating\"",
       "the game: minimax is the MD-GAN paper's log(1 - D)",
       {"non-saturating", "minimax", "least-squares", "hinge", "wasserstein"}},
      {"gan.auxiliary_weight", "1.0", "weight of the class loss of an ACGAN"},
      {"gan.same_start", "true", "all workers start from the same weights"},
  };
  for (const char* network : {"generator", "discriminator"})
    for (Settings::Option& option : network_options(network)) options.push_back(std::move(option));
  for (Settings::Option& option : network_model_options()) options.push_back(std::move(option));
  options.push_back({"algorithm.name", "\"md-gan\"", "which algorithm"});
  options.push_back({"algorithm.batch", "10", "b: samples in a batch"});
  options.push_back({"algorithm.local_steps", "1", "L: discriminator steps per iteration"});
  return options;
}

int64_t iterations_of(const Settings& settings) { return settings.integer("run.iterations", 1, 999'999'999); }

PartitionOptions partition_options(const Settings& settings) {
  return {.kind = settings.text("data.partition"),
          .skew = settings.number("data.skew", 0, 100),
          .alpha = settings.number("data.alpha"),
          .smallest_shard = settings.integer("data.smallest_shard"),
          .shards_per_worker = settings.integer("data.shards_per_worker"),
          .share = settings.number("data.share"),
          .seed = static_cast<uint64_t>(settings.integer("run.seed", 0))};
}

OptimiserOptions optimiser_options(const Settings& settings, const std::string& network) {
  const auto number = [&](const char* name, double least, double most) {
    return settings.number(network + "." + name, least, most);
  };
  constexpr double kBelowOne = 1.0 - 1e-12;
  return {.kind = settings.text(network + ".optimiser"),
          .learning_rate = number("learning_rate", 0, 1e3),
          .beta1 = number("beta1", 0, kBelowOne),
          .beta2 = number("beta2", 0, kBelowOne),
          .epsilon = number("epsilon", 0, 1),
          .momentum = number("momentum", 0, kBelowOne),
          .clip = number("clip", 0, 1e6)};
}

NetworkModel::Options network_options(const Settings& settings) {
  const auto number = [&](const char* name, double least, double most) {
    return settings.number(std::string("network.") + name, least, most);
  };
  constexpr double kMost = 1e18, kDecibels = 500;
  return {.kind = settings.text("network.kind") == "cell" ? NetworkModel::Kind::kCell : NetworkModel::Kind::kLinks,
          .worker_flops = number("worker_flops", 1, kMost),
          .server_flops = number("server_flops", 1, kMost),
          .spread = number("spread", 0, 0.99),
          .straggler_chance = number("straggler_chance", 0, 1),
          .straggler_slowdown = number("straggler_slowdown", 1, 1e6),
          .deadline = number("deadline", 0, 1e9),
          .bandwidth = number("bandwidth", 1, kMost),
          .server_bandwidth = number("server_bandwidth", 1, kMost),
          .latency = number("latency", 0, 1e6),
          .cell_radius = number("cell_radius", 1, 1e6),
          .cell_bandwidth = number("cell_bandwidth", 1, kMost),
          .noise_density = number("noise_density", -kDecibels, kDecibels),
          .device_power = number("device_power", -kDecibels, kDecibels),
          .server_power = number("server_power", -kDecibels, kDecibels),
          .fading = settings.flag("network.fading")};
}

nlohmann::json layer_list(const Settings& settings, const std::string& network) {
  const nlohmann::json& own = settings.raw(network + ".layers");
  if (!own.empty()) return own;
  const Model& named = model(settings.text(network + ".net"));
  return nlohmann::json::parse(network == "generator" ? named.generator : named.discriminator);
}

}  // namespace agon
