#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace agon {

/// Pixels of one picture, [height, width, channels], channels 1 (grey) or 3 (RGB).
struct Image {
  int64_t height = 0, width = 0, channels = 0;
  std::vector<uint8_t> pixels;
};

/// Writes a PNG atomically. `pixels` is [height, width, channels]. Error(kRun) when it cannot be written.
void write_png(const std::string& path, const uint8_t* pixels, int64_t height, int64_t width, int64_t channels);
void write_png(const std::string& path, const Image& image);

/// Pixels of a sheet, at most, in each direction.
constexpr int64_t kMaxSheetSide = 1 << 15;

struct SheetOptions {
  int64_t columns = 0;  ///< 0: about as many as rows
  int64_t border = 2;   ///< pixels between pictures and around them
  int64_t scale = 0;    ///< every pixel becomes scale x scale; 0: so that a picture is about 64 pixels high
};

/// A contact sheet: `count` pictures [count, height, width, channels] in rows on a white ground.
Image contact_sheet(const uint8_t* pictures, int64_t count, int64_t height, int64_t width, int64_t channels,
                    const SheetOptions& options = {});
/// The same from [count, channels, height, width], as data sets and networks with channels first hold them.
Image contact_sheet_planar(const uint8_t* pictures, int64_t count, int64_t channels, int64_t height, int64_t width,
                           const SheetOptions& options = {});

/// Size of a PNG or JPEG picture as its header tells (channels 1 or 3; transparent parts become white), checked
/// against the file's length before anything is decoded. `path` is for messages; Error(kData).
Image image_header(std::span<const std::byte> file, const std::string& path);

/// Decodes a picture to the given channels (0: as in the file). Error(kData) when it is truncated or corrupt.
Image decode_image(std::span<const std::byte> file, const std::string& path, int64_t channels = 0);

/// The largest square in the middle, scaled to side x side.
Image cropped_square(const Image& image, int64_t side);

}  // namespace agon
