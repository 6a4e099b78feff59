// "ring" and "grid": the two mixtures of 2-D Gaussians on which mode collapse is studied (Metz et al. 2017, unrolled
// GAN; Srivastava et al. 2017, VEEGAN), scaled into the square [-1, 1]. The label of a point is the number of its mode.
#include <cmath>
#include <numbers>

#include "datasets/synthetic.h"
#include "engine/random.h"

namespace agon {
namespace {

constexpr int64_t kDefaultCount = 50'000;

struct Mixture {
  std::string name;
  std::vector<float> centres;  // [modes, 2]
  double spread;
};

/// Eight modes on a circle of radius 2 with standard deviation 0.02, times 0.4.
Mixture ring() {
  constexpr int kModes = 8;
  constexpr double kScale = 0.4, kRadius = 2 * kScale;
  Mixture mixture{.name = "ring", .centres = {}, .spread = 0.02 * kScale};
  for (int mode = 0; mode < kModes; ++mode) {
    const double angle = 2 * std::numbers::pi * mode / kModes;
    mixture.centres.push_back(static_cast<float>(kRadius * std::cos(angle)));
    mixture.centres.push_back(static_cast<float>(kRadius * std::sin(angle)));
  }
  return mixture;
}

/// Five by five modes at distances of 2 with standard deviation 0.05, times 0.2.
Mixture grid() {
  constexpr int kSide = 5;
  constexpr double kScale = 0.2;
  Mixture mixture{.name = "grid", .centres = {}, .spread = 0.05 * kScale};
  for (int mode = 0; mode < kSide * kSide; ++mode) {
    mixture.centres.push_back(static_cast<float>(2 * kScale * (mode % kSide - kSide / 2)));
    mixture.centres.push_back(static_cast<float>(2 * kScale * (mode / kSide - kSide / 2)));
  }
  return mixture;
}

Dataset draw(const Mixture& mixture, uint64_t seed, int64_t first, int64_t count) {
  const auto modes = static_cast<int64_t>(mixture.centres.size()) / 2;
  const auto points = std::make_shared<std::vector<float>>();
  DatasetContents contents{.name = mixture.name, .count = count, .channels = 2, .height = 1, .width = 1};
  for (int64_t i = first; i < first + count; ++i) {
    HostRandom random(seed, RandomStream::kSynthetic, static_cast<uint32_t>(modes), static_cast<uint64_t>(i));
    const int64_t mode = random.below(modes);
    contents.labels.push_back(static_cast<int32_t>(mode));
    for (int64_t axis = 0; axis < 2; ++axis)
      points->push_back(
          static_cast<float>(mixture.centres[static_cast<size_t>(2 * mode + axis)] + mixture.spread * random.normal()));
  }
  for (int64_t mode = 0; mode < modes; ++mode) contents.class_names.push_back(std::to_string(mode));
  contents.points = points->data();
  contents.storage = points;
  contents.centres = mixture.centres;
  contents.spread = mixture.spread;
  return Dataset(std::move(contents));
}

const RegisterSynthetic kRing({.name = "ring",
                               .description = "8 Gaussians in the plane, on a circle",
                               .default_count = kDefaultCount,
                               .items = [](uint64_t seed, int64_t first, int64_t count) {
                                 return draw(ring(), seed, first, count);
                               }});
const RegisterSynthetic kGrid({.name = "grid",
                               .description = "25 Gaussians in the plane, on a 5 x 5 grid",
                               .default_count = kDefaultCount,
                               .items = [](uint64_t seed, int64_t first, int64_t count) {
                                 return draw(grid(), seed, first, count);
                               }});

}  // namespace
}  // namespace agon
