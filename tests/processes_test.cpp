// Runs whose participants live in several processes, under mpirun or without MPI: the same bits as in one.
#include "tests/command_line.h"

namespace agon::command_line {
namespace {

class Processes : public Cli {
 protected:
  void SetUp() override {
    Cli::SetUp();
    if (!needs_mpi()) return;
    if (!fs::exists(AGON_BINARY_DIR "/lib/libagon_mpi.so")) GTEST_SKIP() << "this build has no MPI plug-in";
    if (std::system("command -v mpirun >/dev/null") != 0) GTEST_SKIP() << "there is no mpirun here";
    for (const char* name : {"OMPI_ALLOW_RUN_AS_ROOT", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM",
                             "OMPI_MCA_rmaps_base_oversubscribe", "OMPI_MCA_mpi_yield_when_idle"})
      setenv(name, "1", 1);
    if (const char* options = std::getenv("ASAN_OPTIONS"))  // what MPI leaks is not ours
      setenv("ASAN_OPTIONS", (options + std::string(":detect_leaks=0")).c_str(), 1);
  }
  virtual bool needs_mpi() const { return true; }
  /// `agon ARGUMENTS` in as many processes, by mpirun or over TCP; one: as it is. Ended by force if it hangs.
  Outcome agon(int processes, const std::string& arguments, const std::string& over = "mpi") {
    const std::string program = AGON_BINARY_DIR "/bin/agon ", many = std::to_string(processes);
    const std::string by = over == "mpi" ? "mpirun -q --bind-to none -n " + many + " " + program
                                         : program + "launch --over tcp --ranks " + many + " -- ";
    return run(processes == 1 ? program + arguments : "timeout -s KILL 120 " + by + arguments);
  }
  json trained(int processes, const std::string& arguments, const std::string& over = "mpi") {
    const Outcome outcome = agon(processes, "train " + arguments + " --json --quiet", over);
    EXPECT_EQ(outcome.code, 0) << processes << " processes: " << outcome.err;
    if (outcome.code != 0) return {};
    EXPECT_EQ(std::count(outcome.out.begin(), outcome.out.end(), '\n'), 1) << "only the server's process prints";
    return json::parse(outcome.last_line());
  }
  /// `agon launch` in three processes; a signal reaches one of them when the run is under way.
  Outcome lose(int rank, int signal, const std::string& over, const std::string& settings) {
    const pid_t launcher = start("agon launch --ranks 3 --over " + over +
                                 " -- train md-gan-ring-mlp --set world.deadline=1 --out run --json " + settings);
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
    const std::string name_of_rank = needs_mpi() ? "OMPI_COMM_WORLD_RANK" : "RANK";
    const std::string wanted = name_of_rank + "=" + std::to_string(rank);
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

const std::string kSmall = "--set run.evaluate_every=6 --set score.samples=200 --set run.log_every=3 ";

/// Over TCP, which starts sooner; the others by mpirun.
const std::vector<int> kFew = {3};
const std::vector<int> kMany = {2, 3, 5, 6};

struct Row {
  const char* preset;
  std::string settings;
  std::vector<int> processes = kFew;  ///< besides one
};

TEST_F(Processes, GiveTheBitsOfOne) {
  ASSERT_EQ(run("agon data synth strokes small.safetensors --count 600 --test-count 20").code, 0);
  const std::string pictures = "--data small.safetensors --set run.evaluate_every=0 ";
  const std::string grid = "--set algorithm.fitness_batches=2 --set data.share=0.02 ";
  for (const Row& row :
       {Row{"md-gan-ring-mlp", "--set algorithm.swap_epochs=0.04 --set algorithm.swap_moments=travel", kMany},
        Row{"md-gan-ring-mlp", "--set world.workers=10 --set algorithm.swap_epochs=0.04", {11}},
        Row{"md-gan-strokes-mlp", pictures + "--set algorithm.kappa=3 --set world.ranks=[2,1,0,1,2] --set "
                                             "world.crash='[\"3:1\", \"7:0\"]' --set world.join='[\"9:1\"]'"},
        Row{"md-gan-strokes-mlp",
            pictures + "--set algorithm.compress_batches=int8 --set algorithm.compress_feedback=top-k "
                       "--set algorithm.top_share=0.05 --set algorithm.error_feedback=true --set world.server=alone"},
        Row{"md-gan-strokes-mlp", pictures +
                                      "--set algorithm.compress_batches=bf16 --set algorithm.compress_feedback=int8 "
                                      "--set algorithm.error_feedback=true --set world.crash='[\"4:3\"]'"},
        Row{"md-gan-strokes-mlp",
            pictures + "--set algorithm.overlap=true --set algorithm.kappa=2 --set world.server=alone"},
        Row{"md-gan-ring-mlp",
            "--set algorithm.discriminators=3 --set algorithm.swap_moments=travel --set "
            "algorithm.swap_epochs=0.02 --set gan.same_start=false"},
        Row{"md-gan-ring-mlp",
            "--set algorithm.discriminators=1 --set algorithm.swap_moments=reset --set "
            "algorithm.swap_epochs=0.02"},
        Row{"gossip-ring-mlp",
            "--set algorithm.round_iterations=4 --set algorithm.moments=reset --set algorithm.wave=2 "
            "--set gan.same_start=false"},
        Row{"fl-gan-ring-mlp", "--set algorithm.round_iterations=5 --set algorithm.moments=average", kMany},
        Row{"fedgan-ring-mlp", "--set data.partition=quantity --set algorithm.round_iterations=4"},
        Row{"gossip-ind-ring-mlp",
            "--set algorithm.round_iterations=3 --set gan.same_start=false --set world.crash='[\"5:2\"]'", kMany},
        Row{"local-ring-mlp", "--set gan.same_start=false"},
        Row{"all-reduce-ring-mlp", "--set world.ranks=[2,0,1,1,0]"},
        Row{"gossip-ring-mlp", "--set algorithm.round_iterations=3 --set world.ranks=[1,2,0,2,1]"},
        Row{"ren-serial-ring-mlp", "--set algorithm.schedule=round-robin --set algorithm.ratio=0.6", kMany},
        Row{"ren-parallel-strokes-mlp", pictures + "--set algorithm.model_bits=16 --set world.crash='[\"4:3\"]'"},
        Row{"md-gan-async-ring-mlp", "--set algorithm.swap_epochs=0.01 --set algorithm.swap_moments=travel"},
        Row{"md-gan-async-strokes-mlp",
            pictures + "--set world.ranks=[2,1,0,1,2] --set world.crash='[\"3:1\", \"7:0\"]' --set "
                       "world.join='[\"9:1\"]'"},
        Row{"md-gan-async-ring-mlp", "--set world.workers=3 --set world.crash_every=4 --set world.join='[\"4:1\"]'"},
        Row{"lipizzaner-ring-mlp", grid + "--set algorithm.rate_mutation=0.3 --set algorithm.mixture_sigma=0.3", kMany},
        Row{"lipizzaner-ring-mlp",
            grid +
                "--set world.workers=6 --set algorithm.rows=2 --set algorithm.mustangs=true "
                "--set algorithm.opponents=neighbourhood "
                "--set world.ranks=[0,2,1,1,0,2] --set world.crash='[\"3:1\", \"8:5\"]' --set world.join='[\"5:1\"]'"},
        Row{"lipizzaner-strokes-mlp",
            pictures + "--set algorithm.fitness_batches=1 --set data.share=0.2 --set score.scorer=none"}}) {
    SCOPED_TRACE(row.preset);
    std::vector<int> counts = row.processes;
    counts.insert(counts.begin(), 1);
    json one;
    for (const int processes : counts) {
      const std::string out = std::string(row.preset) + "-" + std::to_string(processes);
      const json summary = trained(
          processes,
          std::string(row.preset) + " --iterations 12 --set world.workers=5 " + kSmall + row.settings + " --out " + out,
          row.processes == kFew ? "tcp" : "mpi");
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
  for (const char* preset :
       {"md-gan-ring-mlp --set algorithm.swap_epochs=0.04", "md-gan-async-ring-mlp",
        "md-gan-ring-mlp --set algorithm.compress_feedback=int8 --set algorithm.error_feedback=true",
        "md-gan-ring-mlp --set algorithm.overlap=true --set algorithm.discriminators=2 --set "
        "algorithm.swap_moments=travel --set algorithm.swap_epochs=0.02",
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

class WithoutMpi : public Processes {
  bool needs_mpi() const override { return false; }
};

TEST_F(WithoutMpi, ProcessesGiveTheBitsOfOneAndOneSentence) {
  const std::string start =
      "md-gan-ring-mlp --iterations 12 --set world.workers=5 --set algorithm.swap_epochs=0.04 " + kSmall;
  const json one = trained(1, start + "--out one");
  for (const int processes : {2, 6}) {
    const json several = trained(processes, start + "--out several", "tcp");
    for (const char* same : {"weights_hash", "traffic", "scores", "seconds_simulated", "events", "iterations"})
      EXPECT_EQ(several[same], one[same]) << processes << " processes: " << same;
    fs::remove_all(folder_ / "several");
  }
  for (const auto& [arguments, code, says] :
       {std::tuple{"md-gan-ring-mlp --set algorithm.batch=0", 2, "algorithm.batch"},
        {"md-gan-ring-mlp --data nowhere", 3, "nowhere"}}) {
    const Outcome outcome = agon(3, std::string("train --quiet ") + arguments, "tcp");
    EXPECT_EQ(outcome.code, code) << outcome.err;
    EXPECT_NE(outcome.err.find(says), std::string::npos) << outcome.err;
    EXPECT_EQ(outcome.err.find("agon: "), outcome.err.rfind("agon: ")) << "one sentence: " << outcome.err;
  }
}

TEST_F(WithoutMpi, CheckpointsArePartsThatCountTogether) {
  const std::string start = "md-gan-ring-mlp --set world.workers=5 --set run.checkpoint_every=4 " + kSmall;
  const std::string expected = trained(1, start + "--iterations 12 --out whole")["weights_hash"];
  const auto files = [&] {
    std::vector<std::string> names;
    for (const auto& entry : fs::directory_iterator(folder_ / "run/checkpoints"))
      names.push_back(entry.path().filename().string());
    std::sort(names.begin(), names.end());
    return names;
  };
  /// The files of checkpoints, "ITERATION of PROCESSES" each.
  const auto of = [](const std::vector<std::pair<int, int>>& checkpoints) {
    std::vector<std::string> names;
    for (const auto& [iteration, processes] : checkpoints) {
      const std::string stem =
          "iteration-" + std::string(iteration < 10 ? "00000000" : "0000000") + std::to_string(iteration);
      names.push_back(stem + ".safetensors");
      for (int rank = 1; rank < processes; ++rank)
        names.push_back(stem + ".part-" + std::to_string(rank) + "-of-" + std::to_string(processes) + ".safetensors");
    }
    std::sort(names.begin(), names.end());
    return names;
  };
  const fs::path checkpoints = folder_ / "run/checkpoints";
  const std::string victim = "iteration-000000008.part-2-of-3.safetensors";
  struct Row {
    const char* name;
    std::function<void(const fs::path& part)> damage;
  };
  for (const Row& row :
       {Row{"whole", [](const fs::path&) {}}, Row{"missing", [](const fs::path& part) { fs::remove(part); }},
        Row{"truncated", [](const fs::path& part) { fs::resize_file(part, fs::file_size(part) - 1); }},
        Row{"of another checkpoint", [](const fs::path& part) {
              fs::copy_file(part.parent_path() / "iteration-000000004.part-2-of-3.safetensors", part,
                            fs::copy_options::overwrite_existing);
            }}}) {
    SCOPED_TRACE(row.name);
    fs::remove_all(folder_ / "run");
    trained(3, start + "--iterations 8 --out run", "tcp");
    ASSERT_EQ(files(), of({{4, 3}, {8, 3}}));
    // What a run leaves that was killed while it wrote its next one.
    fs::copy_file(checkpoints / victim, checkpoints / "iteration-000000009.part-2-of-3.safetensors");
    fs::copy_file(checkpoints / victim, checkpoints / ("." + victim + ".partial"));
    row.damage(checkpoints / victim);
    const Outcome resumed = agon(2, "train --resume --out run --iterations 12 --json", "tcp");
    ASSERT_EQ(resumed.code, 0) << resumed.err;
    EXPECT_EQ(json::parse(resumed.last_line())["weights_hash"], expected);
    const bool whole = row.name == std::string("whole");
    EXPECT_EQ(resumed.err.find("passed over a damaged checkpoint") == std::string::npos, whole) << resumed.err;
    EXPECT_EQ(files(), of({{8, whole ? 3 : 2}, {12, 2}}));
  }

  // A part that cannot be written: one sentence, exit code 4, nothing of it is left, and the earlier one is good.
  fs::remove_all(folder_ / "run");
  trained(3, start + "--iterations 4 --out run", "tcp");
  fs::create_directories(checkpoints / victim / "in the way");
  const Outcome failed = agon(3, "train --resume --out run --iterations 12 --quiet", "tcp");
  EXPECT_EQ(failed.code, 4) << failed.err;
  EXPECT_NE(failed.err.find("part-2-of-3"), std::string::npos) << failed.err;
  EXPECT_EQ(failed.err.find("agon: "), failed.err.rfind("agon: ")) << failed.err;
  fs::remove_all(checkpoints / victim);
  EXPECT_EQ(files(), of({{4, 3}}));
  EXPECT_EQ(trained(1, "--resume --out run --iterations 12")["weights_hash"], expected);
}

TEST_F(WithoutMpi, ACheckpointInPartsShowsItsGenerator) {
  for (const std::string preset :
       {"md-gan-ring-mlp", "local-ring-mlp",
        "lipizzaner-ring-mlp --set data.share=0.02"}) {  // the server's, a worker's, a mixture
    SCOPED_TRACE(preset);
    trained(3, preset + " --set world.workers=5 --iterations 8 --out run " + kSmall, "tcp");
    const std::string stem = "run/checkpoints/iteration-000000008.";
    for (const char* source : {"run", "run/checkpoints/iteration-000000008.safetensors"}) {
      const Outcome outcome = run("agon sample " + std::string(source) + " --count 500 --out " +
                                  (source == std::string("run") ? "run.png" : "checkpoint.png"));
      EXPECT_EQ(outcome.code, 0) << outcome.err;
    }
    EXPECT_TRUE(contents(folder_ / "run.png") == contents(folder_ / "checkpoint.png"));
    const Outcome eval = run("agon eval " + stem + "safetensors --data ring --samples 50");
    EXPECT_EQ(eval.code, 0) << eval.err;
    const Outcome part = run("agon sample " + stem + "part-1-of-3.safetensors --count 4 --out part.png");
    EXPECT_EQ(part.code, 3);
    EXPECT_NE(part.err.find("only a part of a checkpoint"), std::string::npos) << part.err;
    fs::remove_all(folder_ / "run");
  }
}

/// Device memory by NCCL, which is emulated as the GPU is: each process has one of its own.
class ByNccl : public WithoutMpi {
 protected:
  void SetUp() override {
    Cli::SetUp();
    setenv("TMPDIR", folder_.c_str(), 1);  // where the emulated messages are
    setenv("AGON_CUDA_WAY", "tiles", 1);   // the same bits for any number of replicas
  }
  void TearDown() override {
    for (const char* name : {"TMPDIR", "AGON_CUDA_WAY", "AGON_EMULATED_SHARED_GPU"}) unsetenv(name);
    Cli::TearDown();
  }
  /// How often processes were connected by NCCL.
  int64_t connections() const {
    int64_t count = 0;
    for (const auto& entry : fs::directory_iterator(folder_))
      count += entry.path().filename().string().starts_with("agon-nccl-") && fs::exists(entry.path() / "rank-1");
    return count;
  }
};

const std::string kTiny =
    "--set run.device=cuda-emulated --set run.sample_every=0 --set world.workers=4 --set algorithm.batch=4 "
    "--set generator.layers='[\"dense 8\", \"relu\", \"dense 2\"]' "
    "--set discriminator.layers='[\"dense 8\", \"leaky_relu 0.2\", \"dense heads\"]' ";

TEST_F(ByNccl, ProcessesGiveTheBitsOfOne) {
  for (const char* row :
       {"md-gan-ring-mlp --iterations 6 --set algorithm.swap_epochs=0.002 --set algorithm.swap_moments=travel",
        "fl-gan-ring-mlp --iterations 6 --set algorithm.round_iterations=3",
        "gossip-ring-mlp --iterations 6 --set algorithm.round_iterations=2 --set world.crash='[\"4:2\"]'"}) {
    SCOPED_TRACE(row);
    const std::string settings = std::string(row) + " --set run.evaluate_every=0 --set world.deadline=60 " + kTiny;
    const json one = trained(1, settings + "--out one");
    const int64_t before = connections();
    for (const int processes : {2, 3}) {
      const json several = trained(processes, settings + "--set world.wire=nccl --out several", "tcp");
      for (const char* same : {"weights_hash", "traffic", "events", "iterations"}) {
        EXPECT_TRUE(one.contains(same)) << same;
        EXPECT_EQ(several[same], one[same]) << processes << " processes: " << same;
      }
      fs::remove_all(folder_ / "several");
    }
    EXPECT_EQ(connections(), before + 2);
    fs::remove_all(folder_ / "one");
  }
}

TEST_F(ByNccl, OnlyWhereEveryProcessHasAGpu) {
  const std::string start = "md-gan-ring-mlp --iterations 2 --set run.evaluate_every=0 " + kTiny;
  trained(2, start + "--out run", "tcp");
  EXPECT_EQ(connections(), 1) << "auto takes it";
  setenv("AGON_EMULATED_SHARED_GPU", "1", 1);
  for (const char* wire : {"auto", "host"}) trained(2, start + "--out " + wire + " --set world.wire=" + wire, "tcp");
  EXPECT_EQ(connections(), 1) << "auto does not for processes that share a GPU";
  for (const auto& [processes, more, says] : {std::tuple{2, "", "processes 0 and 1 share a GPU"},
                                              {2, "--set run.device=cpu", "process 0 computes on the"},
                                              {1, "--set run.device=cpu", "process 0 computes on the"}}) {
    const Outcome outcome = agon(processes, "train --quiet --out bad --set world.wire=nccl " + start + more, "tcp");
    EXPECT_EQ(outcome.code, 2) << outcome.err;
    EXPECT_NE(outcome.err.find("world.wire is \"nccl\", but "), std::string::npos) << outcome.err;
    EXPECT_NE(outcome.err.find(says), std::string::npos) << outcome.err;
    EXPECT_EQ(outcome.err.find("agon: "), outcome.err.rfind("agon: ")) << "one sentence: " << outcome.err;
  }
}

TEST_F(ByNccl, WhoIsLeftConnectsAnew) {
  for (const int signal : {SIGKILL, SIGSTOP}) {
    SCOPED_TRACE(signal);
    fs::remove_all(folder_ / "run");
    const int64_t before = connections();
    const Outcome outcome =
        lose(1, signal, "tcp",
             "--set world.wire=nccl --set world.deadline=4 --set run.log_every=2 --iterations 300 " + kTiny);
    ASSERT_EQ(outcome.code, 0) << outcome.err;
    const json summary = json::parse(outcome.last_line());
    EXPECT_EQ(summary["iterations"], 300);
    ASSERT_EQ(summary["events"].size(), 1u) << outcome.err;
    EXPECT_EQ(summary["events"][0]["worker"], 2);
    EXPECT_EQ(connections(), before + 2) << "three processes, then two";
  }
}

/// Runs that lose processes in their midst, over MPI and over TCP.
class Losses : public Processes, public testing::WithParamInterface<const char*> {
 protected:
  bool needs_mpi() const override { return GetParam() == std::string("mpi"); }
  Outcome lose_six(int rank, int signal, const std::string& settings) {
    return lose(rank, signal, GetParam(), "--set world.workers=6 --set run.log_every=50 " + settings);
  }
};

TEST_P(Losses, WorkersThatDieOrStopAreDropped) {
  for (const int signal : {SIGKILL, SIGSTOP}) {
    SCOPED_TRACE(signal);
    fs::remove_all(folder_ / "run");
    const Outcome outcome = lose_six(1, signal, "--iterations 1500 --set run.evaluate_every=750");
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

TEST_F(WithoutMpi, RunsWithAHistoryGoOnWithoutTheLost) {
  for (const char* settings : {"--set algorithm.name=md-gan-async --set algorithm.swap_epochs=0.01 ",
                               "--set algorithm.discriminators=4 --set algorithm.swap_moments=travel --set "
                               "algorithm.swap_epochs=0.004 "}) {
    SCOPED_TRACE(settings);
    for (const char* run : {"run", "copy"}) fs::remove_all(folder_ / run);
    const Outcome outcome = lose(
        1, SIGKILL, "tcp", settings + std::string("--set world.workers=6 --set run.log_every=50 --iterations 4000"));
    ASSERT_EQ(outcome.code, 0) << outcome.err;
    const json summary = json::parse(outcome.last_line());
    EXPECT_EQ(summary["iterations"], 4000);
    ASSERT_EQ(summary["events"].size(), 2u) << outcome.err;
    for (const int i : {0, 1}) EXPECT_EQ(summary["events"][i]["worker"], 2 + i);
    // Its checkpoint knows who is left, and whose batches they have.
    fs::copy(folder_ / "run", folder_ / "copy", fs::copy_options::recursive);
    const json one = trained(1, "--resume --out run --iterations 4050");
    const json three = trained(3, "--resume --out copy --iterations 4050", "tcp");
    EXPECT_EQ(one["events"], summary["events"]);
    for (const char* same : {"weights_hash", "traffic", "seconds_simulated", "events"})
      EXPECT_EQ(three[same], one[same]) << same;
  }
}

TEST_P(Losses, TheServersDeathLeavesAGoodCheckpoint) {
  const Outcome outcome = lose_six(0, SIGKILL, "--iterations 3000 --set run.checkpoint_every=20");
  EXPECT_EQ(outcome.code, 4) << outcome.err;
  EXPECT_NE(outcome.err.find("agon: the first process, which has the server, is lost"), std::string::npos)
      << outcome.err;
  const json resumed = trained(needs_mpi() ? 2 : 1, "--resume --out run --iterations 300");
  const json whole = trained(1, "md-gan-ring-mlp --set world.workers=6 --iterations 300 --out whole");
  EXPECT_EQ(resumed["weights_hash"], whole["weights_hash"]);
  EXPECT_EQ(resumed["traffic"], whole["traffic"]);
}

INSTANTIATE_TEST_SUITE_P(Over, Losses, testing::Values("mpi", "tcp"), [](const auto& info) { return info.param; });

TEST_F(Processes, LaunchRefusesWhatItCannotDo) {
  for (const auto& [words, says] : {std::pair{"--ranks 0 -- train md-gan-ring-mlp", "--ranks is 0"},
                                    {"--ranks 2 -- plan md-gan-ring-mlp", "only agon train"},
                                    {"--ranks 2 --over air -- train md-gan-ring-mlp", "expected mpi or tcp"}}) {
    const Outcome outcome = run(std::string("agon launch ") + words);
    EXPECT_EQ(outcome.code, 2) << outcome.err;
    EXPECT_NE(outcome.err.find(says), std::string::npos) << outcome.err;
  }
  const Outcome crowded = run("agon launch --ranks 4 -- train md-gan-ring-mlp --set world.workers=2");
  EXPECT_EQ(crowded.code, 2) << crowded.err;
  EXPECT_EQ(crowded.err.find("agon: 4 processes share this run"), 0u) << "nothing of PMIX: " << crowded.err;
  EXPECT_EQ(std::count(crowded.err.begin(), crowded.err.end(), '\n'), 1) << crowded.err;
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
        Refusal{2, "train md-gan-ring-mlp --set world.workers=2 --set world.ranks=[0,x]", 2, "world.ranks"},
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
