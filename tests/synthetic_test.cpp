// The built-in data sets.
#include "datasets/synthetic.h"

#include <cmath>
#include <cstring>

#include "datasets/commands.h"
#include "datasets/dataset.h"
#include "tests/data_files.h"

namespace agon {
namespace {

TEST(Synthetic, IsAFunctionOfSeedAndItem) {
  for (const std::string& name : synthetic_names()) {
    const DataSource a = synthesise(name, {.count = 300, .seed = 5}), b = synthesise(name, {.count = 300, .seed = 5}),
                     other = synthesise(name, {.count = 300, .seed = 6}),
                     longer = synthesise(name, {.count = 350, .seed = 5});
    EXPECT_EQ(a.train.checksum(), b.train.checksum()) << name;
    EXPECT_NE(a.train.checksum(), other.train.checksum()) << name;
    EXPECT_NE(a.train.checksum(), a.test->checksum()) << name;
    EXPECT_EQ(a.test->count(), 50) << name;
    EXPECT_TRUE(std::equal(a.train.labels().begin(), a.train.labels().end(), longer.train.labels().begin())) << name;
    for (int64_t items : synthesise(name, {.count = 5000, .seed = 5}).train.class_counts())
      EXPECT_GT(items, 100) << name;
  }
}

TEST(Synthetic, PointsLieAroundTheirCentres) {
  for (const auto& [name, modes] : {std::pair("ring", 8), std::pair("grid", 25)}) {
    const Dataset data = synthesise(name, {.count = 20000, .seed = 3}).train;
    ASSERT_TRUE(data.is_points());
    ASSERT_EQ(static_cast<int>(data.centres().size()), 2 * modes);
    EXPECT_EQ(data.classes(), modes);
    double squares = 0;
    for (int64_t i = 0; i < 2 * data.count(); ++i) {
      const auto centre = static_cast<size_t>(2 * data.labels()[static_cast<size_t>(i / 2)] + i % 2);
      const double offset = data.points()[i] - data.centres()[centre];
      squares += offset * offset;
      ASSERT_LT(std::abs(data.points()[i]), 1.0f);
      ASSERT_LT(std::abs(offset), 6 * data.spread());
    }
    EXPECT_NEAR(std::sqrt(squares / (2.0 * static_cast<double>(data.count()))) / data.spread(), 1.0, 0.02) << name;
  }
}

TEST(Synthetic, PointsSurvivePacking) {
  const ScratchFolder folder;
  synth("grid", folder / "g.safetensors", {.count = 500, .seed = 2});
  const DataSource packed = load_data(folder / "g.safetensors", 1),
                   made = synthesise("grid", {.count = 500, .seed = 2});
  EXPECT_EQ(packed.train.checksum(), made.train.checksum());
  EXPECT_EQ(packed.train.centres(), made.train.centres());
  EXPECT_EQ(packed.train.spread(), made.train.spread());
  EXPECT_EQ(std::memcmp(packed.train.points(), made.train.points(), 500 * 2 * sizeof(float)), 0);
  EXPECT_TRUE(packed.test.has_value());
}

/// Share of test glyphs whose nearest class mean is their own class's.
double nearest_mean_accuracy(const DataSource& data) {
  const int64_t pixels = data.train.values_per_item();
  std::vector<double> means(static_cast<size_t>(10 * pixels));
  const auto counts = data.train.class_counts();
  for (int64_t i = 0; i < data.train.count(); ++i) {
    const auto label = static_cast<size_t>(data.train.labels()[static_cast<size_t>(i)]);
    for (int64_t p = 0; p < pixels; ++p)
      means[label * static_cast<size_t>(pixels) + static_cast<size_t>(p)] +=
          static_cast<double>(data.train.images()[i * pixels + p]) / static_cast<double>(counts[label]);
  }
  int64_t right = 0;
  for (int64_t i = 0; i < data.test->count(); ++i) {
    double best = INFINITY;
    int32_t chosen = -1;
    for (int32_t c = 0; c < 10; ++c) {
      double distance = 0;
      for (int64_t p = 0; p < pixels; ++p)
        distance += std::pow(means[static_cast<size_t>(c * pixels + p)] - data.test->images()[i * pixels + p], 2);
      if (distance < best) {
        best = distance;
        chosen = c;
      }
    }
    right += chosen == data.test->labels()[static_cast<size_t>(i)];
  }
  return static_cast<double>(right) / static_cast<double>(data.test->count());
}

TEST(Synthetic, StrokesLookLikeTheirClassesButVary) {
  const DataSource data = synthesise("strokes", {.count = 3000, .seed = 1});
  // MNIST reaches 82%: glyphs must be told apart, but not trivially.
  const double accuracy = nearest_mean_accuracy(data);
  EXPECT_GT(accuracy, 0.7);
  EXPECT_LT(accuracy, 0.97);
  // About as much ink as in MNIST (mean 0.131), and none of it at the rim.
  double ink = 0, rim = 0;
  for (int64_t i = 0; i < data.train.count(); ++i)
    for (int64_t p = 0; p < 784; ++p) {
      const double value = data.train.images()[i * 784 + p] / 255.0;
      ink += value;
      if (p < 28 || p >= 756 || p % 28 == 0 || p % 28 == 27) rim += value;
    }
  ink /= 784.0 * static_cast<double>(data.train.count());
  EXPECT_GT(ink, 0.08);
  EXPECT_LT(ink, 0.2);
  EXPECT_LT(rim, 1e-3 * static_cast<double>(data.train.count()));
}

}  // namespace
}  // namespace agon
