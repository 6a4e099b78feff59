#include "engine/comm/wire.h"

namespace agon {

void Wire::move(int from, const void* source, int to, void* target, size_t bytes) {
  const int here = processes_.rank();
  if (bytes == 0) return;
  if (from == here && to == here) {
    if (source != target) device_.copy(target, source, bytes);
  } else if (from == here) {
    out_.push_back({to, source, bytes});
  } else if (to == here) {
    in_.push_back({from, target, bytes});
  }
}

void Wire::run() {
  if (out_.empty() && in_.empty()) return;
  device_.synchronize();
  if (device_.reads_host_memory()) {  // and then its memory is the host's
    processes_.exchange(out_, in_);
  } else {
    std::vector<std::vector<std::byte>> staging;
    const auto stage = [&](size_t bytes) { return staging.emplace_back(bytes).data(); };
    std::vector<Communicator::Outgoing> out = out_;
    std::vector<Communicator::Incoming> in = in_;
    for (auto& message : out) {
      std::byte* const host = stage(message.bytes);
      device_.download(host, message.data, message.bytes);
      message.data = host;
    }
    for (auto& message : in) message.data = stage(message.bytes);
    processes_.exchange(out, in);
    for (size_t i = 0; i < in.size(); ++i) device_.upload(in_[i].data, in[i].data, in[i].bytes);
  }
  out_.clear(), in_.clear();
}

}  // namespace agon
