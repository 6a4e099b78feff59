#pragma once

#include <string>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

// A sweep: the same experiment for every combination of some settings, and for several seeds.

namespace agon::cli {

/// One run of a sweep.
struct SweepRun {
  std::string name;                                        ///< of its folder, from what differs: "skew-20_seed-1"
  std::string preset;                                      ///< what it is based on
  std::vector<std::string> assignments;                    ///< key=value, as --set takes them
  std::vector<std::pair<std::string, nlohmann::json>> at;  ///< its point of the grid, without the seed
  int64_t seed = 1;
};

/// A sweep file:
///   base = "md-gan-mnist-mlp"            a preset, a TOML file or a run folder; or a list of them
///   seeds = [1, 2, 3]
///   [set]                                what all runs have in common
///   run.iterations = 2000
///   [grid]                               every combination of these
///   data.skew = [0, 50, 100]
///   [plot]                               optional: a chart over one key of the grid
///   x = "data.skew"
///   score = "ms"
///   fails_below = 0.9                    of the first point's score: where that is lost, the line has failed
struct Sweep {
  std::string name, origin, about;
  std::vector<SweepRun> runs;  ///< grid point by grid point, seeds innermost
  std::string x, score;        ///< of the plot; empty without
  double fails_below = 0;
};

/// Reads and expands a sweep; `sets` are more assignments for all runs, which come last. Throws Error(kUsage).
Sweep read_sweep(const std::string& toml, const std::string& origin, const std::vector<std::string>& sets);

/// What came out at one point of the grid: of every score its mean and deviation over the seeds.
struct SweepPoint {
  std::vector<std::pair<std::string, nlohmann::json>> at;
  int64_t runs = 0, failed = 0;  ///< those that ended, which the values are of, and those that did not
  struct Value {
    std::string name;  ///< "ms", "fid", "seconds_training", "bytes"
    double mean = 0, deviation = 0;
  };
  std::vector<Value> values;

  const Value* find(const std::string& name) const;
};

/// Points in the order of the sweep, from the runs' summaries (summary.json), one for each of its runs; null if it
/// failed.
std::vector<SweepPoint> sweep_points(const Sweep& sweep, const std::vector<nlohmann::json>& summaries);

std::string sweep_table(const std::vector<SweepPoint>& points);  ///< for people
std::string sweep_csv(const std::vector<SweepPoint>& points);    ///< a line per point, mean and deviation of each value
nlohmann::json sweep_json(const std::vector<SweepPoint>& points);

/// For each line of the plot where it fails: "md-gan: ms falls below 90% of its first value at data.skew = 80".
std::vector<std::string> failure_points(const Sweep& sweep, const std::vector<SweepPoint>& points);
/// A page with the plot and the table.
std::string sweep_page(const Sweep& sweep, const std::vector<SweepPoint>& points);

}  // namespace agon::cli
