#include "algorithms/plan.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <nlohmann/json.hpp>

#include "algorithms/clock.h"
#include "algorithms/faults.h"
#include "algorithms/options.h"

namespace agon {
namespace {

using nlohmann::json;

json traffic_json(const std::map<MessageKind, Traffic>& totals) {
  json list = json::object();
  for (const auto& [kind, traffic] : totals)
    list[name(kind)] = {{"bytes", traffic.bytes}, {"messages", traffic.messages}};
  return list;
}

/// What one participant sends and receives of each kind.
json sides_json(const Ledger& ledger, int64_t participant) {
  json list = json::object();
  for (MessageKind kind : kMessageKinds) {
    const Traffic in = ledger.received(kind, participant), out = ledger.sent(kind, participant);
    if (in.messages + out.messages > 0) list[name(kind)] = {{"received_bytes", in.bytes}, {"sent_bytes", out.bytes}};
  }
  return list;
}

/// All messages of a run, iteration by iteration, under its faults.
struct PlannedTraffic {
  Ledger total;
  /// Of one ordinary iteration, and of the one that moves most, while everybody of the first iteration lives.
  Ledger every_iteration, largest;
  double seconds_simulated = 0;
  bool estimated = false;
};

/// Adds `times` the messages of a part of a run.
void add(Ledger& total, const Ledger& part, double times) {
  const auto scaled = [&](int64_t count) {
    return times == 1 ? count : std::llround(static_cast<double>(count) * times);
  };
  for (const auto& [key, traffic] : part.entries())
    total.record(
        {std::get<0>(key), std::get<1>(key), std::get<2>(key), scaled(traffic.bytes), scaled(traffic.messages)});
}

/// From one fault to the next iterations are much alike: if only an estimate is wanted, the first of them speak for
/// all.
PlannedTraffic plan_traffic(const AlgorithmPlan& algorithm, const FaultSchedule& faults, int64_t iterations,
                            SimulatedClock clock, bool estimate) {
  constexpr int64_t kAlwaysExact = 200'000, kCounted = 20'000, kLeast = 100;
  const std::vector<Event>& events = faults.events();
  PlannedTraffic traffic{.estimated = estimate && iterations > kAlwaysExact};
  // Of each part whole periods, so that no exchange is missed.
  const int64_t some = std::max(kLeast, kCounted / (std::ssize(events) + 1)), period = algorithm.period();
  const int64_t counted = traffic.estimated ? (some + period - 1) / period * period : iterations;
  int64_t most = -1, least = INT64_MAX;
  const auto as_ledger = [](const std::vector<Transfer>& transfers) {
    Ledger ledger;
    for (const Transfer& transfer : transfers) ledger.record(transfer);
    return ledger;
  };
  const std::vector<int64_t> at_start = faults.living(1);
  std::vector<int64_t> living = at_start;
  double bytes_in_all = 0;
  size_t next = 0;
  for (int64_t begin = 1; begin <= iterations && !living.empty();) {
    const int64_t last = next < events.size() ? events[next].iteration : iterations;
    const int64_t end = std::min(last, begin + counted - 1);
    const double seconds_before = clock.seconds();
    if (traffic.estimated && begin > 1) algorithm.skip_to(begin);
    Ledger part;
    for (int64_t i = begin; i <= end; ++i) {
      const std::vector<AlgorithmPlan::Phase> phases = algorithm.phases(i, living);
      clock.advance(phases, i, algorithm.awaited(living));
      const std::vector<Transfer> transfers = AlgorithmPlan::messages(phases);
      for (const Transfer& transfer : transfers) part.record(transfer);
      const std::vector<Transfer> complete =
          living == at_start ? transfers : AlgorithmPlan::messages(algorithm.phases(i, at_start));
      int64_t bytes = 0;
      for (const Transfer& transfer : complete) bytes += transfer.bytes;
      if (bytes > most) most = bytes, traffic.largest = as_ledger(complete);
      if (bytes < least) least = bytes, traffic.every_iteration = as_ledger(complete);
    }
    const double times = static_cast<double>(last - begin + 1) / static_cast<double>(end - begin + 1);
    traffic.seconds_simulated += (times - 1) * (clock.seconds() - seconds_before);
    bytes_in_all += times * static_cast<double>(part.total().bytes);
    if (bytes_in_all > 0x1p62)
      fail(Fault::kUsage, "run.iterations is {}, and such a run sends more bytes than can be counted; give fewer",
           iterations);
    add(traffic.total, part, times);
    for (; next < events.size() && events[next].iteration == last; ++next)
      if (events[next].kind == "joined")
        traffic.total.record(algorithm.join_messages(events[next].worker, events[next].like));
    living = faults.living(last + 1);
    begin = last + 1;
  }
  traffic.seconds_simulated += clock.seconds();
  return traffic;
}

}  // namespace

json plan_memory(const AlgorithmPlan& algorithm, const GamePlan& game, const DataShape& data) {
  Fleet::Memory sum{};
  for (const AlgorithmPlan::FleetUse& use : algorithm.fleets()) {
    const bool generator = use.network == game.generator.network.get();
    FleetOptions options = generator ? game.generator_options : game.discriminator_options;
    options.replicas = use.replicas;
    options.trains = use.trains, options.differentiable = use.differentiable;
    if (!use.optimises) options.optimiser.kind = "none";
    const Fleet::Memory part = Fleet::plan_memory(*use.network, use.batch, use.groups, options);
    sum.weights += part.weights, sum.gradients += part.gradients, sum.moments += part.moments;
    sum.activations += use.batch ? part.activations : 0;
  }
  const int64_t resident = data.count * (data.sample.size() * data.value_bytes + 8);  // labels and order are I32
  return {{"weights", sum.weights},         {"gradients", sum.gradients}, {"moments", sum.moments},
          {"activations", sum.activations}, {"data", resident},           {"total", sum.total() + resident}};
}

DataShape shape_of(const Dataset& data) {
  return {.sample = {data.height(), data.width(), data.channels()},
          .classes = data.classes(),
          .count = data.count(),
          .value_bytes = data.is_points() ? 4 : 1};
}

namespace {

/// What follows from the settings and the shape of the data, if they fit.
struct Rules {
  GamePlan game;
  std::unique_ptr<AlgorithmPlan> algorithm;
  int64_t iterations;
  FaultSchedule faults;
};

Rules rules_of(const Settings& settings, const DataShape& data) {
  GamePlan game = make_game_plan(settings, data.sample, data.classes);
  const int64_t shard = mean_shard(partition_options(settings), data.count, game.workers);
  if (shard < game.batch)
    fail(Fault::kUsage,
         "algorithm.batch is {}, but each of the {} workers has {} of the {} samples; use fewer workers or a smaller "
         "batch",
         game.batch, game.workers, shard, data.count);
  auto algorithm = algorithm_kind(settings.text("algorithm.name")).plan(settings, game, static_cast<double>(shard));
  const int64_t iterations = iterations_of(settings);
  FaultSchedule faults(settings, game.workers, iterations, game.seed);
  return {std::move(game), std::move(algorithm), iterations, std::move(faults)};
}

}  // namespace

void check(const Settings& settings, const DataShape& data) { rules_of(settings, data); }

void check(const Settings& settings, const Dataset& train) {
  const Rules rules = rules_of(settings, shape_of(train));
  deal(settings, rules.game, train);
}

json plan(const Settings& settings, const DataShape& data, bool estimate) {
  const auto [game, algorithm, iterations, faults] = rules_of(settings, data);
  const PlannedTraffic traffic = plan_traffic(*algorithm, faults, iterations, SimulatedClock(game.network), estimate);
  const int64_t tables = game.generator.network->table_parameters();

  json result;
  result["algorithm"] = settings.text("algorithm.name");
  result["workers"] = game.workers;
  result["batch"] = game.batch;
  result["iterations"] = iterations;
  result["parameters"] = {{"generator", game.generator.network->parameters() - tables},
                          {"embedding", tables},
                          {"discriminator", game.discriminator->parameters()}};
  result["flops"] = algorithm->work(faults.living(1), *game.generator.network).to_json();
  result["flops"]["generator"] = game.generator.network->flops();
  result["flops"]["discriminator"] = game.discriminator->flops();
  if (traffic.estimated) result["estimated"] = true;
  result["seconds_simulated"] = traffic.seconds_simulated;
  result["memory"] = plan_memory(*algorithm, game, data);

  // The contract: bytes per worker in an ordinary iteration, and everything in total.
  const std::vector<int64_t> at_start = faults.living(1);
  const int64_t first = at_start.front();
  json per_iteration = json::object(), exchange = json::object();
  std::map<MessageKind, Traffic> totals;
  for (MessageKind kind : kMessageKinds) {
    const auto at_worker = [&](const Ledger& ledger) {  // whoever moves most: in some swaps not all take part
      int64_t bytes = 0;
      for (int64_t worker : at_start)
        bytes = std::max({bytes, ledger.received(kind, worker).bytes, ledger.sent(kind, worker).bytes});
      return bytes;
    };
    if (const int64_t bytes = at_worker(traffic.every_iteration)) per_iteration[name(kind)] = bytes;
    if (const int64_t bytes = at_worker(traffic.largest)) exchange[name(kind)] = bytes;
    if (const Traffic total = traffic.total.total(kind); total.messages > 0) totals[kind] = total;
  }
  result["traffic"] = {{"per_iteration", per_iteration},
                       {"per_exchange", exchange},
                       {"total", traffic_json(totals)},
                       {"server",
                        {{"per_iteration", sides_json(traffic.every_iteration, kServer)},
                         {"per_exchange", sides_json(traffic.largest, kServer)},
                         {"total", sides_json(traffic.total, kServer)}}},
                       {"worker",
                        {{"per_iteration", sides_json(traffic.every_iteration, first)},
                         {"per_exchange", sides_json(traffic.largest, first)},
                         {"total", sides_json(traffic.total, first)}}}};
  return result;
}

}  // namespace agon
