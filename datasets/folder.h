#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "datasets/reader.h"

namespace agon {

/// PNG and JPEG files directly in a folder, in alphabetical order; hidden ones are left out.
std::vector<std::filesystem::path> pictures_in(const std::filesystem::path& folder);

/// A split of picture files. With `size` 0 all must be of one size, otherwise each becomes a centre square of that
/// side. It is grey when all files are, else RGB. Only headers are read here; pixels when they are asked for.
/// Error(kData) names the file that is broken or differs.
RawSplit split_of_pictures(const std::string& name, std::vector<std::filesystem::path> files,
                           std::vector<int32_t> labels, std::vector<std::string> class_names, int64_t size);

}  // namespace agon
