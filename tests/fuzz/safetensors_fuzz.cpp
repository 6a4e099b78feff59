// libFuzzer target: any bytes as a safetensors file, and as a packed data set. They are refused with an Error, or every
// tensor lies inside the bytes and can be read.
#include <cstddef>
#include <cstdint>

#include "datasets/packed.h"
#include "engine/safetensors.h"
#include "kernels/error.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::span bytes(reinterpret_cast<const std::byte*>(data), size);
  try {
    const auto file = agon::SafetensorsFile::parse(bytes, "fuzzed.safetensors");
    agon::Checksum sum;
    for (const agon::SafeTensor& tensor : file.tensors()) sum.add(tensor.data, tensor.bytes);
    const agon::Dataset packed = agon::read_packed(file, nullptr);
    packed.class_counts();
    if (packed.images() != nullptr)
      sum.add(packed.images(), static_cast<size_t>(packed.count() * packed.values_per_item()));
    file.verify();
  } catch (const agon::Error&) {
  }
  return 0;
}
