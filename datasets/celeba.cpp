// CelebA (Liu et al. 2015): a folder of face photographs, cropped to the middle square and scaled, with one of the
// forty attributes of list_attr_celeba.txt as an optional label.
#include <algorithm>
#include <map>
#include <sstream>

#include "datasets/folder.h"
#include "datasets/reader.h"
#include "engine/files.h"
#include "engine/text.h"
#include "kernels/error.h"

namespace agon {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kDefaultSize = 128;  // MD-GAN's CelebA experiment

/// The list as published has a count, the names, then "000001.jpg -1 1 ..."; a common copy is the same with commas and
/// without the count.
std::map<std::string, int32_t> read_attribute(const std::string& path, const std::string& attribute) {
  std::string text = read_text(path);
  std::replace(text.begin(), text.end(), ',', ' ');
  std::istringstream lines(text);
  std::string line, word;
  std::getline(lines, line);
  if (line.find_first_not_of("0123456789 \r") == std::string::npos) std::getline(lines, line);

  std::vector<std::string> names;
  std::istringstream header(line);
  while (header >> word)
    if (word != "image_id") names.push_back(word);
  const auto found = std::find(names.begin(), names.end(), attribute);
  if (found == names.end())
    fail(Fault::kData, "there is no attribute \"{}\" in {}, the nearest is \"{}\"", attribute, path,
         nearest(attribute, names));

  const auto column = static_cast<size_t>(found - names.begin());
  std::map<std::string, int32_t> labels;
  while (std::getline(lines, line)) {
    std::istringstream fields(line);
    std::string picture, value;
    if (!(fields >> picture)) continue;
    for (size_t i = 0; i <= column; ++i) fields >> value;
    if (!fields || (value != "1" && value != "-1" && value != "0"))
      fail(Fault::kData, "expected 1 or -1 as {} of {} in {}", attribute, picture, path);
    labels[picture] = value == "1" ? 1 : 0;
  }
  return labels;
}

fs::path picture_folder(const fs::path& path) {
  fs::path folder = path;
  while (fs::is_directory(folder / "img_align_celeba")) folder /= "img_align_celeba";
  return folder;
}

/// The attribute list beside the pictures; empty when there is none.
std::string attribute_list(const fs::path& path) {
  for (const char* name : {"list_attr_celeba.txt", "list_attr_celeba.csv"})
    if (fs::is_regular_file(path / name)) return path / name;
  return {};
}

RawSource read_celeba(const fs::path& path, const ReadOptions& options) {
  const fs::path folder = picture_folder(path);
  if (!fs::is_directory(folder))
    fail(Fault::kData, "expected a folder with CelebA's pictures, found none at {}", path.string());
  std::vector<fs::path> files = pictures_in(folder);
  if (files.empty())
    fail(Fault::kData, "expected CelebA's JPEG or PNG pictures in the folder {}, found none", folder.string());

  std::vector<int32_t> labels;
  std::vector<std::string> class_names;
  const std::string list = options.attributes.empty() ? attribute_list(path) : options.attributes;
  if (!options.attribute.empty()) {
    if (list.empty())
      fail(Fault::kData, "expected list_attr_celeba.txt in {} to label by \"{}\", found none", path.string(),
           options.attribute);
    const auto values = read_attribute(list, options.attribute);
    for (const fs::path& file : files) {
      const auto value = values.find(file.filename());
      if (value == values.end()) fail(Fault::kData, "there is no line for {} in {}", file.filename().string(), list);
      labels.push_back(value->second);
    }
    class_names = {"not " + options.attribute, options.attribute};
  } else if (!options.attributes.empty()) {
    fail(Fault::kUsage, "the attribute file {} was given without the attribute to label by, e.g. Smiling", list);
  }
  return {.train = split_of_pictures(folder, std::move(files), std::move(labels), std::move(class_names),
                                     options.size > 0 ? options.size : kDefaultSize)};
}

const RegisterReader kCeleba({.kind = "celeba",
                              .expects = "a folder img_align_celeba, or the one above it with list_attr_celeba.txt",
                              .recognises =
                                  [](const fs::path& path) {
                                    return picture_folder(path) != path || path.filename() == "img_align_celeba" ||
                                           !attribute_list(path).empty();
                                  },
                              .read = read_celeba,
                              .rank = 40});

}  // namespace
}  // namespace agon
