// agon sweep and agon compare, as scripts and people use them.
#include <cmath>

#include "tests/command_line.h"

namespace agon::command_line {
namespace {

class SweepCli : public Cli {
 protected:
  void put(const std::string& name, const std::string& text) { std::ofstream(folder_ / name) << text; }

  /// A sweep of two settings and two seeds over a small world.
  void put_small(const std::string& more = "") {
    put("small.toml", R"(
      extends = "md-gan-ring-mlp"
      run = {threads = 1, evaluate_every = 0, sample_every = 0, iterations = 30, log_every = 5, checkpoint_every = 10}
      world.workers = 3
      generator.layers = ["dense 16", "relu", "dense 2"]
      discriminator.layers = ["dense 16", "leaky_relu 0.2", "dense heads"]
      score.samples = 100
    )");
    put("sweep.toml", R"(
      about = "for the tests"
      base  = "small.toml"
      seeds = [1, 2]
      set   = {algorithm.batch = 8, run.evaluate_every = 30}
      grid  = {algorithm.kappa = [2, "log"], algorithm.swap_epochs = [0.0, 0.1]}
      plot  = {x = "algorithm.swap_epochs", score = "high_quality", fails_below = 0.5}
    )" + more);
  }
  std::vector<std::vector<std::string>> csv(const std::string& path) {
    std::vector<std::vector<std::string>> rows;
    std::istringstream lines(contents(folder_ / path));
    for (std::string line; std::getline(lines, line);) {
      rows.emplace_back();
      std::istringstream cells(line);
      for (std::string cell; std::getline(cells, cell, ',');) rows.back().push_back(cell);
    }
    return rows;
  }
};

TEST_F(SweepCli, RunsEveryPointForEverySeed) {
  put_small();
  EXPECT_EQ(run("agon sweep sweep.toml --plan").out,
            "kappa-2_swap-epochs-0.0_seed-1\nkappa-2_swap-epochs-0.0_seed-2\n"
            "kappa-2_swap-epochs-0.1_seed-1\nkappa-2_swap-epochs-0.1_seed-2\n"
            "kappa-log_swap-epochs-0.0_seed-1\nkappa-log_swap-epochs-0.0_seed-2\n"
            "kappa-log_swap-epochs-0.1_seed-1\nkappa-log_swap-epochs-0.1_seed-2\n");
  EXPECT_FALSE(fs::exists(folder_ / "runs"));
  const Outcome outcome = run("agon sweep sweep.toml");
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_NE(outcome.err.find("run 8 of 8: kappa-log_swap-epochs-0.1_seed-2"), std::string::npos) << outcome.err;
  EXPECT_NE(outcome.out.find("±"), std::string::npos) << outcome.out;
  EXPECT_NE(outcome.out.find("high_quality"), std::string::npos) << outcome.out;

  // A run is what `agon train` makes of the same settings; the CSV holds the mean and deviation of the two seeds.
  std::vector<double> quality;
  for (const char* seed : {"1", "2"}) {
    const Outcome alone =
        run(std::string("agon train small.toml --set algorithm.batch=8 --set run.evaluate_every=30 ") +
            "--set algorithm.kappa=log --set algorithm.swap_epochs=0.1 --quiet --json --seed " + seed +
            " --out alone-" + seed);
    ASSERT_EQ(alone.code, 0) << alone.err;
    const json own = json::parse(
        contents(folder_ / ("runs/sweep/kappa-log_swap-epochs-0.1_seed-" + std::string(seed)) / "summary.json"));
    EXPECT_EQ(own["weights_hash"], json::parse(alone.last_line())["weights_hash"]);
    EXPECT_EQ(own["scores"], json::parse(alone.last_line())["scores"]);
    quality.push_back(own["scores"]["high_quality"]);
  }
  const auto table = csv("runs/sweep/sweep.csv");
  ASSERT_EQ(table.size(), 5u);
  const auto column = std::find(table[0].begin(), table[0].end(), "high_quality") - table[0].begin();
  ASSERT_LT(column, std::ssize(table[0]));
  EXPECT_EQ(table[4][0], "log");
  EXPECT_EQ(table[4][2], "2");
  EXPECT_NEAR(std::stod(table[4][static_cast<size_t>(column)]), (quality[0] + quality[1]) / 2, 1e-12);
  EXPECT_NEAR(std::stod(table[4][static_cast<size_t>(column) + 1]), std::abs(quality[0] - quality[1]) / std::sqrt(2.0),
              1e-12);
  const std::string page = contents(folder_ / "runs/sweep/sweep.html");
  for (const char* part : {"<!doctype html>", "<svg", "algorithm.kappa = log", "for the tests", "failure"})
    EXPECT_NE(page.find(part), std::string::npos) << part;
}

TEST_F(SweepCli, GoesOnAfterAKill) {
  put_small();
  // Long enough that a run is still at work when its first lines are seen, however fast the machine is.
  const std::string command =
      "agon sweep sweep.toml --set run.iterations=1500 --set run.evaluate_every=1500 --json --quiet --out ";
  const json whole = json::parse(run(command + "whole").last_line());
  ASSERT_EQ(whole["points"].size(), 4u);
  int kills = 0;
  Outcome outcome;
  for (int attempt = 0; attempt < 30; ++attempt) {
    const pid_t child = start(command + "killed");
    const auto begun = [&] {
      int64_t runs = 0;
      if (fs::exists(folder_ / "killed"))
        for (const auto& entry : fs::directory_iterator(folder_ / "killed"))
          runs += contents(entry.path() / "metrics.jsonl").empty() ? 0 : 1;
      return runs;
    };
    const int64_t before = begun();
    if (before < 8) wait_for([&] { return begun() > before || has_ended(child); });
    if (before < 8) kill(child, SIGKILL);
    outcome = finish(child);
    if (outcome.code == 0) break;
    ++kills;
  }
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_GT(kills, 3);
  const json resumed = json::parse(outcome.last_line());
  for (size_t i = 0; i < 4; ++i)
    for (const char* name : {"at", "runs", "modes", "high_quality", "bytes", "worker_bytes", "seconds_simulated"})
      EXPECT_EQ(resumed["points"][i][name], whole["points"][i][name]) << i << " " << name;

  // Done: the same command only reads. Other settings do not mix with it.
  const auto written = fs::last_write_time(folder_ / "killed/kappa-2_swap-epochs-0.0_seed-1/summary.json");
  EXPECT_EQ(json::parse(run(command + "killed").last_line()), resumed);
  EXPECT_EQ(fs::last_write_time(folder_ / "killed/kappa-2_swap-epochs-0.0_seed-1/summary.json"), written);
  const Outcome other = run("agon sweep sweep.toml --out killed --set run.iterations=40");
  EXPECT_EQ(other.code, 2);
  EXPECT_NE(other.err.find("a run of other settings"), std::string::npos) << other.err;
}

TEST_F(SweepCli, SeveralPresetsAreAnAxis) {
  put("both.toml", R"(
    base = ["md-gan-ring-mlp", "local-ring-mlp"]
    set  = {run.iterations = 4, run.threads = 1, run.sample_every = 0, run.evaluate_every = 4, score.samples = 50}
    grid = {world.workers = [2]}
    [set_for.local-ring-mlp]
    run.iterations = 6
    world.workers = 5
  )");
  const Outcome outcome = run("agon sweep both.toml --json --quiet");
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  const auto summary_of = [&](const std::string& base) {
    return json::parse(contents(folder_ / "runs/both" / ("base-" + base + "_workers-2_seed-1") / "summary.json"));
  };
  EXPECT_EQ(summary_of("md-gan-ring-mlp")["iterations"], 4);
  EXPECT_EQ(summary_of("local-ring-mlp")["iterations"], 6) << "set_for goes before set";
  EXPECT_EQ(summary_of("local-ring-mlp")["workers"], 2) << "the grid goes before set_for";
  const json points = json::parse(outcome.last_line())["points"];
  ASSERT_EQ(points.size(), 2u);
  EXPECT_EQ(points[0]["at"], (json{{"base", "md-gan-ring-mlp"}, {"world.workers", 2}}));
  EXPECT_GT(points[0]["bytes"]["mean"], 0);
  EXPECT_EQ(points[1]["bytes"]["mean"], 0);
}

TEST_F(SweepCli, BadInputIsOneSentence) {
  put_small();
  put("no-base.toml", "seeds = [1]");
  put("unknown.toml", "base = \"quickstart\"\ngird = {data.skew = [1]}");
  put("scalar.toml", "base = \"quickstart\"\ngrid = {data.skew = 1}");
  put("empty.toml", "base = \"quickstart\"\ngrid = {data.skew = []}");
  put("seed.toml", "base = \"quickstart\"\ngrid = {run.seed = [1]}");
  put("seeds.toml", "base = \"quickstart\"\nseeds = [1, 1]");
  put("words.toml", "base = \"quickstart\"\nseeds = [\"one\"]");
  put("axis.toml", "base = \"quickstart\"\nplot = {x = \"data.skew\", score = \"ms\"}");
  put("key.toml", "base = \"quickstart\"\ngrid = {algorithm.kapa = [1]}");
  put("twins.toml", "base = \"quickstart\"\ngrid = {data.skew = [1, 20, 1.0]}");
  put("text-twins.toml", "base = \"quickstart\"\ngrid = {algorithm.kappa = [2, \"2\"]}");
  put("base-twins.toml", "base = [\"quickstart\", \"quickstart\"]");
  put("late.toml", "base = \"md-gan-ring-mlp\"\ngrid = {algorithm.kappa = [1, 99]}");
  put("late-shard.toml",
      "base = \"md-gan-ring-mlp\"\nset = {data.partition = \"one-class\"}\n"
      "grid = {world.workers = [8, 7]}");
  put("stranger.toml", "base = \"quickstart\"\n[set_for.quickstar]\nrun.iterations = 3");
  put("value.toml", "base = \"quickstart\"\ngrid = {algorithm.batch = [1, \"ten\"]}");
  std::string hundred = "[0";
  for (int i = 1; i < 100; ++i) hundred += ", " + std::to_string(i);
  hundred += "]";
  put("huge.toml", "base = \"quickstart\"\ngrid = {data.skew = " + hundred + ", algorithm.batch = " + hundred +
                       ", world.workers = " + hundred + "}");
  struct Row {
    const char* command;
    int code;
    std::vector<std::string> says;
  };
  for (const Row& row : std::vector<Row>{
           {"agon sweep", 2, {"FILE.toml|SWEEP"}},
           {"agon sweep nowhere.toml", 2, {"no sweep file nowhere.toml"}},
           {"agon sweep davoudi-minst", 2, {"did you mean \"davoudi-mnist\"?"}},
           {"agon sweep no-base.toml", 2, {"no-base.toml", "needs base"}},
           {"agon sweep unknown.toml", 2, {"gird", "did you mean \"grid\"?"}},
           {"agon sweep scalar.toml", 2, {"grid.data.skew is 1", "a list of values"}},
           {"agon sweep empty.toml", 2, {"grid.data.skew is []"}},
           {"agon sweep seed.toml", 2, {"seeds = [...]"}},
           {"agon sweep seeds.toml", 2, {"seeds has 1 twice"}},
           {"agon sweep words.toml", 2, {"seeds is [\"one\"]"}},
           {"agon sweep axis.toml", 2, {"plot.x is \"data.skew\"", "not in its grid"}},
           {"agon sweep key.toml",
            2,
            {"run kapa-1_seed-1 of key.toml", "\"algorithm.kapa\" in the sweep", "did you mean \"algorithm.kappa\"?"}},
           {"agon sweep twins.toml", 2, {"grid.data.skew has 1.0 twice in twins.toml"}},
           {"agon sweep text-twins.toml", 2, {"grid.algorithm.kappa has \"2\" twice"}},
           {"agon sweep base-twins.toml", 2, {"base has \"quickstart\" twice"}},
           {"agon sweep late.toml", 2, {"run kappa-99_seed-1 of late.toml: algorithm.kappa is 99"}},
           {"agon sweep late.toml --plan", 2, {"run kappa-99_seed-1 of late.toml: algorithm.kappa is 99"}},
           {"agon sweep late-shard.toml", 2, {"run workers-7_seed-1 of late-shard.toml", "at least 8 workers"}},
           {"agon sweep stranger.toml", 2, {"set_for.quickstar", "did you mean \"quickstart\"?"}},
           {"agon sweep value.toml", 2, {"algorithm.batch is \"ten\""}},
           {"agon sweep huge.toml", 2, {"more than 10000 runs"}},
           {"agon sweep sweep.toml --set algorithm.batch=99999 --quiet --out x", 2, {"algorithm.batch is 99999"}},
           {"agon compare nowhere", 3, {"nowhere", "run folder"}},
           {"agon compare", 2, {"RUN"}}}) {
    SCOPED_TRACE(row.command);
    const Outcome outcome = run(row.command);
    EXPECT_EQ(outcome.code, row.code) << outcome.err;
    EXPECT_EQ(outcome.out, "");
    EXPECT_EQ(outcome.err.rfind("agon: ", 0), 0u) << outcome.err;
    EXPECT_EQ(std::count(outcome.err.begin(), outcome.err.end(), '\n'), 1) << outcome.err;
    for (const std::string& words : row.says) EXPECT_NE(outcome.err.find(words), std::string::npos) << outcome.err;
  }
}

TEST_F(SweepCli, ARunThatFailsDoesNotEndTheSweep) {
  put("diverging.toml", R"(
    base = "md-gan-ring-mlp"
    grid = {discriminator.learning_rate = [0.001, 1000.0, 0.002]}
    [set]
    run = {iterations = 8, threads = 1, sample_every = 0, evaluate_every = 0, log_every = 1}
    world.workers = 3
    gan.loss = "least-squares"
    discriminator.optimiser = "sgd"
  )");
  const fs::path runs = folder_ / "runs/diverging", failed = runs / "learning-rate-1000.0_seed-1";
  const auto times = [&] {
    std::vector<fs::file_time_type> list;
    for (const char* rate : {"0.001", "1000.0", "0.002"})
      list.push_back(fs::last_write_time(runs / ("learning-rate-" + std::string(rate) + "_seed-1") / "config.toml"));
    return list;
  };
  const auto expect_failure = [&](const std::string& command) {
    const Outcome outcome = run(command);
    EXPECT_EQ(outcome.code, 4) << outcome.err;
    EXPECT_NE(outcome.err.find("agon: 1 of 3 runs failed, which --retry goes on with; run learning-rate-1000.0_seed-1 "
                               "of diverging.toml: the"),
              std::string::npos)
        << outcome.err;
    EXPECT_NE(outcome.out.find("failed"), std::string::npos) << outcome.out;
    const auto table = csv("runs/diverging/sweep.csv");
    ASSERT_EQ(table.size(), 4u);
    for (size_t row = 1; row < 4; ++row) {
      EXPECT_EQ(table[row][1], row == 2 ? "0" : "1") << "ended";
      EXPECT_EQ(table[row][2], row == 2 ? "1" : "0") << "failed";
    }
    EXPECT_TRUE(fs::exists(runs / "sweep.html"));
    EXPECT_TRUE(fs::exists(failed / "failure.txt"));
  };
  expect_failure("agon sweep diverging.toml");
  EXPECT_NE(contents(failed / "failure.txt").find("not a number"), std::string::npos);

  // Given again, it only says the same; a failed run is begun anew when that is asked for, or when it is gone.
  const auto first = times();
  expect_failure("agon sweep diverging.toml");
  EXPECT_EQ(times(), first);
  expect_failure("agon sweep diverging.toml --retry --quiet");
  const auto second = times();
  EXPECT_EQ(second[0], first[0]);
  EXPECT_GT(second[1], first[1]);
  fs::remove_all(failed);
  expect_failure("agon sweep diverging.toml --quiet");
  EXPECT_EQ(times()[2], first[2]);
}

TEST_F(SweepCli, KnowsItsRunsWhereverTheDataAre) {
  ASSERT_EQ(run("mkdir data && agon data synth ring data/points.safetensors").code, 0);
  put_small();
  const std::string command = "agon sweep sweep.toml --data points --set run.iterations=2";
  ASSERT_EQ(run(command).code, 0);
  const Outcome again = run(command);
  EXPECT_EQ(again.code, 0) << again.err;
  EXPECT_NE(again.err.find("run 8 of 8: kappa-log_swap-epochs-0.1_seed-2, done before"), std::string::npos);
}

TEST_F(SweepCli, ComparesRuns) {
  const std::string common = "--iterations 20 --quiet --set run.evaluate_every=20 --set score.samples=200 ";
  ASSERT_EQ(run("agon train " + kSmall + common + "--out a").code, 0);
  ASSERT_EQ(run("agon train " + kSmall + common + "--set algorithm.kappa=1 --seed 7 --out b").code, 0);
  const Outcome text = run("agon compare a b");
  ASSERT_EQ(text.code, 0) << text.err;
  for (const char* word :
       {"algorithm.kappa", "run.seed", "modes", "bytes", "seconds_training", "seconds_evaluating", "weights_hash"})
    EXPECT_NE(text.out.find(word), std::string::npos) << word;
  EXPECT_EQ(text.out.find("algorithm.batch"), std::string::npos) << "the same for both";

  const json runs = json::parse(run("agon compare a b --json").last_line());
  ASSERT_EQ(runs.size(), 2u);
  for (size_t i = 0; i < 2; ++i) {
    const std::string folder = i == 0 ? "a" : "b";
    const json summary = json::parse(contents(folder_ / folder / "summary.json"));
    EXPECT_EQ(runs[i]["run"], folder);
    EXPECT_EQ(runs[i]["modes"], summary["scores"]["modes"]);
    EXPECT_EQ(runs[i]["traffic"], summary["traffic"]);
    for (const char* seconds : {"seconds_training", "seconds_evaluating"})
      EXPECT_EQ(runs[i][seconds], summary[seconds]);
    EXPECT_EQ(runs[i]["worker_bytes"], summary["worker_bytes"]);
    EXPECT_EQ(runs[i]["generator_flops_at_worker"], 0) << "MD-GAN's workers have no generator";
  }
  EXPECT_EQ(runs[0]["settings"]["algorithm.kappa"], "log");
  EXPECT_EQ(runs[1]["settings"]["run.seed"], 7);
  EXPECT_FALSE(runs[0]["settings"].contains("world.workers"));
}

}  // namespace
}  // namespace agon::command_line
