// The scorer, its cache, and the evaluation of generators.
#include "algorithms/scorer.h"

#include <gtest/gtest.h>

#include <atomic>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <numeric>
#include <thread>

#include "algorithms/evaluation.h"
#include "datasets/synthetic.h"
#include "engine/files.h"
#include "engine/safetensors.h"
#include "tests/data_files.h"

namespace agon {
namespace {

std::shared_ptr<Device> cpu() {
  static const std::shared_ptr<Device> device = open_device("cpu");
  return device;
}

const DataSource& strokes() {
  static const DataSource data = synthesise("strokes", {.count = 6000, .test_count = 1000, .seed = 7});
  return data;
}

/// A scorer of strokes, trained once for all tests.
Scorer& strokes_scorer() {
  static Scorer scorer = train_scorer(cpu(), strokes(), {.epochs = 4});
  return scorer;
}

Settings settings(const std::vector<std::string>& assignments) {
  Settings s;
  s.declare(evaluation_options());
  for (const std::string& a : assignments) s.set(a);
  return s;
}

/// Items first .. first+count-1 of an image data set, as a set of their own.
Dataset part(const Dataset& data, const std::vector<int32_t>& indices, bool labelled = true) {
  const auto size = static_cast<size_t>(data.values_per_item());
  auto pixels = std::make_shared<std::vector<uint8_t>>();
  DatasetContents contents{.name = "part of " + data.name(),
                           .count = static_cast<int64_t>(indices.size()),
                           .channels = data.channels(),
                           .height = data.height(),
                           .width = data.width()};
  for (int32_t i : indices) {
    const uint8_t* image = data.images() + static_cast<size_t>(i) * size;
    pixels->insert(pixels->end(), image, image + size);
    if (labelled) contents.labels.push_back(data.labels()[static_cast<size_t>(i)]);
  }
  contents.images = pixels->data();
  contents.storage = pixels;
  if (labelled) contents.class_names = data.class_names();
  return Dataset(std::move(contents));
}

std::vector<int32_t> numbers(int32_t first, int32_t count) {
  std::vector<int32_t> indices(static_cast<size_t>(count));
  std::iota(indices.begin(), indices.end(), first);
  return indices;
}

/// Every picture the same noise process: nothing that a scorer has seen.
Dataset noise(const Shape& shape, int64_t count) {
  auto pixels = std::make_shared<std::vector<uint8_t>>(static_cast<size_t>(shape.size() * count));
  HostRandom random(3, RandomStream::kSynthetic);
  for (uint8_t& p : *pixels) p = static_cast<uint8_t>(random.below(256));
  return Dataset({.name = "noise",
                  .count = count,
                  .channels = shape.channels,
                  .height = shape.height,
                  .width = shape.width,
                  .images = pixels->data(),
                  .storage = pixels});
}

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

TEST(Scorer, LearnsStrokes) {
  const ScorerCard& card = strokes_scorer().card();
  EXPECT_GT(card.accuracy, 0.97);
  EXPECT_EQ(card.tested, 1000);
  EXPECT_EQ(card.tested_on, "test");
  EXPECT_EQ(card.classes, 10);
  EXPECT_EQ(card.checksum, strokes().train.checksum());
  EXPECT_DOUBLE_EQ(strokes_scorer().accuracy(*strokes().test), card.accuracy);
}

TEST(Scorer, ReportsProgressAndLearnsTheSameEachTime) {
  const DataSource few{part(strokes().train, numbers(0, 300)), std::nullopt};
  std::vector<ScorerProgress> reports;
  const Scorer first =
      train_scorer(cpu(), few, {.epochs = 20, .batch = 30}, [&](const ScorerProgress& p) { reports.push_back(p); });
  ASSERT_EQ(reports.size(), 4u);
  EXPECT_EQ(reports[0].step, 50);
  EXPECT_EQ(reports[3].step, 200);
  EXPECT_EQ(reports[3].steps, 200);
  EXPECT_LT(reports[3].loss, reports[0].loss / 2);
  EXPECT_EQ(first.card().tested_on, "train") << "there is no test split";
  EXPECT_EQ(first.card().tested, 300);

  EXPECT_EQ(train_scorer(cpu(), few, {.epochs = 20, .batch = 30}).hash(), first.hash());
  EXPECT_NE(train_scorer(cpu(), few, {.epochs = 20, .batch = 30, .seed = 2}).hash(), first.hash());
}

TEST(Scorer, SavedAndOpenedSeesTheSame) {
  const ScratchFolder folder;
  Scorer& scorer = strokes_scorer();
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
  Scorer& scorer = strokes_scorer();
  const Scorer::View many = scorer.look(pictures_of(*strokes().test, numbers(0, 130)), 130);
  const Scorer::View one = scorer.look(pictures_of(*strokes().test, numbers(129, 1)), 1);
  for (int64_t c = 0; c < one.classes; ++c)
    EXPECT_NEAR(one.logits[static_cast<size_t>(c)], many.logits[static_cast<size_t>(129 * many.classes + c)], 1e-4);
}

TEST(Scorer, FeaturesAreWhatTheLastLayerReads) {
  // The logits again, from the features and the last layer as the file describes it to PyTorch: weight [out, in].
  const ScratchFolder folder;
  Scorer& scorer = strokes_scorer();
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
  strokes_scorer().save(good);
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
      {"wrong size", [] { strokes_scorer().look(std::vector<uint8_t>(100), 1); }, "28x28x1", Fault::kUsage},
  });
}

TEST(ScorerCache, TrainsOnceAndMendsADamagedFile) {
  const ScratchFolder folder;
  const Variable cache("AGON_CACHE", folder / "cache");
  const DataSource few{part(strokes().train, numbers(0, 100)), part(*strokes().test, numbers(0, 100))};
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
  const DataSource few{part(strokes().train, numbers(0, 100)), part(*strokes().test, numbers(0, 100))};
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
  const DataSource few{part(strokes().train, numbers(0, 100)), part(*strokes().test, numbers(0, 100))};
  int reports = 0;
  cached_scorer(cpu(), few, {}, folder / "run");
  cached_scorer(
      cpu(), few, [&](const ScorerProgress&) { ++reports; }, folder / "run");
  EXPECT_EQ(reports, 0);
}

/// An evaluator of strokes with the common scorer.
class Evaluation : public testing::Test {
 protected:
  Evaluator evaluator(const std::vector<std::string>& assignments = {}) {
    strokes_scorer().save(folder_ / "scorer.safetensors");
    Settings s = settings(assignments);
    s.set_text("score.scorer", folder_ / "scorer.safetensors");
    return Evaluator(cpu(), s, strokes());
  }
  ScratchFolder folder_;
};

TEST_F(Evaluation, GivesRealPicturesGoodScores) {
  const Scores s = evaluator().evaluate(part(strokes().train, numbers(0, 2000)));
  EXPECT_EQ(s.score_name, "ms");
  EXPECT_GT(*s.score, 9.0);
  EXPECT_LT(*s.score, 10.0);
  EXPECT_LT(*s.tvd, 0.1);
  EXPECT_EQ(s.samples, 500);
  EXPECT_EQ(s.real_samples, 500);
  EXPECT_EQ(s.split, "test");
  EXPECT_EQ(s.scorer_hash, strokes_scorer().hash());
  const Scores bad = evaluator().evaluate(noise({28, 28, 1}, 500));
  EXPECT_LT(*bad.score, 4.0);
  EXPECT_GT(*bad.fid, 20 * *s.fid);
  EXPECT_GT(*bad.tvd, 0.5);
}

TEST_F(Evaluation, OfTheRealPicturesThemselvesIsPerfect) {
  Evaluator e = evaluator({"score.samples=1000", "score.extended=true"});
  const Scores s = e.evaluate(*strokes().test), bad = e.evaluate(noise({28, 28, 1}, 500));
  EXPECT_NEAR(*s.fid, 0, 1e-6);
  EXPECT_NEAR(*s.fid_features, 0, 1e-6);
  EXPECT_LT(*s.tvd, 0.02);
  EXPECT_EQ(*s.precision, 1);
  EXPECT_EQ(*s.recall, 1);
  EXPECT_EQ(*s.coverage, 1);
  EXPECT_LT(*s.kid, 0) << "unbiased between independent sets, so below 0 for the same one";
  EXPECT_GT(*bad.kid, 50 * std::abs(*s.kid));
  EXPECT_LT(*bad.coverage, 0.2);
}

TEST_F(Evaluation, SeesThatOneClassIsNotEnough) {
  std::vector<int32_t> threes;
  for (int32_t i = 0; i < strokes().train.count(); ++i)
    if (strokes().train.labels()[static_cast<size_t>(i)] == 3) threes.push_back(i);
  const Scores s = evaluator().evaluate(part(strokes().train, threes));
  EXPECT_LT(*s.score, 1.5);
  EXPECT_NEAR(*s.tvd, 0.9, 0.03);
}

Generator small_generator(uint64_t seed) {
  GeneratorSpec spec;
  spec.layers =
      R"(["class_embedding 10", "dense 784", "tanh", {"layer": "reshape", "height": 28, "width": 28, "channels": 1}])";
  spec.latent = 8;
  spec.classes = 10;
  spec.network = std::make_shared<Network>("generator", Shape{1, 1, 8},
                                           parse_layers(nlohmann::json::parse(spec.layers), "generator", 10));
  spec.sample = spec.network->output();
  const Fleet fleet(cpu(), spec.network, {.seed = seed, .trains = false});
  return Generator(cpu(), spec, {fleet.replica_weights(0), fleet.replica_state(0)});
}

GeneratorWeights weights_of(uint64_t seed) {
  const Generator g = small_generator(seed);
  const Fleet fleet(cpu(), g.spec().network, {.seed = seed, .trains = false});
  return {fleet.replica_weights(0), fleet.replica_state(0)};
}

TEST_F(Evaluation, OfAGeneratorDependsOnSeedAndIterationAlone) {
  Evaluator e = evaluator();
  Generator g = small_generator(1);
  const double fid = *e.evaluate(g, 5, 100).fid;
  EXPECT_EQ(*e.evaluate(g, 5, 100).fid, fid);
  EXPECT_NE(*e.evaluate(g, 6, 100).fid, fid);
  EXPECT_NE(*e.evaluate(g, 5, 200).fid, fid);
}

TEST_F(Evaluation, OfSeveralGeneratorsIsTheirMean) {
  Evaluator e = evaluator();
  Generator g = small_generator(1);
  const std::vector<GeneratorWeights> weights = {weights_of(1), weights_of(2)};
  std::vector<double> fid, score;
  for (const auto& w : weights) {
    g.set(w);
    const Scores s = e.evaluate(g, 5, 100);
    fid.push_back(*s.fid), score.push_back(*s.score);
  }
  ASSERT_NE(fid[0], fid[1]);
  const Scores s = e.evaluate(g, weights, 5, 100);
  EXPECT_EQ(s.generators, 2);
  EXPECT_DOUBLE_EQ(*s.fid, (fid[0] + fid[1]) / 2);
  EXPECT_DOUBLE_EQ(*s.score, (score[0] + score[1]) / 2);
  EXPECT_NEAR(*s.fid_deviation, std::abs(fid[0] - fid[1]) / std::sqrt(2.0), 1e-9);
  EXPECT_EQ(*s.fid_best, std::min(fid[0], fid[1]));
  EXPECT_EQ(*s.score_best, std::max(score[0], score[1]));
  EXPECT_THROW(e.evaluate(g, std::span<const GeneratorWeights>{}, 5, 100), Error);
}

TEST_F(Evaluation, RefusesPicturesOfAnotherSize) {
  Evaluator e = evaluator();
  expect_refused({{"size", [&] { e.evaluate(noise({32, 32, 3}, 10)); }, "32x32x3", Fault::kUsage}});
}

TEST(EvaluationOfPoints, CountsModes) {
  const DataSource ring = synthesise("ring", {.count = 2000, .test_count = 500, .seed = 1});
  Evaluator e(cpu(), settings({}), ring);
  EXPECT_EQ(e.scorer(), nullptr);
  const Scores s = e.evaluate(ring.train);
  EXPECT_EQ(*s.modes, 8);
  EXPECT_EQ(*s.modes_total, 8);
  EXPECT_NEAR(*s.high_quality, 1 - std::exp(-4.5), 0.02);  // of a Gaussian in the plane within 3 deviations
  EXPECT_FALSE(s.score.has_value());
  EXPECT_NE(s.text().find("modes 8/8"), std::string::npos) << s.text();
}

TEST(EvaluationWithoutScores, SaysWhy) {
  const DataSource unlabelled{part(strokes().train, numbers(0, 100), false), std::nullopt};
  Evaluator e(cpu(), settings({}), unlabelled);
  Generator g = small_generator(1);
  const Scores s = e.evaluate(g, 1, 1);
  EXPECT_FALSE(s.score.has_value());
  EXPECT_NE(s.note.find("no labelled classes"), std::string::npos) << s.note;
  EXPECT_EQ(s.to_json()["note"], s.note);
  EXPECT_EQ(s.text(), "");
  Evaluator none(cpu(), settings({"score.scorer=none"}), strokes());
  EXPECT_NE(none.evaluate(g, 1, 1).note.find("none"), std::string::npos);
}

TEST(Scores, AsJsonAndText) {
  Scores s;
  s.score = 8.914, s.fid = 4.25, s.tvd = 0.125, s.samples = 500, s.real_samples = 400;
  s.split = "test", s.scorer = "mnist", s.scorer_hash = "00ff", s.scorer_accuracy = 0.992;
  EXPECT_EQ(s.to_json(), nlohmann::json::parse(R"({"ms": 8.914, "fid": 4.25, "tvd": 0.125, "samples": 500,
      "real_samples": 400, "split": "test", "scorer": "mnist", "scorer_hash": "00ff", "scorer_accuracy": 0.992})"));
  EXPECT_EQ(s.text(), "MS 8.91  FD 4.25");
  s.score_name = "is";
  EXPECT_EQ(s.to_json()["is"], 8.914);
  EXPECT_FALSE(s.to_json().contains("ms"));
}

TEST(RealMnist, IsRecognisedAndScoresWell) {
#ifdef __SANITIZE_ADDRESS__
  GTEST_SKIP() << "training on the whole of MNIST takes too long under a sanitizer";
#endif
  const std::string path = real_data("mnist");
  if (path.empty()) GTEST_SKIP() << "no MNIST in ../shared/data or $AGON_DATA";
  const DataSource mnist = load_data(path, 1);
  Evaluator e(cpu(), settings({}), mnist);  // trains the scorer, or takes it from the cache
  ASSERT_NE(e.scorer(), nullptr);
  EXPECT_GE(e.scorer()->card().accuracy, 0.99);
  EXPECT_EQ(e.scorer()->card().tested, 10'000);

  const Scores real = e.evaluate(mnist.train), bad = e.evaluate(noise({28, 28, 1}, 500));
  EXPECT_GT(*real.score, 9.5);
  EXPECT_LT(*real.tvd, 0.1);
  EXPECT_LT(*bad.score, 4.0);
  EXPECT_GT(*bad.fid, 20 * *real.fid);
}

}  // namespace
}  // namespace agon
