// The agon command as scripts and people use it: exit codes, one-sentence errors, run folders, --json, interruption,
// kill -9 and full disks.
#include <sys/mount.h>

#include "engine/image.h"
#include "engine/safetensors.h"
#include "tests/command_line.h"

namespace agon::command_line {
namespace {

TEST_F(Cli, ErrorsAreOneSentenceWithTheExitCodeOfTheirKind) {
  struct Row {
    const char* command;
    int code;
    std::vector<std::string> says;
  };
  std::ofstream(folder_ / "bad.toml") << "[algorithm]\nname = \"md-gan\"\nbatch = \"ten\"\n";
  std::ofstream(folder_ / "about.toml") << "about = 3\n";
  std::ofstream(folder_ / "torn.toml") << "[algorithm\nname = 1";
  std::ofstream(folder_ / "corrupt.safetensors") << "not a data set at all";
  std::ofstream(folder_ / "file") << "x";
  fs::create_directory(folder_ / "foreign");
  std::ofstream(folder_ / "foreign/thesis.tex") << "x";
  const std::vector<Row> rows = {
      {"agon trian", 2, {"did you mean \"train\"?"}},
      {"agon train", 2, {"expects a preset"}},
      {"agon train md-gan-ring-mlp --iteration 3", 2, {"--iteration", "--iterations"}},
      {"agon --bogus", 2, {"agon does not know --bogus and expects a command", "presets"}},
      {"agon data convert mnist . x.safetensors --size nan", 2, {"--size expects a whole number, found nan"}},
      {"agon data convert mnist . x.safetensors --size 4097", 2, {"--size is 4097, expected at most 4096"}},
      {"agon report nowhere --out r.txt", 2, {"--out is r.txt", ".html"}},
      {"agon data convert mnist . x.safetensors --attribute Smiling", 2, {"--attribute", "celeba", "mnist"}},
      {"agon train md-gan-ring-mpl", 2, {"did you mean \"md-gan-ring-mlp\"?"}},
      {"agon train nowhere.toml", 2, {"no settings file nowhere.toml"}},
      {"agon train bad.toml", 2, {"algorithm.batch is \"ten\"", "expected an integer", "bad.toml line 3"}},
      {"agon train torn.toml", 2, {"torn.toml line 1", "TOML"}},
      {"agon train md-gan-ring-mlp --set algorithm.kapa=1", 2, {"algorithm.kapa", "did you mean \"algorithm.kappa\"?"}},
      {"agon train md-gan-ring-mlp --set algorithm.kappa=11", 2, {"algorithm.kappa is 11", "10"}},
      {"agon train md-gan-ring-mlp --set algorithm.batch=6000", 2, {"algorithm.batch is 6000", "5000"}},
      {"agon train md-gan-ring-mlp --set algorithm.name=md-gun", 2, {"md-gun", "md-gan"}},
      {"agon train md-gan-ring-mlp --set run.device=cuda:99", 2, {"cuda:99"}},
      {"agon train md-gan-ring-mlp --set run.device=cudax", 2, {"unknown device \"cudax\""}},
      {"agon train md-gan-ring-mlp --device cuda/../x", 2, {"unknown device \"cuda/../x\""}},
      {"agon train md-gan-ring-mlp --seed one", 2, {"run.seed is \"one\""}},
      {"agon train md-gan-ring-mlp --seed", 2, {"--seed expects a value, found none"}},
      {"agon train md-gan-ring-mlp --iterations 1 --seed ''", 2, {"--seed is empty, expected a value"}},
      {"agon train md-gan-ring-mlp --iterations 1 --data ''", 2, {"--data is empty, expected a value"}},
      {"agon train about.toml", 2, {"about is 3, expected a text", "about.toml line 1"}},
      {"agon plan ren-serial-ring-mlp --set algorithm.model_bits=20", 2, {"algorithm.model_bits is 20", "32 or 16"}},
      {"agon train md-gan-ring-mlp --iterations 0", 2, {"run.iterations is 0", "at least 1"}},
      {"agon train md-gan-mnist-mlp --data ring", 2, {"2 features", "28x28"}},
      {"agon train md-gan-ring-mlp --out file", 2, {"file"}},
      {"agon train md-gan-ring-mlp --out file/run", 2, {"file/run", "--out"}},
      {"agon train md-gan-ring-mlp --out foreign", 2, {"foreign", "--out"}},
      {"agon train --resume --out nothing", 2, {"no run in nothing"}},
      {"agon train md-gan-mnist-mlp", 3, {"mnist", "--data"}},
      {"agon train md-gan-mnist-mlp --data nowhere/mnist", 3, {"nowhere/mnist"}},
      {"agon train md-gan-mnist-mlp --data corrupt.safetensors", 3, {"corrupt.safetensors"}},
      {"agon plan md-gan-mnist-mlp --set algorithm.kappa=11", 2, {"algorithm.kappa is 11"}},
      {"agon plan", 2, {"PRESET"}},
      {"agon sample nowhere --count 3 --out x.png", 3, {"nowhere"}},
      {"agon sample corrupt.safetensors --count 3 --out x.png", 3, {"corrupt.safetensors"}},
      {"agon sample file --count 3 --out x.gif", 2, {".png or .safetensors"}},
      {"agon sample file --count 3 --out x.png --seed -1", 2, {"--seed is -1, expected at least 0"}},
      {"agon eval file --data ring --samples 0", 2, {"--samples is 0, expected at least 2"}},
      {"agon eval corrupt.safetensors --data ring", 3, {"corrupt.safetensors"}},
      {"agon scorer --data ring --out s.safetensors", 2, {}},
      {"agon data convet a b c", 2, {"did you mean \"convert\"?"}},
      {"agon data convert mnits a b.safetensors", 2, {"mnits", "mnist"}},
      {"agon data convert mnist nowhere b.safetensors", 3, {"nowhere"}},
      {"agon data convert celeba foreign b.safetensors --size -5", 2, {"--size is -5, expected at least 1"}},
      {"agon data synth ring b.safetensors --count 0", 2, {"--count is 0, expected at least 1"}},
      {"agon data synth ring nowhere/b.safetensors --count 9", 4, {"there is no folder nowhere", "make it"}},
      {"agon launch --ranks 5000 --over tcp --print -- train quickstart", 2, {"--ranks is 5000", "1 to 4096"}},
      {"agon data info corrupt.safetensors", 3, {"corrupt.safetensors"}},
      {"agon data split strokes", 2, {"a folder", "--preview"}},
      {"agon data split ring --preview --partition dirichet", 2, {"dirichet", "\"dirichlet\""}},
      {"agon data split ring --preview --workers 7 --partition one-class", 2, {"at least 8 workers"}},
      {"agon train md-gan-ring-mlp --set data.partition=iit", 2, {"data.partition", "did you mean \"iid\"?"}},
      {"agon data synth stroke x.safetensors", 2, {"strokes"}},
      {"agon presets md-gan", 2, {"did you mean"}},
      {"agon compare foreign", 3, {"foreign", "run folder"}},
      {"agon report foreign --out r.html", 3, {"foreign", "run folder"}},
  };
  for (const Row& row : rows) {
    SCOPED_TRACE(row.command);
    const Outcome outcome = run(row.command);
    EXPECT_EQ(outcome.code, row.code) << outcome.err;
    EXPECT_EQ(outcome.out, "");
    EXPECT_EQ(outcome.err.rfind("agon: ", 0), 0u) << outcome.err;
    EXPECT_EQ(std::count(outcome.err.begin(), outcome.err.end(), '\n'), 1) << outcome.err;
    for (const std::string& words : row.says) EXPECT_NE(outcome.err.find(words), std::string::npos) << outcome.err;
  }
  EXPECT_FALSE(fs::exists(folder_ / "runs")) << "a run that cannot start must not leave a folder";
  EXPECT_EQ(std::distance(fs::directory_iterator(folder_ / "foreign"), fs::directory_iterator{}), 1);
}

TEST_F(Cli, RunFoldersThatHoldOtherThingsAreNamed) {
  struct Row {
    std::string summary, line;  // of metrics.jsonl
    std::vector<std::string> says;
  };
  const std::vector<Row> rows = {
      {"{\"iterations\": \"x\"}", "", {"broken/summary.json", "iterations is \"x\", expected an integer"}},
      {"{\"interrupted\": \"yes\"}", "", {"broken/summary.json", "interrupted is \"yes\", expected true or false"}},
      {"{\"traffic\": {\"batches\": 3}}", "", {"broken/summary.json", "batches is 3, expected an object"}},
      {"{\"seconds_training\": null}", "", {"broken/summary.json", "seconds_training is null, expected a number"}},
      {"{}", "{\"iteration\": 5, \"kind\": 7}", {"broken/metrics.jsonl", "iteration 5", "kind is 7, expected a text"}},
      {"{}", "{\"iteration\": 5, \"samples\": \"many\"}", {"broken/metrics.jsonl", "samples is \"many\""}},
      {"{}", "{\"iteration\": 5, \"worker\": \"x\"}", {"broken/metrics.jsonl", "worker is \"x\""}},
      {"{\"scores\": {\"modes\": \"x\"}}", "", {"broken/summary.json: scores", "modes is \"x\", expected an integer"}},
      {"{}", "{\"iteration\": 5, \"fid\": null}", {"broken/metrics.jsonl", "fid is null, expected a number"}},
      {"{}", "{\"iteration\": 5, \"ranking\": []}", {"broken/metrics.jsonl", "ranking is empty"}},
      {"{}", "{\"iteration\": 5, \"ranking\": [5]}", {"broken/metrics.jsonl", "ranking holds number"}},
      {"{}", "{\"iteration\": 5, \"ranking\": [{\"cell\": 0, \"fid\": []}]}", {"broken/metrics.jsonl", "fid is []"}},
      {"{}", "{\"iteration\": 5, \"ranking\": [{\"cell\": \"x\"}]}", {"broken/metrics.jsonl", "cell is \"x\""}},
  };
  fs::create_directory(folder_ / "broken");
  std::ofstream(folder_ / "broken/config.toml") << "";
  for (const Row& row : rows) {
    std::ofstream(folder_ / "broken/summary.json") << row.summary;
    std::ofstream(folder_ / "broken/metrics.jsonl") << row.line << "\n";
    for (const std::string command : {"agon report broken --out r.html", "agon compare broken"}) {
      SCOPED_TRACE(command + " of " + row.summary + row.line);
      const Outcome outcome = run(command);
      EXPECT_EQ(outcome.code, 3) << outcome.err;
      for (const std::string& words : row.says) EXPECT_NE(outcome.err.find(words), std::string::npos) << outcome.err;
    }
  }
}

/// What a command ends with when it could not do its work: one sentence with these words.
void expect_sentence(const Outcome& outcome, int code, const std::string& words) {
  EXPECT_EQ(outcome.code, code) << outcome.err;
  EXPECT_EQ(std::count(outcome.err.begin(), outcome.err.end(), '\n'), 1) << outcome.err;
  EXPECT_NE(outcome.err.find(words), std::string::npos) << outcome.err;
}

TEST_F(Cli, ResultsThatCannotBePrintedAreAFailure) {
  for (const std::string command : {"agon presets", "agon presets md-gan-ring-mlp", "agon data info ring"})
    expect_sentence(run(command + " > /dev/full"), 4, "cannot be printed: No space left");
  expect_sentence(run("agon train " + kSmall + "--iterations 2 --quiet --json --out full > /dev/full"), 4,
                  "cannot be printed: No space left");
  EXPECT_TRUE(fs::exists(folder_ / "full/summary.json"));
}

/// Labelled pictures of 28x28 in two classes; the second one's name is no UTF-8.
void put_pictures(const fs::path& folder) {
  for (const char* name : {"a", "b\xff"}) {
    fs::create_directories(folder / name);
    for (int i = 0; i < 20; ++i) {
      const std::vector<uint8_t> pixels(28 * 28, static_cast<uint8_t>(10 * i + name[0]));
      write_png(folder / name / (std::to_string(i) + ".png"), pixels.data(), 28, 28, 1);
    }
  }
}

TEST_F(Cli, NothingIsTrainedInVain) {
  put_pictures(folder_ / "pictures");
  ASSERT_EQ(run("agon data synth ring points.safetensors --count 9").code, 0);
  const std::string train =
      "agon train md-gan-mnist-mlp --data pictures --set world.workers=2 --iterations 2 --out run ";
  expect_sentence(run(train + "--set score.scorer=nowhere.safetensors"), 3, "nowhere.safetensors");
  expect_sentence(run(train + "--set score.scorer=points.safetensors"), 3, "is not a scorer");
  EXPECT_FALSE(fs::exists(folder_ / "run"));
  expect_sentence(run("agon scorer --data pictures --out nowhere/s.safetensors"), 4, "there is no folder nowhere");
  expect_sentence(run("agon eval points.safetensors --data pictures"), 2, "expected pictures of 28x28x1");
  EXPECT_FALSE(fs::exists(folder_ / "cache"));
}

TEST_F(Cli, PicturesThatNoPngCanShowAreTrainedAllTheSame) {
  const std::vector<uint8_t> pixels(20 * 5 * 4 * 4, 9);
  SafetensorsWriter writer;
  writer.add("images", "U8", {20, 5, 4, 4}, pixels.data());
  writer.write(folder_ / "five.safetensors");
  const Outcome outcome =
      run("agon train md-gan-mnist-mlp --data five.safetensors --set world.workers=2 --iterations 2 --quiet --out run "
          "--set "
          "generator.layers='[\"dense 80\", {layer = \"reshape\", height = 4, width = 4, channels = 5}, \"tanh\"]' "
          "--set discriminator.layers='[\"flatten\", \"dense heads\"]'");
  EXPECT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_TRUE(fs::exists(folder_ / "run/summary.json"));
}

TEST_F(Cli, NamesNeedNotBeUtf8) {
  put_pictures(folder_ / "p\xff");
  fs::create_symlink("p\xff", folder_ / "pictures");
  const std::string small = "--set run.threads=1 --set world.workers=2 --set run.evaluate_every=0 --quiet --json ";
  const Outcome trained = run("agon train md-gan-mnist-mlp --data pictures --iterations 2 --out 'r\xff' " + small);
  EXPECT_EQ(trained.code, 0) << trained.err;
  const Outcome scorer = run("agon scorer --data 'p\xff' --out 's\xff.safetensors' --epochs 1 --quiet --json");
  EXPECT_EQ(scorer.code, 0) << scorer.err;
  EXPECT_EQ(json::parse(scorer.last_line())["classes"], 2);
  EXPECT_EQ(run("agon sample 'r\xff' --count 2 --labels 1 --out s.png").code, 0);
  expect_sentence(run("agon sample 'r\xff' --count 2 --labels 1x --out s.png"), 2, "--labels is 1x, expected cycle");
  const Outcome compared = run("agon compare --json 'r\xff'");
  EXPECT_EQ(compared.code, 0) << compared.err;
  EXPECT_EQ(json::parse(compared.last_line())[0]["run"], "r\xef\xbf\xbd");
}

TEST_F(Cli, HelpAndListsGoToStdout) {
  for (const char* command :
       {"agon", "agon --help", "agon train --help", "agon data convert --help", "agon --version", "agon info",
        "agon presets", "agon presets quickstart", "agon presets quickstart --all"}) {
    SCOPED_TRACE(command);
    const Outcome outcome = run(command);
    EXPECT_EQ(outcome.code, 0);
    EXPECT_EQ(outcome.err, "");
    EXPECT_GT(outcome.out.size(), 5u);
  }
  const std::string info = run("agon info").out;
  for (const char* part : {"back ends\n  cpu                   oneDNN ", "\n  nccl ", "\n  mpi "})
    EXPECT_NE(info.find(part), std::string::npos) << info;
  // Who would get what, without a file being written.
  const std::string table = run("agon data split ring --preview --partition one-class --workers 20").out;
  EXPECT_EQ(std::count(table.begin(), table.end(), '\n'), 21) << table;
  EXPECT_FALSE(fs::exists(folder_ / "worker-0.safetensors"));
  // What `presets NAME` prints is a settings file that means the same.
  EXPECT_EQ(run("agon presets md-gan-celeba-cnn > own.toml").code, 0);
  EXPECT_EQ(run("agon plan own.toml --json").last_line(), run("agon plan md-gan-celeba-cnn --json").last_line());
}

TEST_F(Cli, PlanKeepsItsContract) {
  const Outcome outcome = run("agon plan md-gan-cifar10-cnn --json");
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  const json plan = json::parse(outcome.last_line());
  EXPECT_EQ(plan["parameters"]["generator"], 2932035);
  EXPECT_EQ(plan["parameters"]["discriminator"], 1662891);
  EXPECT_EQ(plan["traffic"]["per_iteration"]["batches"], 2 * 10 * 3072 * 4);
  EXPECT_GT(plan["traffic"]["total"]["discriminators"]["bytes"], 0);
  for (const char* key : {"flops", "memory"}) EXPECT_TRUE(plan[key].is_object()) << key;
  EXPECT_NE(run("agon plan md-gan-cifar10-cnn").out.find("6.34 MiB"), std::string::npos);
}

TEST_F(Cli, ARunLeavesAllThatTheContractNames) {
  const Outcome outcome =
      run("agon train md-gan-ring-mlp --iterations 60 --seed 4 --json --set run.evaluate_every=20 "
          "--set run.log_every=10 --set run.sample_every=30 --set score.samples=200 "
          "--set world.crash='[\"25:1\"]' --set run.checkpoint_every=20");
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  const fs::path folder = folder_ / "runs/md-gan-ring-mlp-4";
  const json summary = json::parse(outcome.last_line());
  EXPECT_EQ(summary, json::parse(contents(folder / "summary.json")));
  EXPECT_EQ(summary["iterations"], 60);
  EXPECT_EQ(summary["workers"], 10);
  EXPECT_GT(summary["seconds_training"], 0);
  EXPECT_GT(summary["seconds_evaluating"], 0);
  EXPECT_GT(summary["iterations_per_second"], 0);
  EXPECT_GT(summary["parameters"]["generator"], 0);
  EXPECT_GT(summary["parameters"]["discriminator"], 0);
  EXPECT_GT(summary["traffic"]["batches"]["bytes"], 0);
  EXPECT_GT(summary["traffic"]["batches"]["messages"], 0);
  EXPECT_EQ(summary["scores"]["samples"], 200);
  EXPECT_TRUE(summary["scores"].contains("modes"));
  EXPECT_EQ(summary["weights_hash"].get<std::string>().size(), 16u);
  EXPECT_EQ(summary["device"].get<std::string>().rfind("cpu", 0), 0u);
  ASSERT_EQ(summary["events"].size(), 1u);
  EXPECT_EQ(summary["events"][0], (json{{"iteration", 25}, {"worker", 1}, {"kind", "lost"}}));

  std::map<std::string, int> kinds;
  std::istringstream lines(contents(folder / "metrics.jsonl"));
  for (std::string line; std::getline(lines, line);) {
    const json record = json::parse(line);
    ++kinds[record["kind"]];
    EXPECT_GE(record["iteration"], 1);
    if (record["kind"] == "evaluation") {
      EXPECT_GT(record["bytes"], 0);
    }
  }
  EXPECT_EQ(kinds["log"], 6);
  EXPECT_EQ(kinds["evaluation"], 3);
  EXPECT_EQ(kinds["event"], 1);
  for (const char* sample : {"000030", "000060"})
    EXPECT_EQ(contents(folder / "samples" / (std::string(sample) + ".png")).rfind("\x89PNG", 0), 0u) << sample;
  EXPECT_TRUE(fs::exists(folder / "checkpoints/iteration-000000060.safetensors"));
  EXPECT_TRUE(fs::exists(folder / "generator.safetensors"));
  EXPECT_NE(contents(folder / "config.toml").find("seed = 4"), std::string::npos);

  // config.toml is complete: the same run again, to the same weights; and the folder is not overwritten.
  const Outcome again = run("agon train runs/md-gan-ring-mlp-4/config.toml --out again --json --quiet");
  EXPECT_EQ(again.err, "");
  EXPECT_EQ(json::parse(again.last_line())["weights_hash"], summary["weights_hash"]);
  const Outcome refused = run("agon train md-gan-ring-mlp --seed 4");
  EXPECT_EQ(refused.code, 2);
  EXPECT_NE(refused.err.find("finished run"), std::string::npos);

  // What follows a run.
  EXPECT_EQ(run("agon sample again --count 500 --out points.png").code, 0);
  EXPECT_EQ(run("agon sample again --count 500 --out points.safetensors").code, 0);
  EXPECT_EQ(
      run("agon sample runs/md-gan-ring-mlp-4/checkpoints/iteration-000000060.safetensors --count 500 --out c.png")
          .code,
      0);
  EXPECT_TRUE(contents(folder_ / "c.png") == contents(folder_ / "points.png"));
  EXPECT_NE(run("agon data info points.safetensors").out.find("500"), std::string::npos);
  const Outcome eval = run("agon eval again --data ring --samples 300 --json");
  EXPECT_EQ(json::parse(eval.last_line())["samples"], 300) << eval.err;
  EXPECT_EQ(run("agon eval again --data ring --samples 300").out.rfind("300 samples\n", 0), 0u);
  EXPECT_EQ(run("agon report runs/md-gan-ring-mlp-4 again --out r.html").code, 0);
  const std::string page = contents(folder_ / "r.html");
  EXPECT_EQ(page.rfind("<!doctype html>", 0), 0u);
  for (const char* part : {"<svg", "data:image/png;base64,iVBOR", "md-gan-ring-mlp-4", "equal", "Workers lost"})
    EXPECT_NE(page.find(part), std::string::npos) << part;
  EXPECT_EQ(page.find("differs"), std::string::npos) << "ledger and plan must agree";
  EXPECT_EQ(page.find("http"), std::string::npos) << "the page must stand alone";
  EXPECT_NE(page.find("<th>training<th>scoring"), std::string::npos);

  // Seconds go on where they were.
  const json before = json::parse(again.last_line());
  const json longer = json::parse(run("agon train --resume --out again --iterations 80 --json").last_line());
  for (const char* seconds : {"seconds_training", "seconds_evaluating"}) EXPECT_GT(longer[seconds], before[seconds]);
}

TEST_F(Cli, ARunKnowsItsDataInEveryFolder) {
  ASSERT_EQ(run("mkdir data other && agon data synth ring data/points.safetensors").code, 0);
  const std::string command = "agon train " + kSmall + "--json --quiet --data ";
  ASSERT_EQ(run(command + "data/points.safetensors --iterations 20 --out by-path").code, 0);
  ASSERT_EQ(run(command + "points --iterations 20 --out by-name").code, 0);
  const std::string place = (fs::canonical(folder_) / "data/points.safetensors").string();
  const auto lasts = [&](const std::string& settings, const std::string& more) {
    const Outcome outcome = run(settings + " agon train --resume --json --quiet " + more);
    EXPECT_EQ(outcome.code, 0) << outcome.err;
    return outcome.code == 0 ? json::parse(outcome.last_line())["weights_hash"] : json();
  };
  const json expected = json::parse(run(command + "points --iterations 40 --out whole").last_line())["weights_hash"];
  for (const std::string folder : {"by-path", "by-name"}) {
    SCOPED_TRACE(folder);
    EXPECT_NE(contents(folder_ / folder / "config.toml").find("path = \"" + place + "\""), std::string::npos);
    const std::string there = "../" + folder;
    const Outcome sample =
        run("cd other && agon sample " + there + "/checkpoints/iteration-000000020.safetensors --count 9 --out x.png");
    EXPECT_EQ(sample.code, 0) << sample.err;
    EXPECT_EQ(lasts("cd other &&", "--iterations 30 --out " + there).is_null(), false);
  }
  EXPECT_EQ(run("agon compare by-path by-name --json").out.find("data.path"), std::string::npos);
  // Runs of earlier versions, with the path as it was given, and data that are elsewhere now.
  const fs::path config = folder_ / "by-path/config.toml";
  std::string text = contents(config);
  text.replace(text.find(place), place.size(), "data/points.safetensors");
  std::ofstream(config) << text;
  EXPECT_EQ(run("agon compare by-path by-name --json").out.find("data.path"), std::string::npos);
  EXPECT_EQ(lasts("", "--iterations 40 --out by-path"), expected);
  fs::rename(folder_ / "data", folder_ / "elsewhere");
  EXPECT_EQ(lasts("export AGON_DATA=$PWD/elsewhere && cd other &&", "--iterations 40 --out ../by-name"), expected);
  fs::rename(folder_ / "elsewhere", folder_ / "hidden");
  const Outcome lost = run("agon train --resume --iterations 50 --out by-name");
  EXPECT_EQ(lost.code, 3);
  EXPECT_NE(lost.err.find("points.safetensors"), std::string::npos) << lost.err;
  EXPECT_EQ(lasts("", "--iterations 50 --data hidden/points.safetensors --out by-name").is_null(), false);
}

TEST_F(Cli, AnInterruptedRunGoesOnToTheSameWeights) {
  const std::string length = "--iterations 4000 --set run.checkpoint_every=0 --json ";
  const Outcome whole = run("agon train " + kSmall + length + "--out whole");
  ASSERT_EQ(whole.code, 0) << whole.err;
  const pid_t child = start("agon train " + kSmall + length + "--out parts");
  ASSERT_TRUE(wait_for([&] { return contents(folder_ / "parts/metrics.jsonl").size() > 10; }));
  kill(child, SIGINT);
  const Outcome interrupted = finish(child);
  EXPECT_EQ(interrupted.code, 0) << interrupted.err;
  const json part = json::parse(interrupted.last_line());
  ASSERT_TRUE(part["interrupted"].get<bool>());
  EXPECT_LT(part["iterations"], 4000);
  EXPECT_NE(interrupted.err.find("--resume --out parts"), std::string::npos) << interrupted.err;
  EXPECT_NE(run("agon train " + kSmall + "--out parts").err.find("--resume"), std::string::npos);

  const Outcome other = run("agon train standalone-ring-mlp --resume --out parts");
  EXPECT_EQ(other.code, 2);
  EXPECT_NE(other.err.find("algorithm.name"), std::string::npos) << other.err;

  const Outcome resumed = run("agon train --resume --out parts --json");
  ASSERT_EQ(resumed.code, 0) << resumed.err;
  const json end = json::parse(resumed.last_line()), expected = json::parse(whole.last_line());
  EXPECT_EQ(end["iterations"], 4000);
  EXPECT_FALSE(end["interrupted"].get<bool>());
  EXPECT_EQ(end["weights_hash"], expected["weights_hash"]);
  EXPECT_EQ(end["traffic"], expected["traffic"]);
  EXPECT_EQ(end["seconds_evaluating"], 0) << "no scores were asked for";

  // Never back: what is there would not be that of the settings.
  const Outcome back = run("agon train --resume --out parts --iterations 50");
  EXPECT_EQ(back.code, 2);
  EXPECT_NE(back.err.find("at iteration 4000 already, but run.iterations is 50"), std::string::npos) << back.err;
  EXPECT_EQ(json::parse(contents(folder_ / "parts/summary.json")), end);
  EXPECT_NE(contents(folder_ / "parts/config.toml").find("iterations = 4000"), std::string::npos);

  // A finished run can be prolonged, and then equals a longer one.
  const Outcome longer = run("agon train --resume --out parts --iterations 4200 --json");
  const Outcome straight = run("agon train " + kSmall + "--iterations 4200 --json --out straight");
  EXPECT_EQ(json::parse(longer.last_line())["weights_hash"], json::parse(straight.last_line())["weights_hash"]);
}

TEST_F(Cli, ARunKilledAtAnyMomentGoesOnToTheSameWeights) {
  const std::string arguments =
      kSmall + "--iterations 4000 --set run.checkpoint_every=20 --set run.log_every=10 --json ";
  const json expected = json::parse(run("agon train " + arguments + "--out whole").last_line());
  const auto logged_bytes = [&] { return contents(folder_ / "killed/metrics.jsonl").size(); };
  int kills = 0;
  Outcome outcome;
  for (int attempt = 0; attempt < 40; ++attempt) {
    const size_t before = logged_bytes();
    const pid_t child = start("agon train " + arguments + "--resume --out killed");
    // Moments of progress, however fast the machine is, and moments of time, which hit the start and the end, too.
    if (attempt % 2 == 0)
      wait_for([&] { return logged_bytes() > before || has_ended(child); });
    else
      std::this_thread::sleep_for(std::chrono::milliseconds(37 * attempt % 230));
    kill(child, SIGKILL);
    outcome = finish(child);
    if (outcome.code == 0) break;
    ASSERT_EQ(outcome.code, 128 + SIGKILL) << outcome.err;
    ++kills;
  }
  if (outcome.code != 0) outcome = run("agon train " + arguments + "--resume --out killed");
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_GT(kills, 0);
  const json end = json::parse(outcome.last_line());
  EXPECT_EQ(end["weights_hash"], expected["weights_hash"]);
  EXPECT_EQ(end["traffic"], expected["traffic"]);
  // Every log step stands in the metrics exactly once, in order, whatever was lost in between.
  std::vector<int64_t> logged, every;
  std::istringstream lines(contents(folder_ / "killed/metrics.jsonl"));
  for (std::string line; std::getline(lines, line);)
    if (json record = json::parse(line); record["kind"] == "log") logged.push_back(record["iteration"]);
  for (int64_t i = 10; i <= 4000; i += 10) every.push_back(i);
  EXPECT_EQ(logged, every);
  for (const auto& entry : fs::recursive_directory_iterator(folder_ / "killed"))
    EXPECT_EQ(entry.path().string().find(".tmp"), std::string::npos) << entry.path();
}

TEST_F(Cli, WithoutCheckpointsResultsAreNotOverwritten) {
  const std::string command = "agon train " + kSmall + "--quiet --set run.log_every=5 ";
  const auto files = [&](const std::string& folder) {
    std::string all;
    for (const char* name : {"config.toml", "metrics.jsonl", "summary.json", "generator.safetensors"})
      all += contents(folder_ / folder / name);
    return all;
  };
  struct Row {
    const char* name;
    std::vector<std::string> missing;
    int code;
  };
  for (const Row& row :
       std::vector<Row>{{"finished", {}, 3},
                        {"without-summary", {"summary.json"}, 3},
                        {"without-generator", {"generator.safetensors"}, 3},
                        // Killed before its first checkpoint, it has lost nothing that anybody could go on from.
                        {"killed-early", {"summary.json", "generator.safetensors"}, 0}}) {
    SCOPED_TRACE(row.name);
    const std::string folder = row.name;
    ASSERT_EQ(run(command + "--iterations 20 --out " + folder).code, 0);
    for (const std::string& name : row.missing) fs::remove(folder_ / folder / name);
    for (const auto& entry : fs::directory_iterator(folder_ / folder / "checkpoints")) fs::remove(entry.path());
    const std::string before = files(folder);
    const Outcome outcome = run("agon train --resume --iterations 10 --quiet --out " + folder);
    EXPECT_EQ(outcome.code, row.code) << outcome.err;
    EXPECT_EQ(files(folder) == before, row.code != 0);
    if (row.code != 0) {
      EXPECT_NE(outcome.err.find(folder + "/checkpoints"), std::string::npos) << outcome.err;
    }
  }
}

TEST_F(Cli, WhatIsLeftOfARunThatCouldNotStartIsNoObstacle) {
  const std::string command = "agon train " + kSmall + "--iterations 5 --quiet --out ";
  struct Row {
    const char* left;
    int code;
  };
  for (const Row& row : {Row{".lock", 0}, Row{"samples/.000000.png.partial", 0}, Row{".config.toml.partial", 0},
                         Row{"checkpoints/.iteration-000000001.safetensors.partial", 0},
                         Row{"checkpoints/iteration-000000001.safetensors", 2}, Row{"samples/holiday.png", 2},
                         Row{"samples/checkpoints/thesis.tex", 2}, Row{"metrics.jsonl", 2}}) {
    SCOPED_TRACE(row.left);
    for (const char* folder : {"samples", "checkpoints"}) fs::create_directories(folder_ / "run" / folder);
    fs::create_directories((folder_ / "run" / row.left).parent_path());
    std::ofstream(folder_ / "run" / row.left) << "x";
    const Outcome outcome = run(command + "run");
    EXPECT_EQ(outcome.code, row.code) << outcome.err;
    if (row.code != 0) {
      EXPECT_EQ(contents(folder_ / "run" / row.left), "x");
    }
    fs::remove_all(folder_ / "run");
  }
}

TEST_F(Cli, AResumedRunNeedsNoSummaryAndRepeatsNoEvaluation) {
  const std::string start = "agon train " + kSmall + "--set run.evaluate_every=7 --set score.samples=50 --json ";
  const json whole = json::parse(run(start + "--iterations 40 --out whole").last_line());
  ASSERT_EQ(run(start + "--iterations 30 --out run").code, 0);
  std::ofstream(folder_ / "run/summary.json") << "{\"scores\": 3, \"interrupted\": \"x\"}";
  const Outcome resumed = run("agon train --resume --out run --iterations 40 --json");
  ASSERT_EQ(resumed.code, 0) << resumed.err;
  EXPECT_EQ(json::parse(resumed.last_line())["weights_hash"], whole["weights_hash"]);
  const std::string metrics = contents(folder_ / "run/metrics.jsonl");
  const Outcome again = run("agon train --resume --out run --json");
  ASSERT_EQ(again.code, 0) << again.err;
  EXPECT_EQ(json::parse(again.last_line())["scores"], whole["scores"]);
  EXPECT_EQ(contents(folder_ / "run/metrics.jsonl"), metrics);
}

TEST_F(Cli, ARunThatIsStoppedBeforeItsFirstIterationGoesOn) {
  const std::string start = "agon train md-gan-strokes-mlp --iterations 3 --set run.evaluate_every=0 --quiet --out run";
  const pid_t child = this->start(start);
  ASSERT_TRUE(wait_for([&] { return fs::exists(folder_ / "run/.lock"); }));
  kill(child, SIGTERM);
  const Outcome stopped = finish(child);
  ASSERT_EQ(stopped.code, 0) << stopped.err;
  const Outcome resumed = run("agon train --resume --out run --quiet --json");
  ASSERT_EQ(resumed.code, 0) << resumed.err;
  EXPECT_EQ(json::parse(resumed.last_line())["iterations"], 3);
}

TEST_F(Cli, TwoRunsDoNotShareAFolder) {
  const pid_t child = start("agon train " + kSmall + "--iterations 1000000 --out shared");
  ASSERT_TRUE(wait_for([&] { return contents(folder_ / "shared/metrics.jsonl").size() > 10; }));
  const std::string command =
      "cd '" + folder_.string() + "' && " AGON_BINARY_DIR "/bin/agon train --resume --out shared 2> second";
  EXPECT_EQ(WEXITSTATUS(std::system(command.c_str())), 2);
  EXPECT_NE(contents(folder_ / "second").find("another agon is training"), std::string::npos)
      << contents(folder_ / "second");
  kill(child, SIGTERM);
  EXPECT_EQ(finish(child).code, 0);
}

TEST_F(Cli, DivergenceIsExitCodeFour) {
  const Outcome outcome = run("agon train " + kSmall +
                              "--iterations 500 --set run.log_every=1 --set generator.learning_rate=1000 "
                              "--set generator.optimiser=sgd --set discriminator.optimiser=sgd "
                              "--set discriminator.learning_rate=1000 --set gan.loss=wasserstein --out diverged");
  EXPECT_EQ(outcome.code, 4) << outcome.err;
  EXPECT_NE(outcome.err.find("not a number"), std::string::npos) << outcome.err;
  EXPECT_FALSE(fs::exists(folder_ / "diverged/summary.json"));
}

/// Nothing in the folder is half-written: whatever is there can be read.
void expect_whole(const fs::path& folder) {
  std::istringstream lines(contents(folder / "metrics.jsonl"));
  for (std::string line; std::getline(lines, line);)
    EXPECT_FALSE(json::parse(line, nullptr, false).is_discarded()) << line;
  for (const auto& entry : fs::recursive_directory_iterator(folder)) {
    const std::string name = entry.path().filename().string();
    EXPECT_TRUE(name == ".lock" || name.front() != '.') << "a temporary file stayed: " << entry.path();
  }
}

TEST_F(Cli, AFileThatMayNotGrowIsASentenceAndNothingHalfWritten) {
  expect_sentence(run("ulimit -f 20 && agon data synth ring ring.safetensors"), 4, "cannot write ring.safetensors");
  EXPECT_FALSE(fs::exists(folder_ / ".ring.safetensors.partial"));
  // The limit (in blocks of 512 bytes) admits settings and metrics, but no checkpoint of this size.
  const std::string big =
      "md-gan-ring-mlp --iterations 40 --set run.checkpoint_every=10 --set run.evaluate_every=0 --set "
      "run.sample_every=0 ";
  const Outcome outcome = run("ulimit -f 200 && agon train " + big + "--out limited");
  EXPECT_EQ(outcome.code, 4) << outcome.err;
  EXPECT_NE(outcome.err.find("limited/checkpoints"), std::string::npos) << outcome.err;
  expect_whole(folder_ / "limited");
  const json resumed = json::parse(run("agon train --resume --json --out limited").last_line());
  EXPECT_EQ(resumed["weights_hash"],
            json::parse(run("agon train " + big + "--json --out whole").last_line())["weights_hash"]);
}

/// The newest checkpoint's iteration; 0 without one.
int64_t last_checkpoint(const fs::path& folder) {
  int64_t last = 0;
  for (const auto& entry : fs::directory_iterator(folder / "checkpoints")) {
    const std::string name = entry.path().stem().string();
    last = std::max<int64_t>(last, std::stoll(name.substr(name.rfind('-') + 1)));
  }
  return last;
}

TEST_F(Cli, ALostGpuIsExitCodeFourAndTheCheckpointIsGood) {
  const std::string emulated = "export AGON_CUDA_WAY=tiles && ",
                    lost_later = "export CUDA_EMULATION_LOSE_AFTER=250 && ";
  const std::string arguments =
      kSmall + "--device cuda-emulated --quiet --json --set run.checkpoint_every=10 --set run.log_every=1 ";
  const Outcome whole = run(emulated + "agon train " + arguments + "--iterations 200 --out whole");
  ASSERT_EQ(whole.code, 0) << whole.err;
  const json expected = json::parse(whole.last_line());

  const Outcome lost = run(emulated + lost_later + "agon train " + arguments + "--iterations 200 --out lost");
  EXPECT_EQ(lost.code, 4);
  EXPECT_EQ(lost.out, "");
  EXPECT_EQ(lost.err.rfind("agon: the GPU was lost while ", 0), 0u) << lost.err;
  EXPECT_EQ(std::count(lost.err.begin(), lost.err.end(), '\n'), 1) << lost.err;
  EXPECT_NE(lost.err.find("--resume"), std::string::npos) << lost.err;
  EXPECT_FALSE(fs::exists(folder_ / "lost/summary.json"));
  expect_whole(folder_ / "lost");
  const int64_t last = last_checkpoint(folder_ / "lost");
  ASSERT_GE(last, 10) << "lost too early for this test";
  ASSERT_LT(last, 190) << "lost too late for this test";
  fs::copy(folder_ / "lost", folder_ / "moved", fs::copy_options::recursive);

  const Outcome resumed = run(emulated + "agon train --resume --json --out lost");
  ASSERT_EQ(resumed.code, 0) << resumed.err;
  EXPECT_EQ(json::parse(resumed.last_line())["weights_hash"], expected["weights_hash"]);

  // On the CPU it goes on as a run does that came there from the same iteration without harm.
  const Outcome part = run(emulated + "agon train " + arguments + "--out part --iterations " + std::to_string(last));
  ASSERT_EQ(part.code, 0) << part.err;
  std::vector<json> ends;
  for (const char* folder : {"moved", "part"}) {
    const Outcome outcome =
        run("agon train --resume --device cpu --iterations 200 --json --out " + std::string(folder));
    ASSERT_EQ(outcome.code, 0) << outcome.err;
    ends.push_back(json::parse(outcome.last_line()));
    EXPECT_EQ(ends.back()["device"].get<std::string>().rfind("cpu", 0), 0u);
    EXPECT_EQ(ends.back()["iterations"], 200);
  }
  EXPECT_EQ(ends[0]["weights_hash"], ends[1]["weights_hash"]);
  EXPECT_EQ(ends[0]["traffic"], expected["traffic"]);
}

TEST_F(Cli, AFullDiskIsASentenceAndNothingHalfWritten) {
  const fs::path disk = folder_ / "disk";
  fs::create_directory(disk);
  if (mount("tmpfs", disk.c_str(), "tmpfs", 0, "size=3m") != 0)
    GTEST_SKIP() << "a small file system can only be mounted by root with that capability";
  const std::string arguments =
      "md-gan-ring-mlp --iterations 400 --set run.checkpoint_every=5 --set run.keep_checkpoints=1000 "
      "--set run.evaluate_every=0 --set run.log_every=1 ";
  const Outcome outcome = run("agon train " + arguments + "--out disk/run");
  EXPECT_EQ(outcome.code, 4) << outcome.err;
  EXPECT_NE(outcome.err.find("disk/run"), std::string::npos) << outcome.err;
  EXPECT_NE(outcome.err.find("No space left"), std::string::npos) << outcome.err;
  expect_whole(disk / "run");
  std::ofstream(disk / "filler") << std::string(4 << 20, 'x');  // until nothing fits any more
  for (const int code : {4, 0}) {
    if (code == 0) {
      ASSERT_EQ(mount("tmpfs", disk.c_str(), "tmpfs", MS_REMOUNT, "size=300m"), 0);
    }
    const Outcome start = run("agon train " + kSmall + "--iterations 5 --out disk/none");
    EXPECT_EQ(start.code, code) << start.err;
    EXPECT_EQ(fs::exists(disk / "none/config.toml"), code == 0);
  }
  const Outcome resumed = run("agon train --resume --json --out disk/run");
  EXPECT_EQ(resumed.code, 0) << resumed.err;
  EXPECT_EQ(json::parse(resumed.last_line())["iterations"], 400);
  umount(disk.c_str());
}

}  // namespace
}  // namespace agon::command_line
