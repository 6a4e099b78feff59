#include "engine/generator.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <numeric>

#include "engine/checksum.h"
#include "engine/safetensors.h"
#include "engine/text.h"
#include "engine/torch_layout.h"

namespace agon {
namespace {

constexpr const char* kFileKind = "agon generator";

int64_t number(const SafetensorsFile& file, const std::string& key, int64_t least, int64_t most) {
  const std::string text = file.metadata(key);
  char* end = nullptr;
  const long long value = std::strtoll(text.c_str(), &end, 10);
  if (text.empty() || *end != '\0' || value < least || value > most)
    fail(Fault::kData, "{} says {} = \"{}\", expected a whole number from {} to {}", file.path(), key, text, least,
         most);
  return value;
}

/// The shares of a mixture's generators; of a file that holds one generator, that.
std::vector<double> shares_in(const SafetensorsFile& file) {
  const std::string text = file.metadata("mixture");
  if (text.empty()) return {1};
  try {
    const auto shares = nlohmann::json::parse(text).get<std::vector<double>>();
    const auto sound = [](double share) { return share >= 0 && std::isfinite(share); };
    if (std::all_of(shares.begin(), shares.end(), sound) && std::accumulate(shares.begin(), shares.end(), 0.0) > 0)
      return shares;
  } catch (const nlohmann::json::exception&) {  // the same sentence
  }
  fail(Fault::kData, "{} says mixture = \"{}\", expected the shares of its generators", file.path(), text);
}

/// Where a member's arrays are.
std::string prefix_of(size_t member, size_t members) { return members == 1 ? "" : fmt::format("members.{}.", member); }

}  // namespace

Generator::Generator(std::shared_ptr<Device> device, GeneratorSpec spec, const GeneratorWeights& weights)
    : device_(std::move(device)), spec_(std::move(spec)) {
  fleet_ = std::make_unique<Fleet>(device_, spec_.network, FleetOptions{.replicas = 1, .split = true, .trains = false});
  set(weights);
}

void Generator::set(const GeneratorWeights& weights) { set(std::vector<GeneratorShare>{{weights}}); }

void Generator::set(std::vector<GeneratorShare> mixture) {
  if (mixture.empty()) fail(Fault::kUsage, "expected at least one generator of a mixture, found none");
  mixture_ = std::move(mixture);
  load(0);
}

void Generator::load(size_t member) {
  const GeneratorWeights& generator = mixture_[member].generator;
  fleet_->set_replica(0, generator.weights, generator.state);
}

Generator Generator::open(std::shared_ptr<Device> device, const std::string& path) {
  const SafetensorsFile file = SafetensorsFile::open(path);
  if (file.metadata("kind") != kFileKind)
    fail(Fault::kData, "{} is not a generator of agon's; expected the generator.safetensors of a run", path);
  file.verify();
  GeneratorSpec spec;
  spec.latent = number(file, "latent", 1, 1 << 24);
  spec.classes = number(file, "classes", 0, 1 << 24);
  spec.layers = file.metadata("layers");
  try {
    if (const std::string names = file.metadata("class_names"); !names.empty())
      spec.class_names = nlohmann::json::parse(names).get<std::vector<std::string>>();
    const auto layers = parse_layers(nlohmann::json::parse(spec.layers), "generator", 1);
    spec.network = std::make_shared<Network>("generator", Shape{1, 1, spec.latent}, layers);
  } catch (const nlohmann::json::exception& error) {
    fail(Fault::kData, "{}: its description cannot be read ({})", path, error.what());
  } catch (const Error& error) {
    fail(Fault::kData, "{}: {}", path, error.what());
  }
  spec.sample = spec.network->output();
  std::vector<GeneratorShare> mixture;
  const std::vector<double> shares = shares_in(file);
  for (size_t i = 0; i < shares.size(); ++i) {
    GeneratorWeights& generator = mixture.emplace_back(GeneratorShare{{}, shares[i]}).generator;
    from_torch(*spec.network, file, generator.weights, generator.state, prefix_of(i, shares.size()));
  }
  Generator generator(std::move(device), std::move(spec), mixture.front().generator);
  generator.set(std::move(mixture));
  return generator;
}

void Generator::save(const std::string& path) const {
  SafetensorsWriter writer;
  writer.metadata("kind", kFileKind);
  writer.metadata("layers", spec_.layers);
  writer.metadata("latent", std::to_string(spec_.latent));
  writer.metadata("classes", std::to_string(spec_.classes));
  writer.metadata("class_names", json_text(spec_.class_names));
  std::vector<double> shares;
  std::vector<TorchArray> arrays;
  for (size_t i = 0; i < mixture_.size(); ++i) {
    const auto& [generator, share] = mixture_[i];
    shares.push_back(share);
    for (TorchArray& array : to_torch(*spec_.network, generator.weights, generator.state)) {
      array.name = prefix_of(i, mixture_.size()) + array.name;
      arrays.push_back(std::move(array));
    }
  }
  if (shares.size() > 1) writer.metadata("mixture", nlohmann::json(shares).dump());
  for (const TorchArray& array : arrays) writer.add(array.name, "F32", array.shape, array.values.data());
  writer.write(path);
}

Tensor Generator::sample(const std::vector<int32_t>& labels, uint64_t seed, RandomStream stream, uint64_t iteration,
                         int64_t first) {
  const int64_t count = static_cast<int64_t>(labels.size());
  if (count == 0) fail(Fault::kUsage, "expected at least one sample to generate");
  if (spec_.classes > 0)
    for (int32_t label : labels)
      if (label < 0 || label >= spec_.classes)
        fail(Fault::kUsage, "class {} was asked for, but the generator knows 0 to {}", label, spec_.classes - 1);
  if (noise_.view().batch != count) {
    noise_ = TensorBuffer(device_, 1, count, {1, 1, spec_.latent});
    labels_ = LabelBuffer(device_, 1, count);
    numbers_ = Buffer<uint32_t>(device_, count);
    iteration_ = Buffer<uint64_t>(device_, 1);
  }
  // Every sample draws under its own number, so that it does not depend on the others.
  std::vector<uint32_t> numbers(static_cast<size_t>(count));
  std::iota(numbers.begin(), numbers.end(), static_cast<uint32_t>(first));
  numbers_.set(numbers);
  iteration_.set(std::span<const uint64_t>(&iteration, 1));
  labels_.set(labels);
  device_->run(ops::RandomFill{.kind = ops::RandomFill::Kind::kNormal,
                               .replicas = count,
                               .count = spec_.latent,
                               .y = {noise_.view().data, spec_.latent},
                               .key = {.seed = seed,
                                       .stream = static_cast<uint32_t>(stream),
                                       .workers = numbers_.data(),
                                       .iteration = iteration_.data()}});
  if (mixture_.size() == 1) return forward();

  // Each of the mixture's generators makes all the samples, and gives those that chance asks of it.
  double total = 0;
  for (const GeneratorShare& member : mixture_) total += member.share;
  std::vector<size_t> from;
  for (const uint32_t number : numbers) {
    double chance = HostRandom(seed, stream, number, iteration, /*draw=*/1).uniform() * total;
    size_t member = 0;
    while (member + 1 < mixture_.size() && chance >= mixture_[member].share) chance -= mixture_[member++].share;
    from.push_back(member);
  }
  mixed_ = TensorBuffer(device_, 1, count, spec_.sample);
  const auto size = static_cast<size_t>(spec_.sample.size());
  for (size_t member = 0; member < mixture_.size(); ++member) {
    if (std::find(from.begin(), from.end(), member) == from.end()) continue;
    load(member);
    const Tensor made = forward();
    for (size_t i = 0; i < from.size(); ++i)
      if (from[i] == member) device_->copy(mixed_.view().data + i * size, made.data + i * size, size * sizeof(float));
  }
  return mixed_;
}

Tensor Generator::forward() {
  return fleet_->forward(noise_,
                         {.training = false, .labels = spec_.network->takes_labels() ? labels_.view() : Labels{}});
}

std::vector<uint8_t> Generator::pictures(const std::vector<int32_t>& labels, uint64_t seed, RandomStream stream,
                                         uint64_t iteration) {
  constexpr size_t kChunk = 128;
  std::vector<uint8_t> pictures;
  for (size_t begin = 0; begin < labels.size(); begin += kChunk) {
    const std::vector<int32_t> chunk(
        labels.begin() + static_cast<std::ptrdiff_t>(begin),
        labels.begin() + static_cast<std::ptrdiff_t>(std::min(labels.size(), begin + kChunk)));
    const Tensor x = sample(chunk, seed, stream, iteration, static_cast<int64_t>(begin));
    std::vector<float> values(static_cast<size_t>(x.size_per_replica()));
    device_->download(values.data(), x.data, values.size() * sizeof(float));
    for (float v : values) {
      if (!std::isfinite(v))
        fail(Fault::kRun, "the generator makes pixels that are not numbers: its training has diverged");
      pictures.push_back(static_cast<uint8_t>(std::clamp(std::lround((v + 1.f) * 127.5f), 0L, 255L)));
    }
  }
  return pictures;
}

std::string weights_hash(const GeneratorWeights& weights) {
  Checksum sum;
  sum.add(weights.weights.data(), weights.weights.size() * sizeof(float));
  sum.add(weights.state.data(), weights.state.size() * sizeof(float));
  return fmt::format("{:016x}", sum.value());
}

}  // namespace agon
