#include "engine/comm/wire.h"

namespace agon {

void Wire::move(int from, const void* source, int to, void* target, size_t bytes) {
  if (bytes == 0) return;
  if (from != to)
    moves_.push_back({from, source, to, target, bytes});
  else if (from == here_ && source != target)
    device_.copy(target, source, bytes);
}

void Wire::run() {
  if (!moves_.empty()) carrier_.carry(moves_);
  moves_.clear();
}

}  // namespace agon
