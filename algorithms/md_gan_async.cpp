// Asynchronous MD-GAN (Hardy et al. 2019, section VII): the server applies each F_n when it arrives, in simulated time,
// and waits for nobody. A feedback is the staler the more updates were made since its batches were generated; it is
// applied with a learning rate / (1 + staleness)^alpha (after Zhang et al. 2016).
#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "algorithms/clock.h"
#include "algorithms/players.h"

namespace agon {
namespace {

/// Whose feedback is applied in an iteration.
struct Arrival {
  int64_t worker;
  int64_t dealt;  ///< iteration in which its batches were generated; 0: before the first
  int64_t turn;   ///< how many iterations this worker has made, with this one
};

class AsyncPlan final : public AlgorithmPlan {
 public:
  AsyncPlan(const Settings& settings, const GamePlan& game, double mean_shard)
      : swap_every(epoch_iterations(mean_shard, settings.number("algorithm.swap_epochs", 0, 1e9), game.batch) *
                   game.workers),
        swap(parse_swap(settings.text("algorithm.swap"))),
        swap_moments(parse_moments(settings.text("algorithm.swap_moments"))),
        game_(game),
        clock_(game.network),
        latest_(static_cast<size_t>(game.workers)) {
    if (!settings.raw("world.crash").empty() || !settings.raw("world.join").empty() ||
        settings.is_text("world.crash_every") || settings.integer("world.crash_every", 0) > 0)
      fail(Fault::kUsage,
           "algorithm \"md-gan-async\" knows no faults yet; leave world.crash, crash_every and join out");
    for (int64_t n = 0; n < game.workers; ++n) everybody_.push_back(n);
    clock_.advance({first_deal(), turn_of(everybody_)}, 1, everybody_);
  }

  /// The i-th arrival: of the worker whose feedback is there first, of equals the first.
  const Arrival& arrival(int64_t iteration) const {
    while (std::ssize(arrivals_) < iteration) {
      int64_t next = 0;
      double earliest = INFINITY;
      for (int64_t n : everybody_) {
        const double rate = game_.network->rate(n, latest_[static_cast<size_t>(n)].dealt, Direction::kUp, 1);
        const double there = clock_.ready(n) + 8.0 * static_cast<double>(feedback_bytes()) / rate;
        if (there < earliest) earliest = there, next = n;
      }
      Arrival& arrival = latest_[static_cast<size_t>(next)];
      arrival.worker = next, ++arrival.turn;
      arrivals_.push_back(arrival);
      arrival.dealt = std::ssize(arrivals_);
      clock_.advance(phases_of(arrivals_.back(), arrival.dealt), arrival.dealt, everybody_);
    }
    return arrivals_[static_cast<size_t>(iteration - 1)];
  }
  int64_t staleness(int64_t iteration) const { return iteration - 1 - arrival(iteration).dealt; }

  bool swap_due(int64_t iteration) const { return swap_every > 0 && game_.workers > 1 && iteration % swap_every == 0; }
  Mixing swap_matrix(int64_t iteration) const {
    HostRandom random(game_.seed, RandomStream::kMixing, kServerDraws, static_cast<uint64_t>(iteration));
    return Mixing::permutation(swap_sources(swap, game_.workers, random));
  }

  std::vector<FleetUse> fleets() const override {
    return {{"generator", game_.generator.network.get(), 1, true, game_.batch},
            {"discriminators", game_.discriminator.get(), game_.workers, true, 2 * game_.batch, 2}};
  }
  std::vector<Phase> phases(int64_t iteration, const std::vector<int64_t>&) const override {
    std::vector<Phase> list;
    if (iteration == 1) list = {first_deal(), turn_of(everybody_)};
    const std::vector<Phase> own = phases_of(arrival(iteration), iteration);
    list.insert(list.end(), own.begin(), own.end());
    return list;
  }
  /// What counts is the generator: nobody waits for the slowest.
  std::vector<int64_t> awaited(const std::vector<int64_t>&) const override { return {}; }
  std::vector<Transfer> join_messages(int64_t, int64_t) const override { return {}; }

  const int64_t swap_every;
  const SwapKind swap;
  const Moments swap_moments;

 private:
  using Direction = NetworkModel::Direction;

  int64_t feedback_bytes() const { return game_.batch * game_.sample().size() * int64_t{sizeof(float)}; }
  void deal_to(int64_t worker, std::vector<Transfer>& messages) const {
    for (int batch = 0; batch < 2; ++batch)  // X^(g), X^(d)
      World::plan_deal(messages, {worker}, game_.batch, game_.sample(), game_.conditional());
  }
  Phase first_deal() const {
    Phase phase{.server = {{game_.generator.network.get(), 2 * game_.batch, game_.workers}}};
    for (int64_t worker : everybody_) deal_to(worker, phase.messages);
    return phase;
  }
  /// A worker begins as soon as it has its batches.
  Phase turn_of(const std::vector<int64_t>& who) const {
    const Network* D = game_.discriminator.get();
    return {.workers = {{D, 2 * game_.batch, game_.local_steps, Grads::kParams}, {D, game_.batch, 1, Grads::kInput}},
            .who = who};
  }
  std::vector<Phase> phases_of(const Arrival& arrival, int64_t iteration) const {
    const Network* G = game_.generator.network.get();
    std::vector<Phase> list(2);
    World::plan_collect(list[0].messages, {arrival.worker}, game_.batch, game_.sample());
    list[1].server = {{G, game_.batch, 1, Grads::kParams}, {G, 2 * game_.batch}};
    deal_to(arrival.worker, list[1].messages);
    if (swap_due(iteration)) {
      Phase& exchange = list.emplace_back();
      World::plan_mix(exchange.messages, everybody_, swap_matrix(iteration),
                      Fleet::model_floats(*game_.discriminator, game_.discriminator_options.optimiser,
                                          swap_moments == Moments::kTravel),
                      MessageKind::kDiscriminators, Route::kPeers);
    }
    list.push_back(turn_of({arrival.worker}));
    return list;
  }

  const GamePlan game_;
  std::vector<int64_t> everybody_;
  // Arrivals follow from the settings alone; as many as were asked for are worked out.
  mutable SimulatedClock clock_;
  mutable std::vector<Arrival> arrivals_;
  mutable std::vector<Arrival> latest_;  // [N]
};

class MdGanAsync final : public Algorithm {
 public:
  explicit MdGanAsync(Stage& stage)
      : world_(stage.world()),
        game_(stage.game()),
        plan_(stage.settings(), game_, stage.shards().mean_size()),
        alpha_(stage.settings().number("algorithm.staleness_power", 0, 10)),
        rate_(game_.generator_options.optimiser.learning_rate),
        server_(stage, Place::kServer, {.batch = game_.batch}),
        workers_(stage),
        judged_(stage.device(), workers_.fleet().capacity(), game_.batch, game_.sample(), game_.conditional()),
        learnt_(stage.device(), workers_.fleet().capacity(), game_.batch, game_.sample(), game_.conditional()) {}

  void iterate() override {
    const int64_t i = world_.iteration();
    if (i == 1)
      for (int64_t n = 0; n < game_.workers; ++n) at(0, [&] { deal(n); });

    // Worker n, whose feedback arrives now: L learning iterations on its X^(d), then F_n on its X^(g).
    const int64_t n = plan_.arrival(i).worker, dealt = plan_.arrival(i).dealt, turn = plan_.arrival(i).turn;
    {
      const Focus only(workers_.fleet(), world_.replica_of(n));
      Tensor feedback;
      at(turn, [&] {
        copy(world_.device(), part(learnt_, n), workers_.generated());
        workers_.learn();
        feedback = workers_.feedback(part(judged_, n));
      });
      feedback = world_.collect_from(n, feedback);

      // Server: the gradient at the present weights, for the noise that the worker's X^(g) was generated from.
      at(dealt, [&] { server_.generate_as(n, kJudged); });
      const double slower = std::pow(1.0 + static_cast<double>(plan_.staleness(i)), alpha_);
      server_.fleet().set_learning_rates(
          std::vector<float>(static_cast<size_t>(server_.fleet().replicas()), static_cast<float>(rate_ / slower)));
      server_.learn(feedback, 1.0 / static_cast<double>(game_.batch));
    }

    // The worker gets new batches and begins anew.
    deal(n);
    if (plan_.swap_due(i))
      world_.mix(workers_.fleet(), plan_.swap_matrix(i), MessageKind::kDiscriminators, Route::kPeers,
                 plan_.swap_moments);
  }

  const AlgorithmPlan& plan() const override { return plan_; }
  int64_t generators() const override { return 1; }
  GeneratorWeights generator(int64_t) const override { return server_.weights(0); }
  std::map<std::string, Fleet*> fleets() override {
    return {{"generator", &server_.fleet()}, {"discriminators", &workers_.fleet()}};
  }
  /// The batches that workers hold.
  std::map<std::string, Array> arrays() override {
    std::map<std::string, Array> list;
    for (const BatchBuffer* dealt : {&judged_, &learnt_}) {
      const std::string name = dealt == &judged_ ? "judged" : "learnt";
      const Batch all = dealt->view(workers_.fleet().replicas());
      list[name] = {all.x.data, all.x.size_per_replica(), /*integers=*/false, /*of_workers=*/true};
      if (game_.conditional())
        list[name + " labels"] = {all.y.data, all.y.batch, /*integers=*/true, /*of_workers=*/true};
    }
    return list;
  }
  Losses losses() override { return {workers_.mean_loss(), workers_.mean_generator_loss()}; }
  /// There are no planned faults, and no process that really dies can be done without: its feedback is waited for.
  void worker_lost(int64_t worker) override {
    fail(Fault::kRun,
         "md-gan-async cannot go on without worker {}, whose process was lost; go on from the last checkpoint "
         "with --resume",
         worker);
  }
  void worker_joined(int64_t, int64_t) override {}

 private:
  /// X^(g) and X^(d) for worker n, from the present weights.
  void deal(int64_t n) {
    world_.deal_to(n, server_.generate_as(n, kJudged), game_.conditional(), part(judged_, n));
    world_.deal_to(n, server_.generate_as(n, kLearnt), game_.conditional(), part(learnt_, n));
  }

  /// Everybody counts iterations of its own: draws are those of `iteration` while `work` is done.
  template <class Work>
  void at(int64_t iteration, Work work) {
    const int64_t now = world_.iteration();
    world_.set_iteration(iteration);
    work();
    world_.set_iteration(now);
  }

  /// What worker n has, where it is.
  Batch part(const BatchBuffer& all, int64_t n) const { return all.view(1).only(world_.replica_of(n)); }

  static constexpr uint32_t kJudged = 0, kLearnt = 1;  // draws of a worker's two batches

  World& world_;
  const GamePlan& game_;
  const AsyncPlan plan_;
  const double alpha_, rate_;
  Generators server_;
  Discriminators workers_;
  BatchBuffer judged_, learnt_;  // [workers here, b]: X^(g) and X^(d) that they hold
};

const AlgorithmRegistration registration{
    {"md-gan-async",
     "MD-GAN whose server applies each feedback when it arrives, in simulated time",
     {{"algorithm.staleness_power", "1.0", "alpha: the step is divided by (1 + staleness)^alpha"},
      {"algorithm.swap_epochs", "1.0", "E: local epochs between swaps; 0: never"},
      {"algorithm.swap",
       "\"derangement\"",
       "whom a discriminator goes to",
       {"derangement", "pairwise", "ring", "uniform"}},
      {"algorithm.swap_moments", "\"stay\"", "Adam's moments on a swap", {"stay", "travel", "reset"}}},
     [](const Settings& settings, const GamePlan& game, double mean_shard) -> std::unique_ptr<AlgorithmPlan> {
       return std::make_unique<AsyncPlan>(settings, game, mean_shard);
     },
     [](Stage& stage) -> std::unique_ptr<Algorithm> { return std::make_unique<MdGanAsync>(stage); },
     /*spreads=*/true}};

}  // namespace
}  // namespace agon
