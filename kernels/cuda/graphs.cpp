// Lists of operations as CUDA graphs.
#include "kernels/cuda/graphs.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <bit>
#include <cstdlib>
#include <optional>
#include <utility>

#include "kernels/error.h"

namespace agon::cuda {
namespace {

constexpr size_t kMostEntries = 512;  // asynchronous MD-GAN has three lists of each worker's own
constexpr size_t kLeastPrefix = 8;    // operations in common that are worth a graph launch of their own

bool mixes(const Operation& operation) {
  return std::holds_alternative<ops::Mix>(operation) || std::holds_alternative<ops::Select>(operation) ||
         std::holds_alternative<ops::RobustMix>(operation);
}

std::optional<MixingPlan> plan_of(const Operation& operation) {
  if (const auto* mix = std::get_if<ops::Mix>(&operation))
    return plan_mixing(*mix->matrix, mix->in.data == mix->out.data);
  if (const auto* select = std::get_if<ops::Select>(&operation))
    return plan_mixing(*select->matrix, select->in.data == select->out.data);
  if (const auto* robust = std::get_if<ops::RobustMix>(&operation))
    return plan_mixing(*robust->matrix, /*in_place=*/false);
  return std::nullopt;
}

/// Queues operations; matrices[i] is the i-th matrix among them.
void launch_all(Context& context, const std::vector<Operation>& operations, const std::vector<DeviceMixing>& matrices) {
  size_t next = 0;
  for (const Operation& operation : operations) {
    if (mixes(operation)) context.mixing = matrices[next++];
    std::visit(
        [&](const auto& op) {
          if constexpr (std::is_same_v<std::decay_t<decltype(op)>, Copy>)
            launch_copy(context, op.to, op.from, op.bytes);
          else
            cuda::launch(context, op);
        },
        operation);
  }
}

}  // namespace

Graphs::Graphs(Context& context) : context_(context) {
  const char* setting = std::getenv("AGON_CUDA_GRAPHS");
  enabled_ = !setting || std::string(setting) != "0";
}

Graphs::~Graphs() { clear(); }

void Graphs::forget(Iterator entry) {
  if (entry->graph) (void)cudaStreamSynchronize(context_.stream());  // it may be running
  for (void* memory : entry->matrices) context_.memory().give(memory);
  entries_.erase(entry);
}

void Graphs::clear() {
  while (!entries_.empty()) forget(entries_.begin());
}

std::vector<DeviceMixing> Graphs::upload_matrices(const std::vector<Operation>& operations,
                                                  std::vector<void*>& memory) {
  std::vector<DeviceMixing> list;
  for (const Operation& operation : operations) {
    const std::optional<MixingPlan> plan = plan_of(operation);
    if (!plan) continue;
    std::vector<int32_t> words;  // begin, column, target, weight: all of 4 bytes
    for (const auto* part : {&plan->begin, &plan->column, &plan->target})
      words.insert(words.end(), part->begin(), part->end());
    for (const float weight : plan->weight) words.push_back(std::bit_cast<int32_t>(weight));
    DeviceMixing& mixing = list.emplace_back();
    mixing.route = plan->route;
    if (plan->route == Route::kNothing) continue;
    const size_t bytes = words.size() * sizeof(int32_t);
    auto* device = static_cast<int32_t*>(context_.memory().take(bytes));
    memory.push_back(device);
    check(cudaMemcpyAsync(device, words.data(), bytes, cudaMemcpyHostToDevice, context_.stream()),
          "sending a mixing matrix");
    mixing.rows = std::ssize(plan->begin) - 1;
    mixing.terms = std::ssize(plan->column);
    mixing.targets = std::ssize(plan->target);
    mixing.begin = device;
    mixing.column = mixing.begin + plan->begin.size();
    mixing.target = mixing.column + plan->column.size();
    mixing.weight = reinterpret_cast<const float*>(mixing.target + plan->target.size());
  }
  return list;
}

void Graphs::launch(const std::vector<Operation>& operations) {
  std::vector<void*> memory;
  const std::vector<DeviceMixing> matrices = upload_matrices(operations, memory);
  launch_all(context_, operations, matrices);
  for (void* block : memory) context_.memory().give(block);  // its next owner comes later on the stream
}

void Graphs::capture(Entry& entry) {
  const std::vector<DeviceMixing> matrices = upload_matrices(entry.operations, entry.matrices);
  try {
    entry.graph.emplace(context_, [&] { launch_all(context_, entry.operations, matrices); });
  } catch (const Error& error) {
    check(cudaStreamSynchronize(context_.stream()), "capturing a graph");  // a lost GPU says so again
    for (void* memory : std::exchange(entry.matrices, {})) context_.memory().give(memory);
    entry.loose = true;
    spdlog::warn("a list of {} operations is launched one by one, for it makes no CUDA graph: {}",
                 entry.operations.size(), error.what());
  }
}

void Graphs::run(std::vector<Operation> operations) {
  if (!enabled_) return launch(operations);
  if (generation_ != context_.generation()) clear(), generation_ = context_.generation();
  while (!operations.empty()) {
    Iterator known = entries_.end();
    size_t length = 0;
    for (auto entry = entries_.begin(); entry != entries_.end(); ++entry) {
      const std::vector<Operation>& list = entry->operations;
      const bool whole = list.size() == operations.size(), part = entry->graph && list.size() >= kLeastPrefix;
      if (list.size() > operations.size() || list.size() <= length || !(whole || part)) continue;
      if (std::equal(list.begin(), list.end(), operations.begin())) known = entry, length = list.size();
    }
    if (known == entries_.end()) {
      launch(operations);
      // Plans were made and work space may have moved, so the list is remembered only now.
      if (generation_ != context_.generation()) clear(), generation_ = context_.generation();
      entries_.emplace_front().operations = std::move(operations);
      if (entries_.size() > kMostEntries) forget(std::prev(entries_.end()));
      return;
    }
    entries_.splice(entries_.begin(), entries_, known);
    if (!known->graph && !known->loose) capture(*known);
    if (!known->graph) return launch(operations);
    known->graph->launch();
    operations.erase(operations.begin(), operations.begin() + static_cast<std::ptrdiff_t>(length));
  }
}

}  // namespace agon::cuda
