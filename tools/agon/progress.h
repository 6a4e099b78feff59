#pragma once

#include <chrono>
#include <string>

#include "algorithms/trainer.h"

namespace agon::cli {

/// Shows a run on stderr while it goes on: a bar on a terminal, otherwise a plain line every five seconds or so.
class Progress : public Observer {
 public:
  Progress();

  void started(const Trainer& trainer) override;
  void logged(const LogRecord& record) override;
  void evaluated(int64_t iteration, double seconds_training, const Scores& scores) override;
  void happened(const Event& event) override;
  void finished(const Summary& summary, const Generator& generator) override;

  /// For training a scorer, before the first scores.
  ScorerWatch scorer_watch();

 private:
  void show(const std::string& line, double share, bool at_once = false);
  void clear();  ///< takes the bar away, so that a message can have the line

  bool terminal_;
  bool bar_shown_ = false, note_said_ = false;
  std::chrono::steady_clock::time_point last_shown_;
  std::string scores_;
};

}  // namespace agon::cli
