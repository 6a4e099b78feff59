// Whole training iterations of a preset, as the trainer makes them, without evaluation and files; and what they should
// take: the time of a roofline, and the memory that agon plan counts.
#include <fmt/format.h>

#include <chrono>
#include <fstream>
#include <nlohmann/json.hpp>
#include <random>

#include "algorithms/plan.h"
#include "algorithms/stage.h"
#include "algorithms/trainer.h"
#include "tools/agon-bench/bench.h"
#include "tools/agon/sources.h"

namespace agon::bench {
namespace {

using Clock = std::chrono::steady_clock;

/// Data of the shape that the settings name: noise, since what is learnt does not matter here.
DataSource noise(const DataShape& shape) {
  const int64_t count = shape.count, size = count * shape.sample.size();
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

/// A line of /proc/self/status in bytes: "VmRSS", what is in memory, and "VmHWM", the most there has been.
int64_t memory_of_process(const std::string& name) {
  std::ifstream file("/proc/self/status");
  for (std::string line; std::getline(file, line);)
    if (line.rfind(name + ":", 0) == 0) return std::stoll(line.substr(name.size() + 1)) * 1024;
  return 0;
}

/// What an ordinary iteration does at least. Of its bytes, an optimiser's step reads weights, gradients and moments and
/// writes weights and moments: 28 a parameter for Adam; and each pass reads the weights on its way forwards, and once
/// more backwards.
Work least_work(const AlgorithmPlan& plan, const GamePlan& game, const std::vector<int64_t>& living) {
  Work work{.flops = static_cast<double>(plan.work(living, *game.generator.network).all), .precision = game.precision};
  const auto add = [&](const AlgorithmPlan::Pass& pass, int64_t replicas) {
    const bool learns = pass.backward && *pass.backward != Grads::kInput;
    const bool generator = pass.network == game.generator.network.get();
    const OptimiserOptions& optimiser = (generator ? game.generator_options : game.discriminator_options).optimiser;
    int64_t floats = (pass.forward ? 1 : 0) + (pass.backward ? 1 : 0);  // a parameter
    if (learns) floats += 3 + 2 * optimiser.moments();
    work.bytes += 4. * static_cast<double>(floats * pass.network->parameters() * pass.times * replicas);
  };
  for (const AlgorithmPlan::Phase& phase : plan.phases(2, living)) {
    for (const AlgorithmPlan::Pass& pass : phase.server) add(pass, 1);
    for (const AlgorithmPlan::Pass& pass : phase.workers) add(pass, std::ssize(phase.who));
  }
  return work;
}

/// What was measured of a run of iterations, and what it should be held against.
struct Iterations {
  std::string device;
  int64_t workers, batch, count;
  double seconds, seconds_queueing;  ///< of one; the host's part of it
  int64_t memory, memory_planned;    ///< bytes
  Work least;
};

Iterations iterate(const Settings& settings, int iterations) {
  const int64_t resident = memory_of_process("VmRSS");
  constexpr int64_t kMostItems = 20000;
  DataShape shape = cli::data_shape(settings);
  shape.count = std::min(shape.count, kMostItems);
  Stage stage(settings, noise(shape));
  const std::unique_ptr<Algorithm> algorithm = algorithm_kind(settings.text("algorithm.name")).make(stage);
  // Returns seconds of one iteration, and of those the host's part: queueing.
  const auto timed = [&](int64_t count) {
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
  timed(5);  // plans, work space, graphs
  constexpr double kSeconds = 3;
  const int64_t count =
      iterations ? iterations : std::clamp<int64_t>(static_cast<int64_t>(kSeconds / timed(3).first), 3, 100000);
  const auto [seconds, queueing] = timed(count);
  const GamePlan& game = stage.game();
  const auto of_device = static_cast<int64_t>(stage.device()->memory_bytes());
  return {.device = stage.device()->name(),
          .workers = game.workers,
          .batch = game.batch,
          .count = count,
          .seconds = seconds,
          .seconds_queueing = queueing,
          .memory = of_device ? of_device : memory_of_process("VmHWM") - resident,
          .memory_planned = plan_memory(algorithm->plan(), game, shape).at("total"),
          .least = least_work(algorithm->plan(), game, stage.world().living())};
}

}  // namespace

void run_iterations(const IterationRun& run) {
  const cli::SettingsSource source = cli::settings_source(run.source);
  std::vector<std::string> overrides = run.assignments;
  overrides.push_back("run.device=" + run.device);
  overrides.push_back("run.threads=" + std::to_string(run.threads));
  const Iterations now = iterate(resolve_settings(source.text, source.origin, overrides), run.iterations);
  // Afterwards, on a device opened anew, so that its memory is not the run's.
  const Roofline roofline = measure_roofline(*open_device(run.device, run.threads));
  const double least = roofline.seconds_launched(now.least);
  const double flops_per_second = roofline.flops_per_second[static_cast<int>(now.least.precision)];
  constexpr double kMebibyte = 1 << 20;
  fmt::print(
      "{} on {}: {:.1f} us an iteration, {:.0f} iterations/s ({} workers, b = {}; {} iterations; queueing {:.1f} us)\n",
      source.name, now.device, now.seconds * 1e6, 1 / now.seconds, now.workers, now.batch, now.count,
      now.seconds_queueing * 1e6);
  fmt::print(
      "{:.1f} times the roofline, {:.1f} us: the larger of {:.1f} MB (steps, and the weights once for each pass and "
      "direction) at {:.1f} GB/s + {:.1f} us to launch, and {:.2f} GFLOP at {:.0f} GFLOP/s; {:.1f} MiB of memory, "
      "{:.1f} planned\n",
      now.seconds / least, least * 1e6, now.least.bytes * 1e-6, roofline.bytes_per_second * 1e-9,
      roofline.launch_seconds * 1e6, now.least.flops * 1e-9, flops_per_second * 1e-9,
      static_cast<double>(now.memory) / kMebibyte, static_cast<double>(now.memory_planned) / kMebibyte);
  if (run.json)
    fmt::print("{}\n", nlohmann::json({{"preset", source.name},
                                       {"device", now.device},
                                       {"microseconds", now.seconds * 1e6},
                                       {"microseconds_queueing", now.seconds_queueing * 1e6},
                                       {"iterations_per_second", 1 / now.seconds},
                                       {"workers", now.workers},
                                       {"batch", now.batch},
                                       {"iterations", now.count},
                                       {"roofline",
                                        {{"microseconds", least * 1e6},
                                         {"times", now.seconds / least},
                                         {"bytes", now.least.bytes},
                                         {"flops", now.least.flops},
                                         {"bytes_per_second", roofline.bytes_per_second},
                                         {"flops_per_second", flops_per_second},
                                         {"microseconds_launch", roofline.launch_seconds * 1e6}}},
                                       {"memory", {{"bytes", now.memory}, {"planned", now.memory_planned}}}})
                           .dump());
}

}  // namespace agon::bench
