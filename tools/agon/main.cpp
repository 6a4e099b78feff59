// agon: the command line. Commands are in files of their own; here are the choice between them and the exit codes:
// 0 done, 2 bad usage or configuration, 3 bad or missing data, 4 the run failed.
#include <fcntl.h>
#include <spdlog/sinks/stdout_color_sinks.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <new>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

#include "engine/comm/communicator.h"
#include "engine/text.h"
#include "kernels/error.h"
#include "tools/agon/commands.h"

namespace agon::cli {
namespace {

std::vector<std::string> names_of_commands(const CLI::App& app) {
  std::vector<std::string> names;
  for (const CLI::App* command : app.get_subcommands([](const CLI::App*) { return true; }))
    names.push_back(command->get_name());
  return names;
}

/// The command that the arguments chose, as far down as they name one: `agon data convert`.
const CLI::App& chosen_command(const CLI::App& app, std::string& path) {
  const auto chosen = app.get_subcommands();
  path += (path.empty() ? "" : " ") + app.get_name();
  return chosen.empty() ? app : chosen_command(*chosen.front(), path);
}

/// One sentence for what CLI11 could not take, with the nearest word that it could have taken.
std::string explain(const CLI::App& program, const CLI::ParseError& error, const std::vector<std::string>& arguments) {
  std::string path;
  const CLI::App& command = chosen_command(program, path);
  const std::vector<std::string> commands = names_of_commands(command);
  const auto extra =
      dynamic_cast<const CLI::ExtrasError*>(&error) ? program.remaining(true) : std::vector<std::string>{};
  const auto flag =
      std::find_if(extra.begin(), extra.end(), [](const std::string& word) { return word.rfind('-', 0) == 0; });
  if (flag != extra.end()) {
    std::vector<std::string> known;
    for (const CLI::Option* option : command.get_options())
      for (const std::string& name : option->get_lnames()) known.push_back("--" + name);
    const std::string word = flag->substr(0, flag->find('='));
    return fmt::format("{} does not know {}; did you mean {}? {} --help lists its options", path, word,
                       nearest(word, known), path);
  }
  if (!commands.empty()) {
    // The first word after the command's own name that is not one of its commands.
    const auto own = std::find(arguments.begin(), arguments.end(), command.get_name());
    const auto word = std::find_if(own == arguments.end() ? arguments.begin() : own + 1, arguments.end(),
                                   [](const std::string& argument) { return argument.rfind('-', 0) != 0; });
    if (word == arguments.end()) {
      const std::string before = own == arguments.end() && !arguments.empty()
                                     ? fmt::format("{} does not know {} and", path, arguments.front())
                                     : path;
      return fmt::format("{} expects a command: {}", before, listed(commands, "or"));
    }
    return fmt::format("{} has no command \"{}\"; did you mean \"{}\"? There are {}", path, *word,
                       nearest(*word, commands), listed(commands));
  }
  if (!extra.empty())
    return fmt::format("{} does not know what to do with \"{}\"; see {} --help", path, extra.front(), path);
  if (const auto* mismatch = dynamic_cast<const CLI::ArgumentMismatch*>(&error)) {  // "--seed: 1 required S missing"
    const std::string text = mismatch->what();
    return fmt::format("{}: {} expects a value, found none; see {} --help", path, text.substr(0, text.find(':')), path);
  }
  if (dynamic_cast<const CLI::ConversionError*>(&error)) {  // "Could not convert: --size = nan"
    const std::string text = error.what();
    const size_t name = text.find(": "), value = text.find(" = ");
    if (name < value && value != std::string::npos)
      return fmt::format("{} expects a whole number, found {}; see {} --help", text.substr(name + 2, value - name - 2),
                         text.substr(value + 3), path);
  }
  std::string reason = error.what();
  std::replace(reason.begin(), reason.end(), '\n', ' ');
  return fmt::format("{}: {}; see {} --help", path, reason, path);
}

/// A variable that a script forgot to set is not to become a default.
void refuse_empty_values(CLI::App& command) {
  for (CLI::Option* option : command.get_options())
    option->check([name = option->get_name()](const std::string& value) {
      if (value.empty()) fail(Fault::kUsage, "{} is empty, expected a value", name);
      return std::string();
    });
  for (CLI::App* below : command.get_subcommands([](const CLI::App*) { return true; })) refuse_empty_values(*below);
}

int run(int count, char** values) {
  CLI::App program("Trains GANs over data that is spread over many workers: MD-GAN and its rivals.", "agon");
  program.footer(
      "First steps:\n"
      "  agon presets                                      what there is to train\n"
      "  agon train md-gan-ring-mlp                        a first run, without any data, in a minute\n"
      "  agon train md-gan-mnist-mlp --data mnist/         ten workers learn to write digits\n"
      "  agon report runs/md-gan-mnist-mlp-1 --out r.html  its curves, pictures and traffic");
  program.require_subcommand(1);
  program.set_version_flag("--version", std::string("agon ") + AGON_VERSION);
  for (const auto add : {add_train, add_plan, add_sample, add_eval, add_scorer, add_data, add_presets, add_report,
                         add_sweep, add_compare, add_launch, add_info})
    add(program);
  refuse_empty_values(program);
  const std::vector<std::string> arguments(values + 1, values + count);
  if (arguments.empty()) {
    fmt::print("{}", program.help());
    return 0;
  }
  try {
    program.parse(count, values);
    return 0;
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() == 0) return program.exit(error);  // --help, --version
    fail(Fault::kUsage, "{}", explain(program, error, arguments));
  }
}

/// As run(); results that do not get to where stdout leads are lost, and that is a failure.
int run_and_print(int count, char** values) {
  const auto lost = [](int error) {
    fail(Fault::kRun, "the results cannot be printed: {}; send stdout to a place that takes them",
         std::strerror(error));
  };
  int code = 0;
  try {
    code = run(count, values);
  } catch (const std::system_error& error) {  // of fmt::print
    if (!std::ferror(stdout)) throw;
    lost(error.code().value());
  }
  if (std::fflush(stdout) != 0) lost(errno);
  if (std::ferror(stdout)) lost(EIO);
  return code;
}

/// Tells `agon launch`, which hears nothing from mpirun, what became of the run. The first word counts; false if it was
/// another's.
bool report(int exit_code) {
  const char* path = std::getenv(kLaunchStatus);
  if (!path) return true;
  const int file = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
  if (file < 0) return false;
  const std::string text = std::to_string(exit_code);
  [[maybe_unused]] const ssize_t written = write(file, text.data(), text.size());
  close(file);
  return true;
}

/// Until the process that speaks has said its word, or for so long at most.
void let_the_first_speak(std::chrono::seconds most) {
  using namespace std::chrono_literals;
  const char* path = std::getenv(kLaunchStatus);
  for (auto waited = 0ms; waited < most; waited += 50ms) {
    std::this_thread::sleep_for(50ms);
    if (path && access(path, F_OK) == 0) return std::this_thread::sleep_for(200ms);  // it speaks
  }
}

/// Says why the program ends, and ends the other processes of the run, too. What all of them found, one says.
int leave(int exit_code, const std::string& sentence, bool all_know = false) {
  std::shared_ptr<Communicator> processes;
  try {
    processes = communicator();
  } catch (const Error&) {
    processes = alone();
  }
  std::signal(SIGTERM, SIG_DFL);  // the first process may be ending this one already
  if (!processes->speaks()) let_the_first_speak(std::chrono::seconds(all_know ? 3 : 10));
  const bool first_word = report(exit_code);
  // Not by fmt::print, which throws where stderr takes nothing.
  if (processes->speaks() || (first_word && !all_know)) std::fputs(("agon: " + sentence + "\n").c_str(), stderr);
  if (processes->size() > 1) processes->abandon(exit_code);
  return exit_code;
}

}  // namespace
}  // namespace agon::cli

int main(int count, char** values) {
  std::signal(SIGXFSZ, SIG_IGN);  // a file that grows too large is an error of the write, said in a sentence
  // Progress and warnings go to stderr: stdout is for results.
  spdlog::set_default_logger(spdlog::stderr_color_mt("agon"));
  spdlog::set_pattern("agon: %v");
  try {
    if (agon::communicator()->rank() != 0) spdlog::set_level(spdlog::level::off);  // the first process speaks for all
    const int code = agon::cli::run_and_print(count, values);
    if (agon::communicator()->rank() == 0) agon::cli::report(code);
    if (code == 0) agon::communicator()->part();
    return code;
  } catch (const agon::Refused& error) {
    fmt::print(stderr, "agon: {}\n", error.what());
    agon::communicator()->abandon(error.exit_code());
  } catch (const agon::FirstLost& error) {
    return agon::cli::leave(error.exit_code(), error.what(), /*all_know=*/true);
  } catch (const agon::Error& error) {
    return agon::cli::leave(error.exit_code(), error.what());
  } catch (const std::bad_alloc&) {
    return agon::cli::leave(static_cast<int>(agon::Fault::kRun),
                            "the memory of this machine does not suffice; `agon plan` tells what a run needs");
  } catch (const std::exception& error) {
    return agon::cli::leave(
        static_cast<int>(agon::Fault::kRun),
        fmt::format("stopped by an error that should not happen, please report it: {}", error.what()));
  }
}
