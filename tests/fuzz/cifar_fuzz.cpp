// libFuzzer target: any bytes as a tar archive and as CIFAR records, on their own and as members of the archive.
#include <cstddef>
#include <cstdint>

#include "datasets/archive.h"
#include "datasets/cifar.h"
#include "engine/checksum.h"
#include "kernels/error.h"

namespace {

void read_records(std::span<const std::byte> bytes) {
  for (const agon::CifarLayout& layout : {agon::kCifar10Layout, agon::kCifar100Layout}) {
    try {
      const int64_t count = agon::check_cifar_records(bytes, layout, "fuzzed.bin");
      agon::checksum64(bytes.data(), static_cast<size_t>(count * layout.record_bytes()));
    } catch (const agon::Error&) {
    }
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::span bytes(reinterpret_cast<const std::byte*>(data), size);
  read_records(bytes);
  try {
    for (const agon::TarMember& member : agon::tar_members(bytes, "fuzzed.tar")) read_records(member.bytes);
  } catch (const agon::Error&) {
  }
  return 0;
}
