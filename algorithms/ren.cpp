// The framework of Ren, Liu, Yu & Guo (2021): devices train discriminators, which the server averages; the server
// trains the generator against the average. Two schedules, one after the other (`ren-serial`) or at once
// (`ren-parallel`).
#include <algorithm>

#include "algorithms/players.h"
#include "algorithms/scheduling.h"

namespace agon {
namespace {

Precision precision_of_models(const Settings& settings) {
  const int64_t bits = settings.integer("algorithm.model_bits");
  if (bits != 16 && bits != 32) fail(Fault::kUsage, "algorithm.model_bits is {}, expected 32 or 16", bits);
  return bits == 16 ? Precision::kBf16 : Precision::kFp32;
}

class RenPlan final : public AlgorithmPlan {
 public:
  RenPlan(const Settings& settings, const GamePlan& game)
      : serial(settings.text("algorithm.name") == "ren-serial"),
        generator_steps(settings.integer("algorithm.generator_steps", 1, 250)),
        moments(parse_moments(settings.text("algorithm.moments"))),
        wire(precision_of_models(settings)),
        game_(game),
        kind_(parse_schedule(settings.text("algorithm.schedule"))),
        ratio_(settings.number("algorithm.ratio", 1e-6, 1)),
        by_data_(settings.text("algorithm.weighting") == "data") {}

  /// S of a round: the scheduled devices, but for those that will not finish in time (footnote 1).
  std::vector<int64_t> participants(int64_t round, const std::vector<int64_t>& living) const {
    const std::vector<int64_t> S = scheduled(kind_, ratio_, round, living, *game_.network);
    std::vector<int64_t> in_time;
    double flops = 0;
    for (const Pass& pass : device_passes()) flops += static_cast<double>(pass.flops());
    for (int64_t k : S)
      if (game_.network->in_time(
              k, round, game_.network->compute_seconds(k, round, flops),
              World::model_transfer(discriminator_floats(), MessageKind::kDiscriminators, k, kServer, wire).bytes,
              std::ssize(S)))
        in_time.push_back(k);
    return in_time;
  }
  /// Algorithm 2 as a row-stochastic matrix: all living get the average over S, weighted by sample count.
  Mixing average(const std::vector<int64_t>& S, const std::vector<int64_t>& living) const {
    const std::vector<double> shares = game_.shares_of(living);
    std::vector<double> weights;
    for (size_t i = 0; i < living.size(); ++i)
      weights.push_back(!std::binary_search(S.begin(), S.end(), living[i]) ? 0.0 : by_data_ ? shares[i] : 1.0);
    return Mixing::average(std::ssize(living), weights);
  }

  std::vector<FleetUse> fleets() const override {
    const Network *G = game_.generator.network.get(), *D = game_.discriminator.get();
    return {{"generator", G, 1, true, game_.batch},
            {"discriminator", D, 1, true, game_.batch},
            {"devices' generators", G, game_.workers, false, game_.batch},
            {"devices' discriminators", D, game_.workers, true, 2 * game_.batch, 2}};
  }
  std::vector<Phase> phases(int64_t round, const std::vector<int64_t>& living) const override {
    const Network *G = game_.generator.network.get(), *D = game_.discriminator.get();
    const std::vector<int64_t> S = participants(round, living);
    const std::vector<Pass> server = {{G, game_.batch, generator_steps, Grads::kParams},
                                      {D, game_.batch, generator_steps, Grads::kInput}};
    std::vector<Phase> list = {{.workers = device_passes(), .who = S}};
    if (!serial) list[0].server = server;
    if (!S.empty()) {
      std::vector<Transfer> models;
      World::plan_mix(models, living, average(S, living), discriminator_floats(), MessageKind::kDiscriminators,
                      Route::kServer, wire);
      add_exchange(list, models);
    }
    if (serial) list.push_back({.server = server});
    World::plan_broadcast(list.back().messages, living,
                          Fleet::model_floats(*G, game_.generator_options.optimiser, false), MessageKind::kGenerators,
                          wire);
    for (Phase& phase : list) phase.broadcast = !phase.messages.empty() && phase.messages.front().from == kServer;
    return list;
  }
  std::vector<Transfer> join_messages(int64_t worker, int64_t) const override {
    return {
        World::model_transfer(Fleet::model_floats(*game_.generator.network, game_.generator_options.optimiser, false),
                              MessageKind::kGenerators, kServer, worker),
        World::model_transfer(Fleet::model_floats(*game_.discriminator, game_.discriminator_options.optimiser, false),
                              MessageKind::kDiscriminators, kServer, worker)};
  }

  const bool serial;
  const int64_t generator_steps;  // n_g
  const Moments moments;
  const Precision wire;  // of models

 private:
  std::vector<Pass> device_passes() const {
    return {{game_.generator.network.get(), game_.batch, game_.local_steps},
            {game_.discriminator.get(), 2 * game_.batch, game_.local_steps, Grads::kParams}};
  }
  int64_t discriminator_floats() const { return game_.discriminator_floats(moments == Moments::kTravel); }

  const GamePlan game_;
  const ScheduleKind kind_;
  const double ratio_;
  const bool by_data_;
};

class Ren final : public Algorithm {
 public:
  explicit Ren(Stage& stage)
      : world_(stage.world()),
        game_(stage.game()),
        plan_(stage.settings(), game_),
        server_(stage, Place::kServer, {.batch = game_.batch}),
        global_(stage, Place::kServer),
        generators_(stage, Place::kWorkers, {.batch = game_.batch, .trains = false}),
        devices_(stage) {
    if (!stage.settings().flag("gan.same_start"))
      fail(Fault::kUsage, "algorithm \"{}\" starts from one global GAN; gan.same_start must be true",
           stage.settings().text("algorithm.name"));
  }

  /// A communication round.
  void iterate() override {
    // Step 1: device scheduling.
    const std::vector<int64_t> S = plan_.participants(world_.iteration(), world_.living());

    // Step 2: the scheduled devices update their discriminators; in the parallel schedule the server its generator too.
    for_each_run(S, [&](int64_t first, int64_t count) { update_devices(first, count); });
    if (!plan_.serial) update_generator(S);

    // Steps 3 to 5: upload, averaging, broadcast of the average. The serial schedule updates the generator now.
    if (!S.empty()) {
      world_.mix(devices_.fleet(), plan_.average(S, world_.living()), MessageKind::kDiscriminators, Route::kServer,
                 plan_.moments, plan_.wire);
      world_.fetch(devices_.fleet(), 0, global_.fleet());
    }
    if (plan_.serial) update_generator(S);
    world_.broadcast(server_.fleet(), generators_.fleet(), MessageKind::kGenerators, plan_.wire);
  }

  const AlgorithmPlan& plan() const override { return plan_; }
  int64_t generators() const override { return 1; }
  GeneratorWeights generator(int64_t) const override { return server_.weights(0); }
  std::map<std::string, Fleet*> fleets() override {
    return {{"generator", &server_.fleet()},
            {"discriminator", &global_.fleet()},
            {"devices' generators", &generators_.fleet()},
            {"devices' discriminators", &devices_.fleet()}};
  }
  Losses losses() override { return {devices_.mean_loss(), global_.mean_generator_loss()}; }
  void worker_lost(int64_t worker) override {
    if (world_.size() == 1) return;  // the last one's models stay, to be looked at
    remove_worker(world_, generators_.fleet(), worker);
    remove_worker(world_, devices_.fleet(), worker);
  }
  void worker_joined(int64_t worker, int64_t like) override {
    insert_worker(world_, generators_.fleet(), worker, like);
    insert_worker(world_, devices_.fleet(), worker, like);
  }

 private:
  /// Algorithm 1: n_d steps of the devices `first` .. `first` + `count` - 1 of the living.
  void update_devices(int64_t first, int64_t count) {
    const Focus these_g(generators_.fleet(), first, count), these_d(devices_.fleet(), first, count);
    for (int64_t j = 0; j < game_.local_steps; ++j) {
      copy(world_.device(), generators_.generate(static_cast<uint32_t>(j)), devices_.generated());
      devices_.step(j);
    }
  }

  /// Algorithm 3: n_g steps of the generator against the global discriminator, with the noise of the scheduled devices
  /// in turn, whose seeds the server shares.
  void update_generator(const std::vector<int64_t>& S) {
    for (int64_t j = 0; j < plan_.generator_steps; ++j) {
      const auto draw = static_cast<uint32_t>(j);
      const Batch fake =
          S.empty() ? server_.generate(draw) : server_.generate_as(S[static_cast<size_t>(j % std::ssize(S))], draw);
      server_.learn(global_.feedback(fake, j), 1.0 / static_cast<double>(game_.batch));
    }
  }

  /// Neighbours here that are scheduled together train together.
  template <class Work>
  void for_each_run(const std::vector<int64_t>& S, Work work) {
    for (size_t i = 0, end; i < S.size(); i = end) {
      const int64_t first = world_.replica_of(S[i]);
      end = i + 1;
      if (first < 0) continue;  // in another process
      for (; end < S.size() && world_.replica_of(S[end]) == first + static_cast<int64_t>(end - i);) ++end;
      work(first, static_cast<int64_t>(end - i));
    }
  }

  World& world_;
  const GamePlan& game_;
  const RenPlan plan_;
  Generators server_;       // theta
  Discriminators global_;   // phi, at the server
  Generators generators_;   // theta, at the devices: broadcast, not trained
  Discriminators devices_;  // phi_k
};

std::vector<Settings::Option> options() {
  return {{"algorithm.local_steps", "5", "n_d: discriminator steps of a device per round"},
          {"algorithm.generator_steps", "5", "n_g: generator steps of the server per round"},
          {"algorithm.schedule",
           "\"all\"",
           "which devices take part in a round",
           {"all", "round-robin", "proportional-fair", "best-channels"}},
          {"algorithm.model_bits", "32", "of each number of a model that is sent: 32, or 16 (bfloat16)"},
          {"algorithm.ratio", "1.0", "share of the devices that is scheduled"},
          {"algorithm.weighting", "\"data\"", "what a device weighs in the average", {"equal", "data"}},
          {"algorithm.moments", "\"stay\"", "Adam's moments of averaged discriminators", {"stay", "average", "reset"}}};
}

std::unique_ptr<AlgorithmPlan> plan(const Settings& settings, const GamePlan& game, double) {
  return std::make_unique<RenPlan>(settings, game);
}
std::unique_ptr<Algorithm> make(Stage& stage) { return std::make_unique<Ren>(stage); }

const AlgorithmRegistration serial{{"ren-serial",
                                    "devices train discriminators, then the server the generator (Ren et al. 2021)",
                                    options(), plan, make, /*spreads=*/true}};
const AlgorithmRegistration parallel{{"ren-parallel", "devices and server train at the same time (Ren et al. 2021)",
                                      options(), plan, make,
                                      /*spreads=*/true}};

}  // namespace
}  // namespace agon
