// Whole training iterations of a preset, as the trainer makes them, without evaluation and files.
#include <fmt/format.h>

#include <chrono>
#include <nlohmann/json.hpp>
#include <random>

#include "algorithms/stage.h"
#include "algorithms/trainer.h"
#include "tools/agon-bench/bench.h"
#include "tools/agon/sources.h"

namespace agon::bench {
namespace {

using Clock = std::chrono::steady_clock;

/// Data of the shape that the settings name: noise, since what is learnt does not matter here.
DataSource noise(const DataShape& shape) {
  constexpr int64_t kMostItems = 20000;
  const int64_t count = std::min(shape.count, kMostItems), size = count * shape.sample.size();
  std::mt19937 random(1);
  DatasetContents contents{.name = "noise",
                           .count = count,
                           .channels = shape.sample.channels,
                           .height = shape.sample.height,
                           .width = shape.sample.width};
  if (shape.value_bytes == 4) {
    const auto points = std::make_shared<std::vector<float>>(static_cast<size_t>(size));
    for (float& value : *points) value = std::uniform_real_distribution<float>(-1, 1)(random);
    contents.points = points->data(), contents.storage = points;
  } else {
    const auto images = std::make_shared<std::vector<uint8_t>>(static_cast<size_t>(size));
    for (uint8_t& value : *images) value = static_cast<uint8_t>(random());
    contents.images = images->data(), contents.storage = images;
  }
  for (int64_t i = 0; shape.classes > 0 && i < count; ++i)
    contents.labels.push_back(static_cast<int32_t>(i % shape.classes));
  return {.train = Dataset(std::move(contents))};
}

}  // namespace

void run_iterations(const IterationRun& run) {
  const cli::SettingsSource source = cli::settings_source(run.source);
  std::vector<std::string> overrides = run.assignments;
  overrides.push_back("run.device=" + run.device);
  overrides.push_back("run.threads=" + std::to_string(run.threads));
  const Settings settings = resolve_settings(source.text, source.origin, overrides);
  Stage stage(settings, noise(cli::data_shape(settings)));
  const std::unique_ptr<Algorithm> algorithm = algorithm_kind(settings.text("algorithm.name")).make(stage);
  // Returns seconds of one iteration, and of those the host's part: queueing.
  const auto iterate = [&](int64_t count) {
    const auto start = Clock::now();
    for (int64_t i = 0; i < count; ++i) {
      stage.world().next_iteration();
      algorithm->iterate();
      stage.device()->flush();
    }
    const auto queued = Clock::now();
    stage.device()->synchronize();
    const auto per_iteration = [&](Clock::time_point end) {
      return std::chrono::duration<double>(end - start).count() / static_cast<double>(count);
    };
    return std::pair{per_iteration(Clock::now()), per_iteration(queued)};
  };
  iterate(5);  // plans, work space, graphs
  constexpr double kSeconds = 3;
  const int64_t count = run.iterations
                            ? run.iterations
                            : std::clamp<int64_t>(static_cast<int64_t>(kSeconds / iterate(3).first), 3, 100000);
  const auto [seconds, host] = iterate(count);
  const GamePlan& game = stage.game();
  fmt::print(
      "{} on {}: {:.1f} us an iteration, {:.0f} iterations/s ({} workers, b = {}; {} iterations; queueing {:.1f} us)\n",
      source.name, stage.device()->name(), seconds * 1e6, 1 / seconds, game.workers, game.batch, count, host * 1e6);
  if (run.json)
    fmt::print("{}\n", nlohmann::json({{"preset", source.name},
                                       {"device", stage.device()->name()},
                                       {"microseconds", seconds * 1e6},
                                       {"microseconds_queueing", host * 1e6},
                                       {"iterations_per_second", 1 / seconds},
                                       {"workers", game.workers},
                                       {"batch", game.batch},
                                       {"iterations", count}})
                           .dump());
}

}  // namespace agon::bench
