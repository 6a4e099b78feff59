#include "algorithms/evaluation.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <numeric>

#include "algorithms/coevolution.h"
#include "engine/metrics.h"
#include "engine/random.h"
#include "kernels/error.h"

namespace agon {
namespace {

constexpr int64_t kNeighbours = 5;  // k of precision, recall, density and coverage
constexpr int64_t kMostModes = 1000;

/// Up to `wanted` items in random order. The same for every run, whatever its seed, so that scores can be compared.
std::vector<int32_t> some_of(const Dataset& data, int64_t wanted) {
  std::vector<int32_t> indices(static_cast<size_t>(data.count()));
  std::iota(indices.begin(), indices.end(), 0);
  HostRandom random(0, RandomStream::kEvaluation, kServerDraws);
  random.shuffle(indices);
  indices.resize(static_cast<size_t>(std::min(wanted, data.count())));
  return indices;
}

Shape shape_of(const Dataset& data) { return {data.height(), data.width(), data.channels()}; }

/// Points `indices` of a data set of points [indices, channels].
std::vector<float> points_of(const Dataset& data, const std::vector<int32_t>& indices) {
  std::vector<float> points;
  for (int32_t index : indices)
    points.insert(points.end(), data.points() + index * data.channels(), data.points() + (index + 1) * data.channels());
  return points;
}

/// Appends row `i` of `width` values, if there are any rows.
template <class T>
void append_row(std::vector<T>& to, const std::vector<T>& rows, size_t i, int64_t width) {
  if (rows.empty()) return;
  const auto begin = rows.begin() + static_cast<std::ptrdiff_t>(i) * width;
  to.insert(to.end(), begin, begin + width);
}

}  // namespace

std::vector<Settings::Option> evaluation_options() {
  return {
      {"score.samples", "500", "generated samples per evaluation, against as many real ones"},
      {"score.scorer", "\"auto\"",
       "classifier behind the scores: a file of `agon scorer`, auto (trained once, cached) or none"},
      {"score.extended", "false", "also distances and overlaps on the scorer's features (slower)"},
      {"score.real", "\"test\"", "split that generated samples are compared with", {"test", "train"}},
  };
}

void expect_comparable(const Dataset& real, const Dataset& generated) {
  if (generated.is_points() != real.is_points() || shape_of(generated) != shape_of(real))
    fail(Fault::kUsage, "expected {} of {} as in {}, found {} of {} in {}", real.is_points() ? "points" : "pictures",
         shape_of(real).text(), real.name(), generated.is_points() ? "points" : "pictures", shape_of(generated).text(),
         generated.name());
  if (generated.count() < 2)
    fail(Fault::kData, "expected at least 2 samples in {} to score, found {}", generated.name(), generated.count());
}

void expect_comparable(const Dataset& real, const GeneratorSpec& generator) {
  if (generator.sample != shape_of(real))
    fail(Fault::kUsage, "the generator makes samples of {}, but those of {} are {}", generator.sample.text(),
         real.name(), shape_of(real).text());
}

struct Evaluator::Impl {
  std::shared_ptr<Device> device;
  int64_t samples;
  bool extended;
  Shape shape;   // of a sample
  Scores blank;  // what all scores of this evaluator say: split, scorer, note
  std::optional<Scorer> scorer;

  // The real side.
  Dataset real;
  Scorer::View real_view;                        // of at most `samples` pictures
  FeatureStatistics real_logits, real_features;  // for points, the points themselves take the logits' place
  std::vector<int64_t> real_classes;             // [classes] how many of each class

  void look_at_real_pictures();
  void choose_scorer(const std::string& choice, const DataSource& data, const ScorerWatch& watch,
                     const std::string& folder);
  Scores score_pictures(std::span<const uint8_t> pictures, int64_t count);
  Scores score_points(std::span<const float> points, int64_t count) const;
  /// What a generator makes: pictures, or points.
  struct Samples {
    std::vector<uint8_t> pictures;
    std::vector<float> points;
  };
  Samples generate(Generator& generator, uint64_t seed, uint64_t iteration);
  Scores score(const Samples& made);
  Scores score(Generator& generator, uint64_t seed, uint64_t iteration);
};

void Evaluator::Impl::choose_scorer(const std::string& choice, const DataSource& data, const ScorerWatch& watch,
                                    const std::string& folder) {
  if (choice == "none") {
    blank.note = "no scores: score.scorer is \"none\"";
  } else if (choice == "auto" && data.train.classes() < 2) {
    blank.note = fmt::format("no scores: {} has no labelled classes to train a scorer on; score.scorer can name one",
                             data.train.name());
  } else if (real.count() < 2) {
    fail(Fault::kData, "expected at least 2 real pictures in {} to score against, found {}", real.name(), real.count());
  } else if (choice != "auto") {
    scorer = Scorer::open(device, choice);
    if (scorer->card().input != shape)
      fail(Fault::kUsage, "the scorer {} looks at pictures of {}, but those of {} are {}", choice,
           scorer->card().input.text(), real.name(), shape.text());
  } else {
    scorer = cached_scorer(device, data, watch, folder);
  }
}

void Evaluator::Impl::look_at_real_pictures() {
  const std::vector<int32_t> chosen = some_of(real, samples);
  real_view = scorer->look(pictures_of(real, chosen), static_cast<int64_t>(chosen.size()));
  real_logits = feature_statistics(real_view.logits, real_view.count, real_view.classes);
  if (extended) real_features = feature_statistics(real_view.features, real_view.count, real_view.width);
  // A scorer of other classes than the data's says itself what the real pictures are.
  real_classes = real.classes() == scorer->card().classes ? real.class_counts() : real_view.class_counts();
}

Scores Evaluator::Impl::score_pictures(std::span<const uint8_t> pictures, int64_t count) {
  const Scorer::View view = scorer->look(pictures, count);
  Scores s = blank;
  s.samples = count;
  s.real_samples = real_view.count;
  s.score = inception_score(view.logits, count, view.classes);
  s.fid = frechet_distance(feature_statistics(view.logits, count, view.classes), real_logits);
  s.tvd = total_variation(view.class_counts(), real_classes);
  if (!extended) return s;
  s.fid_features = frechet_distance(feature_statistics(view.features, count, view.width), real_features);
  s.kid = kernel_distance(real_view.features, real_view.count, view.features, count, view.width);
  if (std::min(count, real_view.count) <= kNeighbours) return s;
  const Overlap o = overlap(real_view.features, real_view.count, view.features, count, view.width, kNeighbours);
  s.precision = o.precision, s.recall = o.recall, s.density = o.density, s.coverage = o.coverage;
  return s;
}

Scores Evaluator::Impl::score_points(std::span<const float> points, int64_t count) const {
  Scores s = blank;
  s.samples = count;
  const auto modes = static_cast<int64_t>(real.centres().size()) / shape.channels;
  const ModeCoverage m = mode_coverage(points, count, real.centres(), modes, shape.channels, real.spread());
  s.modes = m.covered, s.modes_total = m.modes, s.high_quality = m.high_quality;
  return s;
}

Evaluator::Impl::Samples Evaluator::Impl::generate(Generator& generator, uint64_t seed, uint64_t iteration) {
  const GeneratorSpec& spec = generator.spec();
  expect_comparable(real, spec);
  // Uniformly random classes, as the script of MD-GAN's authors draws them, apart from the samples' noise.
  std::vector<int32_t> labels(static_cast<size_t>(samples));
  HostRandom random(seed, RandomStream::kEvaluation, kServerDraws, iteration);
  if (spec.classes > 0)
    for (int32_t& label : labels) label = static_cast<int32_t>(random.below(spec.classes));

  Samples made;
  if (!real.is_points()) {
    made.pictures = generator.pictures(labels, seed, RandomStream::kEvaluation, iteration);
  } else {
    const Tensor x = generator.sample(labels, seed, RandomStream::kEvaluation, iteration);
    made.points.resize(static_cast<size_t>(x.size_per_replica()));
    device->download(made.points.data(), x.data, made.points.size() * sizeof(float));
  }
  return made;
}

Scores Evaluator::Impl::score(const Samples& made) {
  return real.is_points() ? score_points(made.points, samples) : score_pictures(made.pictures, samples);
}

Scores Evaluator::Impl::score(Generator& generator, uint64_t seed, uint64_t iteration) {
  if (!blank.note.empty() && generator.spec().sample == shape) return blank;
  return score(generate(generator, seed, iteration));
}

Evaluator::Evaluator(std::shared_ptr<Device> device, const Settings& settings, const DataSource& data,
                     const ScorerWatch& watch, const std::string& fallback_folder)
    : impl_(std::make_unique<Impl>()) {
  Impl& e = *impl_;
  e.device = std::move(device);
  e.samples = settings.integer("score.samples", 2, 1'000'000);
  e.extended = settings.flag("score.extended");
  const bool test = settings.text("score.real") == "test" && data.test.has_value();
  e.real = test ? *data.test : data.train;
  e.blank.split = test ? "test" : "train";
  e.shape = shape_of(e.real);
  if (e.real.is_points()) {
    const auto modes = static_cast<int64_t>(e.real.centres().size()) / e.shape.channels;
    if (modes < 1) e.blank.note = fmt::format("no scores: {} holds points without known centres", e.real.name());
    if (modes > kMostModes)
      fail(Fault::kData, "expected at most {} modes in {}, found {}", kMostModes, e.real.name(), modes);
    e.real_logits = feature_statistics(points_of(e.real, some_of(e.real, e.samples)),
                                       std::min(e.samples, e.real.count()), e.shape.channels);
    return;
  }
  e.blank.score_name = e.shape == Shape{28, 28, 1} ? "ms" : "is";
  e.choose_scorer(settings.text("score.scorer"), data, watch, fallback_folder);
  if (!e.scorer) return;
  e.blank.scorer = e.scorer->card().source;
  e.blank.scorer_hash = e.scorer->hash();
  e.blank.scorer_accuracy = e.scorer->card().accuracy;
  e.look_at_real_pictures();
}

Evaluator::~Evaluator() = default;
Evaluator::Evaluator(Evaluator&&) noexcept = default;

const Scorer* Evaluator::scorer() const { return impl_->scorer ? &*impl_->scorer : nullptr; }

Scores Evaluator::evaluate(Generator& generator, uint64_t seed, uint64_t iteration) {
  return impl_->score(generator, seed, iteration);
}

Scores Evaluator::evaluate(Generator& generator, int64_t count,
                           const std::function<GeneratorWeights(int64_t index)>& weights, uint64_t seed,
                           uint64_t iteration) {
  if (count < 1) fail(Fault::kUsage, "expected at least one generator to score, found none");
  std::vector<Scores> each;
  for (int64_t i = 0; i < count; ++i) {
    generator.set(weights(i));
    each.push_back(impl_->score(generator, seed, iteration));
  }
  return mean_scores(each);
}

Scores Evaluator::evaluate(Generator& generator, int64_t count,
                           const std::function<GeneratorWeights(int64_t index)>& weights,
                           std::span<const GeneratorMixture> mixtures, uint64_t seed, uint64_t iteration) {
  Impl& e = *impl_;
  std::vector<Impl::Samples> made;
  for (int64_t i = 0; i < count; ++i) {
    generator.set(weights(i));  // even if there are no scores: it may come from another process
    if (e.blank.note.empty()) made.push_back(e.generate(generator, seed, iteration));
  }
  if (!e.blank.note.empty()) return e.blank;
  std::vector<Scores> each;
  for (const GeneratorMixture& mixture : mixtures) {
    const HostRandom random(seed, RandomStream::kEvaluation, kServerDraws, iteration, /*draw=*/1);
    const std::vector<size_t> from = sampled_members(mixture, e.samples, random);
    Impl::Samples mixed;
    for (size_t i = 0; i < from.size(); ++i) {
      const Impl::Samples& source = made[static_cast<size_t>(mixture.members[from[i]])];
      append_row(mixed.pictures, source.pictures, i, e.shape.size());
      append_row(mixed.points, source.points, i, e.shape.size());
    }
    each.push_back(e.score(mixed));
  }
  return ranked_scores(each, mixtures);
}

bool Evaluator::measures() const { return impl_->scorer || (impl_->real.is_points() && impl_->blank.note.empty()); }

Evaluator::Rows Evaluator::look(Generator& generator, uint64_t seed, uint64_t iteration) {
  Impl& e = *impl_;
  Impl::Samples made = e.generate(generator, seed, iteration);
  Rows rows = blank();
  rows.values =
      e.real.is_points() ? std::move(made.points) : std::move(e.scorer->look(made.pictures, e.samples).logits);
  return rows;
}

Evaluator::Rows Evaluator::blank() const {
  const Impl& e = *impl_;
  return {e.samples, e.real.is_points() ? e.shape.size() : e.scorer->card().classes, {}};
}

double Evaluator::distance(const Rows& rows) const {
  if (std::any_of(rows.values.begin(), rows.values.end(), [](float v) { return !std::isfinite(v); })) return NAN;
  return frechet_distance(feature_statistics(rows.values, rows.count, rows.width), impl_->real_logits);
}

Scores Evaluator::evaluate(const Dataset& generated) {
  Impl& e = *impl_;
  expect_comparable(e.real, generated);
  if (!e.blank.note.empty()) return e.blank;
  const std::vector<int32_t> chosen = some_of(generated, e.samples);
  const auto count = static_cast<int64_t>(chosen.size());
  if (!generated.is_points()) return e.score_pictures(pictures_of(generated, chosen), count);
  return e.score_points(points_of(generated, chosen), count);
}

}  // namespace agon
