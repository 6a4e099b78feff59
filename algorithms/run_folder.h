#pragma once

#include <memory>
#include <optional>
#include <string>

#include <nlohmann/json_fwd.hpp>

#include "algorithms/trainer.h"

namespace agon {

/// What is in a folder already.
enum class FolderState {
  kEmpty,       ///< or not there yet; or what is left of a run that could not write its settings
  kForeign,     ///< files, but no run
  kUnfinished,  ///< a run that was interrupted or killed
  kFinished,
};
FolderState folder_state(const std::string& path);

/// Whether a run in this folder once had a checkpoint or ended: what it made is there.
bool holds_results(const std::string& path);

/// Writes a run down as it happens:
///   config.toml            every setting, resolved
///   metrics.jsonl          a line per log step, evaluation and event
///   samples/001000.png     what the generator makes, the same noise each time
///   checkpoints/           written by the Trainer
///   generator.safetensors  as of the last checkpoint or the end
///   summary.json           how it ended
/// Every file appears complete or not at all; a metrics line that does not fit on the disk is taken back.
class RunFolder : public Observer {
 public:
  /// Makes the folder and locks it against a second run. Throws Error(kUsage) when it cannot be written, or holds
  /// something that would be overwritten: anything but a run if `resume`, anything at all if not.
  RunFolder(const std::string& path, bool resume);
  ~RunFolder() override;

  const std::string& path() const { return path_; }
  std::string checkpoints() const { return checkpoints_of(path_); }
  static std::string checkpoints_of(const std::string& path) { return path + "/checkpoints"; }

  /// Writes config.toml and drops the metrics after the iteration at which the run takes up.
  void started(const Trainer& trainer) override;
  void logged(const LogRecord& record) override;
  void evaluated(int64_t iteration, double seconds_training, const Scores& scores) override;
  void sampled(int64_t iteration, const std::vector<uint8_t>& pictures, const Shape& shape, int64_t columns) override;
  void sampled_points(int64_t iteration, const std::vector<float>& points) override;
  void checkpointed(int64_t iteration, const std::string& path, const Generator& generator) override;
  void happened(const Event& event) override;
  void finished(const Summary& summary, const Generator& generator) override;

 private:
  void append(const nlohmann::json& line);
  std::string sample_path(int64_t iteration) const;

  std::string path_;
  const Trainer* trainer_ = nullptr;
  int metrics_ = -1, lock_ = -1;
  int64_t evaluated_ = -1;  // the last evaluation in metrics.jsonl
};

/// A run folder, read back. Throws Error(kData) when it is none.
struct RunRecord {
  std::string path, name;
  std::string config;                       ///< TOML
  std::unique_ptr<nlohmann::json> summary;  ///< null without summary.json
  std::vector<nlohmann::json> metrics;      ///< complete lines of metrics.jsonl
  std::vector<std::string> samples;         ///< paths, by iteration
};
RunRecord read_run(const std::string& path);

/// The generator that a run folder, a checkpoint in it or an exported file holds: the path of its file.
std::string generator_file(const std::string& path);

}  // namespace agon
