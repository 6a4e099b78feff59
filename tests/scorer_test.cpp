// The scorer and its cache.
#include "algorithms/scorer.h"

#include <gtest/gtest.h>

#include <atomic>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <thread>

#include "engine/files.h"
#include "engine/safetensors.h"
#include "tests/data_files.h"
#include "tests/strokes_scorer.h"

namespace agon {
namespace {

/// Sets an environment variable for the length of a test.
class Variable {
 public:
  Variable(const char* name, const std::string& value) : name_(name) {
    if (const char* old = std::getenv(name)) old_ = old, had_ = true;
    setenv(name, value.c_str(), 1);
  }
  ~Variable() { had_ ? setenv(name_, old_.c_str(), 1) : unsetenv(name_); }
  Variable(const Variable&) = delete;
  Variable& operator=(const Variable&) = delete;

 private:
  const char* name_;
  std::string old_;
  bool had_ = false;
};

DataSource few_strokes() { return {part(strokes().train, numbers(0, 100)), part(*strokes().test, numbers(0, 100))}; }

/// One that has hardly learnt.
Scorer& small_scorer() {
  static Scorer scorer = train_scorer(cpu(), few_strokes(), {.epochs = 1, .batch = 10});
  return scorer;
}

TEST(Learning, OfStrokes) {
  const ScorerCard& card = strokes_scorer().card();
  EXPECT_GT(card.accuracy, 0.97);
  EXPECT_EQ(card.tested, 1000);
  EXPECT_EQ(card.tested_on, "test");
  EXPECT_EQ(card.classes, 10);
  EXPECT_EQ(card.checksum, strokes().train.checksum());
  EXPECT_DOUBLE_EQ(strokes_scorer().accuracy(*strokes().test), card.accuracy);
}

TEST(Scorer, ReportsProgressAndLearnsTheSameEachTime) {
  const DataSource few{part(strokes().train, numbers(0, 100)), std::nullopt};
  std::vector<ScorerProgress> reports;
  const Scorer first =
      train_scorer(cpu(), few, {.epochs = 10, .batch = 10}, [&](const ScorerProgress& p) { reports.push_back(p); });
  ASSERT_EQ(reports.size(), 2u);
  EXPECT_EQ(reports[0].step, 50);
  EXPECT_EQ(reports[1].step, 100);
  EXPECT_EQ(reports[1].steps, 100);
  EXPECT_LT(reports[1].loss, reports[0].loss / 2);
  EXPECT_EQ(first.card().tested_on, "train") << "there is no test split";
  EXPECT_EQ(first.card().tested, 100);

  EXPECT_EQ(train_scorer(cpu(), few, {.epochs = 10, .batch = 10}).hash(), first.hash());
  EXPECT_NE(train_scorer(cpu(), few, {.epochs = 10, .batch = 10, .seed = 2}).hash(), first.hash());
}

TEST(Scorer, SavedAndOpenedSeesTheSame) {
  const ScratchFolder folder;
  Scorer& scorer = small_scorer();
  scorer.save(folder / "scorer.safetensors");
  Scorer opened = Scorer::open(cpu(), folder / "scorer.safetensors");
  EXPECT_EQ(opened.hash(), scorer.hash());
  EXPECT_EQ(opened.card().accuracy, scorer.card().accuracy);
  EXPECT_EQ(opened.card().source, scorer.card().source);
  EXPECT_EQ(opened.card().checksum, scorer.card().checksum);
  EXPECT_EQ(opened.card().tested, scorer.card().tested);
  const auto pictures = pictures_of(*strokes().test, numbers(0, 250));
  const Scorer::View a = scorer.look(pictures, 250), b = opened.look(pictures, 250);
  EXPECT_EQ(a.logits, b.logits);
  EXPECT_EQ(a.features, b.features);
}

TEST(Scorer, SeesAPictureAlikeWhateverItsCompany) {
  Scorer& scorer = small_scorer();
  const Scorer::View many = scorer.look(pictures_of(*strokes().test, numbers(0, 130)), 130);
  const Scorer::View one = scorer.look(pictures_of(*strokes().test, numbers(129, 1)), 1);
  for (int64_t c = 0; c < one.classes; ++c)
    EXPECT_NEAR(one.logits[static_cast<size_t>(c)], many.logits[static_cast<size_t>(129 * many.classes + c)], 1e-4);
}

TEST(Scorer, FeaturesAreWhatTheLastLayerReads) {
  // The logits again, from the features and the last layer as the file describes it to PyTorch: weight [out, in].
  const ScratchFolder folder;
  Scorer& scorer = small_scorer();
  scorer.save(folder / "scorer.safetensors");
  const SafetensorsFile file = SafetensorsFile::open(folder / "scorer.safetensors");
  const auto layers = nlohmann::json::parse(nlohmann::json::parse(file.metadata("card"))["layers"].get<std::string>());
  const std::string last = std::to_string(layers.size() - 1);
  const Scorer::View view = scorer.look(pictures_of(*strokes().test, numbers(0, 20)), 20);
  const auto& weight = file.at(last + ".weight", "F32", {10, view.width});
  const auto& bias = file.at(last + ".bias", "F32", {10});
  const auto value = [](const SafeTensor& tensor, int64_t i) {
    float v;
    std::memcpy(&v, tensor.data + i * 4, 4);
    return static_cast<double>(v);
  };
  for (int64_t i = 0; i < 20; ++i)
    for (int64_t c = 0; c < 10; ++c) {
      double logit = value(bias, c);
      for (int64_t f = 0; f < view.width; ++f)
        logit += value(weight, c * view.width + f) * view.features[static_cast<size_t>(i * view.width + f)];
      EXPECT_NEAR(view.logits[static_cast<size_t>(i * 10 + c)], logit, 1e-4) << "picture " << i << ", class " << c;
    }
}

TEST(Scorer, RefusesFilesThatAreNone) {
  const ScratchFolder folder;
  const std::string good = folder / "good.safetensors";
  small_scorer().save(good);
  const std::string bytes = read_text(good);
  std::string flipped = bytes;
  flipped[flipped.size() - 1000] = static_cast<char>(flipped[flipped.size() - 1000] ^ 0x40);
  SafetensorsWriter other;
  const float number = 1;
  other.add("0.weight", "F32", {1}, &number);
  other.metadata("kind", "agon generator");
  other.write(folder / "other.safetensors");
  SafetensorsWriter strange;
  strange.add("0.weight", "F32", {1}, &number);
  strange.metadata("kind", "agon scorer");
  strange.metadata("card", R"({"height": -3})");
  strange.write(folder / "strange.safetensors");

  SafetensorsWriter huge;
  huge.add("0.weight", "F32", {1}, &number);
  huge.metadata("kind", "agon scorer");
  huge.metadata("card", R"({"height": 4000000000000, "width": 4000000000000, "channels": 1, "classes": 2,
      "layers": "[\"flatten\", \"dense 2\"]", "source": "", "data_checksum": "", "accuracy": 1, "tested": 1, "tested_on": "test"})");
  huge.write(folder / "huge.safetensors");

  const auto open = [&](const std::string& name) { return [&, name] { Scorer::open(cpu(), folder / name); }; };
  folder.put("flipped.safetensors", flipped);
  folder.put("short.safetensors", bytes.substr(0, bytes.size() / 2));
  folder.put("text.safetensors", "this is no scorer");
  expect_refused({
      {"flipped bit", open("flipped.safetensors"), "flipped.safetensors"},
      {"half of it", open("short.safetensors"), "short.safetensors"},
      {"text", open("text.safetensors"), "text.safetensors"},
      {"none", open("none.safetensors"), "none.safetensors"},
      {"a generator", open("other.safetensors"), "not a scorer"},
      {"no card", open("strange.safetensors"), "cannot be read"},
      {"a huge picture", open("huge.safetensors"), "pictures of"},
  });
}

TEST(Scorer, TakesPicturesOfAnySize) {
  for (const Shape& shape : {Shape{1, 1, 1}, Shape{3, 5, 2}, Shape{32, 32, 3}, Shape{64, 64, 1}, Shape{70, 9, 1}}) {
    const Dataset pictures = noise(shape, 6);
    const Dataset labelled({.name = "noise",
                            .count = 6,
                            .channels = shape.channels,
                            .height = shape.height,
                            .width = shape.width,
                            .images = pictures.images(),
                            .labels = {0, 1, 2, 0, 1, 2}});
    Scorer scorer = train_scorer(cpu(), {labelled, std::nullopt}, {.epochs = 1, .batch = 3});
    const Scorer::View view = scorer.look(pictures_of(labelled, numbers(0, 6)), 6);
    EXPECT_EQ(view.classes, 3);
    ASSERT_EQ(view.logits.size(), 18u);
    for (float logit : view.logits) EXPECT_TRUE(std::isfinite(logit)) << shape.text();
  }
}

TEST(Scorer, RefusesWhatItCannotLearnFrom) {
  const DataSource unlabelled{part(strokes().train, numbers(0, 100), false), std::nullopt};
  expect_refused({
      {"points", [] { train_scorer(cpu(), synthesise("ring", {.count = 100, .test_count = 10})); }, "points",
       Fault::kUsage},
      {"no labels", [&] { train_scorer(cpu(), unlabelled); }, "no labels", Fault::kUsage},
      {"wrong size", [] { small_scorer().look(std::vector<uint8_t>(100), 1); }, "28x28x1", Fault::kUsage},
  });
}

TEST(ScorerCache, TrainsOnceAndMendsADamagedFile) {
  const ScratchFolder folder;
  const Variable cache("AGON_CACHE", folder / "cache");
  const DataSource few = few_strokes();
  int reports = 0;
  const ScorerWatch watch = [&](const ScorerProgress&) { ++reports; };
  const std::string hash = cached_scorer(cpu(), few, watch).hash();
  EXPECT_GT(reports, 0);

  reports = 0;
  EXPECT_EQ(cached_scorer(cpu(), few, watch).hash(), hash);
  EXPECT_EQ(reports, 0) << "trained again, though it was in the cache";

  int files = 0;
  for (const auto& entry : std::filesystem::directory_iterator(folder / "cache"))
    if (entry.path().extension() == ".safetensors") {
      ++files;
      std::filesystem::resize_file(entry.path(), 100);
    }
  EXPECT_EQ(files, 1);
  EXPECT_EQ(cached_scorer(cpu(), few, watch).hash(), hash);
  EXPECT_GT(reports, 0) << "the damaged file was taken";
}

TEST(ScorerCache, LetsOneRunTrainForAll) {
  const ScratchFolder folder;
  const Variable cache("AGON_CACHE", folder / "cache");
  const DataSource few = few_strokes();
  std::atomic<int> trainings = 0;
  std::vector<std::string> hashes(3);
  std::vector<std::thread> runs;
  for (std::string& hash : hashes)
    runs.emplace_back([&] {
      bool trained = false;
      hash = cached_scorer(open_device("cpu", 1), few, [&](const ScorerProgress&) { trained = true; }).hash();
      trainings += trained;
    });
  for (std::thread& run : runs) run.join();
  EXPECT_EQ(trainings, 1);
  EXPECT_EQ(hashes[1], hashes[0]);
  EXPECT_EQ(hashes[2], hashes[0]);
}

TEST(ScorerCache, FallsBackToAnotherFolder) {
  const ScratchFolder folder;
  const std::string file = folder.put("file", "in the way");
  const Variable cache("AGON_CACHE", file + "/cache");
  const DataSource few = few_strokes();
  int reports = 0;
  cached_scorer(cpu(), few, {}, folder / "run");
  cached_scorer(
      cpu(), few, [&](const ScorerProgress&) { ++reports; }, folder / "run");
  EXPECT_EQ(reports, 0);
}

}  // namespace
}  // namespace agon
