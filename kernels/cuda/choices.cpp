// Which way computes a shape fastest.
#include "kernels/cuda/choices.h"

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "kernels/error.h"

namespace fs = std::filesystem;

namespace agon::cuda {
namespace {

std::string variable(const char* name) {
  const char* value = std::getenv(name);
  return value ? value : "";
}

fs::path cache_folder() {
  if (const std::string own = variable("AGON_CACHE"); !own.empty()) return own;
  if (const std::string cache = variable("XDG_CACHE_HOME"); !cache.empty()) return fs::path(cache) / "agon";
  if (const std::string home = variable("HOME"); !home.empty()) return fs::path(home) / ".cache" / "agon";
  return {};
}

/// Milliseconds of the best of a few runs, after one that makes plans and work space.
float best_time(const Way& way, cudaStream_t stream) {
  constexpr int kRuns = 3;
  cudaEvent_t start, end;
  check(cudaEventCreateWithFlags(&start, 0), "timing");
  check(cudaEventCreateWithFlags(&end, 0), "timing");
  float best = 0;
  for (int i = -1; i < kRuns; ++i) {
    check(cudaEventRecord(start, stream), "timing");
    way.run();
    check(cudaEventRecord(end, stream), "timing");
    check(cudaEventSynchronize(end), "timing");
    float milliseconds = 0;
    check(cudaEventElapsedTime(&milliseconds, start, end), "timing");
    if (i <= 0 || milliseconds < best) best = milliseconds;
  }
  check(cudaEventDestroy(start), "timing");
  check(cudaEventDestroy(end), "timing");
  return best;
}

}  // namespace

Choices::Choices(const std::string& device) : preferred_(variable("AGON_CUDA_WAY")) {
  const fs::path folder = cache_folder();
  if (!preferred_.empty() || folder.empty()) return;
  std::string file = "ways of " + device;
  std::replace_if(
      file.begin(), file.end(), [](char c) { return c == '/' || c == ' '; }, '-');
  path_ = (folder / file).string();
  std::ifstream lines(path_);
  for (std::string line; std::getline(lines, line);)
    if (const size_t tab = line.find('\t'); tab != std::string::npos)
      known_.emplace(line.substr(0, tab), line.substr(tab + 1));  // of several lines the first counts
}

void Choices::remember(const std::string& shape, const std::string& way) {
  known_[shape] = way;
  if (path_.empty()) return;
  std::error_code error;
  fs::create_directories(fs::path(path_).parent_path(), error);
  std::ofstream file(path_, std::ios::app);  // a line that cannot be written is timed again by the next run
  file << shape + "\t" + way + "\n";
}

const Way& Choices::fastest(const std::vector<Way>& ways, cudaStream_t stream) const {
  constexpr float kClearly = 0.9f;
  const Way* best = &ways.front();
  float shortest = best_time(*best, stream) * kClearly;
  for (size_t i = 1; i < ways.size(); ++i) {
    try {
      if (const float time = best_time(ways[i], stream); time < shortest) best = &ways[i], shortest = time;
    } catch (const Error&) {  // a library that cannot do what it offered: then not this way
    }
  }
  return *best;
}

void Choices::run(const std::string& shape, const std::vector<Way>& ways, cudaStream_t stream, bool may_time) {
  const auto named = [&](const std::string& name) {
    return std::find_if(ways.begin(), ways.end(), [&](const Way& way) { return way.name == name; });
  };
  const bool only = preferred_.ends_with('!');
  if (const auto way = named(preferred_.substr(0, preferred_.size() - only)); way != ways.end()) return way->run();
  if (only) {
    std::string names;
    for (const Way& way : ways) names += (names.empty() ? "" : ", ") + way.name;
    fail(Fault::kUsage, "AGON_CUDA_WAY is \"{}\", but \"{}\" cannot be computed that way, only by {}", preferred_,
         shape, names);
  }
  if (ways.size() == 1 || !preferred_.empty()) return ways.front().run();
  if (const auto known = known_.find(shape); known != known_.end())
    if (const auto way = named(known->second); way != ways.end()) return way->run();
  if (may_time) remember(shape, fastest(ways, stream).name);
  const auto chosen = known_.find(shape);
  const auto way = chosen == known_.end() ? ways.begin() : named(chosen->second);
  (way == ways.end() ? ways.begin() : way)->run();
}

}  // namespace agon::cuda
