#pragma once

#include <atomic>
#include <memory>
#include <string>
#include <vector>

#include <nlohmann/json_fwd.hpp>

#include "algorithms/algorithm.h"
#include "algorithms/evaluation.h"
#include "algorithms/faults.h"
#include "datasets/dataset.h"
#include "engine/comm/communicator.h"
#include "engine/settings.h"

namespace agon {

/// Settings with every key that a run of the algorithm named in `toml` (or by `overrides`) knows, resolved in the order
/// defaults, TOML text, overrides ("key=value"). The two origins stand in error messages.
Settings resolve_settings(const std::string& toml, const std::string& origin, const std::vector<std::string>& overrides,
                          const std::string& origin_of_overrides = "--set");

/// One log step.
struct LogRecord {
  int64_t iteration = 0, iterations = 0;
  double seconds_training = 0;       ///< without set-up, evaluation and checkpoints
  double iterations_per_second = 0;  ///< since the last log step
  double seconds_left = 0;
  double seconds_simulated = 0;  ///< on the machines and links of the keys network.*
  Algorithm::Losses losses;
};

/// How a run ended; what summary.json holds.
struct Summary {
  int64_t iterations = 0;
  double seconds_training = 0, iterations_per_second = 0;
  double seconds_evaluating = 0;  ///< apart from training: samples, scores, and the scorer's training where it is new
  double seconds_simulated = 0;
  int64_t workers = 0;
  int64_t generator_parameters = 0, embedding_parameters = 0, discriminator_parameters = 0;
  AlgorithmPlan::Work work;  ///< of an ordinary iteration with all workers
  Ledger ledger;
  std::optional<Scores> scores;  ///< of the last evaluation
  std::string weights_hash;
  std::string device;
  std::vector<Event> events;
  bool interrupted = false;

  nlohmann::json to_json() const;
};

class Trainer;

/// Watches a run: a run folder writes it down, a progress bar shows it.
class Observer {
 public:
  virtual ~Observer() = default;
  virtual void started(const Trainer&) {}
  virtual void logged(const LogRecord&) {}
  virtual void evaluated(int64_t iteration, double seconds_training, const Scores&) {
    (void)iteration, (void)seconds_training;
  }
  /// Pictures U8 [count, H, W, C] of the generator's progress, same noise each time, one row per class if conditional.
  /// Not called for other channels than 1 (grey) or 3.
  virtual void sampled(int64_t iteration, const std::vector<uint8_t>& pictures, const Shape& shape, int64_t columns) {
    (void)iteration, (void)pictures, (void)shape, (void)columns;
  }
  /// Generated points [count, 2] in place of pictures (ring, grid).
  virtual void sampled_points(int64_t iteration, const std::vector<float>& points) { (void)iteration, (void)points; }
  virtual void checkpointed(int64_t iteration, const std::string& path, const Generator&) {
    (void)iteration, (void)path;
  }
  virtual void happened(const Event&) {}
  virtual void finished(const Summary&, const Generator&) {}
};

/// Runs an algorithm from the first iteration (or a checkpoint) to the last, with logs, scores, pictures, checkpoints
/// and faults.
class Trainer {
 public:
  /// Builds everything and checks that it fits together, before anything runs. Throws Error(kUsage) or Error(kData).
  /// The run is shared with the other `processes`.
  Trainer(const Settings& settings, const DataSource& data, std::shared_ptr<Communicator> processes = communicator());
  ~Trainer();

  /// Where checkpoints go; none are written without.
  void set_checkpoint_folder(const std::string& folder);
  /// Goes back to the newest good checkpoint in the folder. False if there is none. Throws Error(kData) for one of
  /// another network or algorithm.
  bool resume();
  /// Goes back to this checkpoint. Throws Error(kData), too, when it is damaged.
  void resume_from(const std::string& checkpoint);

  /// Opens the scorer's file that score.scorer names, if the run will be scored, so that a wrong one is found before
  /// anything is trained. Without, that waits for the first evaluation. Throws as Evaluator does.
  void open_named_scorer();
  /// Sees a scorer being trained, when the first evaluation needs one.
  void watch_scorer(ScorerWatch watch);
  void observe(std::shared_ptr<Observer> observer);
  /// Trains until the last iteration, or until `stop` is set: then a checkpoint is written and summary.interrupted is
  /// true. Throws Error(kRun) when a loss or a weight is no longer a number.
  Summary run(const std::atomic<bool>& stop);
  Summary run() {
    const std::atomic<bool> never{false};
    return run(never);
  }

  const Settings& settings() const;
  const DataSource& data() const;
  Algorithm& algorithm();
  Stage& stage();
  const Stage& stage() const;
  int64_t iteration() const;
  double seconds_simulated() const;
  Generator generator() const;  ///< the (first) generator as it is now

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace agon
