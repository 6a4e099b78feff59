#pragma once

#include <string>

#include "algorithms/run_folder.h"
#include "algorithms/trainer.h"

// One training run as the commands make it: into a run folder, with progress, until it ends or is told to stop.

namespace agon::cli {

/// From now on Ctrl-C and SIGTERM end the present run after its iteration, with a checkpoint; the second one quits.
void catch_signals();
bool stop_was_requested();

/// Trains in `folder`, from its newest checkpoint if `resumes`. Unless `quiet`, shows progress on stderr.
Summary train_into(const std::string& folder, const Settings& settings, const DataSource& data, bool resumes,
                   bool quiet);

}  // namespace agon::cli
