// An exported generator is the same function in PyTorch: tests/export_check.py loads the file and compares.
#include <sys/wait.h>

#include <cstdlib>
#include <nlohmann/json.hpp>

#include "engine/generator.h"
#include "engine/safetensors.h"
#include "tests/data_files.h"

namespace agon {
namespace {

struct ExportCase {
  std::string name;
  std::string layers;  ///< JSON
  int64_t classes = 0;
};

const ExportCase kCases[] = {
    {"dense", R"(["dense 32", "leaky_relu 0.2", "dense 35", "tanh",
                  {"layer": "reshape", "height": 5, "width": 7, "channels": 1}])"},
    {"conditional-transposed",
     R"([{"layer": "class_embedding", "classes": 10, "learned": 1}, "dense 96", "relu",
         {"layer": "reshape", "height": 3, "width": 4, "channels": 8},
         {"layer": "conv_transpose2d", "filters": 6, "kernel": 5, "stride": 2, "pad": 2, "output_pad": 1},
         "relu", {"layer": "conv_transpose2d", "filters": 3, "kernel": 4, "stride": 2, "pad": 1}, "tanh"])",
     10},
    {"batch-norm-upsampling",
     R"(["dense 60", "batch_norm", "elu", {"layer": "reshape", "height": 3, "width": 5, "channels": 4},
         "upsample", {"layer": "conv2d", "filters": 5, "kernel": 3, "pad": 1, "bias": 0}, "batch_norm",
         "relu", {"layer": "conv2d", "filters": 2, "kernel": 3, "stride": 2, "pad": 1}, "sigmoid"])"},
};

/// Writes a generator with random weights as agon exports it, and what it makes of noise z and labels.
void write_case(const ExportCase& c, const std::string& folder) {
  constexpr int64_t kBatch = 7, kLatent = 13;
  GeneratorSpec spec;
  spec.layers = c.layers, spec.latent = kLatent, spec.classes = c.classes;
  const auto layers = parse_layers(nlohmann::json::parse(c.layers), "generator", 1);
  spec.network = std::make_shared<Network>("generator", Shape{1, 1, kLatent}, layers);
  spec.sample = spec.network->output();

  const auto device = open_device("cpu", 1);
  Fleet fleet(device, spec.network, {.init = Init::kTorch, .seed = 3, .trains = false});
  HostRandom random(5, RandomStream::kInit);
  std::vector<float> state = fleet.replica_state(0);
  for (float& value : state) value = static_cast<float>(0.02 + 0.3 * random.uniform());  // means and variances
  fleet.set_replica(0, fleet.replica_weights(0), state);

  std::vector<float> z(kBatch * kLatent);
  for (float& value : z) value = static_cast<float>(random.normal());
  std::vector<int32_t> labels(kBatch, 0);
  if (c.classes > 0)
    for (int32_t& label : labels) label = static_cast<int32_t>(random.below(c.classes));
  TensorBuffer noise(device, 1, kBatch, {1, 1, kLatent});
  LabelBuffer classes(device, 1, kBatch);
  noise.set(z), classes.set(labels);
  const Tensor made = fleet.forward(noise, {.training = false, .labels = classes});
  std::vector<float> y(static_cast<size_t>(made.size_per_replica()));
  device->download(y.data(), made.data, y.size() * sizeof(float));

  Generator(device, spec, {fleet.replica_weights(0), state}).save(folder + "/generator.safetensors");
  SafetensorsWriter expected;
  expected.metadata("of", c.name);
  expected.add("z", "F32", {kBatch, kLatent}, z.data());
  expected.add("labels", "I32", {kBatch}, labels.data());
  expected.add("y", "F32", {kBatch, spec.sample.height, spec.sample.width, spec.sample.channels}, y.data());
  expected.write(folder + "/expected.safetensors");
}

TEST(Export, PyTorchComputesTheSame) {
  const ScratchFolder scratch;
  std::string command = fmt::format("python3 '{}/tests/export_check.py'", AGON_SOURCE_DIR);
  for (const ExportCase& c : kCases) {
    const std::string folder = scratch / c.name;
    std::filesystem::create_directory(folder);
    write_case(c, folder);
    command += fmt::format(" '{}'", folder);
  }
  const int status = std::system(command.c_str());
  ASSERT_TRUE(WIFEXITED(status));
  if (WEXITSTATUS(status) == 77 || WEXITSTATUS(status) == 127) GTEST_SKIP() << "no Python with PyTorch here";
  EXPECT_EQ(WEXITSTATUS(status), 0);
}

}  // namespace
}  // namespace agon
