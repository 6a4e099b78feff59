#pragma once

namespace CLI {
class App;
}

// Every command of `agon` adds itself to the program: its flags, its help, and what runs when it is chosen. A command
// that cannot do its work throws agon::Error, whose fault is the exit code.

namespace agon::cli {

/// Names the file in which a run that `agon launch` started leaves its exit code.
inline constexpr const char* kLaunchStatus = "AGON_LAUNCH_STATUS";

void add_train(CLI::App& program);
void add_plan(CLI::App& program);
void add_sample(CLI::App& program);
void add_eval(CLI::App& program);
void add_scorer(CLI::App& program);
void add_data(CLI::App& program);
void add_presets(CLI::App& program);
void add_report(CLI::App& program);
void add_sweep(CLI::App& program);
void add_compare(CLI::App& program);
void add_launch(CLI::App& program);
void add_info(CLI::App& program);

}  // namespace agon::cli
