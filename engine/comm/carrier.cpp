// Which way device memory takes between processes, and the one through the host's memory.
#include "engine/comm/carrier.h"

#include <algorithm>
#include <cstring>
#include <map>

#include "kernels/plugin.h"

namespace agon {
namespace {

class HostCarrier final : public Carrier {
 public:
  HostCarrier(std::shared_ptr<Device> device, std::shared_ptr<Communicator> processes)
      : device_(std::move(device)), processes_(std::move(processes)) {}

  std::string name() const override { return "host"; }

  void carry(std::span<const Move> moves) override {
    const int here = processes_->rank();
    std::vector<Communicator::Outgoing> out;
    std::vector<Communicator::Incoming> in;
    for (const Move& move : moves) {
      if (move.from == here) out.push_back({move.to, move.source, move.bytes});
      if (move.to == here) in.push_back({move.from, move.target, move.bytes});
    }
    if (out.empty() && in.empty()) return;
    device_->synchronize();
    if (device_->reads_host_memory()) return processes_->exchange(out, in);  // and then its memory is the host's
    std::vector<std::vector<std::byte>> staging;
    const auto stage = [&](size_t bytes) { return staging.emplace_back(bytes).data(); };
    for (auto& message : out) {
      std::byte* const host = stage(message.bytes);
      device_->download(host, message.data, message.bytes);
      message.data = host;
    }
    std::vector<void*> targets;
    for (auto& message : in) {
      targets.push_back(message.data);
      message.data = stage(message.bytes);
    }
    processes_->exchange(out, in);
    for (size_t i = 0; i < in.size(); ++i) device_->upload(targets[i], in[i].data, in[i].bytes);
  }

 private:
  std::shared_ptr<Device> device_;
  std::shared_ptr<Communicator> processes_;
};

/// Every process's end, at all of them.
std::vector<WireEnd> gather_ends(Communicator& processes, const WireEnd& own) {
  struct Message {
    bool able;
    char text[255];
  };
  std::vector<Message> all(static_cast<size_t>(processes.size()));
  const auto at = [&](int rank) { return &all[static_cast<size_t>(rank)]; };
  Message* const mine = at(processes.rank());
  mine->able = own.able;
  mine->text[own.text.copy(mine->text, sizeof(mine->text) - 1)] = '\0';
  std::vector<Communicator::Outgoing> out;
  std::vector<Communicator::Incoming> in;
  for (int other = 0; other < processes.size(); ++other) {
    if (other == processes.rank()) continue;
    out.push_back({other, mine, sizeof(Message)});
    in.push_back({other, at(other), sizeof(Message)});
  }
  processes.exchange(out, in);
  std::vector<WireEnd> ends;
  for (const Message& message : all) ends.push_back({message.able, message.text});
  return ends;
}

}  // namespace

std::shared_ptr<Carrier> host_carrier(std::shared_ptr<Device> device, std::shared_ptr<Communicator> processes) {
  return std::make_shared<HostCarrier>(std::move(device), std::move(processes));
}

std::shared_ptr<Carrier> open_carrier(const std::string& wire, std::shared_ptr<Device> device,
                                      std::shared_ptr<Communicator> processes) {
  if (wire == "host" || (wire == "auto" && processes->size() == 1)) return host_carrier(device, processes);
  const std::optional<NativeQueue> queue = native_queue(*device);
  const CarrierPlugin* plugin = nullptr;
  WireEnd own{};
  if (!queue) {
    own.text = fmt::format("computes on the device \"{}\", and NCCL is for GPUs", device->name());
  } else {  // a device of kind cuda-... has a plug-in nccl-...
    const std::string name = device->name(), kind = "nccl" + name.substr(4, name.find(':') - 4);
    std::string reason;
    plugin = static_cast<const CarrierPlugin*>(open_plugin(kind, kCarrierPluginEntry, reason));
    try {
      own = plugin ? WireEnd{true, plugin->gpu(queue->index)} : WireEnd{false, "cannot use it: " + reason};
    } catch (const Error& error) {  // the others wait for this process's word
      own = {false, fmt::format("cannot use it: {}", error.what())};
    }
  }
  if (!goes_by_nccl(wire, gather_ends(*processes, own)) || processes->size() == 1)
    return host_carrier(device, processes);
  return plugin->open(device, processes, *queue);
}

bool goes_by_nccl(const std::string& wire, std::span<const WireEnd> ends) {
  if (wire == "host") return false;
  const auto impossible = [&](const std::string& why) {
    if (wire == "nccl") fail(Fault::kUsage, "world.wire is \"nccl\", but {}; \"host\" works everywhere", why);
    return false;
  };
  std::map<std::string, size_t> owners;
  for (size_t rank = 0; rank < ends.size(); ++rank) {
    if (!ends[rank].able) return impossible(fmt::format("process {} {}", rank, ends[rank].text));
    const auto [owner, first] = owners.emplace(ends[rank].text, rank);
    if (!first)
      return impossible(fmt::format("processes {} and {} share a GPU ({}), and NCCL wants one for each", owner->second,
                                    rank, ends[rank].text));
  }
  return true;
}

std::vector<int> members_of(const Communicator& processes) {
  std::vector<int> members;
  for (int rank = 0; rank < processes.size(); ++rank)
    if (processes.present(rank)) members.push_back(rank);
  return members;
}

std::vector<std::vector<Post>> posts_of(std::span<const Move> moves, int here, const std::vector<int>& members) {
  const auto number_of = [&](int rank) {
    const auto found = std::lower_bound(members.begin(), members.end(), rank);
    if (found == members.end() || *found != rank)
      fail(Fault::kRun, "a message was meant for process {}, which is lost; please report it", rank);
    return static_cast<int>(found - members.begin());
  };
  std::vector<std::vector<Post>> groups;
  for (size_t i = 0; i < moves.size(); ++i) {
    const Move& move = moves[i];
    if (i % kMovesOfGroup == 0) groups.emplace_back();
    if (move.from == here)
      groups.back().push_back({true, number_of(move.to), const_cast<void*>(move.source), move.bytes});
    else if (move.to == here)
      groups.back().push_back({false, number_of(move.from), move.target, move.bytes});
  }
  std::erase_if(groups, [](const std::vector<Post>& group) { return group.empty(); });
  return groups;
}

}  // namespace agon
