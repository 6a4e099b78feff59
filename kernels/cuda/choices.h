#pragma once

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "kernels/cuda/check.h"

namespace agon::cuda {

class Context;

/// One of several ways to compute the same.
struct Way {
  std::string name;           ///< "tiles", "cublas", "unfolded", "cudnn"
  std::function<void()> run;  ///< queues it
};

/// Which way computes a shape fastest: timed once, remembered, and kept in the user's cache folder for each kind of GPU
/// and version of cuDNN, so that later runs go the same way and give the same bits.
///   AGON_CUDA_WAY=NAME   takes that way wherever there is one, else the first, and times nothing
///   AGON_CUDA_WAY=NAME!  that way or none: an error where there is none, so that what is measured is what was named
///   AGON_CACHE=FOLDER    the cache folder (default $XDG_CACHE_HOME/agon, ~/.cache/agon)
class Choices {
 public:
  explicit Choices(const std::string& device);

  /// Runs the chosen way, or times all of them (at least one; ways must not change what they read). The first is taken
  /// unless another is faster by a tenth. Not to be timed during a capture: then an unknown shape goes the first way.
  void run(const std::string& shape, const std::vector<Way>& ways, Context& context, bool may_time);

  /// False if no shape is computed by the way of this name, so that it need not be prepared.
  bool may_take(const std::string& name) const { return preferred_.empty() || preferred_.starts_with(name); }

 private:
  const Way& fastest(const std::vector<Way>& ways, Context& context) const;
  void remember(const std::string& shape, const std::string& way);

  std::string preferred_, path_;
  std::map<std::string, std::string> known_;
};

}  // namespace agon::cuda
