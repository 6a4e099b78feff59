// libFuzzer target: any bytes as an IDX file, plain or gzipped.
#include <cstddef>
#include <cstdint>

#include "datasets/archive.h"
#include "datasets/idx.h"
#include "engine/checksum.h"
#include "kernels/error.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::span bytes(reinterpret_cast<const std::byte*>(data), size);
  for (const size_t dimensions : {1, 3}) {
    try {
      std::vector<std::byte> unpacked;
      if (agon::is_gzip(bytes)) unpacked = agon::gunzip(bytes, "fuzzed.gz", 1 << 20);
      const agon::IdxArray array = agon::parse_idx(agon::is_gzip(bytes) ? unpacked : bytes, dimensions, "fuzzed.idx");
      size_t values = 1;
      for (int64_t extent : array.shape) values *= static_cast<size_t>(extent);
      agon::checksum64(array.values, values);
    } catch (const agon::Error&) {
    }
  }
  return 0;
}
