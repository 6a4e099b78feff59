#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "algorithms/plan.h"
#include "algorithms/trainer.h"
#include "datasets/dataset.h"
#include "engine/generator.h"

// What the words on the command line stand for: presets, settings files, run folders, data sets, generators.

namespace agon::cli {

/// A settings text by the name of a preset, a TOML file, or a run folder (its config.toml).
struct SettingsSource {
  std::string text, origin;
  std::string name;  ///< for the run folder: the preset's, or the file's without its ending
};
SettingsSource settings_source(const std::string& preset_or_file);

/// The settings of the run in `folder`, with `overrides`. Its data, if they are not any more where they were, are
/// looked for by their name.
Settings settings_of_run(const std::string& folder, const std::vector<std::string>& overrides = {});

/// Whether a name is that of a built-in set, which is made from the seed.
bool is_synthetic(const std::string& name);

/// The data of data.path: a path, a built-in set, or a name such as "mnist" that is looked up in ./data and $AGON_DATA.
DataSource open_data(const Settings& settings);

/// Makes data.path absolute if it is one that is there, so that a run's config.toml means the same in every folder.
void locate_data(Settings& settings);

/// The full set's of "mnist", "cifar10", "celeba", and, of 64x64, "celeba64" and "cifar10-64"; nothing of other names.
std::optional<DataShape> known_shape(const std::string& name);

/// What a plan depends on; for those that known_shape() knows the full sets' shapes, when there are no data of that
/// name.
DataShape data_shape(const Settings& settings);

/// The generator of a run folder, of a checkpoint in a run folder, or in an exported file.
Generator open_generator(std::shared_ptr<Device> device, const std::string& path);

}  // namespace agon::cli
