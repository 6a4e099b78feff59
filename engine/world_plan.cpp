// The messages that World's transfers will make, known before they are made.
#include "engine/world.h"

namespace agon {
namespace {

constexpr int64_t kFloatBytes = sizeof(float), kLabelBytes = sizeof(int32_t);

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

void World::plan_exchange(std::vector<Transfer>& plan, const std::vector<int64_t>& living, const Neighbours& neighbours,
                          int64_t model_floats, MessageKind kind) {
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

}  // namespace agon
