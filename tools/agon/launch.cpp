// agon launch: agon train in several processes on this machine, by mpirun with the right settings or without MPI.
#include <fcntl.h>
#include <sched.h>
#include <sys/wait.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <future>
#include <memory>
#include <string_view>
#include <thread>

#include "engine/comm/sockets.h"
#include "engine/text.h"
#include "kernels/error.h"
#include "tools/agon/commands.h"

namespace agon::cli {
namespace {

constexpr int kMostRanks = 4096;  // on one machine

struct LaunchArguments {
  int ranks = 0;
  std::vector<std::string> words;
  std::string over = "mpi";
  bool print = false;
};

using Variables = std::vector<std::pair<std::string, std::string>>;

int cores() {
  cpu_set_t mine;
  return sched_getaffinity(0, sizeof(mine), &mine) == 0 ? CPU_COUNT(&mine) : 1;
}

/// What mpirun needs to know in the environment.
Variables variables_of_mpirun(int ranks) {
  Variables list;
  if (geteuid() == 0)  // a container's only user, often
    list = {{"OMPI_ALLOW_RUN_AS_ROOT", "1"}, {"OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1"}};
  list.emplace_back("OMPI_MCA_rmaps_base_oversubscribe", "1");
  if (ranks > cores()) {  // who waits leaves its core to others
    list.emplace_back("OMPI_MCA_mpi_yield_when_idle", "1");
    list.emplace_back("OMP_WAIT_POLICY", "passive");
  }
  return list;
}

/// What a process needs to know that mpirun does not start (engine/comm/tcp.h), as torchrun says it.
Variables variables_of_rank(int rank, int ranks, int port) {
  return {{"MASTER_ADDR", "127.0.0.1"},          {"MASTER_PORT", std::to_string(port)},
          {"WORLD_SIZE", std::to_string(ranks)}, {"LOCAL_WORLD_SIZE", std::to_string(ranks)},
          {"RANK", std::to_string(rank)},        {"LOCAL_RANK", std::to_string(rank)}};
}

std::string shell_line(const Variables& variables, const std::vector<std::string>& words) {
  std::string line;
  for (const auto& [name, value] : variables) line += name + "=" + value + " ";
  return line + fmt::format("{}", fmt::join(words, " "));
}

std::vector<pid_t> children;

/// `errors`: where its stderr goes, if not to ours.
void start(std::vector<std::string> words, const Variables& variables, int errors = STDERR_FILENO) {
  std::vector<char*> pointers;
  for (std::string& word : words) pointers.push_back(word.data());
  pointers.push_back(nullptr);
  const pid_t child = fork();
  if (child == 0) {
    if (errors != STDERR_FILENO) dup2(errors, STDERR_FILENO);
    for (const auto& [name, value] : variables) setenv(name.c_str(), value.c_str(), /*overwrite=*/1);
    execvp(pointers[0], pointers.data());
    fmt::print(stderr, "agon: {} cannot be started: {}; install Open MPI (openmpi-bin), or launch with --over tcp\n",
               words[0], std::strerror(errno));
    _exit(static_cast<int>(Fault::kUsage));
  }
  if (child < 0) fail(Fault::kRun, "no process can be started: {}", std::strerror(errno));
  children.push_back(child);
}

/// Passes on what comes through a pipe to stderr, but for the lines in which the library below mpirun says, once for
/// each process, that it could not tell one that is gone.
void pass_on(int pipe) {
  std::string line, out;
  char bytes[4096];
  for (ssize_t count; (count = read(pipe, bytes, sizeof bytes)) > 0; out.clear()) {
    for (const char c : std::string_view(bytes, static_cast<size_t>(count))) {
      line += c;
      if (line.front() == '[' && c != '\n') continue;  // such lines are waited for
      if (line.find("PMIX ERROR") == std::string::npos) out += line;
      line.clear();
    }
    std::fwrite(out.data(), 1, out.size(), stderr);
  }
  std::fwrite(line.data(), 1, line.size(), stderr);
}

/// Waits for the first child, and some seconds more for the others: a stopped process would be waited for in vain.
/// Returns the first one's exit code, or -1. Ctrl-C reaches them anyway; a SIGTERM is passed on.
int wait_for_children() {
  std::signal(SIGINT, SIG_IGN);
  std::signal(SIGTERM, [](int signal) {
    for (pid_t child : children) kill(child, signal);
  });
  int status = 0;
  while (waitpid(children.front(), &status, 0) < 0 && errno == EINTR) continue;
  for (size_t i = 1; i < children.size(); ++i) {
    pid_t ended = 0;
    for (int looks = 0; looks < 500 && ended == 0; ++looks) {
      ended = waitpid(children[i], nullptr, WNOHANG);
      if (ended == 0) std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    if (ended == 0) kill(children[i], SIGKILL), waitpid(children[i], nullptr, 0);
  }
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

void launch(const LaunchArguments& arguments) {
  if (arguments.ranks < 1 || arguments.ranks > kMostRanks)
    fail(Fault::kUsage, "--ranks is {}, expected the number of processes, 1 to {}", arguments.ranks, kMostRanks);
  if (arguments.words.front() != "train")
    fail(Fault::kUsage, "agon launch was asked for \"agon {}\", but only agon train runs in several processes",
         arguments.words.front());
  if (arguments.over != "mpi" && arguments.over != "tcp")
    fail(Fault::kUsage, "--over is \"{}\", expected mpi or tcp", arguments.over);
  std::error_code error;
  std::vector<std::string> line = {std::filesystem::read_symlink("/proc/self/exe", error).string()};
  line.insert(line.end(), arguments.words.begin(), arguments.words.end());
  std::vector<Variables> variables;  // of each process to start
  if (arguments.over == "mpi") {
    const std::string ranks = std::to_string(arguments.ranks);
    const auto mpirun = {"mpirun", "-q", "--enable-recovery", "--bind-to", "none", "-n", ranks.c_str()};
    line.insert(line.begin(), mpirun.begin(), mpirun.end());
    variables = {variables_of_mpirun(arguments.ranks)};
    for (auto& [name, value] : variables.front())  // what the user has set stays
      if (const char* set = std::getenv(name.c_str())) value = set;
  } else {
    const auto listener = listen_at(0, 1);  // for a free port's number
    if (!listener) fail(Fault::kRun, "no port can be opened on this machine: {}", std::strerror(errno));
    for (int rank = 0; rank < arguments.ranks; ++rank)
      variables.push_back(variables_of_rank(rank, arguments.ranks, port_of(*listener)));
  }
  if (arguments.print) {
    for (const Variables& some : variables) fmt::print("{}\n", shell_line(some, line));
    return;
  }
  // mpirun ends well whatever became of the processes, so the run leaves its exit code in a file.
  std::string folder = (std::filesystem::temp_directory_path() / "agon-launch-XXXXXX").string();
  if (!mkdtemp(folder.data())) fail(Fault::kRun, "no folder can be made in {}: {}", folder, std::strerror(errno));
  const std::string status = folder + "/status";
  setenv(kLaunchStatus, status.c_str(), /*overwrite=*/1);

  int errors[2] = {-1, STDERR_FILENO};
  std::future<void> passed_on;
  if (arguments.over == "mpi" && pipe2(errors, O_CLOEXEC) == 0)
    passed_on = std::async(std::launch::async, pass_on, errors[0]);
  for (const Variables& some : variables) start(line, some, errors[1]);
  if (passed_on.valid()) close(errors[1]);
  const int exit_code = wait_for_children();
  if (passed_on.valid()) passed_on.wait_for(std::chrono::seconds(2));
  int code = exit_code == static_cast<int>(Fault::kUsage) ? exit_code : -1;
  std::ifstream(status) >> code;
  std::filesystem::remove_all(folder, error);
  if (code < 0) fail(Fault::kRun, "the processes ended without a word; mpirun or the system has stopped them");
  std::exit(code);
}

}  // namespace

void add_launch(CLI::App& program) {
  const auto arguments = std::make_shared<LaunchArguments>();
  CLI::App* command = program.add_subcommand("launch", "Runs agon train in several processes on this machine");
  command->add_option("--ranks", arguments->ranks, "Processes, at most the workers and a server")->required();
  command->add_option("COMMAND", arguments->words, "After --: train, with its arguments")->required();
  command->add_option("--over", arguments->over, "How they talk: mpi (mpirun starts them), or tcp")
      ->capture_default_str();
  command->add_flag("--print", arguments->print,
                    "Only print the command line, to start it by hand or on more machines");
  command->footer(
      "Examples:\n"
      "  agon launch --ranks 11 -- train md-gan-mnist-mlp --data mnist/\n"
      "  agon launch --ranks 3 --over tcp -- train md-gan-mnist-mlp --data mnist/\n"
      "The result is that of one process, to the bit.");
  command->callback([arguments] { launch(*arguments); });
}

}  // namespace agon::cli
