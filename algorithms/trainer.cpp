#include "algorithms/trainer.h"

#include <spdlog/spdlog.h>
#include <algorithm>
#include <chrono>
#include <cmath>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "algorithms/checkpoint.h"
#include "algorithms/clock.h"
#include "algorithms/options.h"
#include "algorithms/presets.h"
#include "algorithms/signature.h"
#include "algorithms/stage.h"
#include "engine/checksum.h"
#include "engine/toml.h"

namespace agon {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

/// Adds the time of its life to a number of seconds.
class Stopwatch {
 public:
  explicit Stopwatch(double& seconds) : seconds_(seconds) {}
  ~Stopwatch() { seconds_ += seconds_since(start_); }
  Stopwatch(const Stopwatch&) = delete;
  Stopwatch& operator=(const Stopwatch&) = delete;

 private:
  double& seconds_;
  const Clock::time_point start_ = Clock::now();
};

}  // namespace

Settings resolve_settings(const std::string& toml, const std::string& origin, const std::vector<std::string>& overrides,
                          const std::string& origin_of_overrides) {
  const std::vector<TomlText> texts = with_bases(toml, origin);
  Settings settings;
  settings.declare(run_options());
  settings.declare(evaluation_options());
  // Which keys there are depends on the algorithm, so its name is looked up first.
  Settings naming = settings;
  for (const TomlText& text : texts) {
    const nlohmann::json table = parse_toml(text.text, text.origin);
    if (const auto found = table.find("algorithm");
        found != table.end() && found->is_object() && found->contains("name"))
      naming.read_toml("algorithm.name = " + to_toml((*found)["name"]), text.origin);
  }
  for (const std::string& assignment : overrides)
    if (assignment.rfind("algorithm.name", 0) == 0) naming.set(assignment, origin_of_overrides);
  settings.declare(algorithm_kind(naming.text("algorithm.name")).options);
  // Other algorithms' keys are no mistakes: comparisons give them to all (--set algorithm.kappa=2 to FL-GAN, too).
  for (const auto& [name, kind] : algorithm_kinds()) settings.pass_over(kind.options);
  for (const TomlText& text : texts) settings.read_toml(text.text, text.origin);
  for (const std::string& assignment : overrides) settings.set(assignment, origin_of_overrides);
  return settings;
}

nlohmann::json Summary::to_json() const {
  nlohmann::json json = {{"iterations", iterations},
                         {"seconds_training", seconds_training},
                         {"seconds_evaluating", seconds_evaluating},
                         {"iterations_per_second", iterations_per_second},
                         {"seconds_simulated", seconds_simulated},
                         {"workers", workers},
                         {"parameters",
                          {{"generator", generator_parameters},
                           {"embedding", embedding_parameters},
                           {"discriminator", discriminator_parameters}}},
                         {"flops", work.to_json()},
                         {"traffic", ledger.to_json()},
                         {"worker_bytes", ledger.busiest_worker_bytes()},
                         {"scores", scores ? scores->to_json() : nlohmann::json::object()},
                         {"weights_hash", weights_hash},
                         {"device", device},
                         {"events", agon::to_json(events)},
                         {"interrupted", interrupted}};
  return json;
}

struct Trainer::Impl {
  Impl(const Settings& settings, const DataSource& data, std::shared_ptr<Communicator> processes)
      : settings(settings),
        data(data),
        stage(settings, data, std::move(processes)),
        faults(settings, stage.game().workers, iterations_of(settings), stage.game().seed),
        signature(run_signature(settings, stage, data)),
        algorithm(algorithm_kind(settings.text("algorithm.name")).make(stage)),
        iterations(iterations_of(settings)),
        evaluate_every(settings.integer("run.evaluate_every", 0)),
        log_every(settings.integer("run.log_every", 0)),
        sample_every(settings.integer("run.sample_every", 0)),
        checkpoint_every(settings.integer("run.checkpoint_every", 0)),
        keep_checkpoints(settings.integer("run.keep_checkpoints", 1)),
        clock(stage.game().network) {
    if (const GeneratorWeights weights = algorithm->generator(0); world().serves())
      exhibit.emplace(stage.device(), stage.game().generator, weights);
    // Those who are not there from the start leave before anything happens.
    const std::vector<int64_t> present = faults.living(1);
    for (int64_t worker = 0; worker < stage.game().workers; ++worker)
      if (!std::binary_search(present.begin(), present.end(), worker)) lose(worker);
  }

  World& world() { return stage.world(); }

  void lose(int64_t worker) {
    algorithm->worker_lost(worker);
    std::vector<int64_t> living = world().living();
    std::erase(living, worker);
    world().set_living(std::move(living));
  }

  /// A new worker starts from a copy of a living one's models, which are sent to it.
  void join(int64_t worker, int64_t like) {
    algorithm->worker_joined(worker, like);
    std::vector<int64_t> living = world().living();
    living.insert(std::lower_bound(living.begin(), living.end(), worker), worker);
    world().set_living(std::move(living));
    world().ledger().record(algorithm->plan().join_messages(worker, like));
  }

  /// What the present iteration takes on the simulated machines and links.
  void pass_time() {
    const int64_t i = world().iteration();
    const AlgorithmPlan& plan = algorithm->plan();
    clock.advance(plan.phases(i, world().living()), i, plan.awaited(world().living()));
  }

  void apply_faults() {
    for (Event event : faults.at(world().iteration())) {
      // Those who were lost with their process had no part in the schedule.
      const std::vector<int64_t>& living = world().living();
      const bool joins = event.kind == "joined", there = world().is_living(event.worker);
      if (joins == there || living.empty() || !world().processes().present(world().rank_of(event.worker))) continue;
      if (joins)
        join(event.worker, world().is_living(event.like) ? event.like : living.front());
      else
        lose(event.worker);
      tell(event);
    }
  }

  void tell(const Event& event) {
    events.push_back(event);
    for (auto& observer : observers) observer->happened(event);
  }

  /// Processes died or stopped, and their workers and shards with them (fail-stop). What was under way is given up:
  /// who has learnt something keeps it, and all that are left go on after the iteration that the server is in.
  void part_with_the_lost() {
    Communicator& processes = world().processes();
    std::vector<int64_t> gone;  // whom some process has parted with, by the schedule of this iteration
    bool scattered = false;     // some models are where they were going to, others are not
    for (bool agreed = false; !agreed;) {
      try {
        processes.settle();
        world().set_iteration(processes.from_first(world().iteration()));
        gone.clear();
        for (int64_t worker = 0; worker < stage.game().workers; ++worker)
          if (processes.any(!world().is_living(worker))) gone.push_back(worker);
        const int64_t hosts =
            world().roaming()
                ? static_cast<int64_t>(checksum64(world().hosts().data(), world().hosts().size() * sizeof(int64_t)))
                : 0;
        scattered = processes.any(processes.from_first(hosts) != hosts);
        agreed = true;
      } catch (const ProcessLost&) {  // one more
      }
    }
    if (scattered)
      fail(Fault::kRun, "a process was lost just when models moved on at iteration {}{}", world().iteration(),
           last_checkpoint.empty() ? "" : "; go on from the last checkpoint with --resume: " + last_checkpoint);
    algorithm->interrupted();
    const std::vector<int64_t> living = world().living();
    for (int64_t worker : living) {
      if (processes.present(world().rank_of(worker)) && !std::binary_search(gone.begin(), gone.end(), worker)) continue;
      if (world().size() == 1)
        fail(Fault::kRun, "the last worker's process was lost at iteration {}{}", world().iteration(),
             last_checkpoint.empty() ? "" : "; go on from the last checkpoint with --resume: " + last_checkpoint);
      lose(worker);
      tell({world().iteration(), worker, "lost"});
    }
  }

  void log() {
    const int64_t i = world().iteration();
    LogRecord record{.iteration = i,
                     .iterations = iterations,
                     .seconds_training = seconds,
                     .seconds_simulated = clock.seconds(),
                     .losses = algorithm->losses()};
    if (!std::isfinite(record.losses.discriminator) || !std::isfinite(record.losses.generator))
      fail(Fault::kRun, "the {} loss is not a number any more at iteration {}; a lower learning rate may help{}",
           std::isfinite(record.losses.discriminator) ? "generator's" : "discriminator's", i,
           last_checkpoint.empty() ? "" : ", and the last good checkpoint is " + last_checkpoint);
    const double since = seconds - logged_seconds;
    record.iterations_per_second = since > 0 ? static_cast<double>(i - logged_iteration) / since : 0;
    record.seconds_left =
        record.iterations_per_second > 0 ? static_cast<double>(iterations - i) / record.iterations_per_second : 0;
    logged_seconds = seconds, logged_iteration = i;
    for (auto& observer : observers) observer->logged(record);
  }

  Evaluator& judge() {
    if (!evaluator)
      evaluator = std::make_unique<Evaluator>(stage.device(), settings, data, scorer_watch, checkpoint_folder);
    return *evaluator;
  }

  void evaluate() {
    last_evaluation = world().iteration();
    const Stopwatch watch(seconds_evaluating);
    if (!world().serves()) {  // only lends its generators
      for (int64_t i = 0; i < algorithm->generators(); ++i) algorithm->generator(i);
      return;
    }
    const std::vector<GeneratorMixture> mixtures = algorithm->mixtures();
    const auto weights = [&](int64_t i) { return algorithm->generator(i); };
    const auto iteration = static_cast<uint64_t>(world().iteration());
    const int64_t count = algorithm->generators();
    scores = mixtures.empty() ? judge().evaluate(*exhibit, count, weights, stage.game().seed, iteration)
                              : judge().evaluate(*exhibit, count, weights, mixtures, stage.game().seed, iteration);
    if (!scores->ranking.empty()) ranked_first = scores->ranking.front().holder;
    for (auto& observer : observers) observer->evaluated(world().iteration(), seconds, *scores);
  }

  /// What the run has made: its (first) generator, or of a population's mixtures the one that was ranked first. Only
  /// where the server is; the other processes lend their generators.
  std::vector<GeneratorShare> result() const {
    const std::vector<GeneratorMixture> mixtures = algorithm->mixtures();
    if (mixtures.empty()) return {{algorithm->generator(0)}};
    const auto best = std::find_if(mixtures.begin(), mixtures.end(),
                                   [&](const GeneratorMixture& mixture) { return mixture.holder == ranked_first; });
    const GeneratorMixture& shown = best == mixtures.end() ? mixtures.front() : *best;
    std::vector<GeneratorShare> shares(shown.members.size());
    for (int64_t i = 0; i < algorithm->generators(); ++i) {
      const GeneratorWeights weights = algorithm->generator(i);
      for (size_t j = 0; j < shares.size(); ++j)
        if (shown.members[j] == i) shares[j] = {weights, shown.weights[j]};
    }
    return shares;
  }

  /// Pictures of the generator's progress: the same noise each time, a row per class.
  void sample() {
    std::vector<GeneratorShare> made = result();
    if (observers.empty() || !world().serves()) return;
    exhibit->set(std::move(made));
    constexpr int64_t kColumns = 10;
    const GeneratorSpec& spec = stage.game().generator;
    if (data.train.is_points()) {
      constexpr int64_t kPoints = 2000;
      std::vector<int32_t> labels(kPoints, 0);
      for (size_t i = 0; spec.classes > 0 && i < labels.size(); ++i)
        labels[i] = static_cast<int32_t>(i % static_cast<size_t>(spec.classes));
      const Tensor x = exhibit->sample(labels, stage.game().seed, RandomStream::kSampling, 0);
      std::vector<float> points(static_cast<size_t>(x.size_per_replica()));
      stage.device()->download(points.data(), x.data, points.size() * sizeof(float));
      for (auto& observer : observers) observer->sampled_points(world().iteration(), points);
      return;
    }
    if (spec.sample.channels != 1 && spec.sample.channels != 3) return;  // no picture shows them
    const int64_t rows = spec.classes > 0 ? std::min<int64_t>(spec.classes, 20) : kColumns;
    std::vector<int32_t> labels;
    for (int64_t i = 0; i < rows * kColumns; ++i)
      labels.push_back(spec.classes > 0 ? static_cast<int32_t>(i / kColumns) : 0);
    const std::vector<uint8_t> pictures = exhibit->pictures(labels, stage.game().seed, RandomStream::kSampling, 0);
    for (auto& observer : observers) observer->sampled(world().iteration(), pictures, spec.sample, kColumns);
  }

  void checkpoint() {
    if (checkpoint_folder.empty()) return;
    nlohmann::json trainer = {{"seconds_training", seconds},
                              {"seconds_evaluating", seconds_evaluating},
                              {"events", to_json(events)},
                              {"ranked_first", ranked_first},
                              {"clock", clock.to_json()}};
    last_checkpoint = write_checkpoint(checkpoint_folder, *algorithm, world(), {signature, trainer}, keep_checkpoints);
    std::vector<GeneratorShare> made = result();
    if (!world().serves()) return;
    exhibit->set(std::move(made));
    for (auto& observer : observers) observer->checkpointed(world().iteration(), last_checkpoint, *exhibit);
  }

  /// What a checkpoint is read into.
  CheckpointTarget restoring() {
    return {*algorithm, world(), signature, [this](const nlohmann::json& trainer) {
              seconds = logged_seconds = trainer.at("seconds_training").get<double>();
              seconds_evaluating = trainer.value("seconds_evaluating", 0.0);  // not in older checkpoints
              logged_iteration = world().iteration();
              ranked_first = trainer.value("ranked_first", int64_t{-1});
              clock.restore(trainer.at("clock"));
              events = events_from_json(trainer.at("events"));
            }};
  }

  Summary summary(const GeneratorWeights& weights) {
    const GamePlan& game = stage.game();
    const int64_t tables = game.generator.network->table_parameters();
    for (float w : weights.weights)
      if (!std::isfinite(w))
        fail(Fault::kRun,
             "the generator's weights are not numbers any more after {} iterations; a lower learning rate may help",
             world().iteration());
    return {.iterations = world().iteration(),
            .seconds_training = seconds,
            .iterations_per_second = seconds > 0 ? static_cast<double>(world().iteration()) / seconds : 0,
            .seconds_evaluating = seconds_evaluating,
            .seconds_simulated = clock.seconds(),
            .workers = game.workers,
            .generator_parameters = game.generator.network->parameters() - tables,
            .embedding_parameters = tables,
            .discriminator_parameters = game.discriminator->parameters(),
            .work = algorithm->plan().work(faults.living(1), *game.generator.network),
            .ledger = world().ledger(),
            .scores = scores,
            .weights_hash = weights_hash(weights),
            .device = fmt::format("{}: {}", stage.device()->name(), stage.device()->description()),
            .events = events};
  }

  const Settings settings;
  const DataSource data;
  Stage stage;
  const FaultSchedule faults;
  const std::string signature;
  std::unique_ptr<Algorithm> algorithm;
  const int64_t iterations, evaluate_every, log_every, sample_every, checkpoint_every, keep_checkpoints;
  std::optional<Generator> exhibit;  // what is shown and scored, where the server is
  SimulatedClock clock;
  std::unique_ptr<Evaluator> evaluator;
  ScorerWatch scorer_watch;
  std::vector<std::shared_ptr<Observer>> observers;
  std::string checkpoint_folder, last_checkpoint;
  std::vector<Event> events;
  std::optional<Scores> scores;
  int64_t last_evaluation = -1;
  int64_t ranked_first = -1;               // whose mixture
  double seconds = 0, logged_seconds = 0;  // of training
  double seconds_evaluating = 0;
  int64_t logged_iteration = 0;
};

Trainer::Trainer(const Settings& settings, const DataSource& data, std::shared_ptr<Communicator> processes)
    : impl_(std::make_unique<Impl>(settings, data, std::move(processes))) {}
Trainer::~Trainer() = default;

void Trainer::set_checkpoint_folder(const std::string& folder) { impl_->checkpoint_folder = folder; }
void Trainer::watch_scorer(ScorerWatch watch) { impl_->scorer_watch = std::move(watch); }
void Trainer::open_named_scorer() {
  const std::string choice = impl_->settings.text("score.scorer");
  if (impl_->evaluate_every > 0 && impl_->world().serves() && choice != "auto" && choice != "none") impl_->judge();
}
void Trainer::observe(std::shared_ptr<Observer> observer) { impl_->observers.push_back(std::move(observer)); }

bool Trainer::resume() {
  std::vector<std::string> damaged;
  const bool resumed = read_newest_checkpoint(impl_->checkpoint_folder, impl_->restoring(), damaged);
  for (const std::string& reason : damaged) spdlog::warn("passed over a damaged checkpoint: {}", reason);
  return resumed;
}

void Trainer::resume_from(const std::string& checkpoint) {
  std::vector<std::string> damaged;
  if (!read_checkpoint(checkpoint, impl_->restoring(), damaged)) fail(Fault::kData, "{}", damaged.front());
}

Summary Trainer::run(const std::atomic<bool>& stop) {
  Impl& run = *impl_;
  for (auto& observer : run.observers) observer->started(*this);
  const auto due = [&](int64_t every) { return every > 0 && run.world().iteration() % every == 0; };
  bool saved = run.world().iteration() > 0, sampled = false;  // a run that goes on has its checkpoint
  Clock::time_point start = Clock::now();
  // Clocks stop for everything that is not training.
  const auto apart = [&](auto&& work) {
    run.stage.device()->synchronize();
    run.seconds += seconds_since(start);
    work();
    start = Clock::now();
  };
  const auto unfinished = [&] { return run.world().iteration() < run.iterations && run.world().size() > 0; };
  Communicator& processes = run.world().processes();
  /// False if a process was lost meanwhile.
  const auto together = [&](auto&& work) {
    try {
      work();
      return true;
    } catch (const ProcessLost&) {
      run.part_with_the_lost();
      saved = sampled = false;
      start = Clock::now();
      return false;
    }
  };
  if (run.algorithm->judges())
    apart([&] {
      const Stopwatch watch(run.seconds_evaluating);
      run.algorithm->judge_with(run.judge());
    });
  const auto play = [&] {
    while (unfinished() && !processes.any(stop)) {
      run.world().next_iteration();
      run.algorithm->iterate();
      run.stage.device()->flush();
      run.pass_time();
      run.apply_faults();
      saved = sampled = false;
      const bool last = run.world().iteration() == run.iterations;
      if (due(run.log_every) || last) apart([&] { run.log(); });
      if (due(run.evaluate_every)) apart([&] { run.evaluate(); });
      if (due(run.sample_every)) apart([&] { run.sample(), sampled = true; });
      if (due(run.checkpoint_every)) apart([&] { run.checkpoint(), saved = true; });
    }
  };
  const auto conclude = [&] {
    if (!saved) run.checkpoint();
    saved = true;
    if (!unfinished() && run.evaluate_every > 0 && run.last_evaluation != run.world().iteration()) {
      run.evaluate();
      if (!run.algorithm->mixtures().empty()) run.checkpoint();  // with the ranking that decides what the run has made
    }
    if (!sampled) run.sample();
  };
  GeneratorWeights weights;
  std::vector<GeneratorShare> made;
  while (!together([&] {
    play();
    apart(conclude);
    weights = run.algorithm->generator(0);
    made = run.result();
    processes.any(false);  // nobody leaves before all are done
  }))
    ;
  Summary summary = run.summary(weights);
  summary.interrupted = unfinished();
  if (!run.world().serves()) return summary;
  run.exhibit->set(std::move(made));
  for (auto& observer : run.observers) observer->finished(summary, *run.exhibit);
  return summary;
}

const Settings& Trainer::settings() const { return impl_->settings; }
const DataSource& Trainer::data() const { return impl_->data; }
Algorithm& Trainer::algorithm() { return *impl_->algorithm; }
Stage& Trainer::stage() { return impl_->stage; }
const Stage& Trainer::stage() const { return impl_->stage; }
int64_t Trainer::iteration() const { return impl_->stage.world().iteration(); }
double Trainer::seconds_simulated() const { return impl_->clock.seconds(); }

Generator Trainer::generator() const {
  std::vector<GeneratorShare> made = impl_->result();
  Generator generator(impl_->stage.device(), impl_->stage.game().generator, made.front().generator);
  generator.set(std::move(made));
  return generator;
}

}  // namespace agon
