#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include <nlohmann/json_fwd.hpp>

#include "algorithms/scorer.h"
#include "engine/generator.h"
#include "engine/settings.h"

namespace agon {

/// How good a generator is. Every score is optional (not every data set allows it); `note` says in a sentence why there
/// is none. Lower is better for fid, fid_features, tvd and kid; higher for the others.
struct Scores {
  std::string score_name = "ms";       ///< of `score`: "ms" for 28x28 grey pictures (MNIST score), "is" for others
  std::optional<double> score;         ///< exp of the mean KL(p||q) on the scorer's classes
  std::optional<double> fid;           ///< Frechet distance on the raw logits, as MD-GAN's authors computed it
  std::optional<double> tvd;           ///< total variation distance of the recognised classes from the real shares
  std::optional<double> fid_features;  ///< Frechet distance on the scorer's penultimate features
  std::optional<double> kid;           ///< on the penultimate features
  std::optional<double> precision, recall, density, coverage;  ///< on the penultimate features, k = 5
  std::optional<int64_t> modes, modes_total;                   ///< ring, grid: Gaussians that were hit
  std::optional<double> high_quality;  ///< share of points within 3 standard deviations of a centre

  int64_t samples = 0, real_samples = 0;
  std::string split;                ///< of the real samples: "test" or "train"
  std::string scorer, scorer_hash;  ///< data that the scorer learnt from; hash of its weights
  std::optional<double> scorer_accuracy;
  std::string note;  ///< why there are no scores; empty when there are

  /// Scores of several generators (FL-GAN's workers, gossip): the fields above are means, these the rest.
  int64_t generators = 1;
  std::optional<double> score_deviation, fid_deviation, score_best, fid_best;

  /// Of mixtures: which is better than which, the best first. Fewer of the numbers above, for each.
  struct Ranked {
    int64_t holder = 0;
    std::optional<double> score, fid, tvd, high_quality;
    std::optional<int64_t> modes;
  };
  std::vector<Ranked> ranking;

  /// {"ms": 8.9, "fid": 4.2, "tvd": 0.1, "samples": 500, ...}; absent scores are left out.
  nlohmann::json to_json() const;
  /// For a progress line: "MS 8.91  FD 4.2", "modes 7/8  quality 93%"; empty without scores.
  std::string text() const;
};

/// Means of the scores of several generators, with the deviation (unbiased) and the best of score and fid.
Scores mean_scores(const std::vector<Scores>& each);

/// The same of mixtures, with their ranking.
Scores ranked_scores(const std::vector<Scores>& each, std::span<const GeneratorMixture> mixtures);

/// The keys score.* of a run.
std::vector<Settings::Option> evaluation_options();

/// Throws Error unless samples from elsewhere, or those of a generator, can be scored against the real ones.
void expect_comparable(const Dataset& real, const Dataset& generated);
void expect_comparable(const Dataset& real, const GeneratorSpec& generator);

/// Scores generators against real data, the same way for every algorithm. Made once per run: the scorer is opened (or
/// trained, or taken from the cache), and the real side's statistics are computed, when it is constructed.
class Evaluator {
 public:
  /// Reads score.samples, score.scorer, score.extended and score.real. `watch` sees a scorer being trained;
  /// `fallback_folder` is where it is kept if no cache folder can be written.
  Evaluator(std::shared_ptr<Device> device, const Settings& settings, const DataSource& data,
            const ScorerWatch& watch = {}, const std::string& fallback_folder = "");
  ~Evaluator();
  Evaluator(Evaluator&&) noexcept;

  /// score.samples generated pictures (8 bits a channel) or points; noise and, if conditional, uniformly random labels
  /// are keyed by (seed, kEvaluation, iteration).
  Scores evaluate(Generator& generator, uint64_t seed, uint64_t iteration);
  /// Means over `count` generators of the same architecture, each given the same noise. `generator` lends the network;
  /// afterwards it holds the last weights.
  Scores evaluate(Generator& generator, int64_t count, const std::function<GeneratorWeights(int64_t index)>& weights,
                  uint64_t seed, uint64_t iteration);
  /// Means over mixtures of these generators, and their ranking: by Frechet distance, of points by modes covered. Each
  /// generator's samples are made once; mixtures share them.
  Scores evaluate(Generator& generator, int64_t count, const std::function<GeneratorWeights(int64_t index)>& weights,
                  std::span<const GeneratorMixture> mixtures, uint64_t seed, uint64_t iteration);

  /// What decides between mixtures while they evolve: rows of numbers for score.samples samples of a generator (the
  /// scorer's logits, or the points themselves), and the Frechet distance of such rows from the real ones (NaN where it
  /// cannot be computed, because samples have diverged). Only if measures().
  bool measures() const;
  struct Rows {
    int64_t count = 0, width = 0;
    std::vector<float> values;
  };
  Rows look(Generator& generator, uint64_t seed, uint64_t iteration);
  Rows blank() const;  ///< count and width of all such rows, without values
  double distance(const Rows& rows) const;

  /// Scores pictures (or points) that came from elsewhere: the first score.samples of them, in a fixed random order.
  Scores evaluate(const Dataset& generated);

  /// Null when there is none: points, score.scorer = "none", or unlabelled data without a scorer file.
  const Scorer* scorer() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace agon
