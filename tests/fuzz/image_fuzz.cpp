// libFuzzer target: any bytes as a PNG or JPEG picture, decoded as it is, as grey and as RGB.
#include <cstddef>
#include <cstdint>
#include <cstdlib>

#include "engine/image.h"
#include "kernels/error.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::span bytes(reinterpret_cast<const std::byte*>(data), size);
  for (const int64_t channels : {0, 1, 3}) {
    try {
      const agon::Image image = agon::decode_image(bytes, "fuzzed.png", channels);
      if (image.pixels.size() != static_cast<size_t>(image.height * image.width * image.channels)) std::abort();
      agon::cropped_square(image, 16);
    } catch (const agon::Error&) {
    }
  }
  return 0;
}
