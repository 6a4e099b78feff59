#include "tools/agon/sources.h"

#include <algorithm>
#include <cstdlib>
#include <filesystem>

#include "algorithms/presets.h"
#include "algorithms/run_folder.h"
#include "datasets/synthetic.h"
#include "engine/files.h"
#include "engine/safetensors.h"
#include "engine/text.h"
#include "kernels/error.h"

namespace agon::cli {

bool is_synthetic(const std::string& name) {
  const auto names = synthetic_names();
  return std::find(names.begin(), names.end(), name) != names.end();
}

namespace {

namespace fs = std::filesystem;

/// Where a bare name such as "mnist" is found; empty if nowhere.
std::string find_data(const std::string& name) {
  std::vector<fs::path> places{"", "data"};
  if (const char* folder = std::getenv("AGON_DATA"); folder && *folder) places.emplace_back(folder);
  std::error_code ignored;
  for (const fs::path& place : places)
    for (const std::string& candidate : {name, name + ".safetensors"})
      if (fs::exists(place / candidate, ignored)) return (place / candidate).string();
  return "";
}

/// Shapes of the papers' training sets, for plans where the data are not at hand. Of CelebA's 202,599 pictures the
/// MD-GAN paper takes 10,000 to test.
struct KnownSet {
  std::string name;
  DataShape shape;
};
const std::vector<KnownSet> kKnownSets = {
    {"mnist", {.sample = {28, 28, 1}, .classes = 10, .count = 60000}},
    {"cifar10", {.sample = {32, 32, 3}, .classes = 10, .count = 50000}},
    {"celeba", {.sample = {128, 128, 3}, .classes = 0, .count = 192599}},
    {"celeba64", {.sample = {64, 64, 3}, .classes = 0, .count = 192599}},    // agon data convert celeba ... --size 64
    {"cifar10-64", {.sample = {64, 64, 3}, .classes = 10, .count = 50000}},  // the same of cifar10
    {"chest-xray-64", {.sample = {64, 64, 1}, .classes = 3, .count = 1124}},
};

bool is_there(const fs::path& path) {
  std::error_code ignored;
  return fs::exists(path, ignored);
}

bool is_path(const std::string& name) { return name.find('/') != std::string::npos || is_there(name); }

}  // namespace

SettingsSource settings_source(const std::string& name) {
  std::error_code ignored;
  const fs::path path(name);
  if (fs::is_directory(path, ignored)) {
    const std::string config = (path / "config.toml").string();
    if (!fs::exists(config, ignored))
      fail(Fault::kUsage, "{} is a folder without config.toml; expected a preset, a TOML file or a run folder", name);
    return {read_text(config), config, path.lexically_normal().filename().string()};
  }
  if (fs::exists(path, ignored)) return {read_text(name), name, path.stem().string()};
  if (path.extension() == ".toml") fail(Fault::kUsage, "there is no settings file {}", name);
  return {preset(name).toml, "preset " + name, name};
}

Settings settings_of_run(const std::string& folder, const std::vector<std::string>& overrides) {
  const std::string config = folder + "/config.toml", text = read_text(config);
  std::vector<std::string> all = overrides;
  const fs::path data = resolve_settings(text, config, {}).text("data.path");
  if (data.is_absolute() && !is_there(data)) all.insert(all.begin(), "data.path=" + data.filename().string());
  Settings settings = resolve_settings(text, config, all);
  locate_data(settings);
  return settings;
}

DataSource open_data(const Settings& settings) {
  const std::string name = settings.text("data.path");
  if (name.empty())
    fail(Fault::kData, "no data were named; give a file or folder, or {}, with --data",
         listed(synthetic_names(), "or"));
  const auto seed = static_cast<uint64_t>(settings.integer("run.seed", 0));
  if (is_synthetic(name) || is_path(name)) return load_data(name, seed);
  const std::string found = find_data(name);
  if (found.empty())
    fail(Fault::kData,
         "there are no data \"{}\" here, in ./data or in the folder $AGON_DATA; say where they are with --data, "
         "or try the built-in {}",
         name, listed(synthetic_names(), "or"));
  return load_data(found, seed);
}

void locate_data(Settings& settings) {
  const std::string name = settings.text("data.path");
  if (name.empty() || is_synthetic(name)) return;
  const std::string found = is_path(name) ? name : find_data(name);
  if (found.empty() || !is_there(found)) return;
  std::string place = fs::absolute(found).lexically_normal().string();
  if (place.size() > 1 && place.ends_with('/')) place.pop_back();
  std::error_code ignored;
  if (is_utf8(place) && fs::equivalent(place, found, ignored)) settings.set_text("data.path", place);
}

std::optional<DataShape> known_shape(const std::string& name) {
  const auto known =
      std::find_if(kKnownSets.begin(), kKnownSets.end(), [&](const KnownSet& set) { return set.name == name; });
  return known == kKnownSets.end() ? std::nullopt : std::optional(known->shape);
}

DataShape data_shape(const Settings& settings) {
  const std::string name = settings.text("data.path");
  if (const std::optional<DataShape> known = known_shape(name); known && find_data(name).empty()) return *known;
  return shape_of(open_data(settings).train);
}

Generator open_generator(std::shared_ptr<Device> device, const std::string& path) {
  const std::string file = generator_file(path);
  if (SafetensorsFile::open(file).metadata("kind").rfind("agon checkpoint", 0) != 0)
    return Generator::open(std::move(device), file);

  // A checkpoint holds all that training needs, in its own order: the run that wrote it takes the generator out.
  const fs::path checkpoint = fs::absolute(file);
  const fs::path run = checkpoint.parent_path().parent_path();
  if (!fs::exists(run / "config.toml"))
    fail(Fault::kData, "{} is a checkpoint outside a run folder; expected config.toml in {}", path, run.string());
  const Settings settings = settings_of_run(run.string());
  Trainer trainer(settings, open_data(settings));
  trainer.resume_from(file);
  return trainer.generator();
}

}  // namespace agon::cli
