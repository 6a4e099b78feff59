#include "engine/compression.h"

#include <algorithm>
#include <cmath>

#include "kernels/error.h"

namespace agon {

int64_t Compression::kept(int64_t values) const {
  return std::clamp<int64_t>(std::llround(share * static_cast<double>(values)), 1, values);
}

int64_t Compression::bytes(int64_t samples, int64_t values) const {
  switch (kind) {
    case Kind::kNone:
      return samples * values * 4;
    case Kind::kBf16:
      return samples * values * 2;
    case Kind::kInt8:
      return samples * (values + 4);
    case Kind::kTopK:
      return samples * kept(values) * 8;
  }
  return 0;
}

void Compression::send(Device& device, const Tensor& x, const Floats& error) const {
  using Codec = ops::Compress::Codec;
  if (kind == Kind::kNone) return;
  device.run(ops::Compress{.codec = kind == Kind::kBf16   ? Codec::kBf16
                                    : kind == Kind::kInt8 ? Codec::kInt8
                                                          : Codec::kTopK,
                           .replicas = x.replicas,
                           .rows = x.batch,
                           .cols = x.row_size(),
                           .x = x.block(),
                           .error = error,
                           .keep = kept(x.row_size())});
}

Compression parse_compression(const std::string& name, double share) {
  using Kind = Compression::Kind;
  if (name == "none") return {};
  if (name == "bf16") return {Kind::kBf16};
  if (name == "int8") return {Kind::kInt8};
  if (name == "top-k") return {Kind::kTopK, share};
  fail(Fault::kUsage, "\"{}\" is not a way to send floats, expected none, bf16, int8 or top-k", name);
}

}  // namespace agon
