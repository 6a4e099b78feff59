#include "engine/comm/watched.h"

#include <algorithm>
#include <chrono>
#include <thread>

namespace agon {

void Watched::watch(double deadline) {
  if (size_ == 1) return;
  deadline_ = RollCall::Seconds(deadline);
  if (roll_) {
    roll_->speak_for(deadline_);
    any(false);  // all do
    return roll_->set_deadline(deadline_);
  }
  char invitation[1024] = "";
  std::vector<Outgoing> out;
  std::vector<Incoming> in;
  if (rank_ == 0) {
    roll_.emplace(size_, deadline_, over_);
    roll_->invitation().copy(invitation, sizeof(invitation) - 1);
    for (int to = 1; to < size_; ++to) out.push_back({to, invitation, sizeof(invitation)});
  } else {
    in.push_back({0, invitation, sizeof(invitation)});
  }
  exchange(out, in);
  if (rank_ != 0) roll_.emplace(rank_, invitation, deadline_, over_);
}

void Watched::settle() {
  settled_ = roll_->losses();
  lost_ = roll_->lost(settled_);
}

bool Watched::present(int rank) const { return std::find(lost_.begin(), lost_.end(), rank) == lost_.end(); }

bool Watched::speaks() const {
  if (!roll_ || roll_->holds()) return rank_ == 0;
  const std::vector<int> lost = roll_->lost(roll_->losses());
  int first = 1;  // of those that are left without the first
  while (std::find(lost.begin(), lost.end(), first) != lost.end()) ++first;
  return rank_ == first;
}

void Watched::check(bool suspicion) {
  const auto begin = std::chrono::steady_clock::now();
  while (!disturbed()) {
    if (!suspicion || !roll_ || std::chrono::steady_clock::now() - begin > patience()) return;
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  give_up();
}

void Watched::give_up() const {
  roll_->check();
  throw ProcessLost();
}

}  // namespace agon
