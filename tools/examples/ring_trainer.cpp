// A complete trainer of one's own: our data, our networks, and MD-GAN over four workers.
#include <cmath>
#include <memory>
#include <numbers>
#include <random>
#include <vector>

#include "algorithms/trainer.h"
#include "kernels/error.h"

namespace {

// Our data: points around five corners of a pentagon. Readers of agon's own do no more than this.
agon::Dataset pentagon(int64_t count) {
  constexpr int64_t kCorners = 5;
  constexpr double kSpread = 0.03;
  std::vector<float> corners;
  for (int64_t i = 0; i < kCorners; ++i) {
    const double angle = 2 * std::numbers::pi * i / kCorners;
    corners.insert(corners.end(),
                   {static_cast<float>(0.7 * std::cos(angle)), static_cast<float>(0.7 * std::sin(angle))});
  }
  std::mt19937 random(1);
  std::normal_distribution<double> noise(0, kSpread);
  const auto points = std::make_shared<std::vector<float>>();
  for (int64_t i = 0; i < 2 * count; ++i)
    points->push_back(corners[i % (2 * kCorners)] + static_cast<float>(noise(random)));
  agon::DatasetContents contents{.name = "pentagon", .count = count, .channels = 2, .height = 1, .width = 1};
  contents.points = points->data();  // pictures would go to .images, classes to .labels
  contents.storage = points;         // keeps them alive
  contents.centres = corners;        // for the score: how many corners are generated
  contents.spread = kSpread;
  return agon::Dataset(std::move(contents));
}

// Our networks, layer by layer, and the run. What is left out keeps its default; a misspelt key is an error.
constexpr const char* kSettings = R"(
  run       = {iterations = 3000, evaluate_every = 1000, seed = 1}
  world     = {workers = 4}
  algorithm = {name = "md-gan", batch = 32, kappa = 2, swap_epochs = 1}
  gan       = {latent = 8}

  [generator]
  layers = ["dense 96", "relu", "dense 96", "relu", "dense 2"]
  learning_rate = 1e-3

  [discriminator]
  layers = ["dense 96", "leaky_relu 0.2", {layer = "dense", units = 96}, "leaky_relu 0.2", "dense heads"]
  learning_rate = 1e-3
)";

class Progress : public agon::Observer {
  void evaluated(int64_t iteration, double seconds, const agon::Scores& scores) override {
    fmt::print("iteration {:5}  {:5.1f} s  {}\n", iteration, seconds, scores.text());
  }
};

}  // namespace

int main() try {
  agon::Trainer trainer(agon::resolve_settings(kSettings, "ring_trainer", {}), {.train = pentagon(10000)});
  trainer.observe(std::make_shared<Progress>());
  const agon::Summary summary = trainer.run();
  trainer.generator().save("pentagon.safetensors");  // PyTorch's names and layout
  fmt::print("{:.0f} iterations/s; G has {} parameters, saved in pentagon.safetensors\n", summary.iterations_per_second,
             summary.generator_parameters);
} catch (const agon::Error& error) {
  fmt::print(stderr, "{}\n", error.what());
  return error.exit_code();
}
