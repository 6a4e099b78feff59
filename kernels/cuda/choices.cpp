// Which way computes a shape fastest.
#include "kernels/cuda/choices.h"

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <limits>

#include "kernels/cuda/context.h"
#include "kernels/cuda/graph.h"
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

class Event {
 public:
  Event() { check(cudaEventCreateWithFlags(&event_, 0), "timing"); }
  ~Event() { (void)cudaEventDestroy(event_); }
  Event(const Event&) = delete;
  Event& operator=(const Event&) = delete;
  operator cudaEvent_t() const { return event_; }

 private:
  cudaEvent_t event_;
};

/// Milliseconds of a few runs within a graph, as training runs them: what the host needs to queue them does not count.
float time_of(const Way& way, Context& context) {
  constexpr int kRuns = 4, kLaunches = 2;
  way.run();  // makes plans and work space
  const Graph graph(context, [&] {
    for (int i = 0; i < kRuns; ++i) way.run();
  });
  const Event start, end;
  float best = std::numeric_limits<float>::infinity();
  for (int i = 0; i < kLaunches; ++i) {
    check(cudaEventRecord(start, context.stream()), "timing");
    graph.launch();
    check(cudaEventRecord(end, context.stream()), "timing");
    check(cudaEventSynchronize(end), "timing");
    float milliseconds = 0;
    check(cudaEventElapsedTime(&milliseconds, start, end), "timing");
    best = std::min(best, milliseconds);
  }
  return best;
}

std::string names_of(const std::vector<Way>& ways) {
  std::string names;
  for (const Way& way : ways) names += (names.empty() ? "" : ", ") + way.name;
  return names;
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

const Way& Choices::fastest(const std::vector<Way>& ways, Context& context) const {
  constexpr float kClearly = 0.9f;
  const Way* best = &ways.front();
  float shortest = std::numeric_limits<float>::infinity();
  for (const Way& way : ways) {
    try {
      const float time = time_of(way, context);
      if (time < shortest) best = &way, shortest = &way == &ways.front() ? time * kClearly : time;
    } catch (const Error&) {  // a library that cannot do what it offered, or not within a graph: then not this way
      check(cudaStreamSynchronize(context.stream()), "timing");  // a lost GPU says so again
    }
  }
  return *best;
}

void Choices::run(const std::string& shape, const std::vector<Way>& ways, Context& context, bool may_time) {
  const auto named = [&](const std::string& name) {
    return std::find_if(ways.begin(), ways.end(), [&](const Way& way) { return way.name == name; });
  };
  const bool only = preferred_.ends_with('!');
  if (const auto way = named(preferred_.substr(0, preferred_.size() - only)); way != ways.end()) return way->run();
  if (only)
    fail(Fault::kUsage, "AGON_CUDA_WAY is \"{}\", but \"{}\" cannot be computed that way, only by {}", preferred_,
         shape, names_of(ways));
  if (ways.size() == 1 || !preferred_.empty()) return ways.front().run();
  const std::string choice = shape + " by " + names_of(ways);  // where there are others to choose from, it is another
  if (may_time && !known_.contains(choice)) remember(choice, fastest(ways, context).name);
  const auto known = known_.find(choice);
  const auto way = known == known_.end() ? ways.begin() : named(known->second);
  (way == ways.end() ? ways.begin() : way)->run();
}

}  // namespace agon::cuda
