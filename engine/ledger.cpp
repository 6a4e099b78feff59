#include "engine/ledger.h"

#include <nlohmann/json.hpp>

#include "kernels/error.h"

namespace agon {

std::string name(MessageKind kind) {
  switch (kind) {
    case MessageKind::kBatches:
      return "batches";
    case MessageKind::kLabels:
      return "labels";
    case MessageKind::kFeedback:
      return "feedback";
    case MessageKind::kDiscriminators:
      return "discriminators";
    case MessageKind::kGenerators:
      return "generators";
    case MessageKind::kControl:
      return "control";
    case MessageKind::kGradients:
      return "gradients";
  }
  return "unknown";
}

void Ledger::record(const Transfer& transfer) {
  entries_[{transfer.kind, transfer.from, transfer.to}] += {transfer.bytes, transfer.messages};
}

namespace {

template <class Wanted>
Traffic sum(const std::map<Ledger::Key, Traffic>& entries, Wanted wanted) {
  Traffic traffic;
  for (const auto& [key, entry] : entries)
    if (std::apply(wanted, key)) traffic += entry;
  return traffic;
}

}  // namespace

Traffic Ledger::total(MessageKind kind) const {
  return sum(entries_, [=](MessageKind k, int64_t, int64_t) { return k == kind; });
}
Traffic Ledger::total() const {
  return sum(entries_, [](MessageKind, int64_t, int64_t) { return true; });
}
Traffic Ledger::received(MessageKind kind, int64_t by) const {
  return sum(entries_, [=](MessageKind k, int64_t, int64_t to) { return k == kind && to == by; });
}
Traffic Ledger::sent(MessageKind kind, int64_t by) const {
  return sum(entries_, [=](MessageKind k, int64_t from, int64_t) { return k == kind && from == by; });
}

int64_t Ledger::busiest_worker_bytes() const {
  std::map<int64_t, int64_t> moved;
  for (const auto& [key, traffic] : entries_)
    for (const int64_t participant : {std::get<1>(key), std::get<2>(key)}) moved[participant] += traffic.bytes;
  moved.erase(kServer);
  int64_t most = 0;
  for (const auto& [worker, bytes] : moved) most = std::max(most, bytes);
  return most;
}

nlohmann::json Ledger::to_json() const {
  nlohmann::json json = nlohmann::json::object();
  for (MessageKind kind : kMessageKinds)
    if (const Traffic traffic = total(kind); traffic.messages > 0)
      json[name(kind)] = {{"bytes", traffic.bytes}, {"messages", traffic.messages}};
  return json;
}

nlohmann::json Ledger::entries_json() const {
  nlohmann::json json = nlohmann::json::array();
  for (const auto& [key, traffic] : entries_) {
    const auto& [kind, from, to] = key;
    json.push_back({static_cast<int>(kind), from, to, traffic.bytes, traffic.messages});
  }
  return json;
}

void Ledger::restore(const nlohmann::json& entries) {
  entries_.clear();
  for (const auto& entry : entries)
    entries_[{static_cast<MessageKind>(entry.at(0).get<int>()), entry.at(1).get<int64_t>(),
              entry.at(2).get<int64_t>()}] = {entry.at(3).get<int64_t>(), entry.at(4).get<int64_t>()};
}

}  // namespace agon
