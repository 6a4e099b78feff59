// MD-GAN: one generator on the server, N discriminators on workers that swap (Hardy, Le Merrer & Sericola, IPDPS 2019).
#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "algorithms/server_generator.h"
#include "algorithms/swaps.h"
#include "algorithms/trust.h"

namespace agon {
namespace {

/// kappa: a number of batches, or "log" for floor(ln N) (at least 1).
int64_t read_kappa(const Settings& settings, int64_t workers) {
  if (settings.is_text("algorithm.kappa")) {
    if (settings.text("algorithm.kappa") != "log")
      fail(Fault::kUsage, "algorithm.kappa is \"{}\", expected a number or \"log\"", settings.text("algorithm.kappa"));
    return std::max<int64_t>(1, static_cast<int64_t>(std::log(static_cast<double>(workers))));
  }
  const int64_t kappa = settings.integer("algorithm.kappa", 1);
  if (kappa > workers)
    fail(Fault::kUsage, "algorithm.kappa is {}, expected at most the number of workers, {}", kappa, workers);
  return kappa;
}

/// n_D: as many discriminators as workers (0), or fewer that roam.
int64_t read_discriminators(const Settings& settings, int64_t workers) {
  const int64_t count = settings.integer("algorithm.discriminators", 0, workers);
  if (count == 0 || count == workers) return workers;
  if (settings.text("algorithm.swap_moments") == "stay")
    fail(
        Fault::kUsage,
        "algorithm.discriminators is {}, fewer than the {} workers, so that a discriminator's next host has no moments "
        "for it; set algorithm.swap_moments to \"travel\" or \"reset\"",
        count, workers);
  if (!settings.raw("world.crash").empty() || !settings.raw("world.join").empty() ||
      settings.is_text("world.crash_every") || settings.integer("world.crash_every", 0) > 0)
    fail(Fault::kUsage, "roaming discriminators know no faults yet; leave world.crash, crash_every and join out");
  return count;
}

/// What MD-GAN computes and sends in each iteration.
class MdGanPlan final : public AlgorithmPlan {
 public:
  MdGanPlan(const Settings& settings, const GamePlan& game, double mean_shard)
      : discriminators(read_discriminators(settings, game.workers)),
        kappa(read_kappa(settings, discriminators)),
        distinct(settings.flag("algorithm.distinct")),
        overlaps(settings.flag("algorithm.overlap")),
        swaps(settings, game, mean_shard),
        batch_compression(parse_compression(settings.text("algorithm.compress_batches"), top_share(settings))),
        feedback_compression(parse_compression(settings.text("algorithm.compress_feedback"), top_share(settings))),
        liars(settings, game.workers, game.seed),
        aggregation(read_aggregation(settings, discriminators / std::min(kappa + (distinct ? 1 : 0), discriminators))),
        game_(game) {}

  /// The number of generated batches; k shrinks with the number of living workers.
  int64_t batches(int64_t workers) const { return std::min(kappa, workers) + (distinct ? 1 : 0); }
  bool roams() const { return discriminators < game_.workers; }
  /// Who holds the discriminators in iteration `iteration`: everybody, or n_D random workers between two swaps.
  std::vector<int64_t> hosts(int64_t iteration, const std::vector<int64_t>& living) const {
    return hosts(iteration, living, discriminators);
  }
  /// Of `count` discriminators that are left.
  std::vector<int64_t> hosts(int64_t iteration, const std::vector<int64_t>& living, int64_t count) const {
    std::vector<int64_t> order = living;
    if (!roams()) return order;
    const int64_t moves = swaps.every() > 0 ? (iteration - 1) / swaps.every() : 0;
    HostRandom(game_.seed, RandomStream::kMixing, kServerDraws, static_cast<uint64_t>(moves * swaps.every()))
        .shuffle(order);
    order.resize(static_cast<size_t>(std::min(count, std::ssize(order))));
    return order;
  }
  /// Where they are in `iteration` of a run, and in the next: processes may have been lost, and discriminators with
  /// them.
  struct Whereabouts {
    int64_t iteration = 0;
    std::vector<int64_t> from, to;
  };
  void observe(Whereabouts seen) { seen_ = std::move(seen); }
  std::vector<int64_t> judges(int64_t iteration, const std::vector<int64_t>& living) const {
    return seen_.iteration == iteration ? seen_.from : hosts(iteration, living);
  }
  /// The messages by which discriminators move on to their next hosts.
  void plan_move(std::vector<Transfer>& messages, int64_t iteration, const std::vector<int64_t>& living) const {
    const std::vector<int64_t> from = judges(iteration, living);
    const std::vector<int64_t> to = seen_.iteration == iteration ? seen_.to : hosts(iteration + 1, living);
    for (size_t d = 0; d < from.size(); ++d)
      if (from[d] != to[d])
        messages.push_back(World::model_transfer(swaps.model_floats(), MessageKind::kDiscriminators, from[d], to[d]));
  }
  std::vector<FleetUse> fleets() const override {
    std::vector<FleetUse> list = ServerGenerator::plan_fleets(game_, overlaps, batches(discriminators));
    list.push_back({"discriminators", game_.discriminator.get(), discriminators, true, 2 * game_.batch, 2});
    return list;
  }
  std::vector<Phase> phases(int64_t iteration, const std::vector<int64_t>& living) const override {
    const std::vector<int64_t> judges = this->judges(iteration, living);
    std::vector<int64_t> working;
    for (int64_t worker : judges)
      if (liars.works(worker)) working.push_back(worker);
    const auto N = static_cast<int64_t>(judges.size());
    const Network *G = game_.generator.network.get(), *D = game_.discriminator.get();
    const int64_t b = game_.batch, k = batches(N);
    std::vector<Phase> list = {{.server = {{G, k * b}}},
                               {.server = {},
                                .workers = {{D, 2 * b, game_.local_steps, Grads::kParams}, {D, b, 1, Grads::kInput}},
                                .who = working},
                               {.server = {{G, k * b, 1, Grads::kParams, /*forward=*/false}}}};
    if (overlaps) {  // while the workers compute, the next ones
      list[1].server = list[0].server;
      if (iteration > 1) list[0].server.clear();
    }
    for (int batch = 0; batch < 2; ++batch)  // X^(d), X^(g)
      World::plan_deal(list[0].messages, judges, b, game_.sample(), game_.conditional(), batch_compression);
    World::plan_collect(list[1].messages, judges, b, game_.sample(), feedback_compression);
    if (!swaps.due(iteration, std::ssize(living))) return list;
    if (roams())
      plan_move(list[2].messages, iteration, living);
    else
      World::plan_mix(list[2].messages, living, swaps.matrix(iteration, N), swaps.model_floats(),
                      MessageKind::kDiscriminators, Route::kPeers);
    return list;
  }
  int64_t period() const override { return swaps.period(); }
  std::vector<Transfer> join_messages(int64_t worker, int64_t like) const override {
    return {World::model_transfer(game_.discriminator_floats(true), MessageKind::kDiscriminators, like, worker)};
  }

  const int64_t discriminators;  // n_D, with all workers living
  const int64_t kappa;
  const bool distinct, overlaps;
  const Swaps swaps;
  const Compression batch_compression, feedback_compression;
  const Liars liars;
  const Aggregation aggregation;

 private:
  static double top_share(const Settings& settings) { return settings.number("algorithm.top_share", 1e-6, 1); }

  GamePlan game_;
  Whereabouts seen_;
};

class MdGan final : public Algorithm {
 public:
  explicit MdGan(Stage& stage)
      : world_(stage.world()),
        game_(stage.game()),
        plan_(stage.settings(), game_, stage.shards().mean_size()),
        fresh_real_(stage.settings().flag("algorithm.fresh_real")),
        keeps_losses_(stage.settings().flag("algorithm.error_feedback") &&
                      plan_.feedback_compression.kind != Compression::Kind::kNone),
        batches_(plan_.batches(plan_.discriminators)),
        server_(stage, plan_.overlaps, {.batch = batches_ * game_.batch, .groups = batches_}),
        workers_(stage, Place::kWorkers, first_hosts()),
        judged_(stage.device(), workers_.fleet().capacity(), game_.batch, game_.sample(), game_.conditional()),
        merged_(stage.device(), batches_, game_.batch, game_.sample()) {
    if (keeps_losses_) lost_ = TensorBuffer(stage.device(), workers_.fleet().capacity(), game_.batch, game_.sample());
  }

  // Algorithm 1.
  void iterate() override {
    const int64_t N = std::ssize(world_.hosts()), b = game_.batch, k = plan_.batches(N);

    if (plan_.roams()) plan_.observe({world_.iteration(), world_.hosts(), world_.hosts()});

    // Server: k batches from one generator; worker n gets X_n^(g) and X_n^(d), two of them.
    const Batch fake = server_.generate().as_replicas(batches_).first(k);
    const Batch judged = judged_.view(workers_.fleet().replicas());
    world_.deal(fake, /*shift=*/1, workers_.generated(), plan_.batch_compression);
    world_.deal(fake, /*shift=*/0, judged, plan_.batch_compression);

    // Server, with algorithm.overlap: the next k batches, before it knows what the workers say of these.
    server_.generate_ahead();

    // Workers: L learning iterations on X^(r) and X^(d), then the error feedback F_n on X^(g).
    workers_.learn(fresh_real_);
    const Tensor feedback = workers_.feedback(judged);
    plan_.liars.speak(world_, feedback);

    // Server: Delta w = 1/(N b) * sum over n and i of e_ni dx_i/dw, one backward pass for each batch, one Adam step.
    world_.collect(feedback, /*shift=*/0, 1.f / static_cast<float>(N * b), merged_.view(), k,
                   {plan_.feedback_compression, lost_.view().block(), plan_.aggregation});
    server_.learn(merged_.view());

    if (!plan_.swaps.due(world_.iteration(), world_.size())) return;
    if (plan_.roams())
      move_on();
    else
      world_.mix(workers_.fleet(), plan_.swaps.matrix(world_.iteration(), N), MessageKind::kDiscriminators,
                 Route::kPeers, plan_.swaps.moments());
  }

  const AlgorithmPlan& plan() const override { return plan_; }
  int64_t generators() const override { return 1; }
  GeneratorWeights generator(int64_t) const override { return server_.weights(); }
  std::map<std::string, Fleet*> fleets() override {
    std::map<std::string, Fleet*> list = server_.fleets();
    list["discriminators"] = &workers_.fleet();
    return list;
  }
  std::vector<Fleet*> work_fleets() override { return server_.work_fleets(); }
  std::map<std::string, Array> arrays() override {
    if (!keeps_losses_) return {};
    return {{"lost feedback", {lost_.view().data, game_.batch * game_.sample().size(), false, /*of_workers=*/true}}};
  }
  Losses losses() override { return {workers_.mean_loss(), workers_.mean_generator_loss()}; }
  void worker_lost(int64_t worker) override {
    if (world_.hosts() == std::vector<int64_t>{worker} && world_.size() > 1)
      fail(Fault::kRun, "the last discriminator was lost with worker {}; go on from the last checkpoint with --resume",
           worker);
    remove_worker(world_, workers_.fleet(), worker);
    forget_losses();
  }
  void worker_joined(int64_t worker, int64_t like) override {
    insert_worker(world_, workers_.fleet(), worker, like);
    forget_losses();
  }

 private:
  /// Everybody's place in the fleet may have changed.
  void forget_losses() {
    const Tensor lost = lost_.view();
    if (lost) world_.device().run(ops::Fill{lost.replicas, lost.size_per_replica(), lost.block()});
  }

  /// Where discriminators begin; returns for how many there is room in this process, 0: as many as workers.
  int64_t first_hosts() {
    if (!plan_.roams()) return 0;
    const int64_t most = std::min(plan_.discriminators, std::ssize(world_.here()));
    world_.set_hosts(plan_.hosts(1, world_.living()));
    return most;
  }

  /// Fewer discriminators than workers go to new hosts.
  void move_on() {
    const std::vector<int64_t> from = world_.hosts();
    const std::vector<int64_t> to = plan_.hosts(world_.iteration() + 1, world_.living(), std::ssize(from));
    plan_.observe({world_.iteration(), from, to});
    workers_.move_to(to, plan_.swaps.moments() == Moments::kTravel);
    if (plan_.swaps.moments() == Moments::kReset) workers_.fleet().restart_optimisers();
    forget_losses();
    std::vector<Transfer> sent;
    plan_.plan_move(sent, world_.iteration(), world_.living());
    world_.ledger().record(sent);
  }

  World& world_;
  const GamePlan& game_;
  MdGanPlan plan_;
  const bool fresh_real_, keeps_losses_;
  const int64_t batches_;  // with all workers living
  ServerGenerator server_;
  Discriminators workers_;
  BatchBuffer judged_;   // [N, b]: X^(g) of every worker
  TensorBuffer merged_;  // [k, b]: summed feedback of each batch
  TensorBuffer lost_;    // [N, b]: what compression has kept back of the feedback; empty without error feedback
};

std::vector<Settings::Option> options() {
  std::vector<Settings::Option> list = {
      {"algorithm.kappa", "1", "k: generated batches per iteration; \"log\": floor(ln N)", {"log"}},
      {"algorithm.distinct", "false", "k + 1 batches, so that X^(g) and X^(d) differ even for k = 1"},
      {"algorithm.overlap", "false", "the next batches are generated while feedback is under way, one update behind"},
      {"algorithm.fresh_real", "true", "a new real batch for each of the L local steps"}};
  for (Settings::Option& option : Swaps::options()) list.push_back(std::move(option));
  const std::vector<Settings::Option> open_questions = {
      {"algorithm.compress_batches",
       "\"none\"",
       "how generated batches are sent: as floats, or in fewer bits",
       {"none", "bf16", "int8", "top-k"}},
      {"algorithm.compress_feedback", "\"none\"", "how feedback is sent", {"none", "bf16", "int8", "top-k"}},
      {"algorithm.top_share", "0.1", "share of a sample's values that top-k sends"},
      {"algorithm.error_feedback", "false", "what compression lost of the feedback is added to the next"},
      {"algorithm.discriminators", "0", "fewer discriminators than workers roam among them; 0: one at each"}};
  list.insert(list.end(), open_questions.begin(), open_questions.end());
  for (Settings::Option& option : trust_options()) list.push_back(std::move(option));
  return list;
}

const AlgorithmRegistration registration{
    {"md-gan", "one generator on the server, a discriminator on every worker that swaps (Hardy et al. 2019)", options(),
     [](const Settings& settings, const GamePlan& game, double mean_shard) -> std::unique_ptr<AlgorithmPlan> {
       return std::make_unique<MdGanPlan>(settings, game, mean_shard);
     },
     [](Stage& stage) -> std::unique_ptr<Algorithm> { return std::make_unique<MdGan>(stage); },
     /*spreads=*/true}};

}  // namespace
}  // namespace agon
