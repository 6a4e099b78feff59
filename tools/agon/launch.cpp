// agon launch: agon train in several processes on this machine, by mpirun with the right settings.
#include <sched.h>
#include <sys/wait.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <memory>

#include "engine/text.h"
#include "kernels/error.h"
#include "tools/agon/commands.h"

namespace agon::cli {
namespace {

struct LaunchArguments {
  int ranks = 0;
  std::vector<std::string> words;
  bool print = false;
};

int cores() {
  cpu_set_t mine;
  return sched_getaffinity(0, sizeof(mine), &mine) == 0 ? CPU_COUNT(&mine) : 1;
}

/// What mpirun needs to know in the environment.
std::vector<std::pair<std::string, std::string>> environment(int ranks) {
  std::vector<std::pair<std::string, std::string>> list;
  if (geteuid() == 0)  // a container's only user, often
    list = {{"OMPI_ALLOW_RUN_AS_ROOT", "1"}, {"OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1"}};
  list.emplace_back("OMPI_MCA_rmaps_base_oversubscribe", "1");
  if (ranks > cores()) {  // who waits leaves its core to others
    list.emplace_back("OMPI_MCA_mpi_yield_when_idle", "1");
    list.emplace_back("OMP_WAIT_POLICY", "passive");
  }
  return list;
}

/// Starts a program and waits for it. Ctrl-C reaches it anyway; a SIGTERM is passed on.
void run_and_wait(std::vector<std::string>& line) {
  std::vector<char*> words;
  for (std::string& word : line) words.push_back(word.data());
  words.push_back(nullptr);
  static pid_t child = 0;
  child = fork();
  if (child == 0) {
    execvp(words[0], words.data());
    fmt::print(stderr, "agon: mpirun cannot be started: {}; install Open MPI (openmpi-bin)\n", std::strerror(errno));
    _exit(static_cast<int>(Fault::kUsage));
  }
  if (child < 0) fail(Fault::kRun, "no process can be started: {}", std::strerror(errno));
  std::signal(SIGINT, SIG_IGN);
  std::signal(SIGTERM, [](int signal) { kill(child, signal); });
  int status = 0;
  while (waitpid(child, &status, 0) < 0 && errno == EINTR) continue;
  if (WIFEXITED(status) && WEXITSTATUS(status) == static_cast<int>(Fault::kUsage)) std::exit(WEXITSTATUS(status));
}

void launch(const LaunchArguments& arguments) {
  if (arguments.ranks < 1)
    fail(Fault::kUsage, "--ranks is {}, expected the number of processes, at least 1", arguments.ranks);
  if (arguments.words.front() != "train")
    fail(Fault::kUsage, "agon launch was asked for \"agon {}\", but only agon train runs in several processes",
         arguments.words.front());
  std::error_code error;
  const std::string self = std::filesystem::read_symlink("/proc/self/exe", error).string();
  std::vector<std::string> line = {
      "mpirun", "-q", "--enable-recovery", "--bind-to", "none", "-n", std::to_string(arguments.ranks), self};
  line.insert(line.end(), arguments.words.begin(), arguments.words.end());
  const auto variables = environment(arguments.ranks);
  if (arguments.print) {
    for (const auto& [name, value] : variables) fmt::print("{}={} ", name, value);
    fmt::print("{}\n", fmt::join(line, " "));
    return;
  }
  // mpirun ends well whatever became of the processes, so the run leaves its exit code in a file.
  std::string folder = (std::filesystem::temp_directory_path() / "agon-launch-XXXXXX").string();
  if (!mkdtemp(folder.data())) fail(Fault::kRun, "no folder can be made in {}: {}", folder, std::strerror(errno));
  const std::string status = folder + "/status";
  setenv(kLaunchStatus, status.c_str(), /*overwrite=*/1);
  for (const auto& [name, value] : variables) setenv(name.c_str(), value.c_str(), /*overwrite=*/0);

  run_and_wait(line);
  int code = -1;
  std::ifstream(status) >> code;
  std::filesystem::remove_all(folder, error);
  if (code < 0) fail(Fault::kRun, "the processes ended without a word; mpirun or the system has stopped them");
  std::exit(code);
}

}  // namespace

void add_launch(CLI::App& program) {
  const auto arguments = std::make_shared<LaunchArguments>();
  CLI::App* command = program.add_subcommand("launch", "Runs agon train in several processes on this machine (MPI)");
  command->add_option("--ranks", arguments->ranks, "Processes, at most the workers and a server")->required();
  command->add_option("COMMAND", arguments->words, "After --: train, with its arguments")->required();
  command->add_flag("--print", arguments->print,
                    "Only print the command line, to start it by hand or on more machines");
  command->footer(
      "Example:\n"
      "  agon launch --ranks 11 -- train md-gan-mnist-mlp --data mnist/\n"
      "The result is that of one process, to the bit.");
  command->callback([arguments] { launch(*arguments); });
}

}  // namespace agon::cli
