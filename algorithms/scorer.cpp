#include "algorithms/scorer.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <numbers>
#include <numeric>

#include "engine/checksum.h"
#include "engine/random.h"
#include "engine/safetensors.h"
#include "engine/text.h"
#include "engine/torch_layout.h"
#include "kernels/error.h"

namespace agon {
namespace {

constexpr const char* kFileKind = "agon scorer";
constexpr int64_t kChunk = 100;  // pictures per forward pass: one layout for all uses, little memory
constexpr int64_t kMostSide = 1 << 14, kMostValues = 1 << 22;  // of a picture; a file that claims more is damaged
constexpr int64_t kMostEpochs = 1'000'000;
constexpr int64_t kUsualSteps = 3000, kStepsPerReport = 50;
constexpr float kScale = 1.f / 128, kShift = -1.f;  // (uint8 - 128) / 128

/// Convolutions halve the picture until it is about 8 pixels wide: with a stride while it is larger than 32, by pooling
/// below. Then one hidden layer, whose activations are the features.
nlohmann::json scorer_layers(const Shape& picture, int64_t classes) {
  nlohmann::json layers = nlohmann::json::array();
  const auto side = [](int64_t s) { return (s + 1) / 2; };
  int64_t height = picture.height, width = picture.width, filters = 16;
  for (; std::max(height, width) > 32; height = side(height), width = side(width)) {
    layers.push_back({{"layer", "conv2d"}, {"filters", filters}, {"kernel", 5}, {"stride", 2}, {"pad", 2}});
    layers.push_back("relu");
  }
  do {
    layers.push_back({{"layer", "conv2d"}, {"filters", filters}, {"kernel", 5}, {"pad", 2}});
    layers.push_back("relu");
    if (std::min(height, width) >= 4) {
      layers.push_back({{"layer", "max_pool2d"}, {"kernel", 2}});
      height /= 2, width /= 2;
    }
    filters = std::min<int64_t>(2 * filters, 128);
  } while (std::max(height, width) > 8 && std::min(height, width) >= 4);
  layers.push_back("flatten");
  layers.push_back({{"layer", "dropout"}, {"rate", 0.25}});
  layers.push_back({{"layer", "dense"}, {"units", 128}});
  layers.push_back("relu");
  layers.push_back({{"layer", "dense"}, {"units", classes}});
  return layers;
}

std::shared_ptr<const Network> scorer_network(const ScorerCard& card) {
  return std::make_shared<Network>("scorer", card.input,
                                   parse_layers(nlohmann::json::parse(card.layers), "scorer", card.classes));
}

/// The training images on the device, drawn in a fresh order each epoch by the engine's own gather operation.
class Lessons {
 public:
  Lessons(const std::shared_ptr<Device>& device, const Dataset& data, int64_t batch, uint64_t seed)
      : device_(device),
        images_(device, data.count() * data.values_per_item()),
        all_labels_(device, data.count()),
        indices_(device, data.count()),
        begin_(device, 2),
        iteration_(device, 1),
        x_(device, 1, batch, {data.height(), data.width(), data.channels()}),
        y_(device, 1, batch),
        seed_(seed) {
    images_.set({data.images(), static_cast<size_t>(images_.size())});
    all_labels_.set(data.labels());
    std::vector<int32_t> indices(static_cast<size_t>(data.count()));
    std::iota(indices.begin(), indices.end(), 0);
    indices_.set(indices);
    begin_.set(std::vector<int64_t>{0, data.count()});
  }

  /// Queues the drawing of the next batch into x and y.
  void next() {
    device_->run(ops::Gather{.replicas = 1,
                             .batch = x().batch,
                             .channels = x().shape.channels,
                             .height = x().shape.height,
                             .width = x().shape.width,
                             .images = images_.data(),
                             .labels = all_labels_.data(),
                             .indices = indices_.data(),
                             .begin = begin_.data(),
                             .scale = kScale,
                             .shift = kShift,
                             .key = key(RandomStream::kSamples),
                             .x = x().block(),
                             .y = y().block()});
  }
  void advance() { device_->run(ops::Advance{iteration_.data()}); }

  const Tensor& x() const { return x_.view(); }
  const Labels& y() const { return y_.view(); }
  RandomKey key(RandomStream stream) const {
    return {.seed = seed_, .stream = static_cast<uint32_t>(stream), .iteration = iteration_.data()};
  }

 private:
  std::shared_ptr<Device> device_;
  Buffer<uint8_t> images_;
  Buffer<int32_t> all_labels_, indices_;
  Buffer<int64_t> begin_;
  Buffer<uint64_t> iteration_;
  TensorBuffer x_;
  LabelBuffer y_;
  uint64_t seed_;
};

void check_teachable(const Dataset& data) {
  if (data.is_points())
    fail(Fault::kUsage, "a scorer looks at pictures, but {} holds points; their score is the number of modes covered",
         data.name());
  if (data.classes() < 2)
    fail(Fault::kUsage, "a scorer needs pictures of at least 2 labelled classes, but {} has {}", data.name(),
         data.classes() == 0 ? "no labels" : "1 class");
}

nlohmann::json to_json(const ScorerCard& card) {
  return {{"height", card.input.height},
          {"width", card.input.width},
          {"channels", card.input.channels},
          {"classes", card.classes},
          {"layers", card.layers},
          {"source", card.source},
          {"data_checksum", checksum_text(card.checksum)},
          {"accuracy", card.accuracy},
          {"tested", card.tested},
          {"tested_on", card.tested_on}};
}

/// Throws nlohmann's exceptions for what is missing or of another type.
ScorerCard card_of(const nlohmann::json& json) {
  return {.input = {json.at("height"), json.at("width"), json.at("channels")},
          .classes = json.at("classes"),
          .layers = json.at("layers"),
          .source = json.at("source"),
          .checksum = std::strtoull(json.at("data_checksum").get<std::string>().c_str(), nullptr, 16),
          .accuracy = json.at("accuracy"),
          .tested = json.at("tested"),
          .tested_on = json.at("tested_on")};
}

}  // namespace

Scorer::Scorer(std::shared_ptr<Device> device, ScorerCard card, std::span<const float> weights)
    : device_(std::move(device)),
      card_(std::move(card)),
      fleet_(std::make_unique<Fleet>(device_, scorer_network(card_), FleetOptions{.split = true, .trains = false})),
      input_(device_, 1, kChunk, card_.input) {
  fleet_->set_replica(0, weights, {});
}

Scorer Scorer::open(std::shared_ptr<Device> device, const std::string& path) {
  const SafetensorsFile file = SafetensorsFile::open(path);
  if (file.metadata("kind") != kFileKind)
    fail(Fault::kData, "{} is not a scorer of agon's; expected a file that \"agon scorer\" wrote", path);
  file.verify();
  ScorerCard card;
  std::vector<float> weights, state;
  try {
    card = card_of(nlohmann::json::parse(file.metadata("card")));
    const auto possible = [](int64_t side) { return side >= 1 && side <= kMostSide; };
    if (!possible(card.input.height) || !possible(card.input.width) || !possible(card.input.channels) ||
        card.input.size() > kMostValues || card.classes < 1)
      fail(Fault::kData, "it claims pictures of {} in {} classes", card.input.text(), card.classes);
    const auto network = scorer_network(card);
    if (network->output() != Shape{1, 1, card.classes} || network->steps().size() < 2 || network->state() != 0)
      fail(Fault::kData, "its layers give {}, expected a logit for each of {} classes", network->output().text(),
           card.classes);
    from_torch(*network, file, weights, state);
  } catch (const nlohmann::json::exception& error) {
    fail(Fault::kData, "the description in the scorer file {} cannot be read ({})", path, error.what());
  } catch (const Error& error) {
    fail(Fault::kData, "the scorer file {} is damaged: {}", path, error.what());
  }
  return Scorer(std::move(device), std::move(card), weights);
}

void Scorer::save(const std::string& path) const {
  write_atomically(path, [&](AtomicFile& file) { save(file); });
}

void Scorer::save(AtomicFile& file) const {
  SafetensorsWriter writer;
  writer.metadata("kind", kFileKind);
  writer.metadata("card", to_json(card_).dump());
  const std::vector<TorchArray> arrays = to_torch(fleet_->network(), fleet_->replica_weights(0), {});
  for (const TorchArray& array : arrays) writer.add(array.name, "F32", array.shape, array.values.data());
  writer.write(file);
}

std::string Scorer::hash() const {
  const std::vector<float> weights = fleet_->replica_weights(0);
  return checksum_text(checksum64(weights.data(), weights.size() * sizeof(float)));
}

std::vector<int64_t> Scorer::View::class_counts() const {
  std::vector<int64_t> counts(static_cast<size_t>(classes));
  for (int64_t i = 0; i < count; ++i) ++counts[static_cast<size_t>(recognised(i))];
  return counts;
}

int64_t Scorer::View::recognised(int64_t i) const {
  const auto row = logits.begin() + i * classes;
  return std::max_element(row, row + classes) - row;
}

Scorer::View Scorer::look(std::span<const uint8_t> pictures, int64_t count) {
  const int64_t size = card_.input.size();
  if (static_cast<int64_t>(pictures.size()) != count * size)
    fail(Fault::kUsage, "expected {} pictures of {} for the scorer of {}, found {} bytes", count, card_.input.text(),
         card_.source, pictures.size());
  const size_t features_step = fleet_->network().steps().size() - 2;
  View view{.count = count, .classes = card_.classes, .width = fleet_->network().steps()[features_step].out.size()};
  view.logits.resize(static_cast<size_t>(count * view.classes));
  view.features.resize(static_cast<size_t>(count * view.width));
  std::vector<float> chunk;
  for (int64_t first = 0; first < count; first += kChunk) {
    const int64_t n = std::min(kChunk, count - first);
    chunk.resize(static_cast<size_t>(n * size));
    std::transform(pictures.begin() + first * size, pictures.begin() + (first + n) * size, chunk.begin(),
                   [](uint8_t value) { return static_cast<float>(value) * kScale + kShift; });
    input_.set(chunk);
    // A last chunk that is not full carries old pictures along, which are not read back.
    const Tensor logits = fleet_->forward(input_, {.training = false});
    const Tensor features = fleet_->step_output(features_step);
    device_->download(&view.logits[static_cast<size_t>(first * view.classes)], logits.data,
                      static_cast<size_t>(n * view.classes) * sizeof(float));
    device_->download(&view.features[static_cast<size_t>(first * view.width)], features.data,
                      static_cast<size_t>(n * view.width) * sizeof(float));
  }
  return view;
}

double Scorer::accuracy(const Dataset& data) {
  if (data.labels().empty()) fail(Fault::kUsage, "{} has no labels to test a scorer on", data.name());
  constexpr int64_t kPictures = 10 * kChunk;
  int64_t right = 0;
  std::vector<int32_t> indices;
  for (int64_t first = 0; first < data.count(); first += kPictures) {
    indices.resize(static_cast<size_t>(std::min(kPictures, data.count() - first)));
    std::iota(indices.begin(), indices.end(), static_cast<int32_t>(first));
    const View view = look(pictures_of(data, indices), static_cast<int64_t>(indices.size()));
    for (int64_t i = 0; i < view.count; ++i)
      right += view.recognised(i) == data.labels()[static_cast<size_t>(first + i)];
  }
  return static_cast<double>(right) / static_cast<double>(data.count());
}

std::vector<uint8_t> pictures_of(const Dataset& data, std::span<const int32_t> indices) {
  if (data.is_points()) fail(Fault::kUsage, "expected pictures in {}, found points", data.name());
  const int64_t pixels = data.height() * data.width(), channels = data.channels();
  std::vector<uint8_t> pictures;
  pictures.reserve(indices.size() * static_cast<size_t>(pixels * channels));
  for (int32_t index : indices) {
    const uint8_t* planes = data.images() + index * pixels * channels;  // [channels, height, width]
    for (int64_t p = 0; p < pixels; ++p)
      for (int64_t c = 0; c < channels; ++c) pictures.push_back(planes[c * pixels + p]);
  }
  return pictures;
}

Scorer train_scorer(std::shared_ptr<Device> device, const DataSource& data, const ScorerOptions& options,
                    const ScorerWatch& watch) {
  const Dataset& train = data.train;
  check_teachable(train);
  if (options.epochs > kMostEpochs)
    fail(Fault::kUsage, "expected at most {} epochs, got {}", kMostEpochs, options.epochs);
  ScorerCard card{.input = {train.height(), train.width(), train.channels()},
                  .classes = train.classes(),
                  .source = utf8_text(train.name()),
                  .checksum = train.checksum()};
  card.layers = scorer_layers(card.input, card.classes).dump();

  const int64_t batch = std::min(options.batch, train.count());
  const int64_t per_epoch = train.count() / batch;
  const int64_t epochs = options.epochs > 0 ? options.epochs : std::clamp<int64_t>(kUsualSteps / per_epoch, 4, 40);
  const int64_t steps = epochs * per_epoch;

  FleetOptions fleet_options{.split = true, .init = Init::kTorch, .seed = options.seed};
  fleet_options.optimiser = {.learning_rate = options.learning_rate, .beta1 = 0.9};
  Fleet fleet(device, scorer_network(card), fleet_options);
  Lessons lessons(device, train, batch, options.seed);
  Buffer<float> loss(device, 1);

  int64_t reported = 0;
  for (int64_t step = 0; step < steps; ++step) {
    const double falling =
        (1 + std::cos(std::numbers::pi * static_cast<double>(step) / static_cast<double>(steps))) / 2;
    fleet.set_learning_rates({static_cast<float>(options.learning_rate * falling)});
    lessons.next();
    const Tensor logits = fleet.forward(lessons.x(), {.key = lessons.key(RandomStream::kDropout)});
    device->run(ops::SoftmaxLoss{.replicas = 1,
                                 .batch = batch,
                                 .classes = card.classes,
                                 .logits = logits.block(),
                                 .labels = lessons.y().block(),
                                 .dlogits = fleet.output_gradient().block(),
                                 .loss = {loss.data(), 0},
                                 .scale = 1.f / static_cast<float>(batch)});
    fleet.backward(Grads::kParams);
    fleet.step();
    lessons.advance();
    if (step + 1 - reported < kStepsPerReport && step + 1 < steps) continue;
    const double mean = loss.host().front() / static_cast<double>(step + 1 - reported);
    if (!std::isfinite(mean))
      fail(Fault::kRun, "the scorer's loss on {} became {} at step {}", train.name(), mean, step);
    loss.set(std::vector<float>{0});
    reported = step + 1;
    if (watch) watch({reported, steps, mean});
  }

  const Dataset& exam = data.test && data.test->classes() > 0 ? *data.test : train;
  card.tested = exam.count();
  card.tested_on = &exam == &train ? "train" : "test";
  Scorer draft(device, card, fleet.replica_weights(0));
  card.accuracy = draft.accuracy(exam);
  return Scorer(std::move(device), std::move(card), fleet.replica_weights(0));
}

}  // namespace agon
