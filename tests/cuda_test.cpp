// What is particular to the CUDA back end, on the emulated device: plug-ins, graphs, memory, choices, faults.
#include <dlfcn.h>
#include <gtest/gtest.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "kernels/cuda/mixing_plan.h"
#include "kernels/error.h"
#include "tests/cuda_emulation/control.h"
#include "tests/training.h"

namespace agon {
namespace {

using namespace training;
using cuda_emulation::Control;

constexpr const char* kEmulated = "cuda-emulated";

/// What the emulated device is told, and what it counts. Set back to normal at the end of a test.
class CudaTest : public testing::Test {
 protected:
  Control& control() { return *control_; }
  void SetUp() override {
    setenv("AGON_CUDA_WAY", "tiles", 1);  // nothing depends on timing
    open_device(kEmulated);
    void* library = dlopen("libagon_cuda_emulated.so", RTLD_NOW | RTLD_NOLOAD);
    ASSERT_NE(library, nullptr) << dlerror();
    auto* entry = reinterpret_cast<cuda_emulation::ControlEntry*>(dlsym(library, "cuda_emulation_control"));
    ASSERT_NE(entry, nullptr);
    control_ = entry();
    *control_ = {};
  }
  void TearDown() override {
    if (control_) *control_ = {};
    unsetenv("AGON_CUDA_GRAPHS");
    unsetenv("AGON_CUDA_WAY");
    unsetenv("AGON_CACHE");
  }

 private:
  Control* control_ = nullptr;
};

void expect_refusal(const std::function<void()>& use, Fault fault, const std::vector<std::string>& parts) {
  try {
    use();
    ADD_FAILURE() << "accepted; expected a sentence with \"" << parts.front() << '"';
  } catch (const Error& error) {
    EXPECT_EQ(error.fault(), fault) << error.what();
    for (const std::string& part : parts)
      EXPECT_NE(std::string(error.what()).find(part), std::string::npos) << error.what();
  }
}

Settings emulated(const std::string& base, std::vector<std::string> overrides) {
  overrides.push_back(std::string("run.device=") + kEmulated);
  return settings_of(base, std::move(overrides));
}

using PluginTest = CudaTest;

TEST_F(PluginTest, OfAnotherVersionIsRefused) {
  expect_refusal([] { open_device("cuda-stale"); }, Fault::kUsage,
                 {"was built for agon 0.0.1 (of another day)", "--device cpu"});
}

TEST_F(PluginTest, ThatIsMissingIsNamed) {
  expect_refusal([] { open_device("cuda-of-tomorrow"); }, Fault::kUsage,
                 {"no cuda-of-tomorrow plug-in", "libagon_cuda_of_tomorrow.so", "--device cpu"});
}

TEST_F(PluginTest, DevicesThatAreNotThereAreNamed) {
  expect_refusal([] { open_device("cuda-emulated:1"); }, Fault::kUsage, {"only one, cuda-emulated:0"});
  expect_refusal([] { open_device("cuda-emulated:x"); }, Fault::kUsage, {"does not end in a number"});
  expect_refusal([] { open_device("cuda-emulated:-1"); }, Fault::kUsage, {"does not end in a number"});
  expect_refusal([] { open_device("tpu"); }, Fault::kUsage, {"unknown device \"tpu\""});
  expect_refusal([] { open_device("cudax"); }, Fault::kUsage, {"unknown device \"cudax\""});
  expect_refusal([] { open_device("cuda-/../x"); }, Fault::kUsage, {"unknown device \"cuda-/../x\""});
  control().devices = 3;
  expect_refusal([] { open_device("cuda-emulated:3"); }, Fault::kUsage, {"only 3, cuda-emulated:0 to cuda-emulated:2"});
  EXPECT_EQ(open_device("cuda-emulated:2")->name(), "cuda-emulated:2");
  control().devices = 0;
  expect_refusal([] { open_device(kEmulated); }, Fault::kUsage, {"no NVIDIA GPU in this machine"});
  control().devices = -1;
  expect_refusal([] { open_device(kEmulated); }, Fault::kUsage, {"this machine has no NVIDIA driver"});
}

TEST_F(PluginTest, AutoFallsBackToTheCpu) {
  const std::vector<DeviceInfo> devices = list_devices();
  ASSERT_GE(devices.size(), 2u);
  EXPECT_EQ(devices[0].name, "cpu");
  EXPECT_EQ(open_device("auto")->name(), devices[1].usable ? "cuda:0" : "cpu");
  if (!devices[1].usable) {
    EXPECT_FALSE(devices[1].description.empty()) << "a reason";
  }
}

TEST_F(PluginTest, AutoOpensNoPluginWithoutADriver) {
  if (dlopen("libcuda.so.1", RTLD_LAZY)) GTEST_SKIP() << "this machine has an NVIDIA driver";
  GTEST_FLAG_SET(death_test_style, "threadsafe");  // in a new process
  const auto opened = [] {
    std::ifstream maps("/proc/self/maps");
    const std::string all(std::istreambuf_iterator<char>(maps), {});
    return all.find("/libagon_cuda.so") != std::string::npos;
  };
  EXPECT_EXIT((open_device("auto"), std::_Exit(opened())), testing::ExitedWithCode(0), "");
  if (std::filesystem::exists(AGON_BINARY_DIR "/lib/libagon_cuda.so")) {
    EXPECT_EXIT((list_devices(), std::_Exit(opened())), testing::ExitedWithCode(1), "") << "a list says why";
  }
}

/// Opens "auto" in this process as if there were a driver, and a plug-in that is a copy of `plugin`, whose calls return
/// `error` at first. Ends it with 0 if that was the CPU.
void open_auto_with(const std::string& plugin, int error) {
  const ScratchFolder folder;
  const std::string path = folder.path() + "/libagon_cuda.so";
  std::filesystem::copy(AGON_BINARY_DIR "/lib/" + plugin, path);
  setenv("AGON_PLUGIN_PATH", folder.path().c_str(), 1);
  // What is loaded by the name that is asked for is taken.
  if (!dlopen(AGON_BINARY_DIR "/lib/stand-in/libcuda.so.1", RTLD_NOW)) std::_Exit(3);
  void* library = dlopen(path.c_str(), RTLD_NOW);
  if (auto* entry = reinterpret_cast<cuda_emulation::ControlEntry*>(dlsym(library, "cuda_emulation_control")))
    entry()->next_error = error;
  std::_Exit(open_device("auto")->name() == "cpu" ? 0 : 1);
}

TEST_F(PluginTest, AutoSaysWhyADriverIsOfNoUse) {
  if (dlopen("libcuda.so.1", RTLD_LAZY)) GTEST_SKIP() << "this machine has an NVIDIA driver";
  GTEST_FLAG_SET(death_test_style, "threadsafe");  // in a new process
  spdlog::set_default_logger(spdlog::stderr_logger_mt("agon"));
  EXPECT_EXIT(open_auto_with("libagon_cuda_stale.so", 0), testing::ExitedWithCode(0),
              "driver, but the CPU is used: .*was built for agon 0.0.1");
  EXPECT_EXIT(open_auto_with("libagon_cuda_emulated.so", 46), testing::ExitedWithCode(0),
              "driver, but the CPU is used: the GPU was lost while opening");
}

using MemoryTest = CudaTest;

TEST_F(MemoryTest, ThatDoesNotSufficeIsSaidWithNumbers) {
  const auto device = open_device(kEmulated);
  control().memory = size_t{80} << 20;
  expect_refusal(
      [&] { device->allocate(size_t{100} << 20); }, Fault::kRun,
      {"out of memory on cuda-emulated:0", "100.0 MiB more were needed", "world.workers", "algorithm.batch"});
  Buffer<float> small(device, 1000);
  EXPECT_EQ(small.host(), std::vector<float>(1000, 0.f)) << "the device goes on";
}

TEST_F(MemoryTest, IsKeptForReuseAndGivenBackInNeed) {
  const auto device = open_device(kEmulated);
  device->synchronize();
  control().memory = size_t{80} << 20;
  const int64_t before = control().allocations;
  void* first = nullptr;
  for (int i = 0; i < 5; ++i) {
    void* memory = device->allocate(size_t{30} << 20);
    EXPECT_TRUE(i == 0 || memory == first) << "the same block again";
    first = memory;
    device->release(memory);
  }
  EXPECT_EQ(control().allocations, before + 1);
  Buffer<float> larger(device, (int64_t{40} << 20) / 4);  // fits only without the idle block
  EXPECT_EQ(larger.host().back(), 0.f);
}

using GraphTest = CudaTest;

/// Iterates an algorithm without a trainer.
class Iterations {
 public:
  explicit Iterations(const Settings& settings)
      : stage_(settings, data_of(settings)), algorithm_(algorithm_kind(settings.text("algorithm.name")).make(stage_)) {}
  void run(int count) {
    for (int i = 0; i < count; ++i) {
      stage_.world().next_iteration();
      algorithm_->iterate();
      stage_.device()->flush();
    }
  }
  std::vector<float> state() { return everything(*algorithm_); }

 private:
  Stage stage_;
  std::unique_ptr<Algorithm> algorithm_;
};

TEST_F(GraphTest, AnIterationIsOneLaunchWithoutWaitsOrAllocations) {
  struct Row {
    const std::string& base;
    std::string name;
    std::vector<std::string> settings;  // no swap and no average in these iterations, but for those that always do
  };
  const std::string never = "algorithm.swap_epochs=0";
  const Row rows[] = {
      {kRing, "all-reduce", {}},  {kRing, "fedgan", {never, "algorithm.round_iterations=0"}},
      {kRing, "fl-gan", {never}}, {kRing, "gossip", {}},
      {kRing, "gossip-ind", {}},  {kRing, "local", {}},
      {kRing, "md-gan", {never}}, {kRing, "ren-parallel", {}},
      {kRing, "ren-serial", {}},  {kStrokes, "md-gan", {never}},
  };
  for (const auto& [base, name, settings] : rows) {
    SCOPED_TRACE(name);
    std::vector<std::string> all = settings;
    all.push_back("algorithm.name=" + name), all.push_back("algorithm.batch=4");
    Iterations game(emulated(base, all));
    game.run(4);
    const Control before = control();
    game.run(5);
    const Control after = control();
    EXPECT_EQ(after.graph_launches - before.graph_launches, 5);
    EXPECT_EQ(after.launches, before.launches);
    EXPECT_EQ(after.captures, before.captures);
    EXPECT_EQ(after.waits, before.waits);
    EXPECT_EQ(after.allocations, before.allocations);
    EXPECT_EQ(after.host_copies, before.host_copies);
  }
}

TEST_F(GraphTest, ASwapLaunchesTheGraphAndThenTheRest) {
  // Shards of 40 samples, batches of 5: a swap every 8 iterations, among them that of every weights arena.
  Iterations game(emulated(kRing, {}));
  game.run(8);
  const Control before = control();
  game.run(16);
  const Control after = control();
  EXPECT_EQ(after.graph_launches - before.graph_launches, 16);
  EXPECT_EQ(after.captures, before.captures) << "random permutations are not worth a graph";
  EXPECT_EQ(after.launches - before.launches, 2) << "one kernel for each swap";
  EXPECT_EQ(after.waits, before.waits);
}

TEST_F(GraphTest, AnEpochOfCoevolutionIsAGraphForEachPartThatRepeats) {
  // Four cells with shards of 50 samples in batches of 5: ten steps of u in an epoch and five of v, and games before
  // and after. What is left: selections before and after, of what fitness and chance name, and with other opponents
  // those.
  // New losses of Mustangs are new steps of u, which run by themselves once.
  constexpr int64_t kEpochs = 4, kParts = 10 + 5 + 2, kSelections = 10, kSteps = 10 + 5, kNewSteps = 50;
  struct Row {
    std::string setting;
    int64_t kernels;  // at most, of an epoch, that are in no graph
  };
  for (const auto& [setting, kernels] : {Row{"algorithm.opponents=picked", kSelections},
                                         {"algorithm.opponents=neighbourhood", kSelections + 2 * kSteps},
                                         {"algorithm.mustangs=true", kSelections + kNewSteps}}) {
    SCOPED_TRACE(setting);
    Iterations game(
        emulated(kRing, {"algorithm.name=lipizzaner", "world.workers=4", "algorithm.fitness_batches=2", setting}));
    game.run(6);
    const Control before = control();
    game.run(kEpochs);
    const Control after = control();
    EXPECT_GE(after.graph_launches - before.graph_launches, kEpochs * kParts);
    EXPECT_LE(after.launches - before.launches, kEpochs * kernels);
  }
}

TEST_F(GraphTest, ManyWorkersOfTheirOwnGraphsKeepThem) {
  // Asynchronous MD-GAN queues lists of each worker's own.
  Iterations game(emulated(
      kRing, {"algorithm.name=md-gan-async", "world.workers=40", "algorithm.batch=2", "algorithm.swap_epochs=0"}));
  game.run(3 * 40);
  const Control before = control();
  game.run(40);
  const Control after = control();
  EXPECT_EQ(after.captures, before.captures);
  EXPECT_EQ(after.launches, before.launches);
  EXPECT_EQ(after.graph_launches - before.graph_launches, 4 * 40);
}

TEST_F(GraphTest, WhatCannotBeCapturedIsLaunchedOneByOne) {
  const Settings settings = emulated(kRing, {});
  Iterations captured(settings);
  captured.run(6);
  control().captures_end = false;
  Iterations loose(settings);
  const Control before = control();
  loose.run(6);
  EXPECT_GT(control().captures, before.captures);
  EXPECT_EQ(control().graph_launches, before.graph_launches);
  EXPECT_EQ(loose.state(), captured.state());
  const Control settled = control();
  loose.run(2);
  EXPECT_EQ(control().captures, settled.captures) << "it was tried once";
}

TEST_F(GraphTest, FollowsChangesOfTheGame) {
  // Workers leave and join: shapes, pointers and matrices change, and old graphs must not be mistaken for new ones.
  const std::vector<std::string> changes = {"world.crash=[\"6:2\", \"12:0\"]", "world.join=[\"9:4\", \"17:2\"]",
                                            "algorithm.kappa=3"};
  const Summary graphs = train(emulated(kRing, changes));
  setenv("AGON_CUDA_GRAPHS", "0", 1);
  const Summary eager = train(emulated(kRing, changes));
  EXPECT_EQ(graphs.weights_hash, eager.weights_hash);
  EXPECT_EQ(graphs.events.size(), 4u);
}

TEST_F(CudaTest, TrainsAsTheCpuDoes) {
  for (const std::string& base : {kRing, kStrokes}) {
    const std::vector<std::string> few = {"run.iterations=4"};
    std::vector<std::string> on_cpu = few;
    on_cpu.push_back("run.device=cpu");
    Iterations cpu(settings_of(base, on_cpu)), gpu(emulated(base, few));
    cpu.run(4), gpu.run(4);
    const std::vector<float> expected = cpu.state(), found = gpu.state();
    ASSERT_FALSE(expected.empty());
    ASSERT_EQ(expected.size(), found.size());
    // Adam's first steps are of size lr whatever the gradient, so a gradient of nearly 0 may turn a weight by 2 lr.
    double worst = 0, sum = 0;
    for (size_t i = 0; i < found.size(); ++i) {
      ASSERT_TRUE(std::isfinite(found[i]));
      worst = std::max(worst, std::abs(static_cast<double>(found[i]) - expected[i]));
      sum += std::abs(static_cast<double>(found[i]) - expected[i]);
    }
    EXPECT_LT(worst, 0.01);
    EXPECT_LT(sum / static_cast<double>(found.size()), 1e-5);
  }
}

using FaultTest = CudaTest;

TEST_F(FaultTest, ALostDeviceEndsTheRunAndTheCheckpointIsGood) {
  const ScratchFolder folder;
  const std::vector<std::string> settings = {"run.checkpoint_every=4", "run.iterations=30", "run.log_every=1"};
  const auto launches = [&] { return control().launches + control().graph_launches; };
  const int64_t before = launches();
  const std::string whole = train(emulated(kRing, settings)).weights_hash;
  const int64_t needed = launches() - before;

  Trainer trainer(emulated(kRing, settings), data_of(emulated(kRing, settings)));
  trainer.set_checkpoint_folder(folder.path());
  control().lose_after = needed * 3 / 4;
  expect_refusal([&] { trainer.run(); }, Fault::kRun, {"the GPU was lost", "--resume"});
  EXPECT_GT(trainer.iteration(), 4);
  EXPECT_LT(trainer.iteration(), 30);

  control().lose_after = -1;
  Trainer again(emulated(kRing, settings), data_of(emulated(kRing, settings)));
  again.set_checkpoint_folder(folder.path());
  ASSERT_TRUE(again.resume());
  EXPECT_EQ(again.run().weights_hash, whole);
}

TEST_F(FaultTest, OnlyErrorsThatMeanItAreALostDevice) {
  constexpr int kInvalidConfiguration = 9, kDevicesUnavailable = 46, kUncorrectable = 214, kIllegalAddress = 700,
                kLaunchTimeout = 702;
  const auto device = open_device(kEmulated);
  const auto fill_after = [&](int error) {
    Buffer<float> block(device, 10);
    device->run(ops::Fill{1, 10, {block.data(), 10}, 1.f});
    control().next_error = error;
    device->synchronize();
  };
  for (const auto& [error, name] : {std::pair{kDevicesUnavailable, "cudaErrorDevicesUnavailable"},
                                    {kUncorrectable, "cudaErrorECCUncorrectable"},
                                    {kIllegalAddress, "cudaErrorIllegalAddress"},
                                    {kLaunchTimeout, "cudaErrorLaunchTimeout"}})
    expect_refusal([&] { fill_after(error); }, Fault::kRun, {"the GPU was lost while", name, "--resume"});
  expect_refusal([&] { fill_after(kInvalidConfiguration); }, Fault::kRun,
                 {"a CUDA call failed while", "cudaErrorInvalidConfiguration", "please report it"});
  EXPECT_NO_THROW(fill_after(0));
}

using ChoiceTest = CudaTest;

std::string read_file(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

/// A product on a device of its own, whose choices are kept in `folder`.
void multiply_once(const ScratchFolder& folder) {
  unsetenv("AGON_CUDA_WAY");
  setenv("AGON_CACHE", folder.path().c_str(), 1);
  const auto device = open_device(kEmulated);
  Buffer<float> a(device, 40 * 30), b(device, 30 * 20), c(device, 40 * 20);
  device->run(
      ops::Gemm{.replicas = 1, .m = 40, .n = 20, .k = 30, .a = {a.data(), 0}, .b = {b.data(), 0}, .c = {c.data(), 0}});
  device->synchronize();
}

TEST_F(ChoiceTest, AreTimedOnceAndRemembered) {
  const ScratchFolder folder;
  multiply_once(folder);
  std::vector<std::filesystem::path> files;
  for (const auto& entry : std::filesystem::directory_iterator(folder.path())) files.push_back(entry.path());
  ASSERT_EQ(files.size(), 1u);
  const std::string text = read_file(files[0].string());
  EXPECT_EQ(text.rfind("gemm R1 40x20x30 nn fp32 by cublas, tiles\t", 0), 0u) << text;
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 1);
  const int64_t waits = control().waits;
  multiply_once(folder);
  EXPECT_EQ(control().waits, waits + 1) << "nothing was timed again";
  EXPECT_EQ(read_file(files[0].string()), text);
}

TEST_F(ChoiceTest, AWayThatCannotBeCapturedIsNotTaken) {
  const ScratchFolder folder;
  control().captures_end = false;
  multiply_once(folder);  // none of them can: the first
  const std::string path = std::filesystem::directory_iterator(folder.path())->path().string();
  EXPECT_NE(read_file(path).find("cublas, tiles\tcublas\n"), std::string::npos);
}

TEST_F(ChoiceTest, DamagedOrStrangeLinesAreNoHarm) {
  const ScratchFolder folder;
  multiply_once(folder);
  const std::string path = std::filesystem::directory_iterator(folder.path())->path().string();
  std::ofstream(path) << "no tab in this line\ngemm R1 40x20x30 nn fp32 by cublas, tiles\tby magic\n\t\t\n";
  multiply_once(folder);
  EXPECT_NE(read_file(path).find("cublas, tiles\tby magic"), std::string::npos);
}

TEST_F(ChoiceTest, AWayThatMustBeTakenIsTakenOrRefused) {
  const ScratchFolder folder;
  setenv("AGON_CACHE", folder.path().c_str(), 1);
  const auto product = [](const char* way) {
    setenv("AGON_CUDA_WAY", way, 1);
    const auto device = open_device(kEmulated);
    Buffer<float> a(device, 40 * 30), b(device, 30 * 20), c(device, 40 * 20);
    device->run(ops::Gemm{
        .replicas = 1, .m = 40, .n = 20, .k = 30, .a = {a.data(), 0}, .b = {b.data(), 0}, .c = {c.data(), 0}});
    device->synchronize();
  };
  product("cublas!");
  product("cudnn");  // none for this: the first there is
  expect_refusal([&] { product("cudnn!"); }, Fault::kUsage,
                 {"AGON_CUDA_WAY is \"cudnn!\"", "gemm R1 40x20x30 nn fp32", "only by cublas, tiles"});
}

/// Square images of 4 channels under 3 x 3 kernels, without a border.
ops::Convolution convolution_of(int64_t batch, int64_t size, const Buffer<float>& x, const Buffer<float>& w,
                                const Buffer<float>& y, Precision precision = Precision::kFp32) {
  return {.direction = ops::Convolution::Direction::kForward,
          .replicas = 1,
          .batch = batch,
          .height = size,
          .width = size,
          .in_channels = 4,
          .out_height = size - 2,
          .out_width = size - 2,
          .out_channels = 4,
          .kernel = 3,
          .stride = 1,
          .pad = 0,
          .x = {x.data(), 0},
          .w = {w.data(), 0},
          .y = {y.data(), 0},
          .precision = precision};
}

TEST_F(ChoiceTest, WhatCudnnCannotDescribeGoesAnotherWay) {
  const auto convolve = [](const char* way) {
    setenv("AGON_CUDA_WAY", way, 1);
    const auto device = open_device(kEmulated);
    Buffer<float> x(device, 6 * 6 * 4), w(device, 3 * 3 * 4 * 4), y(device, 4 * 4 * 4);
    device->run(ops::Fill{1, 6 * 6 * 4, {x.data(), 0}, 1.f});
    device->run(ops::Fill{1, 3 * 3 * 4 * 4, {w.data(), 0}, 2.f});
    device->run(convolution_of(1, 6, x, w, y));
    return y.host();
  };
  const std::vector<float> expected(4 * 4 * 4, 3 * 3 * 4 * 2.f);
  EXPECT_EQ(convolve("cudnn!"), expected);
  control().dnn_describes = false;
  EXPECT_EQ(convolve("cudnn"), expected);
  expect_refusal([&] { convolve("cudnn!"); }, Fault::kUsage, {"only by implicit, unfolded"});
}

/// The sum over a 3 x 3 kernel of ones and 4 channels of 1 + 2^-12, by one way; or of as many products of a matrix.
float sum_by(const char* way, bool convolution, Precision precision) {
  constexpr int64_t kTerms = 3 * 3 * 4;
  setenv("AGON_CUDA_WAY", way, 1);
  const auto device = open_device(kEmulated);
  Buffer<float> x(device, 4 * kTerms), w(device, 4 * kTerms), y(device, 4 * 4);
  device->run(ops::Fill{1, x.size(), {x.data(), 0}, 1.f + 1.f / 4096});
  device->run(ops::Fill{1, w.size(), {w.data(), 0}, 1.f});
  if (convolution)
    device->run(convolution_of(4, 3, x, w, y, precision));
  else
    device->run(ops::Gemm{.replicas = 1,
                          .m = 4,
                          .n = 4,
                          .k = kTerms,
                          .a = {x.data(), 0},
                          .b = {w.data(), 0},
                          .c = {y.data(), 0},
                          .precision = precision});
  return y.host().front();
}

TEST_F(ChoiceTest, OnlyTf32IsRoundedToTf32) {
  struct Row {
    const char* way;
    bool convolution, has_units;
  };
  for (const auto& [way, convolution, has_units] : {Row{"cublas!", false, true},
                                                    {"tiles!", false, false},
                                                    {"cudnn!", true, true},
                                                    {"unfolded!", true, true},
                                                    {"implicit!", true, false}}) {
    SCOPED_TRACE(way);
    const float exact = 36.f + 36.f / 4096, rounded = 36.f;
    EXPECT_EQ(sum_by(way, convolution, Precision::kFp32), exact);
    EXPECT_EQ(sum_by(way, convolution, Precision::kTf32), has_units ? rounded : exact);
  }
}

ops::Mix::Rows rows_of(const std::vector<std::vector<std::pair<int64_t, float>>>& matrix) {
  ops::Mix::Rows rows{.begin = {0}};
  for (const auto& row : matrix) {
    for (const auto& [column, weight] : row) rows.column.push_back(column), rows.weight.push_back(weight);
    rows.begin.push_back(static_cast<int64_t>(rows.column.size()));
  }
  return rows;
}

TEST(MixingPlan, FollowsTheStructureOfTheMatrix) {
  using cuda::plan_mixing, cuda::Route;
  using Words = std::vector<int32_t>;
  EXPECT_EQ(plan_mixing(rows_of({{{0, 1}}, {{1, 1}}, {}}), true).route, Route::kNothing);
  const auto cycles = plan_mixing(rows_of({{{2, 1}}, {{1, 1}}, {{0, 1}}, {{4, 1}}, {{3, 1}}}), true);
  EXPECT_EQ(cycles.route, Route::kRotate);
  EXPECT_EQ(cycles.begin, (Words{0, 2, 4}));
  EXPECT_EQ(cycles.column, (Words{0, 2, 3, 4}));
  const std::vector<std::pair<int64_t, float>> mean = {{0, 0.5f}, {2, 0.5f}};
  const auto average = plan_mixing(rows_of({mean, {{1, 1}}, mean}), true);
  EXPECT_EQ(average.route, Route::kShare);
  EXPECT_EQ(average.target, (Words{0, 2}));
  EXPECT_EQ(average.column, (Words{0, 2}));
  EXPECT_EQ(plan_mixing(rows_of({mean, mean}), false).route, Route::kApart);
  EXPECT_EQ(plan_mixing(rows_of({mean, {{0, 1}}, mean}), true).route, Route::kThroughCopy);
  EXPECT_EQ(plan_mixing(rows_of({{{1, 1}}, {{1, 1}}}), true).route, Route::kShare) << "a copy, not a permutation";
}

}  // namespace
}  // namespace agon
