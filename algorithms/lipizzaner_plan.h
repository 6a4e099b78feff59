#pragma once

#include <algorithm>

#include "algorithms/coevolution.h"
#include "algorithms/players.h"

namespace agon {

/// What a run of Lipizzaner computes and sends (algorithms/lipizzaner.cpp).

/// What a neighbour sends besides weights and moments: step count and learning rate of both players.
inline constexpr int64_t kControlBytes = 4 * 4;

/// The keys algorithm.* of Lipizzaner, checked.
struct LipizzanerOptions {
  explicit LipizzanerOptions(const Settings& settings, int64_t cells)
      : torus(cells, settings.integer("algorithm.rows", 0)),
        as_shipped(settings.flag("algorithm.as_shipped")),
        selection(settings.flag("algorithm.selection")),
        mustangs(settings.flag("algorithm.mustangs")),
        all_opponents(settings.text("algorithm.opponents") == "neighbourhood"),
        tournament(settings.integer("algorithm.tournament", 1)),
        skip(settings.integer("algorithm.skip_discriminator", 0)),
        trainer(settings.text("algorithm.trainer")),
        search_points(settings.integer("algorithm.search_points", 1, 1 << 16)),
        search_sigma(settings.number("algorithm.search_sigma", 1e-9, 1e3)),
        fitness_batches(settings.integer("algorithm.fitness_batches", 1, 1 << 16)),
        mixture_sigma(settings.number("algorithm.mixture_sigma", 0, 1e3)),
        rate_scale(settings.number("algorithm.rate_mutation", 0, 1e6)),
        rate_probability(settings.number("algorithm.rate_probability", 0, 1)) {
    if (mustangs && trainer != "gradient")
      fail(Fault::kUsage,
           "algorithm.mustangs is true, but algorithm.trainer is \"{}\", which knows one loss; expected "
           "\"gradient\"",
           trainer);
    if (!as_shipped) return;
    if (torus.rows() != torus.columns())
      fail(Fault::kUsage, "algorithm.as_shipped mirrors the grid at its diagonal, but it has {} rows and {} columns",
           torus.rows(), torus.columns());
    if (settings.text("data.partition") != "diet" || settings.number("data.share") != 1)
      fail(Fault::kUsage,
           "algorithm.as_shipped has no data partition; expected data.partition = \"diet\" and data.share = 1");
  }

  /// Neighbourhoods of the living cells, as numbers among them: members[r] begins with r itself.
  World::Neighbours neighbourhoods(const std::vector<int64_t>& living) const {
    World::Neighbours all;
    for (int64_t cell : living) {
      all.push_back(torus.neighbourhood(cell, living, as_shipped));
      for (int64_t& member : all.back())
        member = std::lower_bound(living.begin(), living.end(), member) - living.begin();
    }
    return all;
  }

  const Torus torus;
  const bool as_shipped, selection, mustangs, all_opponents;
  const int64_t tournament, skip;
  const std::string trainer;  ///< "gradient", "nes" or "es"
  const int64_t search_points;
  const double search_sigma;
  const int64_t fitness_batches;
  const double mixture_sigma, rate_scale, rate_probability;
};

class LipizzanerPlan final : public LocalPlan {
 public:
  LipizzanerPlan(const Settings& settings, const GamePlan& game, double mean_shard)
      : LocalPlan(game), options(settings, game.workers), batches(epoch_iterations(mean_shard, 1, game.batch)) {}

  std::vector<FleetUse> fleets() const override {
    const Network *G = game_.generator.network.get(), *D = game_.discriminator.get();
    const int64_t N = game_.workers, b = game_.batch;
    return {{"generators", G, N},
            {"discriminators", D, N},
            {"trained_generators", G, N, true, b},
            {"trained_discriminators", D, N, true, 2 * b, 2},
            {"rival_generators", G, N, false, b},
            {"rival_discriminators", D, N, false, b, 1, true}};
  }
  /// Each cell plays its games and trains; then it gets the pairs of its neighbours, with the state of their
  /// optimisers.
  std::vector<Phase> phases(int64_t, const std::vector<int64_t>& living) const override {
    const Network *G = game_.generator.network.get(), *D = game_.discriminator.get();
    const int64_t b = game_.batch, s = largest_neighbourhood(living), S = options.fitness_batches;
    Phase epoch{.workers = {{G, b, (s + 2) * s * S}, {D, b, (s * (s + 3) + 1) * S}}, .who = living};
    const int64_t steps_G = batches, steps_D = discriminator_steps();
    if (options.trainer == "gradient") {
      for (const Pass& pass : {Pass{G, b, steps_G, Grads::kParams}, Pass{D, b, steps_G, Grads::kInput},
                               Pass{G, b, steps_D}, Pass{D, 2 * b, steps_D, Grads::kParams}})
        epoch.workers.push_back(pass);
    } else {
      const int64_t P = options.trainer == "nes" ? 2 * options.search_points : options.search_points + 1;
      for (const Pass& pass : {Pass{G, b, steps_G * (1 + P)}, Pass{D, b, steps_G * (1 + P)}, Pass{G, b, steps_D},
                               Pass{D, 2 * b, steps_D}, Pass{D, b, steps_D * 2 * P}})
        epoch.workers.push_back(pass);
    }
    const auto neighbours = options.neighbourhoods(living);
    World::plan_exchange(epoch.messages, living, neighbours, game_.generator_floats(true), MessageKind::kGenerators);
    World::plan_exchange(epoch.messages, living, neighbours, game_.discriminator_floats(true),
                         MessageKind::kDiscriminators);
    for (const Transfer& control : controls(living)) epoch.messages.push_back(control);
    return {epoch};
  }
  std::vector<Transfer> controls(const std::vector<int64_t>& living) const {
    std::vector<Transfer> list;
    World::plan_exchange(list, living, options.neighbourhoods(living), 1, MessageKind::kControl);
    for (Transfer& transfer : list) transfer.bytes = kControlBytes;
    return list;
  }
  int64_t discriminator_steps() const { return (batches + options.skip) / (options.skip + 1); }  // in an epoch
  int64_t largest_neighbourhood(const std::vector<int64_t>& living) const {
    size_t largest = 0;
    for (const auto& members : options.neighbourhoods(living)) largest = std::max(largest, members.size());
    return static_cast<int64_t>(largest);
  }

  const LipizzanerOptions options;
  const int64_t batches;  // in an epoch
};

}  // namespace agon
