#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <string>
#include <tuple>
#include <vector>

#include <nlohmann/json_fwd.hpp>

namespace agon {

enum class MessageKind { kBatches, kLabels, kFeedback, kDiscriminators, kGenerators, kControl, kGradients };
inline constexpr std::array kMessageKinds = {
    MessageKind::kBatches,    MessageKind::kLabels,  MessageKind::kFeedback, MessageKind::kDiscriminators,
    MessageKind::kGenerators, MessageKind::kControl, MessageKind::kGradients};
std::string name(MessageKind kind);  ///< "batches", "labels", "feedback", ...

/// A participant: worker 0 .. N-1 or the server.
constexpr int64_t kServer = -1;

/// What was sent: `messages` messages of `bytes` in all.
struct Traffic {
  int64_t bytes = 0, messages = 0;
  Traffic& operator+=(const Traffic& other) {
    bytes += other.bytes, messages += other.messages;
    return *this;
  }
  bool operator==(const Traffic&) const = default;
};

/// One planned or made transfer: `messages` equal messages of bytes / messages each.
struct Transfer {
  MessageKind kind;
  int64_t from, to;
  int64_t bytes;
  int64_t messages = 1;
};

/// Every transfer between participants, counted as it is made. Emulated and real runs keep the same ledger.
class Ledger {
 public:
  void record(MessageKind kind, int64_t from, int64_t to, int64_t bytes) { record({kind, from, to, bytes}); }
  void record(const Transfer& transfer);
  void record(const std::vector<Transfer>& transfers) {
    for (const Transfer& transfer : transfers) record(transfer);
  }

  Traffic total(MessageKind kind) const;
  Traffic total() const;
  /// Everything that a participant received (sent), of one kind.
  Traffic received(MessageKind kind, int64_t by) const;
  Traffic sent(MessageKind kind, int64_t by) const;
  /// What the worker that moved most bytes, received and sent, moved.
  int64_t busiest_worker_bytes() const;
  using Key = std::tuple<MessageKind, int64_t, int64_t>;  // kind, from, to
  const std::map<Key, Traffic>& entries() const { return entries_; }

  nlohmann::json to_json() const;       ///< {kind: {"bytes": .., "messages": ..}}, kinds that occurred
  nlohmann::json entries_json() const;  ///< complete, for checkpoints
  void restore(const nlohmann::json& entries);

 private:
  std::map<Key, Traffic> entries_;
};

}  // namespace agon
