// Drawing contact sheets, writing PNG, scaling; the last two through the stb libraries.
#include "engine/image.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "engine/files.h"
#include "kernels/error.h"

#define STB_IMAGE_RESIZE_STATIC
#define STB_IMAGE_RESIZE_IMPLEMENTATION
#define STBI_WRITE_NO_STDIO
#define STB_IMAGE_WRITE_STATIC
#define STB_IMAGE_WRITE_IMPLEMENTATION
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wunused-function"
#pragma GCC diagnostic ignored "-Wsign-compare"
#include <stb/stb_image_resize.h>
#include <stb/stb_image_write.h>
#pragma GCC diagnostic pop

namespace agon {
namespace {

constexpr int64_t kReadableHeight = 64;  // a picture is enlarged to about this
constexpr uint8_t kGround = 255;

/// Reads one picture's value at (y, x, channel) whichever way the pictures are laid out.
struct PictureLayout {
  int64_t height, width, channels;
  bool planar;
  int64_t at(int64_t y, int64_t x, int64_t c) const {
    return planar ? (c * height + y) * width + x : (y * width + x) * channels + c;
  }
};

Image lay_out(const uint8_t* pictures, int64_t count, const PictureLayout& from, const SheetOptions& options) {
  const auto [height, width, channels, planar] = from;
  if (count < 1 || height < 1 || width < 1 || (channels != 1 && channels != 3))
    fail(Fault::kUsage, "cannot draw {} pictures of {} x {} x {}: expected 1 or 3 channels", count, height, width,
         channels);
  const int64_t columns =
      std::min(count, options.columns > 0 ? options.columns
                                          : static_cast<int64_t>(std::ceil(std::sqrt(static_cast<double>(count)))));
  const int64_t rows = (count + columns - 1) / columns;
  const int64_t scale = options.scale > 0 ? options.scale : std::max<int64_t>(1, kReadableHeight / height);
  const int64_t border = std::max<int64_t>(0, options.border);
  Image sheet{.height = rows * (height * scale + border) + border,
              .width = columns * (width * scale + border) + border,
              .channels = channels};
  if (sheet.height > kMaxSheetSide || sheet.width > kMaxSheetSide)
    fail(Fault::kUsage, "a sheet of {} x {} pictures would be {} x {} pixels: ask for fewer", rows, columns,
         sheet.height, sheet.width);

  sheet.pixels.assign(static_cast<size_t>(sheet.height * sheet.width * channels), kGround);
  for (int64_t i = 0; i < count; ++i) {
    const uint8_t* picture = pictures + i * height * width * channels;
    const int64_t top = border + i / columns * (height * scale + border);
    const int64_t left = border + i % columns * (width * scale + border);
    for (int64_t y = 0; y < height * scale; ++y)
      for (int64_t x = 0; x < width * scale; ++x)
        for (int64_t c = 0; c < channels; ++c)
          sheet.pixels[static_cast<size_t>(((top + y) * sheet.width + left + x) * channels + c)] =
              picture[from.at(y / scale, x / scale, c)];
  }
  return sheet;
}

}  // namespace

void write_png(const std::string& path, const uint8_t* pixels, int64_t height, int64_t width, int64_t channels) {
  std::string png;
  const auto append = [](void* context, void* data, int size) {
    static_cast<std::string*>(context)->append(static_cast<const char*>(data), static_cast<size_t>(size));
  };
  const bool done = stbi_write_png_to_func(append, &png, static_cast<int>(width), static_cast<int>(height),
                                           static_cast<int>(channels), pixels, static_cast<int>(width * channels)) != 0;
  if (!done) fail(Fault::kRun, "cannot encode {} as a PNG of {} x {} x {}", path, height, width, channels);
  write_atomically(path, png);
}

void write_png(const std::string& path, const Image& image) {
  write_png(path, image.pixels.data(), image.height, image.width, image.channels);
}

Image contact_sheet(const uint8_t* pictures, int64_t count, int64_t height, int64_t width, int64_t channels,
                    const SheetOptions& options) {
  return lay_out(pictures, count, {height, width, channels, /*planar=*/false}, options);
}

Image contact_sheet_planar(const uint8_t* pictures, int64_t count, int64_t channels, int64_t height, int64_t width,
                           const SheetOptions& options) {
  return lay_out(pictures, count, {height, width, channels, /*planar=*/true}, options);
}

Image cropped_square(const Image& image, int64_t side) {
  const int64_t square = std::min(image.height, image.width);
  const int64_t top = (image.height - square) / 2, left = (image.width - square) / 2;
  const int64_t stride = image.width * image.channels;
  const uint8_t* first = image.pixels.data() + top * stride + left * image.channels;
  Image result{.height = side, .width = side, .channels = image.channels};
  result.pixels.resize(static_cast<size_t>(side * side * image.channels));
  if (square == side) {
    for (int64_t y = 0; y < side; ++y)
      std::copy_n(first + y * stride, side * image.channels, result.pixels.data() + y * side * image.channels);
  } else if (stbir_resize_uint8(first, static_cast<int>(square), static_cast<int>(square), static_cast<int>(stride),
                                result.pixels.data(), static_cast<int>(side), static_cast<int>(side), 0,
                                static_cast<int>(image.channels)) == 0) {
    fail(Fault::kRun, "cannot scale a picture of {} x {} to {} x {}: out of memory", square, square, side, side);
  }
  return result;
}

}  // namespace agon
