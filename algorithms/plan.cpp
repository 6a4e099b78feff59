#include "algorithms/plan.h"

#include <algorithm>
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
};

PlannedTraffic plan_traffic(const AlgorithmPlan& algorithm, const FaultSchedule& faults, int64_t iterations,
                            SimulatedClock clock) {
  PlannedTraffic traffic;
  int64_t most = -1, least = INT64_MAX;
  const auto as_ledger = [](const std::vector<Transfer>& transfers) {
    Ledger ledger;
    for (const Transfer& transfer : transfers) ledger.record(transfer);
    return ledger;
  };
  const std::vector<int64_t> at_start = faults.living(1);
  std::vector<int64_t> living = at_start;
  size_t next = 0;
  for (int64_t i = 1; i <= iterations && !living.empty(); ++i) {
    const std::vector<AlgorithmPlan::Phase> phases = algorithm.phases(i, living);
    clock.advance(phases, i, algorithm.awaited(living));
    const std::vector<Transfer> transfers = AlgorithmPlan::messages(phases);
    for (const Transfer& transfer : transfers) traffic.total.record(transfer);
    const std::vector<Transfer> complete =
        living == at_start ? transfers : AlgorithmPlan::messages(algorithm.phases(i, at_start));
    int64_t bytes = 0;
    for (const Transfer& transfer : complete) bytes += transfer.bytes;
    if (bytes > most) most = bytes, traffic.largest = as_ledger(complete);
    if (bytes < least) least = bytes, traffic.every_iteration = as_ledger(complete);
    const std::vector<Event>& events = faults.events();
    if (next < events.size() && events[next].iteration == i) {
      for (; next < events.size() && events[next].iteration == i; ++next)
        if (events[next].kind == "joined")
          for (const Transfer& transfer : algorithm.join_messages(events[next].worker, events[next].like))
            traffic.total.record(transfer);
      living = faults.living(i + 1);
    }
  }
  traffic.seconds_simulated = clock.seconds();
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

json plan(const Settings& settings, const DataShape& data) {
  const GamePlan game = make_game_plan(settings, data.sample, data.classes);
  const int64_t shard = mean_shard(partition_options(settings), data.count, game.workers);
  if (shard < game.batch)
    fail(Fault::kUsage,
         "algorithm.batch is {}, but each of the {} workers has {} of the {} samples; use fewer workers or a smaller "
         "batch",
         game.batch, game.workers, shard, data.count);
  const std::unique_ptr<AlgorithmPlan> algorithm =
      algorithm_kind(settings.text("algorithm.name")).plan(settings, game, static_cast<double>(shard));
  const int64_t iterations = settings.integer("run.iterations", 1);
  const FaultSchedule faults(settings, game.workers, iterations, game.seed);
  const PlannedTraffic traffic = plan_traffic(*algorithm, faults, iterations, SimulatedClock(game.network));
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
