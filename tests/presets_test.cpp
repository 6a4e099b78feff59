// Presets: every built-in one resolves and can be planned, and says what its name says; files may extend them.
#include "algorithms/presets.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <functional>
#include <nlohmann/json.hpp>
#include <set>

#include "algorithms/plan.h"
#include "algorithms/trainer.h"
#include "kernels/error.h"

namespace agon {
namespace {

DataShape shape_of(const std::string& data) {
  if (data == "cifar10") return {.sample = {32, 32, 3}, .classes = 10, .count = 50000};
  if (data == "celeba") return {.sample = {128, 128, 3}, .classes = 0, .count = 192599};
  if (data == "celeba64") return {.sample = {64, 64, 3}, .classes = 0, .count = 192599};
  if (data == "cifar10-64") return {.sample = {64, 64, 3}, .classes = 10, .count = 50000};
  if (data == "chest-xray-64") return {.sample = {64, 64, 1}, .classes = 3, .count = 1124};
  if (data == "ring") return {.sample = {1, 1, 2}, .classes = 8, .count = 20000};
  return {.sample = {28, 28, 1}, .classes = 10, .count = 60000};
}

TEST(Presets, EveryFileIsCompiledIn) {
  size_t files = 0;
  for (const auto& entry : std::filesystem::directory_iterator(AGON_SOURCE_DIR "/algorithms/presets"))
    if (entry.path().extension() == ".toml") {
      ++files;
      EXPECT_NO_THROW(preset(entry.path().stem().string()));
    }
  EXPECT_EQ(files, presets().size());
  EXPECT_GE(files, 120u);
}

TEST(Presets, AllResolveAndCanBePlanned) {
  for (const Preset& preset : presets()) {
    SCOPED_TRACE(preset.name);
    EXPECT_FALSE(preset.about.empty());
    const Settings settings = resolve_settings(preset.toml, preset.name, {"run.iterations=20"});
    if (preset.name != "quickstart") {
      EXPECT_EQ(preset.name.rfind(settings.text("algorithm.name") + "-", 0), 0u);
    }
    const nlohmann::json planned = plan(settings, shape_of(settings.text("data.path")));
    EXPECT_GT(planned["parameters"]["generator"].get<int64_t>(), 0);
    EXPECT_EQ(planned["workers"], settings.integer("world.workers"));
  }
}

TEST(Presets, ThePapersSettings) {
  const auto of = [](const std::string& name) { return resolve_settings(preset(name).toml, name, {}); };
  const Settings mnist = of("md-gan-mnist-mlp");
  EXPECT_EQ(mnist.integer("run.iterations"), 50000);
  EXPECT_EQ(mnist.integer("world.workers"), 10);
  EXPECT_EQ(mnist.integer("algorithm.batch"), 10);
  EXPECT_EQ(mnist.text("algorithm.kappa"), "log");
  EXPECT_EQ(mnist.number("algorithm.swap_epochs"), 1.0);
  EXPECT_EQ(mnist.integer("run.evaluate_every"), 1000);
  EXPECT_EQ(mnist.integer("score.samples"), 500);
  EXPECT_EQ(of("md-gan-mnist-cnn-b100-k1").integer("algorithm.kappa"), 1);
  EXPECT_EQ(of("fl-gan-cifar10-cnn-b100").integer("algorithm.batch"), 100);
  const Settings celeba = of("md-gan-celeba-cnn");
  EXPECT_EQ(celeba.integer("run.iterations"), 30000);
  EXPECT_EQ(celeba.integer("world.workers"), 5);
  EXPECT_EQ(celeba.integer("algorithm.batch"), 40);
  EXPECT_EQ(celeba.number("generator.learning_rate"), 0.001);
  EXPECT_EQ(celeba.number("discriminator.learning_rate"), 0.004);
  EXPECT_EQ(celeba.number("discriminator.beta1"), 0.0);
  EXPECT_EQ(of("fl-gan-celeba-cnn").integer("algorithm.batch"), 200);
  EXPECT_EQ(of("standalone-celeba-cnn").number("generator.learning_rate"), 0.003);
  EXPECT_EQ(of("md-gan-mnist-mlp-fig4-server-n25").integer("algorithm.batch"), 4);
  EXPECT_EQ(of("md-gan-mnist-mlp-fig4-workers-n50-noswap").number("algorithm.swap_epochs"), 0.0);
  EXPECT_TRUE(of("md-gan-cifar10-cnn-crash").is_text("world.crash_every"));
}

TEST(Presets, TheRivalsPapersSettings) {
  const auto of = [](const std::string& name) { return resolve_settings(preset(name).toml, name, {}); };
  const auto parameters = [&](const std::string& name, const char* which) {
    const Settings settings = resolve_settings(preset(name).toml, name, {"run.iterations=1"});
    return plan(settings, shape_of(settings.text("data.path")))["parameters"][which].get<int64_t>();
  };
  // Ren et al. 2021, section IV.
  for (const std::string name : {"ren-serial-celeba-dcgan", "ren-parallel-celeba-dcgan", "ren-serial-cifar10-dcgan",
                                 "ren-parallel-cifar10-dcgan"}) {
    EXPECT_EQ(parameters(name, "generator"), 3576704);
    EXPECT_EQ(parameters(name, "discriminator"), 2765568);
    const Settings ren = of(name);
    EXPECT_EQ(ren.integer("world.workers"), 10);
    EXPECT_EQ(ren.integer("algorithm.batch"), 128);
    EXPECT_EQ(ren.integer("algorithm.local_steps"), 5);
    EXPECT_EQ(ren.integer("algorithm.generator_steps"), 5);
    EXPECT_EQ(ren.integer("algorithm.model_bits"), 16);
    EXPECT_EQ(ren.text("network.kind"), "cell");
    EXPECT_EQ(ren.number("network.cell_radius"), 300);
  }
  EXPECT_EQ(of("ren-serial-celeba-dcgan-ratio20").number("algorithm.ratio"), 0.2);
  EXPECT_EQ(of("ren-serial-celeba-dcgan-ratio20").text("algorithm.schedule"), "best-channels");
  EXPECT_EQ(of("fedgan-celeba-dcgan").text("algorithm.weighting"), "data");
  // Hardy et al. 2018, section 2.
  for (const std::string name : {"gossip-mnist-tfgan", "gossip-ind-mnist-tfgan-n2", "fl-gan-mnist-tfgan-n100"}) {
    const Settings gossip = of(name);
    EXPECT_EQ(gossip.integer("run.iterations"), 20000);
    EXPECT_EQ(gossip.integer("algorithm.round_iterations"), 200);
    EXPECT_EQ(gossip.integer("gan.latent"), 128);
    EXPECT_EQ(gossip.text("gan.conditional"), "no");
  }
  EXPECT_EQ(of("gossip-mnist-tfgan-n100").integer("world.workers"), 100);
  // Schmiedlechner et al. 2018, Table 1.
  const Settings faces = of("lipizzaner-celeba-dcgan");
  EXPECT_EQ(faces.integer("run.iterations"), 50);
  EXPECT_EQ(faces.integer("world.workers"), 16);
  EXPECT_EQ(faces.integer("algorithm.batch"), 128);
  EXPECT_EQ(faces.integer("algorithm.skip_discriminator"), 0);
  EXPECT_EQ(faces.number("generator.learning_rate"), 5e-5);
  EXPECT_EQ(faces.number("algorithm.mixture_sigma"), 0.05);
  EXPECT_EQ(of("lipizzaner-celeba-dcgan-2x2").integer("world.workers"), 4);
  // Davoudi 2019: three workers, 20 epochs of a third of 60,000 pictures.
  for (const int64_t skew : {0, 20, 40, 60, 80, 100}) {
    const Settings davoudi = of(skew ? fmt::format("md-gan-mnist-dcgan-skew{}", skew) : "md-gan-mnist-dcgan");
    EXPECT_EQ(davoudi.integer("world.workers"), 3);
    EXPECT_EQ(davoudi.number("data.skew"), static_cast<double>(skew));
    EXPECT_EQ(davoudi.integer("run.iterations") * davoudi.integer("algorithm.batch"), 20 * 20000);
  }
  const Settings alone = of("standalone-mnist-dcgan");
  EXPECT_EQ(alone.integer("run.iterations") * alone.integer("algorithm.batch"), 20 * 60000);
}

TEST(Presets, AnotherAlgorithmsKeysArePassedOver) {
  const Settings settings =
      resolve_settings(preset("md-gan-mnist-mlp").toml, "p", {"algorithm.name=fl-gan", "algorithm.kappa=2"});
  EXPECT_FALSE(settings.has("algorithm.kappa"));
  EXPECT_THROW(resolve_settings(preset("md-gan-mnist-mlp").toml, "p", {"algorithm.kapa=2"}), Error);
}

TEST(Presets, MergedTomlMeansTheSame) {
  for (const char* name : {"md-gan-celeba-cnn", "standalone-ring-mlp", "quickstart"}) {
    const std::string merged = merged_toml(with_bases(preset(name).toml, name));
    EXPECT_EQ(merged.find("extends"), std::string::npos);
    EXPECT_EQ(resolve_settings(merged, "merged", {}).to_toml(),
              resolve_settings(preset(name).toml, name, {}).to_toml());
  }
}

TEST(Presets, AFileExtendsAPresetAndErrorsNameTheFile) {
  const Settings settings =
      resolve_settings("extends = \"md-gan-mnist-mlp-k1\"\n[algorithm]\nbatch = 20\n", "my.toml", {});
  EXPECT_EQ(settings.integer("algorithm.batch"), 20);
  EXPECT_EQ(settings.integer("algorithm.kappa"), 1);
  const auto message = [](const std::function<void()>& act) -> std::string {
    try {
      act();
    } catch (const Error& error) {
      EXPECT_EQ(error.exit_code(), 2);
      return error.what();
    }
    return "no error";
  };
  EXPECT_NE(message([] { resolve_settings("extends = \"md-gan-mnist-mpl\"", "my.toml", {}); }).find("md-gan-mnist-mlp"),
            std::string::npos);
  EXPECT_NE(message([] {
              resolve_settings("extends = \"quickstart\"\n[algorithm]\nkapa = 1", "my.toml", {});
            }).find("my.toml line 3; did you mean \"algorithm.kappa\"?"),
            std::string::npos);
  EXPECT_NE(message([] { with_bases("extends = 3", "my.toml"); }).find("extends is 3 in my.toml"), std::string::npos);
  EXPECT_NE(message([] { preset("md-gan-minst-mlp"); }).find("did you mean \"md-gan-mnist-mlp\"?"), std::string::npos);
}

}  // namespace
}  // namespace agon
