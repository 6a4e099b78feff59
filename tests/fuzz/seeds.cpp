// Writes small valid files for the fuzz targets to start from: `fuzz_seeds FOLDER` fills FOLDER/<target>/.
#include <fmt/format.h>

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "datasets/commands.h"
#include "engine/files.h"
#include "engine/image.h"
#include "engine/safetensors.h"
#include "kernels/error.h"

#define STBI_WRITE_NO_STDIO
#define STB_IMAGE_WRITE_STATIC
#define STB_IMAGE_WRITE_IMPLEMENTATION
#include <stb/stb_image_write.h>

namespace {

using namespace std::string_literals;

/// A tar header for a member of `size` bytes.
std::string tar_header(const std::string& name, size_t size) {
  std::string header(512, '\0');
  header.replace(0, name.size(), name);
  header.replace(124, 11, fmt::format("{:011o}", size));
  header[156] = '0';
  header.replace(257, 5, "ustar");
  header.replace(148, 8, "        ");
  unsigned sum = 0;
  for (unsigned char c : header) sum += c;
  header.replace(148, 7, fmt::format("{:06o}", sum) + '\0');
  return header;
}

std::string jpeg(int side, int channels, int quality) {
  std::vector<uint8_t> pixels(static_cast<size_t>(side * side * channels));
  for (size_t i = 0; i < pixels.size(); ++i) pixels[i] = static_cast<uint8_t>(i * i);
  std::string file;
  const auto append = [](void* context, void* data, int size) {
    static_cast<std::string*>(context)->append(static_cast<const char*>(data), static_cast<size_t>(size));
  };
  stbi_write_jpg_to_func(append, &file, side, side, channels, pixels.data(), quality);
  return file;
}

void write_seeds(const std::string& folder) {
  const auto place = [&](const std::string& target, const std::string& name) {
    agon::make_folder(folder + "/" + target);
    return folder + "/" + target + "/" + name;
  };
  agon::write_atomically(place("idx_fuzz", "images"), "\0\0\10\3\0\0\0\2\0\0\0\2\0\0\0\2abcdefgh"s);
  agon::write_atomically(place("idx_fuzz", "labels"), "\0\0\10\1\0\0\0\4\0\1\2\3"s);
  const std::string record = "\1"s + std::string(3072, 'x');
  agon::write_atomically(place("cifar_fuzz", "record"), record);
  agon::write_atomically(
      place("cifar_fuzz", "tar"),
      tar_header("cifar-10-batches-bin/data_batch_1.bin", record.size()) + record + std::string(511 + 1024, '\0'));
  agon::synth("ring", place("safetensors_fuzz", "ring.safetensors"), {.count = 8, .test_count = 1});
  agon::SafetensorsWriter writer;
  writer.add("images", "U8", {2, 1, 2, 2}, "abcdefgh");
  writer.add("labels", "U8", {2}, "\0\1");
  writer.metadata("class_names", "[\"a\", \"b\"]");
  writer.write(place("safetensors_fuzz", "images.safetensors"));
  const std::vector<uint8_t> pixels(12, 77);
  agon::write_png(place("image_fuzz", "grey.png"), pixels.data(), 3, 4, 1);
  agon::write_png(place("image_fuzz", "rgb.png"), pixels.data(), 2, 2, 3);
  agon::write_atomically(place("image_fuzz", "grey.jpg"), jpeg(9, 1, 50));
  agon::write_atomically(place("image_fuzz", "rgb.jpg"), jpeg(17, 3, 95));
}

}  // namespace

int main(int count, char** arguments) {
  try {
    if (count != 2) agon::fail(agon::Fault::kUsage, "usage: fuzz_seeds FOLDER");
    write_seeds(arguments[1]);
  } catch (const agon::Error& error) {
    fmt::print(stderr, "{}\n", error.what());
    return error.exit_code();
  }
  return 0;
}
