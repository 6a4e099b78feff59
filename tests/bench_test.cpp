// agon-bench as scripts use it, and the table that tools/device-check makes of what it says.
#include <set>

#include "tests/command_line.h"

namespace agon::command_line {
namespace {

const std::string kBench = AGON_BINARY_DIR "/bin/agon-bench ";

class BenchTest : public Cli {
 protected:
  /// What `agon-bench iteration` says in JSON, and what stands before it.
  json iteration(const std::string& arguments) {
    const Outcome outcome = run(kBench + "iteration " + arguments + " --json");
    EXPECT_EQ(outcome.code, 0) << outcome.err;
    EXPECT_EQ(std::count(outcome.out.begin(), outcome.out.end(), '\n'), 3) << outcome.out;
    return json::parse(outcome.last_line());
  }
  json plan(const std::string& arguments) {
    const Outcome outcome = run("agon plan " + arguments + " --json");
    EXPECT_EQ(outcome.code, 0) << outcome.err;
    return json::parse(outcome.last_line());
  }
  static void expect_roofline(const json& said) {
    const json& roofline = said["roofline"];
    const double memory = 1e6 * roofline["bytes"].get<double>() / roofline["bytes_per_second"].get<double>(),
                 products = 1e6 * roofline["flops"].get<double>() / roofline["flops_per_second"].get<double>(),
                 launch = roofline["microseconds_launch"], least = roofline["microseconds"];
    EXPECT_GT(memory, 0);
    EXPECT_GT(products, 0);
    EXPECT_NEAR(least, std::max(memory + launch, products), 1e-6 * least);
    EXPECT_NEAR(roofline["times"], said["microseconds"].get<double>() / least, 1e-6 * roofline["times"].get<double>());
  }
};

TEST_F(BenchTest, UsageErrorsAreOneSentenceWithCodeTwo) {
  for (const std::string arguments : {"--nonsense", "iteration", "--compare old.json", "--threads many"}) {
    const Outcome outcome = run(kBench + arguments);
    EXPECT_EQ(outcome.code, 2) << outcome.err;
    EXPECT_EQ(outcome.err.rfind("agon-bench: ", 0), 0u) << outcome.err;
    EXPECT_EQ(std::count(outcome.err.begin(), outcome.err.end(), '\n'), 1) << outcome.err;
  }
}

TEST_F(BenchTest, AnIterationStandsBesideItsRooflineAndItsPlan) {
  const std::string settings = "md-gan-mnist-mlp --set world.workers=3 --set algorithm.kappa=2";
  const json said = iteration(settings + " --device cpu --threads 1 --iterations 3"), planned = plan(settings);
  EXPECT_EQ(said["device"], "cpu");
  expect_roofline(said);
  EXPECT_EQ(said["roofline"]["microseconds_launch"], 0) << "the CPU has no graphs";
  // The generator's way forwards, back, and Adam's step; of three discriminators the same, and both ways again for F_n.
  const double G = planned["parameters"]["generator"].get<double>() + planned["parameters"]["embedding"].get<double>(),
               D = planned["parameters"]["discriminator"];
  EXPECT_EQ(said["roofline"]["bytes"], (4 + 4 + 28) * G + 3 * (4 + 4 + 28 + 4 + 4) * D);
  EXPECT_EQ(said["roofline"]["flops"], planned["flops"]["per_iteration"].get<double>());
  // It trains on 20,000 of the 60,000 pictures, each with a label and a place in the order.
  const double memory = planned["memory"]["total"].get<double>() - 40000 * (784 + 8);
  EXPECT_EQ(said["memory"]["planned"], memory);
  EXPECT_GT(said["memory"]["bytes"], 0.9 * memory);
  EXPECT_LT(said["memory"]["bytes"], 1.5 * memory);
}

TEST_F(BenchTest, AGpusMemoryIsCountedAndItsGraphsAreLaunched) {
  const std::string settings = "md-gan-mnist-mlp --set world.workers=2 --set algorithm.batch=2";
  const json said = iteration(settings + " --device cuda-emulated --iterations 1");
  EXPECT_EQ(said["device"], "cuda-emulated:0");
  expect_roofline(said);
  EXPECT_GT(said["roofline"]["microseconds_launch"], 0);
  constexpr double kBlasSpace = 32 << 20, kOtherSpace = 4 << 20;
  const double planned = said["memory"]["planned"], extra = said["memory"]["bytes"].get<double>() - planned;
  EXPECT_GE(extra, kBlasSpace);
  EXPECT_LT(extra, kBlasSpace + kOtherSpace);
}

TEST_F(BenchTest, TheTableOfDeviceCheckShowsBoth) {
  if (run("python3 -c 'import json'").code != 0) GTEST_SKIP() << "no python3 here";
  json said = iteration("md-gan-ring-mlp --set world.workers=2 --device cpu --threads 1 --iterations 3");
  said["microseconds"] = 300, said["microseconds_queueing"] = 20;
  said["roofline"]["microseconds"] = 200, said["roofline"]["times"] = 1.5;
  said["memory"] = {{"bytes", 7 << 20}, {"planned", 6 << 20}};
  fs::create_directory(folder_ / "check");
  std::ofstream lines(folder_ / "check/iterations.jsonl");
  for (const char* name : {"mnist-mlp fp32", "mnist-mlp N=1000"}) {
    said["name"] = name;
    lines << said.dump() << "\n";
  }
  lines.close();
  const Outcome outcome = run("python3 " AGON_SOURCE_DIR "/tools/lib/device-table.py check 'a GPU'");
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  const std::string batch = std::to_string(said["batch"].get<int>());
  for (const std::string& part :
       {std::string("| host's share, us | roofline, us | times of it | memory, MiB | planned, MiB |"),
        "| mnist-mlp fp32 | 2 | " + batch + " | 300.0 | 20.0 | 200.0 | 1.50 | 7 | 6 | - | - |",
        "| 1000 | " + batch + " | 300.0 | 20.0 | 200.0 | 1.50 | 7 | 6 |"})
    EXPECT_NE(outcome.out.find(part), std::string::npos) << part << "\n" << outcome.out;
}

TEST_F(BenchTest, TheNetworksOfThePapersHaveTheirRows) {
  const std::string all = run(kBench + "--device cpu --threads 1 --benchmark_list_tests=true").out;
  std::istringstream lines(all);
  std::set<std::string> names;
  for (std::string line; std::getline(lines, line);) EXPECT_TRUE(names.insert(line).second) << line << " twice";
  for (const char* row :
       {"gemm/mlp D1 forward/fp32/R10", "gemm/mlp G1 weight grad/fp32/R1", "gemm/mnist D1 input grad/bf16/R100",
        "gemm/celeba D1 forward/fp32/R10", "gemm/lipizzaner D1 forward/fp32/R100", "gemm/tfgan G2 forward/fp32/R1",
        "conv/mnist D6/forward/fp32/R10", "conv/cifar G3/weight grad/bf16/R1", "conv/celeba D6/input grad/fp32/R10",
        "conv/tfgan D2/forward/fp32/R1", "conv/mnist-dcgan G1/forward/fp32/R10", "conv/dcgan-64 G1/forward/fp32/R10",
        "conv/dcgan-64 D4/weight grad/fp32/plain oneDNN/R1"})
    EXPECT_TRUE(names.count(row + std::string("/cpu/real_time"))) << row;
  const Outcome one = run(kBench +
                          "--device cpu --threads 1 --benchmark_filter='conv/mnist-dcgan G1/forward/fp32/R1/' "
                          "--benchmark_min_time=0.01 --benchmark_format=json");
  const json row = json::parse(one.out)["benchmarks"].at(0);
  EXPECT_FALSE(row.contains("error_occurred")) << one.out;
  EXPECT_GT(row["GFLOP/s"], 0);
}

}  // namespace
}  // namespace agon::command_line
