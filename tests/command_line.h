#pragma once

// The agon command as scripts and people use it: what the tests of the command line share.

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <functional>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
#include <thread>

namespace agon::command_line {

namespace fs = std::filesystem;
using nlohmann::json;

inline std::string contents(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

struct Outcome {
  int code = -1;  ///< exit code, or 128 + signal
  std::string out, err;

  std::string last_line() const {
    std::string text = out;
    while (!text.empty() && text.back() == '\n') text.pop_back();
    return text.substr(text.rfind('\n') + 1);
  }
};

/// A folder of its own for each test, in which `agon` runs.
class Cli : public testing::Test {
 protected:
  void SetUp() override {
    std::string name = (fs::temp_directory_path() / "agon-cli-XXXXXX").string();
    ASSERT_NE(mkdtemp(name.data()), nullptr);
    folder_ = name;
  }
  void TearDown() override { fs::remove_all(folder_); }

  /// Starts a shell command line in which `agon` is the program under test.
  pid_t start(const std::string& command) {
    const std::string script =
        "cd '" + folder_.string() + "' && agon() { exec '" AGON_BINARY_DIR "/bin/agon' \"$@\"; } && " + command;
    const pid_t child = fork();
    if (child != 0) return child;
    for (const auto& [file, descriptor] : {std::pair{"stdout", STDOUT_FILENO}, {"stderr", STDERR_FILENO}}) {
      const int target = open((folder_ / file).c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0644);
      dup2(target, descriptor);
    }
    unsetenv("AGON_DATA");
    setenv("AGON_CACHE", (folder_ / "cache").c_str(), 1);
    execl("/bin/sh", "sh", "-c", script.c_str(), nullptr);
    _exit(127);
  }
  Outcome finish(pid_t child) {
    int status = 0;
    waitpid(child, &status, 0);
    return {WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status), contents(folder_ / "stdout"),
            contents(folder_ / "stderr")};
  }
  Outcome run(const std::string& command) { return finish(start(command)); }
  /// Whether finish() would return at once.
  static bool has_ended(pid_t child) {
    siginfo_t info{};
    return waitid(P_PID, static_cast<id_t>(child), &info, WEXITED | WNOWAIT | WNOHANG) == 0 && info.si_pid == child;
  }

  /// Waits until `ready`, for at most a minute.
  static bool wait_for(const std::function<bool()>& ready) {
    for (int i = 0; i < 60000; ++i) {
      if (ready()) return true;
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    return false;
  }

  fs::path folder_;
};

/// A small world that trains hundreds of iterations in a second.
inline const std::string kSmall =
    "md-gan-ring-mlp --set run.threads=1 --set world.workers=3 --set algorithm.batch=8 --set run.evaluate_every=0 "
    "--set run.sample_every=0 "
    "--set generator.layers='[\"dense 16\", \"relu\", \"dense 2\"]' "
    "--set discriminator.layers='[\"dense 16\", \"leaky_relu 0.2\", \"dense heads\"]' ";

}  // namespace agon::command_line
