// Models on their way: mixed, averaged, copied, brought to the server.
#include "engine/world.h"

#include <algorithm>
#include <cstring>

namespace agon {
namespace {

/// A model's array [R][count] as it is after a journey.
void round_to(Precision wire, Device& device, const Floats& x, int64_t replicas, int64_t count) {
  if (wire == Precision::kBf16) device.run(ops::Compress{ops::Compress::Codec::kBf16, replicas, 1, count, x});
}

Compression compression_of(Precision wire) {
  return {wire == Precision::kBf16 ? Compression::Kind::kBf16 : Compression::Kind::kNone};
}

}  // namespace

float* World::at(int64_t host, float* base, int64_t stride) const {
  const int64_t replica = replica_of(hosts_[static_cast<size_t>(host)]);
  return replica < 0 ? nullptr : base + replica * stride;
}

void World::mix_array(float* data, int64_t count, const Mixing& matrix, int former_rank,
                      const Compression& compression) {
  if (!spread()) {
    device_->run(ops::Mix{count, {data, count}, {data, count}, matrix.shared_rows()});
    return;
  }
  // Rows are formed from the columns that are brought there; in pieces, so that no process holds more than a part of
  // the others' models.
  const ops::Mix::Rows& rows = matrix.rows();
  const int here = processes_->rank();
  const auto former = [&](int64_t row) { return former_rank == kEach ? host_rank(row) : former_rank; };
  std::vector<std::vector<int64_t>> columns(static_cast<size_t>(processes_->size()));  // wanted at each process
  std::vector<int64_t> mine, changed, arriving;  // rows formed here, at all, and whose workers are here
  for (int64_t i = 0; i < matrix.workers(); ++i) {
    if (matrix.identity_row(i)) continue;
    changed.push_back(i);
    if (former(i) == here) mine.push_back(i);
    if (host_rank(i) == here) arriving.push_back(i);
    auto& wanted = columns[static_cast<size_t>(former(i))];
    wanted.insert(wanted.end(), rows.column.begin() + rows.begin[static_cast<size_t>(i)],
                  rows.column.begin() + rows.begin[static_cast<size_t>(i) + 1]);
  }
  for (auto& wanted : columns) {
    std::sort(wanted.begin(), wanted.end());
    wanted.erase(std::unique(wanted.begin(), wanted.end()), wanted.end());
  }
  const auto& wanted_here = columns[static_cast<size_t>(here)];
  auto own = std::make_shared<ops::Mix::Rows>();  // the rows formed here, over the columns brought here
  for (int64_t row : mine) {
    own->begin.push_back(std::ssize(own->column));
    for (int64_t e = rows.begin[static_cast<size_t>(row)]; e < rows.begin[static_cast<size_t>(row) + 1]; ++e) {
      const auto place = std::lower_bound(wanted_here.begin(), wanted_here.end(), rows.column[static_cast<size_t>(e)]);
      own->column.push_back(place - wanted_here.begin());
      own->weight.push_back(rows.weight[static_cast<size_t>(e)]);
    }
  }
  own->begin.push_back(std::ssize(own->column));

  constexpr int64_t kPiece = 1 << 18;
  const int64_t most = std::min(kPiece, count);
  if (staging_.size() < std::ssize(wanted_here) * most)
    staging_ = Buffer<float>(device_, std::ssize(wanted_here) * most);
  if (formed_.size() < std::ssize(mine) * most) formed_ = Buffer<float>(device_, std::ssize(mine) * most);
  // A model changes at once, when all of its pieces are there: a process may be lost on the way.
  if (arrived_.size() < std::ssize(arriving) * count) arrived_ = Buffer<float>(device_, std::ssize(arriving) * count);
  const auto arrived = [&](int64_t row) -> float* {
    const auto place = std::lower_bound(arriving.begin(), arriving.end(), row);
    return place == arriving.end() || *place != row ? nullptr : arrived_.data() + (place - arriving.begin()) * count;
  };
  for (int64_t begin = 0; begin < count; begin += kPiece) {
    const int64_t size = std::min(kPiece, count - begin);
    const auto piece = [&](int64_t host) -> float* {
      float* const model = at(host, data, count);
      return model ? model + begin : nullptr;
    };
    PackedWire wire(*device_, *processes_, *carrier_, compression);
    for (int to = 0; to < processes_->size(); ++to)
      for (int64_t place = 0; const int64_t column : columns[static_cast<size_t>(to)]) {
        float* const target = to == here ? staging_.data() + place++ * size : nullptr;
        wire.move(host_rank(column), piece(column), to, target, 1, size);
      }
    wire.run();
    if (!mine.empty()) device_->run(ops::Mix{size, {staging_.data(), size}, {formed_.data(), size}, own});
    for (int64_t row : changed) {
      const auto place = std::lower_bound(mine.begin(), mine.end(), row) - mine.begin();
      const float* const source = former(row) == here ? formed_.data() + place * size : nullptr;
      float* const target = arrived(row);
      wire.move(former(row), source, host_rank(row), target ? target + begin : nullptr, 1, size);
    }
    wire.run();
  }
  for (int64_t row : arriving)
    device_->copy(at(row, data, count), arrived(row), static_cast<size_t>(count) * sizeof(float));
}

void World::gather(const void* values, void* all, size_t bytes) const {
  std::vector<Communicator::Outgoing> out;
  std::vector<Communicator::Incoming> in;
  auto* const target = static_cast<std::byte*>(all);
  for (int64_t r = 0, mine = 0; r < std::ssize(hosts_); ++r) {
    std::byte* const place = target + static_cast<size_t>(r) * bytes;
    if (host_rank(r) != processes_->rank()) {
      in.push_back({host_rank(r), place, bytes});
      continue;
    }
    std::memcpy(place, static_cast<const std::byte*>(values) + static_cast<size_t>(mine++) * bytes, bytes);
    for (int to = 0; to < processes_->size(); ++to)
      if (to != processes_->rank() && processes_->present(to)) out.push_back({to, place, bytes});
  }
  processes_->exchange(out, in);
}

void World::mix(Fleet& models, const Mixing& matrix, MessageKind kind, Route route, Moments moments, Precision wire) {
  int64_t model_floats = 0;
  for (const Fleet::Arena& arena : models.arenas()) {
    const Floats block{arena.data, arena.count};
    if (!arena.moment || moments == Moments::kTravel) {
      if (models.replicas() > 0) round_to(wire, *device_, block, models.replicas(), arena.count);
      mix_array(arena.data, arena.count, matrix, route == Route::kServer ? placement_.server : kEach,
                compression_of(wire));
      if (models.replicas() > 0) round_to(wire, *device_, block, models.replicas(), arena.count);
      model_floats += arena.count;
    } else if (moments == Moments::kReset) {
      for (int64_t i = 0; i < matrix.workers(); ++i)
        if (float* const replica = at(i, arena.data, arena.count); replica && !matrix.identity_row(i))
          device_->run(ops::Fill{.replicas = 1, .count = arena.count, .y = {replica, arena.count}});
    }
  }
  // The step count of Adam's bias correction belongs to the moments: a selection row takes its source's.
  if (moments != Moments::kStay) {
    std::vector<int32_t> own = models.steps();
    const std::vector<int32_t> before = gather(own);
    const ops::Mix::Rows& rows = matrix.rows();
    for (int64_t i = 0; i < matrix.workers(); ++i) {
      const int64_t replica = replica_of(hosts_[static_cast<size_t>(i)]);
      if (replica < 0 || matrix.identity_row(i)) continue;
      const auto source = static_cast<size_t>(rows.column[static_cast<size_t>(rows.begin[static_cast<size_t>(i)])]);
      own[static_cast<size_t>(replica)] = moments == Moments::kReset ? 0 : before[source];
    }
    models.set_steps(own);
  }
  std::vector<Transfer> sent;
  plan_mix(sent, hosts_, matrix, model_floats, kind, route, wire);
  ledger_.record(sent);
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
  PackedWire wires(*device_, *processes_, *carrier_, compression_of(wire));
  for (size_t i = 0; i < from.size() && i < to.size(); ++i) {
    if (from[i].moment || from[i].name != to[i].name) continue;
    if (serves() && models.replicas() > 0)
      device_->run(ops::Mix{from[i].count, {from[i].data, from[i].count}, {to[i].data, to[i].count}, copies});
    for (int64_t r = 0; r < std::ssize(hosts_); ++r)
      if (host_rank(r) != placement_.server)
        wires.move(placement_.server, from[i].data, host_rank(r), at(r, to[i].data, to[i].count), 1, from[i].count);
    wires.run();
    if (models.replicas() > 0) round_to(wire, *device_, {to[i].data, to[i].count}, models.replicas(), to[i].count);
    model_floats += from[i].count;
  }
  std::vector<Transfer> sent;
  plan_broadcast(sent, hosts_, model_floats, kind, wire);
  ledger_.record(sent);
}

void World::all_reduce_gradients(Fleet& models) {
  const int64_t P = models.network().parameters();
  mix_array(models.gradients().data, P, Mixing::average(std::ssize(hosts_)), host_rank(0));
  std::vector<Transfer> sent;
  plan_all_reduce(sent, hosts_, P);
  ledger_.record(sent);
}

GeneratorWeights World::fetch(const Fleet& models, int64_t host) const {
  if (!spread()) return {models.replica_weights(host), models.replica_state(host)};
  const int64_t replica = replica_of(hosts_[static_cast<size_t>(host)]);
  GeneratorWeights weights;
  if (replica >= 0) weights = {models.replica_weights(replica), models.replica_state(replica)};
  if (host_rank(host) == placement_.server) return serves() ? weights : GeneratorWeights{};
  std::vector<Communicator::Outgoing> out;
  std::vector<Communicator::Incoming> in;
  for (std::vector<float>* values : {&weights.weights, &weights.state}) {
    if (serves()) {
      values->resize(
          static_cast<size_t>(values == &weights.weights ? models.network().parameters() : models.network().state()));
      in.push_back({host_rank(host), values->data(), values->size() * sizeof(float)});
    } else if (replica >= 0) {
      out.push_back({placement_.server, values->data(), values->size() * sizeof(float)});
    }
  }
  processes_->exchange(out, in);
  return serves() ? weights : GeneratorWeights{};
}

void World::fetch(const Fleet& models, int64_t host, Fleet& server) {
  const std::vector<Fleet::Arena> from = models.arenas(), to = server.arenas();
  Wire wire(*device_, *processes_, *carrier_);
  for (size_t i = 0; i < from.size() && i < to.size(); ++i)  // weights, then state if there is any
    if (!from[i].moment && from[i].name == to[i].name)
      wire.move(host_rank(host), at(host, from[i].data, from[i].count), placement_.server, to[i].data,
                static_cast<size_t>(from[i].count) * sizeof(float));
  wire.run();
}

std::vector<float> World::fetch_array(const Fleet::Arena& arena) const {
  std::vector<float> all(serves() ? hosts_.size() * static_cast<size_t>(arena.count) : 0), own;
  const size_t bytes = static_cast<size_t>(arena.count) * sizeof(float);
  std::vector<Communicator::Outgoing> out;
  std::vector<Communicator::Incoming> in;
  if (!serves()) {
    own.resize(here_.size() * static_cast<size_t>(arena.count));
    device_->download(own.data(), arena.data, own.size() * sizeof(float));
    for (size_t r = 0; r < here_.size(); ++r)
      out.push_back({placement_.server, own.data() + r * static_cast<size_t>(arena.count), bytes});
  } else {
    for (int64_t r = 0; r < std::ssize(hosts_); ++r) {
      float* const place = all.data() + r * arena.count;
      if (host_rank(r) == placement_.server)
        device_->download(place, at(r, arena.data, arena.count), bytes);
      else
        in.push_back({host_rank(r), place, bytes});
    }
  }
  processes_->exchange(out, in);
  return all;
}

void World::copy_model(Fleet& models, int64_t from, int64_t source, int64_t to, int64_t target) const {
  Wire wire(*device_, *processes_, *carrier_);
  move_model(wire, models, rank_of(from), source, rank_of(to), target);
  wire.run();
}

void World::rehost(Fleet& models, std::vector<int64_t> hosts, bool with_moments) {
  if (!spread()) return set_hosts(std::move(hosts));  // replicas stay where they are
  const int here = processes_->rank();
  const int64_t arriving =
      std::count_if(hosts.begin(), hosts.end(), [&](int64_t host) { return rank_of(host) == here; });
  std::vector<Fleet::Arena> arenas = models.arenas();
  if (!with_moments) std::erase_if(arenas, [](const Fleet::Arena& arena) { return arena.moment; });
  int64_t floats = 0;
  for (const Fleet::Arena& arena : arenas) floats += arriving * arena.count;
  if (arrived_.size() < floats) arrived_ = Buffer<float>(device_, floats);
  float* place = arrived_.data();
  for (const Fleet::Arena& arena : arenas) {
    const size_t bytes = static_cast<size_t>(arena.count) * sizeof(float);
    Wire wire(*device_, *processes_, *carrier_);
    for (int64_t d = 0; d < std::ssize(hosts); ++d) {
      const int to = rank_of(hosts[static_cast<size_t>(d)]);
      wire.move(host_rank(d), at(d, arena.data, arena.count), to, to == here ? place : nullptr, bytes);
      if (to == here) place += arena.count;
    }
    wire.run();
  }
  const std::vector<int32_t> all_steps = gather(models.steps());
  const std::vector<float> all_rates = gather(models.learning_rates());
  // Nobody gives a model away before all are where they go to: a process may be lost on the way.
  processes_->any(false);
  const float* from = arrived_.data();
  for (const Fleet::Arena& arena : arenas) {
    if (arriving > 0) device_->copy(arena.data, from, static_cast<size_t>(arriving * arena.count) * sizeof(float));
    from += arriving * arena.count;
  }
  set_hosts(std::move(hosts));
  models.set_replicas(arriving);
  std::vector<int32_t> steps = models.steps();
  std::vector<float> rates = models.learning_rates();
  for (int64_t r = 0; r < arriving; ++r) {
    const auto d = static_cast<size_t>(host_of(here_[static_cast<size_t>(r)]));
    steps[static_cast<size_t>(r)] = all_steps[d], rates[static_cast<size_t>(r)] = all_rates[d];
  }
  models.set_steps(steps);
  models.set_learning_rates(rates);
}

void World::move_model(Wire& wire, Fleet& models, int from, int64_t source, int to, int64_t target) {
  const auto move = [&](auto* data, int64_t count) {
    wire.move(from, source < 0 ? nullptr : data + source * count, to, target < 0 ? nullptr : data + target * count,
              static_cast<size_t>(count) * sizeof(*data));
  };
  for (const Fleet::Arena& arena : models.arenas()) move(arena.data, arena.count);
  if (models.trains()) move(models.step_block().data, 1), move(models.learning_rate_block().data, 1);
}

std::vector<int64_t> World::guests(const Neighbours& neighbours, int rank) const {
  std::vector<int64_t> list;
  for (size_t r = 0; r < hosts_.size(); ++r)
    if (rank_of(hosts_[r]) == rank)
      for (int64_t other : neighbours[r])
        if (host_rank(other) != rank) list.push_back(hosts_[static_cast<size_t>(other)]);
  std::sort(list.begin(), list.end());
  list.erase(std::unique(list.begin(), list.end()), list.end());
  return list;
}

void World::invite(const Neighbours& neighbours, Fleet& models) const {
  Wire wire(*device_, *processes_, *carrier_);
  for (int to = 0; to < processes_->size(); ++to)
    for (int64_t place = std::ssize(here_); const int64_t guest : guests(neighbours, to))
      move_model(wire, models, rank_of(guest), replica_of(guest), to, place++);
  wire.run();
}

World::Neighbours World::replicas_of(const Neighbours& neighbours) const {
  std::vector<int64_t> known = here_;
  for (const int64_t guest : guests(neighbours)) known.push_back(guest);
  Neighbours own;
  for (const int64_t worker : here_) {
    std::vector<int64_t>& list = own.emplace_back(neighbours[static_cast<size_t>(host_of(worker))]);
    for (int64_t& other : list)
      other = std::find(known.begin(), known.end(), hosts_[static_cast<size_t>(other)]) - known.begin();
  }
  return own;
}

void World::exchange(const Fleet& models, const Neighbours& neighbours, MessageKind kind) {
  int64_t model_floats = 0;
  for (const Fleet::Arena& arena : models.arenas()) model_floats += arena.count;
  std::vector<Transfer> sent;
  plan_exchange(sent, living_, neighbours, model_floats, kind);
  ledger_.record(sent);
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
