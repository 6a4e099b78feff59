#include "tools/agon/training.h"

#include <unistd.h>
#include <csignal>

#include <atomic>
#include <cstdlib>
#include <memory>

#include "engine/comm/communicator.h"
#include "kernels/error.h"
#include "tools/agon/progress.h"

namespace agon::cli {
namespace {

/// What a signal handler may touch: the flag that ends the run after its present iteration.
std::atomic<bool>& stop_requested() {
  static std::atomic<bool> flag{false};
  return flag;
}

/// Of several processes, the first one.
bool& speaks() {
  static bool flag = true;
  return flag;
}

extern "C" void on_signal(int) {
  if (stop_requested().exchange(true)) _exit(static_cast<int>(Fault::kRun));
  if (!speaks()) return;
  const char message[] = "\nagon: stopping after this iteration, with a checkpoint; once more to quit at once\n";
  [[maybe_unused]] const ssize_t written = write(STDERR_FILENO, message, sizeof(message) - 1);
}

/// Goes back to the newest checkpoint, or to the beginning if the run was ended before it had one.
void resume(Trainer& trainer, const std::string& folder, bool speaks) {
  const int64_t iterations = trainer.settings().integer("run.iterations");
  if (trainer.resume()) {
    if (trainer.iteration() > iterations)
      fail(Fault::kUsage,
           "the run in {} is at iteration {} already, but run.iterations is {}; give more with --iterations", folder,
           trainer.iteration(), iterations);
    return;
  }
  if (holds_results(folder))
    fail(Fault::kData,
         "{0} holds the results of a run, but no checkpoint to go on from, expected {1}/iteration-*.safetensors; bring "
         "it back, or start anew in another folder with --out",
         folder, RunFolder::checkpoints_of(folder));
  if (speaks)
    fmt::print(stderr, "agon: no checkpoint was written yet in {}, so the run starts from the beginning\n", folder);
}

}  // namespace

void catch_signals() {
  stop_requested(), speaks() = communicator()->rank() == 0;  // there before a handler looks at them
  struct sigaction action {};
  action.sa_handler = on_signal;
  sigemptyset(&action.sa_mask);
  action.sa_flags = SA_RESTART;
  for (int signal : {SIGINT, SIGTERM, SIGHUP}) {
    struct sigaction now {};
    sigaction(signal, nullptr, &now);
    if (now.sa_handler != SIG_IGN) sigaction(signal, &action, nullptr);  // nohup; a shell's background
  }
}

bool stop_was_requested() { return stop_requested(); }

Summary train_into(const std::string& folder, const Settings& settings, const DataSource& data, bool resumes,
                   bool quiet) {
  Trainer trainer(settings, data);
  trainer.open_named_scorer();                     // before there is a folder
  const bool first = communicator()->rank() == 0;  // of several processes, the one that keeps the record
  const auto record = first ? std::make_shared<RunFolder>(folder, resumes) : nullptr;
  trainer.set_checkpoint_folder(RunFolder::checkpoints_of(folder));
  if (resumes) resume(trainer, folder, first && !quiet);
  if (first && !quiet && communicator()->name() == "mpi" && std::getenv("OMPI_COMM_WORLD_SIZE") &&
      !std::getenv("OMPI_MCA_orte_enable_recovery"))
    fmt::print(stderr,
               "agon: mpirun will end the run if a process dies; with mpirun --enable-recovery, or agon launch, "
               "the others go on\n");
  if (first) trainer.observe(record);
  if (first && !quiet) {
    const auto progress = std::make_shared<Progress>();
    trainer.observe(progress);
    trainer.watch_scorer(progress->scorer_watch());
  }
  return trainer.run(stop_requested());
}

}  // namespace agon::cli
