#include "algorithms/players.h"

#include <algorithm>
#include <numeric>
#include <utility>

namespace agon {
namespace {

/// `replicas` 0: one for each worker here.
FleetOptions options_of(FleetOptions options, Stage& stage, Place place, int64_t replicas) {
  const World& world = stage.world();
  options.replicas = place == Place::kServer ? (world.serves() ? 1 : 0)
                     : replicas > 0          ? replicas
                                             : std::ssize(world.here());
  options.split = place == Place::kServer || stage.game().workers == 1;
  options.of_server = place == Place::kServer;
  return options;
}

FleetOptions options_of(FleetOptions options, Stage& stage, Place place, const Generators::Options& generators) {
  options.trains = generators.trains;
  if (!generators.optimises) options.optimiser.kind = "none";
  return options_of(options, stage, place, generators.replicas);
}

/// Whose initial weights they are, where workers start differently.
std::vector<int64_t> ids_of(Stage& stage, Place place, int64_t replicas) {
  if (place == Place::kServer) return {};
  std::vector<int64_t> ids = stage.world().here();
  if (replicas > 0) ids.resize(static_cast<size_t>(replicas));
  return ids;
}

}  // namespace

void copy(Device& device, const Batch& from, const Batch& to) {
  if (from.x.replicas == 0) return;
  device.run(ops::Axpby{.replicas = from.x.replicas,
                        .count = from.x.size_per_replica(),
                        .x = from.x.block(),
                        .y = to.x.block(),
                        .a = 0.f,
                        .b = 1.f});
  if (!from.y) return;
  auto rows = std::make_shared<ops::Mix::Rows>();
  for (int64_t r = 0; r < from.y.replicas; ++r) {
    rows->begin.push_back(r);
    rows->column.push_back(r);
    rows->weight.push_back(1.f);
  }
  rows->begin.push_back(from.y.replicas);
  device.run(ops::Select{from.y.batch, from.y.block(), to.y.block(), rows});
}

Discriminators::Discriminators(Stage& stage, Place place, int64_t replicas)
    : stage_(stage),
      place_(place),
      fleet_(stage.device(), stage.game().discriminator,
             options_of(stage.game().discriminator_options, stage, place, replicas), ids_of(stage, place, replicas)),
      both_(stage.device(), fleet_.capacity(), 2 * stage.game().batch, stage.game().sample(),
            stage.game().conditional()),
      loss_{Buffer<float>(stage.device(), fleet_.capacity())},
      generator_loss_{Buffer<float>(stage.device(), fleet_.capacity())} {
  if (place == Place::kWorkers) fleet_.set_replicas(std::min(fleet_.capacity(), std::ssize(stage.world().here())));
}

RandomKey Discriminators::key(RandomStream stream, int64_t draw) const {
  const World& world = stage_.world();
  const auto number = static_cast<uint32_t>(draw);
  return place_ == Place::kServer ? world.server_key(stream, number)
                                  : world.worker_key(stream, number, first_worker_ + fleet_.first());
}

Batch Discriminators::generated() {
  const int64_t b = stage_.game().batch;
  return both_.view(fleet_.replicas()).rows(b, b);
}

void Discriminators::learn(bool fresh_real, const Share& share) {
  for (int64_t l = 0; l < stage_.game().local_steps; ++l) step(l, fresh_real, share);
}

void Discriminators::step(int64_t l, bool fresh_real, const Share& share) {
  const GamePlan& game = stage_.game();
  const int64_t N = fleet_.replicas(), b = game.batch;
  loss_.passes += N;
  if (N == 0) {
    if (share) share(fleet_);
    return;
  }
  const Batch both = both_.view(N), real = both.rows(0, b), fake = both.rows(b, b);
  if (l == 0 || fresh_real)
    stage_.shards().sample(key(RandomStream::kSamples, l), fresh_real ? static_cast<uint32_t>(game.local_steps) : 1,
                           real);
  const Tensor logits = fleet_.forward(both.x, {.groups = 2, .key = key(RandomStream::kDropout, l)});
  const Tensor gradient = fleet_.output_gradient();
  const auto loss = [&](ops::GanRole role, int64_t begin, const Batch& batch) {
    ops::GanLoss op = game.loss;
    op.role = role, op.replicas = N, op.batch = b;
    op.logits = logits.rows(begin, b).block();
    op.labels = batch.y.block();
    op.dlogits = gradient.rows(begin, b).block();
    op.loss = {loss_.sums.data() + fleet_.first(), 1};
    op.scale = 1.f / static_cast<float>(b);
    stage_.world().device().run(op);
  };
  loss(ops::GanRole::kReal, 0, real);
  loss(ops::GanRole::kFake, b, fake);
  fleet_.backward(Grads::kParams);
  if (share) share(fleet_);
  fleet_.step();
}

Tensor Discriminators::feedback(const Batch& fake, int64_t draw) {
  const GamePlan& game = stage_.game();
  generator_loss_.passes += fleet_.replicas();
  if (fleet_.replicas() == 0) return {nullptr, 0, fake.x.batch, game.sample(), 0};
  ops::GanLoss op = game.loss;
  op.role = ops::GanRole::kGenerator, op.replicas = fleet_.replicas(), op.batch = fake.x.batch;
  op.logits = fleet_.forward(fake.x, {.key = key(RandomStream::kDropout, game.local_steps + draw)}).block();
  op.labels = fake.y.block();
  op.dlogits = fleet_.output_gradient().block();
  op.loss = {generator_loss_.sums.data() + fleet_.first(), 1};
  stage_.world().device().run(op);
  return fleet_.backward(Grads::kInput);
}

void Discriminators::drain(LossSum& loss) {
  std::vector<float> values = loss.sums.host();
  loss.sums.set(std::vector<float>(values.size(), 0.f));
  int64_t seen = std::exchange(loss.passes, 0);
  if (const World& world = stage_.world(); place_ == Place::kWorkers && world.spread()) {
    values.resize(world.here().size());
    std::vector<int64_t> counts(world.here().size(), 0);
    if (!counts.empty()) counts[0] = seen;
    values = world.gather(values), counts = world.gather(counts);
    seen = std::accumulate(counts.begin(), counts.end(), int64_t{0});
  }
  loss.total += std::accumulate(values.begin(), values.end(), 0.0);
  loss.count += seen;
}

double Discriminators::take_mean(LossSum& loss) {
  drain(loss);
  const double total = std::exchange(loss.total, 0.0);
  const int64_t count = std::exchange(loss.count, 0);
  return count ? total / static_cast<double>(count) : 0.0;
}

double Discriminators::mean_loss() { return take_mean(loss_); }
double Discriminators::mean_generator_loss() { return take_mean(generator_loss_); }

void Discriminators::move_to(std::vector<int64_t> hosts, bool with_moments) {
  for (LossSum* loss : {&loss_, &generator_loss_}) drain(*loss);  // of the hosts of before
  stage_.world().rehost(fleet_, std::move(hosts), with_moments);
}

Generators::Generators(Stage& stage, Place place, const Options& options)
    : stage_(stage),
      place_(place),
      groups_(options.groups),
      fleet_(stage.device(), stage.game().generator.network,
             options_of(stage.game().generator_options, stage, place, options), ids_of(stage, place, options.replicas)),
      noise_(stage.device(), fleet_.capacity(), options.batch, {1, 1, stage.game().generator.latent},
             stage.game().conditional()) {}

Batch Generators::generate(uint32_t draw) {
  return generate([&](RandomStream stream) {
    const World& world = stage_.world();
    return place_ == Place::kServer ? world.server_key(stream, draw)
                                    : world.worker_key(stream, draw, first_worker_ + fleet_.first());
  });
}

Batch Generators::generate_as(int64_t worker, uint32_t draw) {
  return generate([&](RandomStream stream) { return stage_.world().key_of(worker, stream, draw); });
}

Batch Generators::generate(const std::function<RandomKey(RandomStream)>& key) {
  Device& device = stage_.world().device();
  const Batch noise = noise_.view(fleet_.replicas());
  if (fleet_.replicas() == 0) return {{nullptr, 0, noise.x.batch, stage_.game().sample(), 0}, {}};
  device.run(ops::RandomFill{.kind = ops::RandomFill::Kind::kNormal,
                             .replicas = fleet_.replicas(),
                             .count = noise.x.size_per_replica(),
                             .y = noise.x.block(),
                             .key = key(RandomStream::kNoise)});
  if (noise.y)
    device.run(ops::RandomLabels{.replicas = fleet_.replicas(),
                                 .count = noise.y.batch,
                                 .classes = stage_.game().generator.classes,
                                 .y = noise.y.block(),
                                 .key = key(RandomStream::kLabels)});
  return {fleet_.forward(noise.x, {.groups = groups_, .labels = noise.y, .key = key(RandomStream::kDropout)}), noise.y};
}

void Generators::learn(const Tensor& feedback, double scale, const Share& share) {
  fleet_.backward(feedback, Grads::kParams);
  if (share) share(fleet_);
  fleet_.step(scale);
}

GeneratorWeights Generators::weights(int64_t index) const {
  if (place_ == Place::kWorkers) return stage_.world().fetch(fleet_, index);
  if (!stage_.world().serves()) return {};
  return {fleet_.replica_weights(index), fleet_.replica_state(index)};
}

std::vector<AlgorithmPlan::FleetUse> LocalPlan::fleets() const {
  return {{"generators", game_.generator.network.get(), game_.workers, true, game_.batch},
          {"discriminators", game_.discriminator.get(), game_.workers, true, 2 * game_.batch, 2}};
}

std::vector<AlgorithmPlan::Phase> LocalPlan::phases(int64_t, const std::vector<int64_t>& living) const {
  const Network *G = game_.generator.network.get(), *D = game_.discriminator.get();
  return {{.workers = {{G, game_.batch},
                       {D, 2 * game_.batch, game_.local_steps, Grads::kParams},
                       {G, game_.batch, 1, Grads::kParams},
                       {D, game_.batch, 1, Grads::kInput}},
           .who = living}};
}

std::vector<Transfer> LocalPlan::join_messages(int64_t worker, int64_t like) const {
  return {World::model_transfer(game_.generator_floats(true), MessageKind::kGenerators, like, worker),
          World::model_transfer(game_.discriminator_floats(true), MessageKind::kDiscriminators, like, worker)};
}

LocalGans::LocalGans(Stage& stage, int64_t replicas)
    : stage_(stage),
      discriminators_(stage, Place::kWorkers, replicas),
      generators_(stage, Place::kWorkers, {.batch = stage.game().batch, .replicas = replicas}) {}

void LocalGans::learn(const Share& share) {
  copy(stage_.world().device(), generators_.generate(0), discriminators_.generated());
  discriminators_.learn(/*fresh_real=*/true, share);
  const Batch fake = generators_.generate(1);
  generators_.learn(discriminators_.feedback(fake), 1.0 / static_cast<double>(fake.x.batch), share);
}

void LocalGans::stand_for(int64_t first) {
  discriminators_.stand_for(first);
  generators_.stand_for(first);
}

Algorithm::Losses LocalGans::losses() { return {discriminators_.mean_loss(), discriminators_.mean_generator_loss()}; }

std::map<std::string, Fleet*> LocalGans::fleets() {
  return {{"generators", &generators_.fleet()}, {"discriminators", &discriminators_.fleet()}};
}

int64_t LocalGans::models() const { return stage_.world().models(generators_.fleet()); }

void LocalGans::worker_lost(int64_t worker) {
  if (models() == 1) return;  // the last one's models stay, to be looked at
  for (const auto& [name, fleet] : fleets()) remove_worker(stage_.world(), *fleet, worker);
}

void LocalGans::worker_joined(int64_t worker, int64_t like) {
  for (const auto& [name, fleet] : fleets()) insert_worker(stage_.world(), *fleet, worker, like);
}

void remove_worker(const World& world, Fleet& fleet, int64_t worker) {
  const int64_t gone = world.replica_of(worker), last = fleet.replicas() - 1;
  if (gone < 0) return;  // another process's
  for (int64_t r = gone; r < last; ++r) fleet.copy_replica(r + 1, r);
  fleet.set_replicas(last);
}

void insert_worker(const World& world, Fleet& fleet, int64_t worker, int64_t like) {
  int64_t place = -1, model = world.replica_of(like);
  if (world.rank_of(worker) == world.processes().rank()) {
    place = 0;
    for (int64_t other : world.here()) place += other < worker ? 1 : 0;
    fleet.set_replicas(fleet.replicas() + 1);
    for (int64_t r = fleet.replicas() - 1; r > place; --r) fleet.copy_replica(r - 1, r);
    if (model >= place) ++model;  // it moved up with the others
  }
  world.copy_model(fleet, like, model, worker, place);
}

}  // namespace agon
