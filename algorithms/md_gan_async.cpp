// Asynchronous MD-GAN (Hardy et al. 2019, section VII): the server applies each F_n when it arrives, in simulated time,
// and waits for nobody. A feedback is the staler the more updates were made since its batches were generated; it is
// applied with a learning rate / (1 + staleness)^alpha (after Zhang et al. 2016).
#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <set>

#include "algorithms/clock.h"
#include "algorithms/faults.h"
#include "algorithms/options.h"
#include "algorithms/players.h"
#include "algorithms/swaps.h"

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
      : swaps(settings, game, mean_shard, /*steps=*/game.workers),
        game_(game),
        faults_(settings, game.workers, iterations_of(settings), game.seed),
        start_(game.network, game.workers),
        now_(start_) {}

  /// In a run, which may lose processes at any time, it is not the schedule that counts but what happens. Then arrivals
  /// are worked out again: processes may have been at different ones.
  void follow_events() {
    faults_ = FaultSchedule(game_.workers);
    skip_to(1);
  }
  void happened(const Event& event) {
    faults_.add(event);
    skip_to(1);
  }
  /// This iteration was given up: nobody knows what has arrived, so that everybody begins anew.
  void interrupted(int64_t iteration) {
    interruptions_.insert(iteration);
    skip_to(1);
  }
  nlohmann::json history() const { return {{"events", to_json(faults_.events())}, {"interruptions", interruptions_}}; }
  void restore(const nlohmann::json& history) {
    follow_events();
    for (const Event& event : events_from_json(history.at("events"))) faults_.add(event);
    interruptions_ = history.at("interruptions").get<std::set<int64_t>>();
  }

  /// Who gets batches at the start of an iteration, made by the weights that there are then: in the first everybody,
  /// later those who have joined.
  std::vector<int64_t> beginners(int64_t iteration) const {
    const std::vector<int64_t> living = faults_.living(iteration);
    if (iteration == first_ || interruptions_.contains(iteration - 1)) return living;
    std::vector<int64_t> list;
    for (const Event& event : faults_.at(iteration - 1))  // some may be lost again
      if (event.kind == "joined" && std::binary_search(living.begin(), living.end(), event.worker))
        list.push_back(event.worker);
    return list;
  }

  /// The i-th arrival: of the worker whose feedback is there first, of equals the first.
  const Arrival& arrival(int64_t iteration) const {
    if (iteration < first_) skip_to(1);
    while (first_ + std::ssize(arrivals_) <= iteration) {
      const int64_t i = first_ + std::ssize(arrivals_);
      const std::vector<int64_t> who = beginners(i);
      for (int64_t worker : who) now_.latest[static_cast<size_t>(worker)].dealt = i - 1;
      now_.clock.advance(beginning_of(who), i, {});
      int64_t next = 0;
      double earliest = INFINITY;
      for (int64_t n : faults_.living(i)) {
        const double rate = game_.network->rate(n, now_.latest[static_cast<size_t>(n)].dealt, Direction::kUp, 1);
        const double there = now_.clock.ready(n) + 8.0 * static_cast<double>(feedback_bytes()) / rate;
        if (there < earliest) earliest = there, next = n;
      }
      Arrival& arrival = now_.latest[static_cast<size_t>(next)];
      arrival.worker = next, ++arrival.turn;
      arrivals_.push_back(arrival);
      arrival.dealt = i;
      now_.clock.advance(phases_of(arrivals_.back(), i), i, {});
    }
    return arrivals_[static_cast<size_t>(iteration - first_)];
  }
  int64_t staleness(int64_t iteration) const { return iteration - 1 - arrival(iteration).dealt; }

  std::vector<FleetUse> fleets() const override {
    return {{"generator", game_.generator.network.get(), 1, true, game_.batch},
            {"discriminators", game_.discriminator.get(), game_.workers, true, 2 * game_.batch, 2}};
  }
  std::vector<Phase> phases(int64_t iteration, const std::vector<int64_t>&) const override {
    std::vector<Phase> list = beginning_of(beginners(iteration));
    const std::vector<Phase> own = phases_of(arrival(iteration), iteration);
    list.insert(list.end(), own.begin(), own.end());
    return list;
  }
  int64_t period() const override { return swaps.period(); }
  void skip_to(int64_t iteration) const override {
    arrivals_.clear();
    now_ = start_, first_ = iteration;
  }
  /// What counts is the generator: nobody waits for the slowest.
  std::vector<int64_t> awaited(const std::vector<int64_t>&) const override { return {}; }
  std::vector<Transfer> join_messages(int64_t worker, int64_t like) const override {
    return {World::model_transfer(game_.discriminator_floats(true), MessageKind::kDiscriminators, like, worker)};
  }

  const Swaps swaps;

 private:
  using Direction = NetworkModel::Direction;

  /// How far the arrivals have been worked out.
  struct Progress {
    Progress(std::shared_ptr<const NetworkModel> network, int64_t workers)
        : clock(std::move(network)), latest(static_cast<size_t>(workers)) {}
    SimulatedClock clock;
    std::vector<Arrival> latest;  // [N]
  };

  int64_t feedback_bytes() const { return game_.batch * game_.sample().size() * int64_t{sizeof(float)}; }
  void deal_to(int64_t worker, std::vector<Transfer>& messages) const {
    for (int batch = 0; batch < 2; ++batch)  // X^(g), X^(d)
      World::plan_deal(messages, {worker}, game_.batch, game_.sample(), game_.conditional());
  }
  std::vector<Phase> beginning_of(const std::vector<int64_t>& who) const {
    if (who.empty()) return {};
    Phase deal{.server = {{game_.generator.network.get(), 2 * game_.batch, std::ssize(who)}}};
    for (int64_t worker : who) deal_to(worker, deal.messages);
    return {deal, turn_of(who)};
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
    const std::vector<int64_t> living = faults_.living(iteration);
    if (const int64_t N = std::ssize(living); swaps.due(iteration, N)) {
      Phase& exchange = list.emplace_back();
      World::plan_mix(exchange.messages, living, swaps.matrix(iteration, N), swaps.model_floats(),
                      MessageKind::kDiscriminators, Route::kPeers);
    }
    list.push_back(turn_of({arrival.worker}));
    return list;
  }

  const GamePlan game_;
  FaultSchedule faults_;
  std::set<int64_t> interruptions_;  // iterations that were given up
  // Arrivals follow from the settings and from who was there; as many as were asked for are worked out.
  const Progress start_;
  mutable Progress now_;
  mutable int64_t first_ = 1;  // arrivals_[0]
  mutable std::vector<Arrival> arrivals_;
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
        learnt_(stage.device(), workers_.fleet().capacity(), game_.batch, game_.sample(), game_.conditional()) {
    plan_.follow_events();
  }

  void iterate() override {
    const int64_t i = world_.iteration(), N = world_.size();
    for (int64_t n : plan_.beginners(i)) at(i - 1, [&] { deal(n); });

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
    if (plan_.swaps.due(i, N))
      world_.mix(workers_.fleet(), plan_.swaps.matrix(i, N), MessageKind::kDiscriminators, Route::kPeers,
                 plan_.swaps.moments());
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
  nlohmann::json state() const override { return plan_.history(); }
  void restore(const nlohmann::json& state) override {
    if (!state.is_null()) plan_.restore(state);  // null in older checkpoints, of runs without faults
  }

  void worker_lost(int64_t worker) override {
    plan_.happened({world_.iteration(), worker, "lost"});
    if (const int64_t gone = world_.replica_of(worker); gone >= 0)
      for (int64_t r = gone; r + 1 < workers_.fleet().replicas(); ++r) move_batches(r + 1, r);
    remove_worker(world_, workers_.fleet(), worker);
  }
  void worker_joined(int64_t worker, int64_t like) override {
    const int64_t before = workers_.fleet().replicas();
    insert_worker(world_, workers_.fleet(), worker, like);
    plan_.happened({world_.iteration(), worker, "joined", like});
    if (workers_.fleet().replicas() == before) return;  // in another process
    const std::vector<int64_t>& here = world_.here();
    const int64_t place = std::lower_bound(here.begin(), here.end(), worker) - here.begin();
    for (int64_t r = before; r > place; --r) move_batches(r - 1, r);
  }
  void interrupted() override { plan_.interrupted(world_.iteration()); }

 private:
  /// The batches of a worker here get another place.
  void move_batches(int64_t from, int64_t to) {
    for (const BatchBuffer* dealt : {&judged_, &learnt_})
      copy(world_.device(), dealt->view(1).only(from), dealt->view(1).only(to));
  }

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
    try {
      work();
    } catch (const ProcessLost&) {
      world_.set_iteration(now);
      throw;
    }
    world_.set_iteration(now);
  }

  /// What worker n has, where it is.
  Batch part(const BatchBuffer& all, int64_t n) const { return all.view(1).only(world_.replica_of(n)); }

  static constexpr uint32_t kJudged = 0, kLearnt = 1;  // draws of a worker's two batches

  World& world_;
  const GamePlan& game_;
  AsyncPlan plan_;
  const double alpha_, rate_;
  Generators server_;
  Discriminators workers_;
  BatchBuffer judged_, learnt_;  // [workers here, b]: X^(g) and X^(d) that they hold
};

std::vector<Settings::Option> options() {
  std::vector<Settings::Option> list = Swaps::options();
  list.insert(list.begin(), Settings::Option{"algorithm.staleness_power", "1.0",
                                             "alpha: the step is divided by (1 + staleness)^alpha"});
  return list;
}

const AlgorithmRegistration registration{
    {"md-gan-async", "MD-GAN whose server applies each feedback when it arrives, in simulated time", options(),
     [](const Settings& settings, const GamePlan& game, double mean_shard) -> std::unique_ptr<AlgorithmPlan> {
       return std::make_unique<AsyncPlan>(settings, game, mean_shard);
     },
     [](Stage& stage) -> std::unique_ptr<Algorithm> { return std::make_unique<MdGanAsync>(stage); },
     /*spreads=*/true}};

}  // namespace
}  // namespace agon
