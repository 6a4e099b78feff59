// What `--data` names: a built-in set, a packed file, or anything that a reader recognises.
#include <algorithm>
#include <filesystem>

#include "datasets/dataset.h"
#include "datasets/packed.h"
#include "datasets/reader.h"
#include "datasets/synthetic.h"
#include "engine/text.h"
#include "kernels/error.h"

namespace agon {
namespace {

namespace fs = std::filesystem;

DataSource load_packed(const std::string& path) {
  DataSource source{.train = read_packed(path)};
  const std::string sibling = test_sibling(path);
  if (!fs::exists(sibling)) return source;
  source.test = read_packed(sibling);
  const Dataset &train = source.train, &test = *source.test;
  if (train.channels() != test.channels() || train.height() != test.height() || train.width() != test.width())
    fail(Fault::kData, "expected images of {} x {} x {} as in {}, found {} x {} x {} in {}", train.channels(),
         train.height(), train.width(), path, test.channels(), test.height(), test.width(), sibling);
  return source;
}

DataSource load_raw(const fs::path& path) {
  const RawSource raw = read_raw(recognised(path), path, {});
  DataSource source{.train = in_memory(raw.train)};
  if (raw.test) source.test = in_memory(*raw.test);
  return source;
}

}  // namespace

DataSource load_data(const std::string& path_or_name, uint64_t seed) {
  const std::vector<std::string> names = synthetic_names();
  if (std::find(names.begin(), names.end(), path_or_name) != names.end())
    return synthesise(path_or_name, {.seed = seed});
  std::error_code ignored;
  if (!fs::exists(path_or_name, ignored))
    fail(Fault::kData, "there is no file or folder {}, and of the built-in data sets ({}) the nearest is \"{}\"",
         path_or_name, listed(names), nearest(path_or_name, names));

  const fs::path path(path_or_name);
  return path.extension() == ".safetensors" ? load_packed(path) : load_raw(path);
}

}  // namespace agon
