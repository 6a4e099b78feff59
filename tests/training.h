#pragma once

// What the tests of algorithms share: tiny runs on the built-in data, described by TOML.

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "algorithms/plan.h"
#include "algorithms/trainer.h"
#include "datasets/synthetic.h"
#include "tests/data_files.h"
#include "tests/devices.h"

namespace agon::training {

/// Points on the ring, unlabelled; small MLPs.
inline const std::string kRing = R"(
  run       = {iterations = 24, evaluate_every = 0, sample_every = 0, checkpoint_every = 0, threads = 1, seed = 3}
  world     = {workers = 5}
  data      = {path = "ring"}
  gan       = {latent = 4, conditional = "no"}
  generator = {layers = ["dense 12", "relu", "dense 2"], learning_rate = 1e-3}
  discriminator = {layers = ["dense 10", "leaky_relu 0.2", "dense heads"], learning_rate = 1e-3}
  score     = {samples = 500, scorer = "none"}
  algorithm = {batch = 5}
)";

/// Glyphs with labels; an ACGAN of convolutions, batch norm, dropout and mini-batch discrimination.
inline const std::string kStrokes = R"(
  run       = {iterations = 6, evaluate_every = 0, sample_every = 0, checkpoint_every = 0, threads = 1, seed = 3}
  world     = {workers = 3}
  data      = {path = "strokes"}
  gan       = {latent = 6}
  generator.layers = ["dense 49", {layer = "reshape", height = 7, width = 7, channels = 1}, "batch_norm", "relu",
    {layer = "upsample", factor = 2}, {layer = "conv_transpose2d", filters = 1, kernel = 4, stride = 2, pad = 1}, "tanh"]
  discriminator.layers = [{layer = "conv2d", filters = 4, kernel = 3, stride = 4}, "leaky_relu 0.2", "dropout 0.3",
    "flatten", {layer = "minibatch_discrimination", kernels = 3, dims = 2}, "dense heads"]
  score     = {scorer = "none"}
  algorithm = {batch = 4}
)";

inline DataSource data_of(const Settings& settings, int64_t count = 200) {
  return synthesise(settings.text("data.path"), {.count = count, .test_count = 100, .seed = 1});
}

inline Settings settings_of(const std::string& toml, std::vector<std::string> overrides) {
  overrides.insert(overrides.begin(), "run.device=" + test_device_name());
  return resolve_settings(toml, "test", overrides);
}

inline DataShape shape_of(const DataSource& data) {
  const Dataset& d = data.train;
  return {{d.height(), d.width(), d.channels()}, d.classes(), d.count()};
}

/// A whole run, optionally with checkpoints.
inline Summary train(const Settings& settings, const std::string& checkpoints = "") {
  Trainer trainer(settings, data_of(settings));
  trainer.set_checkpoint_folder(checkpoints);
  return trainer.run();
}

/// Weights, running statistics and moments of every replica of every fleet, step counts and learning rates.
inline std::vector<float> everything(Algorithm& algorithm) {
  std::vector<float> all;
  for (const auto& [name, fleet] : algorithm.fleets()) {
    for (const Fleet::Arena& arena : fleet->arenas()) {
      std::vector<float> values(static_cast<size_t>(fleet->replicas() * arena.count));
      if (!values.empty()) fleet->device().download(values.data(), arena.data, values.size() * sizeof(float));
      all.insert(all.end(), values.begin(), values.end());
    }
    if (!fleet->trains()) continue;
    const std::vector<int32_t> steps = fleet->steps();
    const std::vector<float> rates = fleet->learning_rates();
    all.insert(all.end(), steps.begin(), steps.begin() + fleet->replicas());
    all.insert(all.end(), rates.begin(), rates.begin() + fleet->replicas());
  }
  return all;
}

/// Small GANs circle around the ring, so that the last iteration says little: any evaluation may reach the goal.
struct Goal : Observer {
  std::atomic<bool> reached{false};
  std::string best;
  int64_t most = -1;
  void evaluated(int64_t, double, const Scores& scores) override {
    if (scores.modes.value_or(0) > most) most = *scores.modes, best = scores.text();
    if (scores.modes.value_or(0) >= 7 && scores.high_quality.value_or(0) >= 0.2) reached = true;
  }
};

/// Trains three workers, or as `overrides` say, until seven of the ring's eight Gaussians are hit.
inline void expect_to_cover_the_ring(const std::vector<std::string>& overrides) {
  const std::string ring = R"(
    run       = {evaluate_every = 250, sample_every = 0, checkpoint_every = 0, iterations = 6000, threads = 1}
    world     = {workers = 3}
    data      = {path = "ring"}
    gan       = {latent = 8, conditional = "no"}
    generator = {layers = ["dense 64", "relu", "dense 64", "relu", "dense 2"], learning_rate = 1e-3}
    discriminator.layers = ["dense 64", "leaky_relu 0.2", "dense 64", "leaky_relu 0.2", "dense heads"]
    discriminator.learning_rate = 1e-3
    score     = {samples = 1000}
    algorithm = {batch = 64}
  )";
  const Settings s = settings_of(ring, overrides);
  Trainer trainer(s, data_of(s, 6000));
  const auto goal = std::make_shared<Goal>();
  trainer.observe(goal);
  trainer.run(goal->reached);
  EXPECT_TRUE(goal->reached) << "best: " << goal->best;
}

}  // namespace agon::training
