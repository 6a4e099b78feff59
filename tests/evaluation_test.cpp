// The evaluation of generators and of pictures.
#include "algorithms/evaluation.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "tests/data_files.h"
#include "tests/strokes_scorer.h"

namespace agon {
namespace {

Settings settings(const std::vector<std::string>& assignments) {
  Settings s;
  s.declare(evaluation_options());
  for (const std::string& a : assignments) s.set(a);
  return s;
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
  const Scores s = e.evaluate(
      g, std::ssize(weights), [&](int64_t i) { return weights[static_cast<size_t>(i)]; }, 5, 100);
  EXPECT_EQ(s.generators, 2);
  EXPECT_DOUBLE_EQ(*s.fid, (fid[0] + fid[1]) / 2);
  EXPECT_DOUBLE_EQ(*s.score, (score[0] + score[1]) / 2);
  EXPECT_NEAR(*s.fid_deviation, std::abs(fid[0] - fid[1]) / std::sqrt(2.0), 1e-9);
  EXPECT_EQ(*s.fid_best, std::min(fid[0], fid[1]));
  EXPECT_EQ(*s.score_best, std::max(score[0], score[1]));
  EXPECT_THROW(e.evaluate(
                   g, 0, [](int64_t) { return GeneratorWeights{}; }, 5, 100),
               Error);
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
