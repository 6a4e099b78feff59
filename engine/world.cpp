#include "engine/world.h"

#include <algorithm>
#include <numeric>

namespace agon {

Batch Batch::as_replicas(int64_t replicas) const {
  Batch batch = *this;
  batch.x.replicas = batch.y.replicas = replicas;
  batch.x.batch = batch.y.batch = x.batch / replicas;
  batch.x.stride = batch.x.batch * x.row_size();
  batch.y.stride = batch.y.batch;
  return batch;
}

Batch Batch::first(int64_t replicas) const {
  Batch batch = *this;
  batch.x.replicas = batch.y.replicas = replicas;
  return batch;
}

BatchBuffer::BatchBuffer(std::shared_ptr<Device> device, int64_t replicas, int64_t batch, Shape shape, bool labelled)
    : x_(device, replicas, batch, shape) {
  if (labelled) y_ = LabelBuffer(device, replicas, batch);
}

Batch BatchBuffer::view(int64_t replicas) const { return Batch{x_.view(), y_.view()}.first(replicas); }

Moments parse_moments(const std::string& name) {
  if (name == "stay") return Moments::kStay;
  if (name == "travel" || name == "average") return Moments::kTravel;
  if (name == "reset") return Moments::kReset;
  fail(Fault::kUsage, "\"{}\" is not a way to treat moments, expected stay, travel (average) or reset", name);
}

World::World(std::shared_ptr<Device> device, int64_t workers, uint64_t seed)
    : device_(std::move(device)),
      workers_(workers),
      seed_(seed),
      device_iteration_(device_, 1),
      worker_numbers_(device_, workers),
      server_number_(device_, 1) {
  server_number_.set(std::span<const uint32_t>(&kServerDraws, 1));
  std::vector<int64_t> all(static_cast<size_t>(workers));
  std::iota(all.begin(), all.end(), 0);
  set_living(std::move(all));
}

int64_t World::replica_of(int64_t worker) const {
  const auto found = std::find(living_.begin(), living_.end(), worker);
  return found == living_.end() ? -1 : found - living_.begin();
}

void World::set_living(std::vector<int64_t> living) {
  living_ = std::move(living);
  set_hosts(living_);
}

void World::set_hosts(std::vector<int64_t> hosts) {
  hosts_ = std::move(hosts);
  const std::vector<uint32_t> numbers(hosts_.begin(), hosts_.end());
  worker_numbers_.set(numbers);
}

void World::next_iteration() {
  ++iteration_;
  device_->run(ops::Advance{device_iteration_.data()});
}

void World::set_iteration(int64_t iteration) {
  iteration_ = iteration;
  const uint64_t value = static_cast<uint64_t>(iteration);
  device_iteration_.set(std::span<const uint64_t>(&value, 1));
}

RandomKey World::server_key(RandomStream stream, uint32_t draw) const {
  return {seed_, static_cast<uint32_t>(stream), draw, server_number_.data(), device_iteration_.data()};
}

RandomKey World::worker_key(RandomStream stream, uint32_t draw, int64_t first) const {
  return {seed_, static_cast<uint32_t>(stream), draw, worker_numbers_.data() + first, device_iteration_.data()};
}

HostRandom World::shared_random(RandomStream stream) const {
  return HostRandom(seed_, stream, kServerDraws, static_cast<uint64_t>(iteration_));
}

namespace {

constexpr int64_t kFloatBytes = sizeof(float), kLabelBytes = sizeof(int32_t);

/// Which of k batches the r-th living worker gets; workers count from 1 in the paper's formula.
int64_t batch_of(int64_t replica, int64_t shift, int64_t batches) { return (replica + 1 + shift) % batches; }

void record_all(Ledger& ledger, const std::vector<Transfer>& transfers) {
  for (const Transfer& transfer : transfers) ledger.record(transfer);
}

}  // namespace

Transfer World::model_transfer(int64_t model_floats, MessageKind kind, int64_t from, int64_t to, Precision wire) {
  return {kind, from, to, model_floats * (wire == Precision::kBf16 ? kFloatBytes / 2 : kFloatBytes)};
}

void World::plan_deal(std::vector<Transfer>& plan, const std::vector<int64_t>& living, int64_t batch,
                      const Shape& shape, bool labelled, const Compression& compression) {
  for (int64_t worker : living) {
    plan.push_back({MessageKind::kBatches, kServer, worker, compression.bytes(batch, shape.size())});
    if (labelled) plan.push_back({MessageKind::kLabels, kServer, worker, batch * kLabelBytes});
  }
}

void World::plan_collect(std::vector<Transfer>& plan, const std::vector<int64_t>& living, int64_t batch,
                         const Shape& shape, const Compression& compression) {
  for (int64_t worker : living)
    plan.push_back({MessageKind::kFeedback, worker, kServer, compression.bytes(batch, shape.size())});
}

void World::plan_mix(std::vector<Transfer>& plan, const std::vector<int64_t>& living, const Mixing& matrix,
                     int64_t model_floats, MessageKind kind, Route route, Precision wire) {
  const ops::Mix::Rows& rows = matrix.rows();
  const auto worker = [&](int64_t replica) { return living[static_cast<size_t>(replica)]; };
  std::vector<bool> sends(living.size(), false);
  for (int64_t i = 0; i < matrix.workers(); ++i) {
    if (matrix.identity_row(i)) continue;
    for (int64_t e = rows.begin[static_cast<size_t>(i)]; e < rows.begin[static_cast<size_t>(i) + 1]; ++e) {
      const int64_t j = rows.column[static_cast<size_t>(e)];
      if (route == Route::kPeers && j != i)
        plan.push_back(model_transfer(model_floats, kind, worker(j), worker(i), wire));
      sends[static_cast<size_t>(j)] = true;
    }
    if (route == Route::kServer) plan.push_back(model_transfer(model_floats, kind, kServer, worker(i), wire));
  }
  if (route == Route::kServer)
    for (size_t j = 0; j < living.size(); ++j)
      if (sends[j]) plan.push_back(model_transfer(model_floats, kind, living[j], kServer, wire));
}

void World::plan_exchange(std::vector<Transfer>& plan, const std::vector<int64_t>& living,
                          const std::vector<std::vector<int64_t>>& neighbours, int64_t model_floats, MessageKind kind) {
  for (size_t r = 0; r < living.size(); ++r)
    for (int64_t other : neighbours[r])
      if (other != static_cast<int64_t>(r))
        plan.push_back(model_transfer(model_floats, kind, living[static_cast<size_t>(other)], living[r]));
}

void World::plan_broadcast(std::vector<Transfer>& plan, const std::vector<int64_t>& living, int64_t model_floats,
                           MessageKind kind, Precision wire) {
  for (int64_t worker : living) plan.push_back(model_transfer(model_floats, kind, kServer, worker, wire));
}

void World::plan_all_reduce(std::vector<Transfer>& plan, const std::vector<int64_t>& living, int64_t gradients) {
  const auto N = static_cast<int64_t>(living.size());
  if (N < 2) return;
  const auto part = [&](int64_t n) { return gradients / N + (n % N < gradients % N ? 1 : 0); };
  for (int64_t n = 0; n < N; ++n)  // all parts but n + 1 on their way to be summed, all but n + 2 when they come back
    plan.push_back({MessageKind::kGradients, living[static_cast<size_t>(n)], living[static_cast<size_t>((n + 1) % N)],
                    (2 * gradients - part(n + 1) - part(n + 2)) * kFloatBytes, 2 * (N - 1)});
}

void World::deal(const Batch& batches, int64_t shift, const Batch& to, const Compression& compression) {
  auto rows = std::make_shared<ops::Mix::Rows>();
  for (int64_t r = 0; r < std::ssize(hosts_); ++r) {
    rows->begin.push_back(r);
    rows->column.push_back(batch_of(r, shift, batches.x.replicas));
    rows->weight.push_back(1.f);
  }
  rows->begin.push_back(std::ssize(hosts_));
  device_->run(ops::Mix{batches.x.size_per_replica(), batches.x.block(), to.x.block(), rows});
  if (batches.y) device_->run(ops::Select{batches.y.batch, batches.y.block(), to.y.block(), rows});
  compression.send(*device_, Batch{to.x, {}}.first(std::ssize(hosts_)).x);
  std::vector<Transfer> sent;
  plan_deal(sent, hosts_, batches.x.batch, batches.x.shape, static_cast<bool>(batches.y), compression);
  record_all(ledger_, sent);
}

void World::collect(const Tensor& feedback, int64_t shift, float scale, const Tensor& sums, int64_t batches,
                    const Collection& how) {
  how.compression.send(*device_, feedback, how.error);
  auto rows = std::make_shared<ops::Mix::Rows>();
  bool idle = false;  // a batch that no worker judged
  for (int64_t k = 0; k < sums.replicas; ++k) {
    rows->begin.push_back(static_cast<int64_t>(rows->column.size()));
    for (int64_t r = 0; r < std::ssize(hosts_); ++r)
      if (batch_of(r, shift, batches) == k) {
        rows->column.push_back(r);
        rows->weight.push_back(scale);
      }
    idle = idle || rows->begin.back() == static_cast<int64_t>(rows->column.size());
  }
  rows->begin.push_back(static_cast<int64_t>(rows->column.size()));
  if (idle) device_->run(ops::Fill{.replicas = sums.replicas, .count = sums.size_per_replica(), .y = sums.block()});
  using Rule = ops::RobustMix::Rule;
  const Aggregation& merge = how.aggregation;
  if (merge.rule == Aggregation::Rule::kMean)
    device_->run(ops::Mix{sums.size_per_replica(), feedback.block(), sums.block(), rows});
  else
    device_->run(ops::RobustMix{.rule = merge.rule == Aggregation::Rule::kMedian        ? Rule::kMedian
                                        : merge.rule == Aggregation::Rule::kTrimmedMean ? Rule::kTrimmedMean
                                                                                        : Rule::kKrum,
                                .count = sums.size_per_replica(),
                                .in = feedback.block(),
                                .out = sums.block(),
                                .matrix = rows,
                                .tolerate = merge.tolerate});
  std::vector<Transfer> sent;
  plan_collect(sent, hosts_, feedback.batch, feedback.shape, how.compression);
  record_all(ledger_, sent);
}

namespace {

/// A model's array [R][count] as it is after a journey.
void round_to(Precision wire, Device& device, const Floats& x, int64_t replicas, int64_t count) {
  if (wire == Precision::kBf16) device.run(ops::Compress{ops::Compress::Codec::kBf16, replicas, 1, count, x});
}

}  // namespace

void World::mix(Fleet& models, const Mixing& matrix, MessageKind kind, Route route, Moments moments, Precision wire) {
  int64_t model_floats = 0;
  for (const Fleet::Arena& arena : models.arenas()) {
    const Floats block{arena.data, arena.count};
    if (!arena.moment || moments == Moments::kTravel) {
      round_to(wire, *device_, block, models.replicas(), arena.count);
      device_->run(ops::Mix{arena.count, block, block, matrix.shared_rows()});
      round_to(wire, *device_, block, models.replicas(), arena.count);
      model_floats += arena.count;
    } else if (moments == Moments::kReset) {
      for (int64_t i = 0; i < matrix.workers(); ++i)
        if (!matrix.identity_row(i))
          device_->run(ops::Fill{.replicas = 1, .count = arena.count, .y = {block.at(i), arena.count}});
    }
  }
  // The step count of Adam's bias correction belongs to the moments: a selection row takes its source's.
  if (moments != Moments::kStay) {
    const std::vector<int32_t> before = models.steps();
    std::vector<int32_t> after = before;
    const ops::Mix::Rows& rows = matrix.rows();
    for (int64_t i = 0; i < matrix.workers(); ++i) {
      const auto r = static_cast<size_t>(i);
      if (matrix.identity_row(i)) continue;
      const auto source = static_cast<size_t>(rows.column[static_cast<size_t>(rows.begin[r])]);
      after[r] = moments == Moments::kReset ? 0 : before[source];
    }
    models.set_steps(after);
  }
  std::vector<Transfer> sent;
  plan_mix(sent, hosts_, matrix, model_floats, kind, route, wire);
  record_all(ledger_, sent);
}

void World::broadcast(const Fleet& server, Fleet& models, MessageKind kind, Precision wire) {
  const auto copies = std::make_shared<ops::Mix::Rows>();
  copies->begin = {0};
  for (int64_t r = 0; r < models.replicas(); ++r) {
    copies->column.push_back(0);
    copies->weight.push_back(1.f);
    copies->begin.push_back(r + 1);
  }
  const std::vector<Fleet::Arena> from = server.arenas(), to = models.arenas();
  int64_t model_floats = 0;
  for (size_t i = 0; i < from.size() && i < to.size(); ++i) {
    if (from[i].moment || from[i].name != to[i].name) continue;
    device_->run(ops::Mix{from[i].count, {from[i].data, from[i].count}, {to[i].data, to[i].count}, copies});
    round_to(wire, *device_, {to[i].data, to[i].count}, models.replicas(), to[i].count);
    model_floats += from[i].count;
  }
  std::vector<Transfer> sent;
  plan_broadcast(sent, hosts_, model_floats, kind, wire);
  record_all(ledger_, sent);
}

void World::all_reduce_gradients(Fleet& models) {
  const int64_t P = models.network().parameters();
  device_->run(ops::Mix{P, models.gradients(), models.gradients(), Mixing::average(models.replicas()).shared_rows()});
  std::vector<Transfer> sent;
  plan_all_reduce(sent, hosts_, P);
  record_all(ledger_, sent);
}

void World::exchange(const Fleet& models, const std::vector<std::vector<int64_t>>& neighbours, MessageKind kind) {
  int64_t model_floats = 0;
  for (const Fleet::Arena& arena : models.arenas()) model_floats += arena.count;
  std::vector<Transfer> sent;
  plan_exchange(sent, living_, neighbours, model_floats, kind);
  record_all(ledger_, sent);
}

void World::select(const Fleet& from, Fleet& to, const std::vector<int64_t>& source, bool with_moments) {
  auto rows = std::make_shared<ops::Mix::Rows>();
  for (int64_t column : source) {
    rows->begin.push_back(std::ssize(rows->column));
    if (column >= 0) rows->column.push_back(column), rows->weight.push_back(1.f);
  }
  rows->begin.push_back(std::ssize(rows->column));
  const std::vector<Fleet::Arena> sources = from.arenas();
  for (const Fleet::Arena& arena : to.arenas()) {
    const auto same = std::find_if(sources.begin(), sources.end(), [&](const auto& a) { return a.name == arena.name; });
    if (arena.moment && !with_moments) continue;
    device_->run(ops::Mix{arena.count, {same->data, same->count}, {arena.data, arena.count}, rows});
  }
  if (with_moments) {
    const auto selected = [&](const auto& values, auto result) {
      for (size_t r = 0; r < source.size(); ++r)
        if (source[r] >= 0) result[r] = values[static_cast<size_t>(source[r])];
      return result;
    };
    to.set_steps(selected(from.steps(), to.steps()));
    to.set_learning_rates(selected(from.learning_rates(), to.learning_rates()));
  }
}

}  // namespace agon
