// Runs whose participants live in several processes, under mpirun: the same bits as in one.
#include "tests/command_line.h"

namespace agon::command_line {
namespace {

class Processes : public Cli {
 protected:
  void SetUp() override {
    Cli::SetUp();
    if (!fs::exists(AGON_BINARY_DIR "/lib/libagon_mpi.so")) GTEST_SKIP() << "this build has no MPI plug-in";
    if (std::system("command -v mpirun >/dev/null") != 0) GTEST_SKIP() << "there is no mpirun here";
    for (const char* name : {"OMPI_ALLOW_RUN_AS_ROOT", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM",
                             "OMPI_MCA_rmaps_base_oversubscribe", "OMPI_MCA_mpi_yield_when_idle"})
      setenv(name, "1", 1);
    if (const char* options = std::getenv("ASAN_OPTIONS"))  // what MPI leaks is not ours
      setenv("ASAN_OPTIONS", (options + std::string(":detect_leaks=0")).c_str(), 1);
  }
  /// `agon ARGUMENTS` in as many processes; one: without mpirun. Ended by force if it hangs.
  Outcome agon(int processes, const std::string& arguments) {
    const std::string program = AGON_BINARY_DIR "/bin/agon " + arguments;
    return run(processes == 1
                   ? program
                   : "timeout -s KILL 120 mpirun -q --bind-to none -n " + std::to_string(processes) + " " + program);
  }
  json trained(int processes, const std::string& arguments) {
    const Outcome outcome = agon(processes, "train " + arguments + " --json --quiet");
    EXPECT_EQ(outcome.code, 0) << processes << " processes: " << outcome.err;
    if (outcome.code != 0) return {};
    EXPECT_EQ(std::count(outcome.out.begin(), outcome.out.end(), '\n'), 1) << "only the server's process prints";
    return json::parse(outcome.last_line());
  }
};

const std::string kSmall = "--set run.evaluate_every=6 --set score.samples=200 --set run.log_every=3 ";

struct Row {
  const char* preset;
  std::string settings;
  std::vector<int> processes = {3};  ///< besides one
};

const std::vector<int> kMany = {2, 3, 5, 6};

TEST_F(Processes, GiveTheBitsOfOne) {
  ASSERT_EQ(run("agon data synth strokes small.safetensors --count 600 --test-count 20").code, 0);
  const std::string pictures = "--data small.safetensors --set run.evaluate_every=0 ";
  const std::string grid = "--set algorithm.fitness_batches=2 --set data.share=0.02 ";
  for (const Row& row :
       {Row{"md-gan-ring-mlp", "--set algorithm.swap_epochs=0.04 --set algorithm.swap_moments=travel", kMany},
        Row{"md-gan-strokes-mlp",
            pictures + "--set algorithm.kappa=3 --set world.crash='[\"3:1\", \"7:0\"]' --set world.join='[\"9:1\"]'"},
        Row{"fl-gan-ring-mlp", "--set algorithm.round_iterations=5 --set algorithm.moments=average", kMany},
        Row{"fedgan-ring-mlp", "--set data.partition=quantity --set algorithm.round_iterations=4"},
        Row{"gossip-ind-ring-mlp",
            "--set algorithm.round_iterations=3 --set gan.same_start=false --set world.crash='[\"5:2\"]'", kMany},
        Row{"local-ring-mlp", "--set gan.same_start=false"}, Row{"all-reduce-ring-mlp", ""},
        Row{"ren-serial-ring-mlp", "--set algorithm.schedule=round-robin --set algorithm.ratio=0.6", kMany},
        Row{"ren-parallel-strokes-mlp", pictures + "--set algorithm.model_bits=16 --set world.crash='[\"4:3\"]'"},
        Row{"md-gan-async-ring-mlp", "--set algorithm.swap_epochs=0.01 --set algorithm.swap_moments=travel"},
        Row{"md-gan-async-strokes-mlp", pictures},
        Row{"lipizzaner-ring-mlp", grid + "--set algorithm.rate_mutation=0.3 --set algorithm.mixture_sigma=0.3", kMany},
        Row{"lipizzaner-ring-mlp", grid + "--set world.workers=6 --set algorithm.rows=2 --set algorithm.mustangs=true "
                                          "--set algorithm.opponents=neighbourhood "
                                          "--set world.crash='[\"3:1\", \"8:5\"]' --set world.join='[\"5:1\"]'"},
        Row{"lipizzaner-strokes-mlp",
            pictures + "--set algorithm.fitness_batches=1 --set data.share=0.2 --set score.scorer=none"}}) {
    SCOPED_TRACE(row.preset);
    std::vector<int> counts = row.processes;
    counts.insert(counts.begin(), 1);
    json one;
    for (const int processes : counts) {
      const std::string out = std::string(row.preset) + "-" + std::to_string(processes);
      const json summary = trained(processes, std::string(row.preset) + " --iterations 12 --set world.workers=5 " +
                                                  kSmall + row.settings + " --out " + out);
      if (processes == 1) one = summary;
      for (const char* same : {"weights_hash", "traffic", "scores", "seconds_simulated", "events", "iterations"}) {
        EXPECT_TRUE(one.contains(same)) << same;
        EXPECT_EQ(summary[same], one[same]) << processes << " processes: " << same;
      }
      fs::remove_all(folder_ / out);
    }
  }
}

TEST_F(Processes, GoOnInAnotherNumberOfProcesses) {
  for (const char* preset : {"md-gan-ring-mlp --set algorithm.swap_epochs=0.04", "md-gan-async-ring-mlp",
                             "lipizzaner-ring-mlp --set algorithm.fitness_batches=2 --set data.share=0.02"}) {
    SCOPED_TRACE(preset);
    const std::string start = preset + std::string(" --set world.workers=5 ") + kSmall;
    const json whole = trained(1, start + "--iterations 12 --out whole");
    trained(3, start + "--iterations 7 --out parts");
    trained(6, "--resume --out parts --iterations 10");
    const json last = trained(1, "--resume --out parts --iterations 12");
    for (const char* same : {"weights_hash", "traffic", "scores", "seconds_simulated"})
      EXPECT_EQ(last[same], whole[same]) << same;
    fs::remove_all(folder_ / "whole");
    fs::remove_all(folder_ / "parts");
  }
}

/// Runs that lose processes in their midst.
class Losses : public Processes {
 protected:
  /// `agon launch` in three processes, six workers; a signal reaches one of them when the run is under way.
  Outcome lose(int rank, int signal, const std::string& settings) {
    const pid_t launcher = start(
        "agon launch --ranks 3 -- train md-gan-ring-mlp --set world.workers=6 "
        "--set world.deadline=1 --set run.log_every=50 --out run --json " +
        settings);
    pid_t victim = -1;
    for (int looks = 0; looks < 3000 && victim < 0 && !has_ended(launcher); ++looks) {
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
      if (contents(folder_ / "run/metrics.jsonl").find("\"log\"") != std::string::npos) victim = process(rank);
    }
    EXPECT_GT(victim, 0) << "no process " << rank;
    if (victim > 0) kill(victim, signal);
    return finish(launcher);
  }
  /// The process of a rank that writes to this test's folder.
  pid_t process(int rank) {
    const std::string mine = "AGON_CACHE=" + (folder_ / "cache").string();
    const std::string wanted = "OMPI_COMM_WORLD_RANK=" + std::to_string(rank);
    for (const auto& entry : fs::directory_iterator("/proc")) {
      const std::string name = entry.path().filename().string();
      if (name.find_first_not_of("0123456789") != std::string::npos) continue;
      const std::string environment = '\0' + contents(entry.path() / "environ");
      if (environment.find('\0' + mine + '\0') != std::string::npos &&
          environment.find('\0' + wanted + '\0') != std::string::npos)
        return std::stoi(name);
    }
    return -1;
  }
};

TEST_F(Losses, WorkersThatDieOrStopAreDropped) {
  for (const int signal : {SIGKILL, SIGSTOP}) {
    SCOPED_TRACE(signal);
    fs::remove_all(folder_ / "run");
    const Outcome outcome = lose(1, signal, "--iterations 1500 --set run.evaluate_every=750");
    ASSERT_EQ(outcome.code, 0) << outcome.err;
    const json summary = json::parse(outcome.last_line());
    EXPECT_EQ(summary["iterations"], 1500);
    ASSERT_EQ(summary["events"].size(), 2u) << outcome.err;
    for (const int i : {0, 1}) {
      EXPECT_EQ(summary["events"][i]["worker"], 2 + i);
      EXPECT_EQ(summary["events"][i]["kind"], "lost");
    }
    EXPECT_NE(outcome.err.find("worker 2 lost at iteration"), std::string::npos) << outcome.err;
    const std::string metrics = contents(folder_ / "run/metrics.jsonl");
    EXPECT_NE(metrics.find("\"event\":\"lost\""), std::string::npos);
    EXPECT_NE(metrics.find("\"iteration\":1500"), std::string::npos);
    EXPECT_EQ(process(1), -1) << "the stopped process is still there";
  }
}

TEST_F(Losses, TheServersDeathLeavesAGoodCheckpoint) {
  const Outcome outcome = lose(0, SIGKILL, "--iterations 3000 --set run.checkpoint_every=20");
  EXPECT_EQ(outcome.code, 4) << outcome.err;
  EXPECT_NE(outcome.err.find("agon: the first process, which has the server, is lost"), std::string::npos)
      << outcome.err;
  const json resumed = trained(2, "--resume --out run --iterations 300");
  const json whole = trained(1, "md-gan-ring-mlp --set world.workers=6 --iterations 300 --out whole");
  EXPECT_EQ(resumed["weights_hash"], whole["weights_hash"]);
  EXPECT_EQ(resumed["traffic"], whole["traffic"]);
}

TEST_F(Processes, LaunchRefusesWhatItCannotDo) {
  for (const auto& [words, says] : {std::pair{"--ranks 0 -- train md-gan-ring-mlp", "--ranks is 0"},
                                    {"--ranks 2 -- plan md-gan-ring-mlp", "only agon train"}}) {
    const Outcome outcome = run(std::string("agon launch ") + words);
    EXPECT_EQ(outcome.code, 2) << outcome.err;
    EXPECT_NE(outcome.err.find(says), std::string::npos) << outcome.err;
  }
  const Outcome shown = run("agon launch --ranks 3 --print -- train md-gan-ring-mlp");
  EXPECT_EQ(shown.code, 0) << shown.err;
  EXPECT_NE(shown.out.find("--enable-recovery"), std::string::npos) << shown.out;
  EXPECT_NE(shown.out.find("-n 3 "), std::string::npos) << shown.out;
}

TEST_F(Processes, BadInputIsOneSentence) {
  struct Refusal {
    int processes;
    const char* command;
    int code;
    const char* says;
  };
  for (const Refusal& row :
       {Refusal{4, "train md-gan-ring-mlp --set world.workers=2", 2, "at most 3"},
        Refusal{2, "train md-gan-ring-mlp --set algorithm.error_feedback=true", 2, "for one process"},
        Refusal{2, "train md-gan-ring-mlp --set algorithm.batch=0", 2, "algorithm.batch"},
        Refusal{2, "train md-gan-ring-mlp --data nowhere", 3, "nowhere"},
        Refusal{3,
                "train md-gan-ring-mlp --set discriminator.learning_rate=1000 --set generator.learning_rate=1000 --set "
                "gan.loss=wasserstein --iterations 60 --set run.log_every=5",
                4, "not a number"}}) {
    SCOPED_TRACE(row.command);
    const Outcome outcome = agon(row.processes, std::string(row.command) + " --quiet --out bad");
    EXPECT_EQ(outcome.code, row.code) << outcome.err;
    EXPECT_NE(outcome.err.find(row.says), std::string::npos) << outcome.err;
    size_t sentences = 0;
    for (size_t at = outcome.err.find("agon: "); at != std::string::npos; at = outcome.err.find("agon: ", at + 1))
      ++sentences;
    EXPECT_EQ(sentences, 1u) << outcome.err;
    fs::remove_all(folder_ / "bad");
  }
}

}  // namespace
}  // namespace agon::command_line
