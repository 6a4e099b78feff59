// Server and workers, who is where, and the batches and feedback that pass between them.
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

Batch Batch::only(int64_t replica) const {
  Batch batch = first(replica < 0 ? 0 : 1);
  if (replica > 0) batch.x.data += replica * x.stride;
  if (replica > 0 && y) batch.y.data += replica * y.stride;
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
    : World(std::move(device), seed, alone(), place_evenly(workers, 1, ServerPlace::kAuto)) {}

World::World(std::shared_ptr<Device> device, uint64_t seed, std::shared_ptr<Communicator> processes,
             Placement placement)
    : device_(std::move(device)),
      processes_(std::move(processes)),
      placement_(std::move(placement)),
      workers_(std::ssize(placement_.worker)),
      seed_(seed),
      device_iteration_(device_, 1),
      worker_numbers_(device_, workers_),
      all_numbers_(device_, workers_),
      server_number_(device_, 1),
      carrier_(host_carrier(device_, processes_)) {
  server_number_.set(std::span<const uint32_t>(&kServerDraws, 1));
  std::vector<int64_t> all(placement_.worker.size());
  std::iota(all.begin(), all.end(), 0);
  all_numbers_.set(std::vector<uint32_t>(all.begin(), all.end()));
  set_living(std::move(all));
}

int64_t World::replica_of(int64_t worker) const {
  const auto found = std::find(here_.begin(), here_.end(), worker);
  return found == here_.end() ? -1 : found - here_.begin();
}

int64_t World::host_of(int64_t worker) const {
  return std::find(hosts_.begin(), hosts_.end(), worker) - hosts_.begin();
}

void World::set_living(std::vector<int64_t> living) {
  std::vector<int64_t> hosts = living;
  if (roaming()) {
    hosts = hosts_;
    std::erase_if(hosts, [&](int64_t host) { return !std::binary_search(living.begin(), living.end(), host); });
  }
  living_ = std::move(living);
  if (!living_.empty() || !spread()) set_hosts(std::move(hosts));  // the last one's models stay, to be looked at
}

void World::set_hosts(std::vector<int64_t> hosts) {
  hosts_ = std::move(hosts);
  here_.clear();
  for (int64_t worker : hosts_)
    if (rank_of(worker) == processes_->rank()) here_.push_back(worker);
  const std::vector<uint32_t> numbers(here_.begin(), here_.end());
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

RandomKey World::key_of(int64_t worker, RandomStream stream, uint32_t draw) const {
  return {seed_, static_cast<uint32_t>(stream), draw, all_numbers_.data() + worker, device_iteration_.data()};
}

HostRandom World::shared_random(RandomStream stream) const {
  return HostRandom(seed_, stream, kServerDraws, static_cast<uint64_t>(iteration_));
}

namespace {

constexpr int64_t kFloatBytes = sizeof(float), kLabelBytes = sizeof(int32_t);

/// Which of k batches the r-th living worker gets; workers count from 1 in the paper's formula.
int64_t batch_of(int64_t replica, int64_t shift, int64_t batches) { return (replica + 1 + shift) % batches; }

}  // namespace

void World::deal(const Batch& batches, int64_t shift, const Batch& to, const Compression& compression) {
  const int64_t k = batches.x.replicas, floats = to.x.size_per_replica();
  const bool labelled = batches.y || to.y;  // the server has the first, workers have the second
  if (serves()) {                           // to those in this process
    auto rows = std::make_shared<ops::Mix::Rows>();
    for (int64_t r = 0; r < std::ssize(hosts_); ++r) {
      if (host_rank(r) != processes_->rank()) continue;
      rows->begin.push_back(std::ssize(rows->column));
      rows->column.push_back(batch_of(r, shift, k));
      rows->weight.push_back(1.f);
    }
    rows->begin.push_back(std::ssize(rows->column));
    if (rows->rows() > 0) {
      device_->run(ops::Mix{floats, batches.x.block(), to.x.block(), rows});
      if (batches.y) device_->run(ops::Select{batches.y.batch, batches.y.block(), to.y.block(), rows});
    }
  }
  Wire labels(*device_, *processes_, *carrier_);
  PackedWire pictures(*device_, *processes_, *carrier_, compression);
  for (int64_t r = 0; r < std::ssize(hosts_); ++r) {
    if (host_rank(r) == placement_.server) continue;
    const int64_t batch = batch_of(r, shift, k), replica = replica_of(hosts_[static_cast<size_t>(r)]);
    const auto source = [&](const auto& block) { return serves() ? block.at(batch) : nullptr; };
    const auto target = [&](const auto& block) { return replica >= 0 ? block.at(replica) : nullptr; };
    pictures.move(placement_.server, source(batches.x.block()), host_rank(r), target(to.x.block()), to.x.batch,
                  to.x.row_size());
    if (labelled)
      labels.move(placement_.server, source(batches.y.block()), host_rank(r), target(to.y.block()),
                  static_cast<size_t>(to.x.batch * kLabelBytes));
  }
  pictures.run();
  labels.run();
  // Those that came from another process have been through it.
  if (serves() && !here_.empty()) compression.send(*device_, Batch{to.x, {}}.first(std::ssize(here_)).x);
  std::vector<Transfer> sent;
  plan_deal(sent, hosts_, to.x.batch, to.x.shape, labelled, compression);
  ledger_.record(sent);
}

/// The feedback of all of hosts() in one place, at the server.
void World::gather_feedback(const Tensor& feedback, Tensor& all, const Collection& how) {
  if (!spread()) return;
  const auto N = std::ssize(hosts_);
  const int64_t floats = feedback.size_per_replica();
  if (serves()) {
    if (staging_.size() < N * floats) staging_ = Buffer<float>(device_, N * floats);
    all = {staging_.data(), N, feedback.batch, feedback.shape, floats};
  }
  using Values = Compression::Values;
  PackedWire wire(*device_, *processes_, *carrier_, how.compression, how.error ? Values::kSent : Values::kAsTheyAre);
  for (int64_t r = 0; r < N; ++r)
    wire.move(host_rank(r), at(r, feedback.data, feedback.stride), placement_.server,
              serves() ? staging_.data() + r * floats : nullptr, feedback.batch, feedback.row_size());
  wire.run();
}

void World::collect(const Tensor& feedback, int64_t shift, float scale, const Tensor& sums, int64_t batches,
                    const Collection& how) {
  // What only leaves the process is rounded as it is packed, unless the worker looks at what was lost.
  if (feedback.replicas > 0 && (serves() || how.error)) how.compression.send(*device_, feedback, how.error);
  std::vector<Transfer> sent;
  plan_collect(sent, hosts_, feedback.batch, feedback.shape, how.compression);
  ledger_.record(sent);
  Tensor all = feedback;
  gather_feedback(feedback, all, how);
  if (!serves()) return;
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
    device_->run(ops::Mix{sums.size_per_replica(), all.block(), sums.block(), rows});
  else
    device_->run(ops::RobustMix{.rule = merge.rule == Aggregation::Rule::kMedian        ? Rule::kMedian
                                        : merge.rule == Aggregation::Rule::kTrimmedMean ? Rule::kTrimmedMean
                                                                                        : Rule::kKrum,
                                .count = sums.size_per_replica(),
                                .in = all.block(),
                                .out = sums.block(),
                                .matrix = rows,
                                .tolerate = merge.tolerate});
}

void World::deal_to(int64_t n, const Batch& batch, bool labelled, const Batch& to) {
  Wire wire(*device_, *processes_, *carrier_);
  wire.move(placement_.server, batch.x.data, rank_of(n), to.x.data,
            static_cast<size_t>(to.x.size_per_replica() * kFloatBytes));
  if (labelled)
    wire.move(placement_.server, batch.y.data, rank_of(n), to.y.data, static_cast<size_t>(to.x.batch * kLabelBytes));
  wire.run();
  std::vector<Transfer> sent;
  plan_deal(sent, {n}, to.x.batch, to.x.shape, labelled);
  ledger_.record(sent);
}

Tensor World::collect_from(int64_t n, const Tensor& feedback) {
  std::vector<Transfer> sent;
  plan_collect(sent, {n}, feedback.batch, feedback.shape);
  ledger_.record(sent);
  if (rank_of(n) == placement_.server) return feedback;
  const int64_t floats = feedback.size_per_replica();
  if (serves() && staging_.size() < floats) staging_ = Buffer<float>(device_, floats);
  Wire wire(*device_, *processes_, *carrier_);
  wire.move(rank_of(n), feedback.data, placement_.server, staging_.data(), static_cast<size_t>(floats * kFloatBytes));
  wire.run();
  return serves() ? Tensor{staging_.data(), 1, feedback.batch, feedback.shape, floats} : feedback;
}

}  // namespace agon
