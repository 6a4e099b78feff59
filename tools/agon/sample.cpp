// agon sample: pictures (or points) from a trained generator.
#include <CLI/CLI.hpp>
#include <charconv>
#include <filesystem>
#include <memory>

#include "algorithms/scatter.h"
#include "datasets/packed.h"
#include "engine/image.h"
#include "kernels/error.h"
#include "tools/agon/commands.h"
#include "tools/agon/format.h"
#include "tools/agon/numbers.h"
#include "tools/agon/sources.h"

namespace agon::cli {
namespace {

struct SampleArguments {
  std::string source, labels = "cycle", out, device = "auto";
  int64_t count = 100;
  uint64_t seed = 1;
};

constexpr int64_t kMostOnSheet = 10000;
constexpr int64_t kMostSamples = 10'000'000;

/// The class of each sample: 0, 1, 2, ... in turns, or always the same.
std::vector<int32_t> labels_of(const SampleArguments& arguments, const GeneratorSpec& spec) {
  std::vector<int32_t> labels(static_cast<size_t>(arguments.count), 0);
  if (spec.classes == 0) {
    if (arguments.labels != "cycle")
      fail(Fault::kUsage, "--labels {} asks for a class, but this generator was trained without classes",
           arguments.labels);
    return labels;
  }
  if (arguments.labels == "cycle") {
    for (size_t i = 0; i < labels.size(); ++i) labels[i] = static_cast<int32_t>(i % static_cast<size_t>(spec.classes));
    return labels;
  }
  int32_t wanted = -1;
  for (size_t i = 0; i < spec.class_names.size(); ++i)
    if (spec.class_names[i] == arguments.labels) wanted = static_cast<int32_t>(i);
  const char* end = arguments.labels.data() + arguments.labels.size();
  if (wanted < 0 && std::from_chars(arguments.labels.data(), end, wanted).ptr != end) wanted = -1;
  if (wanted < 0 || wanted >= spec.classes)
    fail(Fault::kUsage, "--labels is {}, expected cycle or a class from 0 to {}", arguments.labels, spec.classes - 1);
  std::fill(labels.begin(), labels.end(), wanted);
  return labels;
}

/// Points [count, 2] of a generator for the plane.
std::vector<float> points_of(Generator& generator, const std::vector<int32_t>& labels, uint64_t seed) {
  constexpr size_t kChunk = 4096;
  std::vector<float> points;
  for (size_t begin = 0; begin < labels.size(); begin += kChunk) {
    const std::vector<int32_t> chunk(
        labels.begin() + static_cast<std::ptrdiff_t>(begin),
        labels.begin() + static_cast<std::ptrdiff_t>(std::min(labels.size(), begin + kChunk)));
    const Tensor x = generator.sample(chunk, seed, RandomStream::kSampling, 0, static_cast<int64_t>(begin));
    const size_t old = points.size();
    points.resize(old + static_cast<size_t>(x.size_per_replica()));
    generator.device().download(points.data() + old, x.data, (points.size() - old) * sizeof(float));
  }
  return points;
}

/// [count, H, W, C] -> [count, C, H, W], the order of packed data sets.
std::vector<uint8_t> channels_first(const std::vector<uint8_t>& pictures, const Shape& shape) {
  if (shape.channels == 1) return pictures;
  std::vector<uint8_t> planar(pictures.size());
  const auto pixels = static_cast<size_t>(shape.height * shape.width), channels = static_cast<size_t>(shape.channels);
  for (size_t i = 0; i < pictures.size(); ++i) {
    const size_t picture = i / (pixels * channels), pixel = i / channels % pixels, channel = i % channels;
    planar[(picture * channels + channel) * pixels + pixel] = pictures[i];
  }
  return planar;
}

void sample(const SampleArguments& arguments) {
  const std::string ending = std::filesystem::path(arguments.out).extension().string();
  if (ending != ".png" && ending != ".safetensors")
    fail(Fault::kUsage, "--out is {}, expected a name that ends in .png or .safetensors", arguments.out);
  if (arguments.count < 1 || arguments.count > kMostSamples)
    fail(Fault::kUsage, "--count is {}, expected 1 to {}", arguments.count, grouped(kMostSamples));
  Generator generator = open_generator(open_device(arguments.device), arguments.source);
  const GeneratorSpec& spec = generator.spec();
  const bool plane = spec.sample.flat() && spec.sample.channels == 2;
  if (ending == ".png" && !plane && arguments.count > kMostOnSheet)
    fail(Fault::kUsage, "--count is {}, but a PNG holds at most {}; write a .safetensors file", arguments.count,
         grouped(kMostOnSheet));
  const std::vector<int32_t> labels = labels_of(arguments, spec);

  DatasetContents contents{.name = "samples of " + arguments.source, .count = arguments.count};
  contents.channels = spec.sample.channels, contents.height = spec.sample.height, contents.width = spec.sample.width;
  contents.class_names = spec.class_names;
  if (spec.classes > 0) contents.labels = labels;
  if (plane) {
    const std::vector<float> points = points_of(generator, labels, arguments.seed);
    if (ending == ".png") return write_png(arguments.out, scatter(points, Dataset()));
    contents.points = points.data();
    return write_packed(arguments.out, Dataset(std::move(contents)), "generated");
  }
  const std::vector<uint8_t> pictures = generator.pictures(labels, arguments.seed, RandomStream::kSampling, 0);
  if (ending == ".png") {
    const int64_t columns = arguments.labels == "cycle" && spec.classes > 1 ? std::min<int64_t>(spec.classes, 50) : 0;
    return write_png(arguments.out, contact_sheet(pictures.data(), arguments.count, spec.sample.height,
                                                  spec.sample.width, spec.sample.channels, {.columns = columns}));
  }
  const std::vector<uint8_t> planar = channels_first(pictures, spec.sample);
  contents.images = planar.data();
  write_packed(arguments.out, Dataset(std::move(contents)), "generated");
}

}  // namespace

void add_sample(CLI::App& program) {
  const auto arguments = std::make_shared<SampleArguments>();
  CLI::App* command = program.add_subcommand("sample", "Generates pictures with a trained generator");
  command->add_option("RUN|CHECKPOINT", arguments->source, "A run folder, a checkpoint in one, or a generator file")
      ->required();
  command->add_option("--count", arguments->count, "How many")->type_name("N")->required();
  command
      ->add_option("--labels", arguments->labels, "cycle through the classes (default), or one class by number or name")
      ->type_name("cycle|K");
  command->add_option("--out", arguments->out, "A contact sheet (.png) or a packed data set (.safetensors)")
      ->required();
  add_seed(*command, arguments->seed, "Of the noise");
  command->add_option("--device", arguments->device, "auto, cpu, cuda or cuda:K")->type_name("DEVICE");
  command->footer(
      "Examples:\n"
      "  agon sample runs/md-gan-mnist-mlp-1 --count 100 --out digits.png\n"
      "  agon sample runs/md-gan-mnist-mlp-1 --count 60000 --out fake.safetensors   a data set, as `agon data` makes "
      "them");
  command->callback([arguments] { sample(*arguments); });
}

}  // namespace agon::cli
