#include "engine/comm/packed_wire.h"

namespace agon {

void PackedWire::move(int from, const float* source, int to, float* target, int64_t rows, int64_t cols) {
  const int here = processes_.rank();
  if (from == to || compression_.kind == Compression::Kind::kNone)
    return plain_.move(from, source, to, target, static_cast<size_t>(rows * cols) * sizeof(float));
  if (from == here)
    out_.push_back({to, const_cast<float*>(source), rows, cols, {}});
  else if (to == here)
    in_.push_back({from, target, rows, cols, {}});
}

void PackedWire::run() {
  plain_.run();
  if (out_.empty() && in_.empty()) return;
  device_.synchronize();
  std::vector<Communicator::Outgoing> out;
  std::vector<Communicator::Incoming> in;
  std::vector<float> host;  // what the host cannot read where it is
  const auto in_host_memory = [&](const Parcel& parcel) {
    if (device_.reads_host_memory()) return parcel.floats;
    host.resize(static_cast<size_t>(parcel.rows * parcel.cols));
    return host.data();
  };
  for (Parcel& parcel : out_) {
    float* const floats = in_host_memory(parcel);
    if (floats != parcel.floats) device_.download(floats, parcel.floats, host.size() * sizeof(float));
    parcel.packed = compression_.pack(floats, parcel.rows, parcel.cols, values_);
    out.push_back({parcel.other, parcel.packed.data(), parcel.packed.size()});
  }
  for (Parcel& parcel : in_) {
    parcel.packed.resize(static_cast<size_t>(compression_.bytes(parcel.rows, parcel.cols)));
    in.push_back({parcel.other, parcel.packed.data(), parcel.packed.size()});
  }
  processes_.exchange(out, in);
  for (const Parcel& parcel : in_) {
    float* const floats = in_host_memory(parcel);
    compression_.unpack(parcel.packed, parcel.rows, parcel.cols, floats);
    if (floats != parcel.floats) device_.upload(parcel.floats, floats, host.size() * sizeof(float));
  }
  out_.clear(), in_.clear();
}

}  // namespace agon
