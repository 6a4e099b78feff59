#pragma once

#include <span>
#include <string_view>

namespace agon {

struct PresetFile {
  std::string_view name, text;
};

/// The files of algorithms/presets; the build writes this function (tools/cmake/presets.cmake).
std::span<const PresetFile> preset_files();
/// The files of algorithms/sweeps.
std::span<const PresetFile> sweep_files();

}  // namespace agon
