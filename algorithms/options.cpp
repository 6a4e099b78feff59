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

}  // namespace

std::vector<Settings::Option> run_options() {
  std::vector<Settings::Option> options = {
      {"run.iterations", "50000", "global iterations I: updates of the generator"},
      {"run.seed", "1", "everything random follows from it"},
      {"run.device", "\"auto\"", "auto, cpu, cuda or cuda:K"},
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
      {"world.crash_every",
       "0",
       "fail-stop of a random worker every so many iterations; \"auto\": I/N (section V.B.3)",
       {"auto"}},
      {"world.crash", "[]", "fail-stops at fixed times, [\"iteration:worker\", ...], workers from 0"},
      {"world.join", "[]", "workers that join, [\"iteration:worker\", ...], with a copy of a living worker's models"},
      {"data.path", "\"\"", "what --data names: a file, a folder, or strokes, ring, grid"},
      {"data.partition", "\"iid\"", "how data are dealt to workers"},
      {"data.skew", "0.0", "of partition \"skew\", per cent: 0 balanced, 100 all of a class at one worker"},
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
  options.push_back({"algorithm.name", "\"md-gan\"", "which algorithm"});
  options.push_back({"algorithm.batch", "10", "b: samples in a batch"});
  options.push_back({"algorithm.local_steps", "1", "L: discriminator steps per iteration"});
  return options;
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

nlohmann::json layer_list(const Settings& settings, const std::string& network) {
  const nlohmann::json& own = settings.raw(network + ".layers");
  if (!own.empty()) return own;
  const Model& named = model(settings.text(network + ".net"));
  return nlohmann::json::parse(network == "generator" ? named.generator : named.discriminator);
}

}  // namespace agon
