// agon launch: another agon command in several processes on this machine, by mpirun with the right settings.
#include <sched.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>
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

void launch(const LaunchArguments& arguments) {
  if (arguments.ranks < 1)
    fail(Fault::kUsage, "--ranks is {}, expected the number of processes, at least 1", arguments.ranks);
  std::error_code error;
  const std::string self = std::filesystem::read_symlink("/proc/self/exe", error).string();
  std::vector<std::string> line = {"mpirun", "-q", "--bind-to", "none", "-n", std::to_string(arguments.ranks), self};
  line.insert(line.end(), arguments.words.begin(), arguments.words.end());
  const auto variables = environment(arguments.ranks);
  if (arguments.print) {
    for (const auto& [name, value] : variables) fmt::print("{}={} ", name, value);
    fmt::print("{}\n", fmt::join(line, " "));
    return;
  }
  for (const auto& [name, value] : variables) setenv(name.c_str(), value.c_str(), /*overwrite=*/0);
  std::vector<char*> words;
  for (std::string& word : line) words.push_back(word.data());
  words.push_back(nullptr);
  execvp(words[0], words.data());
  fail(Fault::kUsage, "mpirun cannot be started: {}; install Open MPI (openmpi-bin)", std::strerror(errno));
}

}  // namespace

void add_launch(CLI::App& program) {
  const auto arguments = std::make_shared<LaunchArguments>();
  CLI::App* command = program.add_subcommand("launch", "Runs a command in several processes on this machine (MPI)");
  command->add_option("--ranks", arguments->ranks, "Processes, at most the workers and a server")->required();
  command->add_option("COMMAND", arguments->words, "After --: another agon command with its arguments")->required();
  command->add_flag("--print", arguments->print,
                    "Only print the command line, to start it by hand or on more machines");
  command->footer(
      "Example:\n"
      "  agon launch --ranks 11 -- train md-gan-mnist-mlp --data mnist/\n"
      "The result is that of one process, to the bit.");
  command->callback([arguments] { launch(*arguments); });
}

}  // namespace agon::cli
