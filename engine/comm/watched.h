#pragma once

#include <optional>
#include <vector>

#include "engine/comm/communicator.h"
#include "engine/comm/roll_call.h"

namespace agon {

/// What communicators that survive losses have in common, however their messages travel: the roll call, and who was
/// lost according to it.
class Watched : public Communicator {
 public:
  int rank() const override { return rank_; }
  int size() const override { return size_; }
  void watch(double deadline) override;
  void settle() override;
  bool present(int rank) const override;
  bool speaks() const override;
  void check(bool suspicion = false) override;

 protected:
  /// Losses that are known here and counted on. Who has settled another number does not meet this process's messages.
  int settled() const { return settled_; }
  /// Whether somebody was lost since, or this process has no part any more.
  bool disturbed() const { return roll_ && (roll_->losses() != settled_ || !roll_->holds()); }
  /// Then: throws what exchange() throws.
  [[noreturn]] void give_up() const;
  /// Of an exchange that fails for a reason that the roll call may know better: how long to wait for its word.
  RollCall::Seconds patience() const { return 3 * deadline_; }

  int rank_ = 0, size_ = 1;
  std::optional<RollCall> roll_;
  RollCall::Over over_;  ///< what this process does when another one ends all

 private:
  RollCall::Seconds deadline_{0};
  int settled_ = 0;
  std::vector<int> lost_;
};

}  // namespace agon
