// Scorers that were trained once are kept in the user's cache folder, so that runs on the same data share one.
#include <fcntl.h>
#include <spdlog/spdlog.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <filesystem>

#include "algorithms/scorer.h"
#include "engine/checksum.h"
#include "engine/files.h"
#include "kernels/error.h"

namespace agon {
namespace {

namespace fs = std::filesystem;

constexpr int kScorerVersion = 1;  // to be raised when layers or training change, so that old files are not reused

/// Lets one process at a time train the scorer of a file; the others wait and then find it. The lock ends with the
/// process, however it ends. Where files cannot be locked, several train the same scorer: slow, not wrong.
class TurnTaking {
 public:
  explicit TurnTaking(const std::string& path) : file_(::open(path.c_str(), O_CREAT | O_RDWR | O_CLOEXEC, 0644)) {
    while (file_ >= 0 && flock(file_, LOCK_EX) != 0 && errno == EINTR) {
    }
  }
  ~TurnTaking() {
    if (file_ >= 0) ::close(file_);
  }
  TurnTaking(const TurnTaking&) = delete;
  TurnTaking& operator=(const TurnTaking&) = delete;

 private:
  int file_;
};

std::string variable(const char* name) {
  const char* value = std::getenv(name);
  return value ? value : "";
}

/// The first folder of the list that exists or can be made, and written to; empty if none.
std::string cache_folder(const std::string& fallback) {
  std::vector<std::string> folders;
  if (const std::string own = variable("AGON_CACHE"); !own.empty())
    folders.push_back(own);
  else if (const std::string cache = variable("XDG_CACHE_HOME"); !cache.empty())
    folders.push_back(cache + "/agon");
  else if (const std::string home = variable("HOME"); !home.empty())
    folders.push_back(home + "/.cache/agon");
  folders.push_back(fallback);
  for (const std::string& folder : folders) {
    if (folder.empty()) continue;
    std::error_code error;
    fs::create_directories(folder, error);
    if (access(folder.c_str(), W_OK | X_OK) == 0) return folder;
  }
  return "";
}

}  // namespace

Scorer cached_scorer(std::shared_ptr<Device> device, const DataSource& data, const ScorerWatch& watch,
                     const std::string& fallback_folder) {
  const std::string folder = cache_folder(fallback_folder);
  if (folder.empty()) return train_scorer(std::move(device), data, {}, watch);

  // The card tells the accuracy on the test split, so that split is part of the key.
  const std::string test = data.test ? checksum_text(data.test->checksum()) : "none";
  const std::string kind = device->name().substr(0, device->name().find(':'));
  const std::string path = fmt::format("{}/scorer-v{}-{}-{}-{}.safetensors", folder, kScorerVersion, kind,
                                       checksum_text(data.train.checksum()), test);
  const TurnTaking turn(path + ".lock");
  if (fs::exists(path)) {
    try {
      return Scorer::open(device, path);
    } catch (const Error& error) {
      spdlog::warn("{}; it is trained again", error.what());
    }
  }
  Scorer scorer = train_scorer(std::move(device), data, {}, watch);
  try {
    scorer.save(path);
  } catch (const Error& error) {
    spdlog::warn("the scorer could not be kept for later runs: {}", error.what());
  }
  return scorer;
}

}  // namespace agon
