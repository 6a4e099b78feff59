// Decoding pictures with libjpeg-turbo and libpng: both are hardened against damaged files and tell when one is.
#include <csetjmp>
#include <cstdio>  // jpeglib.h needs it first

#include <jerror.h>
#include <jpeglib.h>
#include <png.h>

#include <algorithm>
#include <cstring>
#include <memory>

#include "engine/image.h"
#include "kernels/error.h"

namespace agon {
namespace {

constexpr int64_t kMaxPixels = 1 << 26;  // of one picture: 8192 x 8192
// The most that the formats can pack, with room to spare: a header that claims more lies.
constexpr int64_t kMaxPngPixelsPerByte = 8192, kMaxJpegPixelsPerByte = 1024;
constexpr int kMaxScans = 200;  // of a progressive JPEG; real ones have about ten
constexpr long kMaxJpegMemory = 1L << 30;

using Bytes = std::span<const std::byte>;

bool starts_with(Bytes file, std::string_view magic) {
  return file.size() >= magic.size() && std::memcmp(file.data(), magic.data(), magic.size()) == 0;
}
bool is_png(Bytes file) { return starts_with(file, "\x89PNG\r\n\x1a\n"); }
bool is_jpeg(Bytes file) { return starts_with(file, "\xff\xd8\xff"); }

void check_size(int64_t height, int64_t width, int64_t pixels_per_byte, Bytes file, const std::string& path) {
  const bool positive = height > 0 && width > 0 && height <= kMaxPixels && width <= kMaxPixels;
  if (!positive || height * width > std::min(kMaxPixels, pixels_per_byte * static_cast<int64_t>(file.size())))
    fail(Fault::kData, "{} claims to be {} x {} pixels in {} bytes, which is absurd", path, width, height, file.size());
}

/// Image header, and with `decode` also the pixels. libpng's simplified interface, which never jumps.
Image read_png(Bytes file, const std::string& path, bool decode, int64_t channels) {
  png_image png{};
  png.version = PNG_IMAGE_VERSION;
  const std::unique_ptr<png_image, void (*)(png_imagep)> closer(&png, png_image_free);
  if (png_image_begin_read_from_memory(&png, file.data(), file.size()) == 0)
    fail(Fault::kData, "the picture {} is truncated or corrupt ({})", path, png.message);
  check_size(png.height, png.width, kMaxPngPixelsPerByte, file, path);
  const int64_t in_file = (png.format & PNG_FORMAT_FLAG_COLOR) != 0 ? 3 : 1;
  Image image{.height = png.height, .width = png.width, .channels = in_file, .pixels = {}};
  if (!decode) return image;
  if (channels != 0) image.channels = channels;

  png.format = image.channels == 3 ? PNG_FORMAT_RGB : PNG_FORMAT_GRAY;
  image.pixels.resize(PNG_IMAGE_SIZE(png));
  const png_color ground = {255, 255, 255};  // shows where the picture is transparent
  if (png_image_finish_read(&png, &ground, image.pixels.data(), 0, nullptr) == 0)
    fail(Fault::kData, "the picture {} is truncated or corrupt ({})", path, png.message);
  return image;
}

/// libjpeg reports through callbacks, and errors must not return: they jump back into read_jpeg().
struct JpegErrors {
  jpeg_error_mgr callbacks;  // first, so that libjpeg's pointer to it is one to this
  std::jmp_buf exit;
  char message[JMSG_LENGTH_MAX] = "";
};

[[noreturn]] void leave(j_common_ptr jpeg) {
  auto* errors = reinterpret_cast<JpegErrors*>(jpeg->err);
  errors->callbacks.format_message(jpeg, errors->message);
  std::longjmp(errors->exit, 1);
}

/// Warnings (level -1) mean that data are missing or damaged and were made up. Stray bytes between markers are
/// harmless.
void judge_message(j_common_ptr jpeg, int level) {
  if (level < 0 && jpeg->err->msg_code != JWRN_EXTRANEOUS_DATA) leave(jpeg);
}

/// A small file can ask for thousands of passes over a large picture.
void limit_scans(j_common_ptr jpeg) {
  if (jpeg->is_decompressor && reinterpret_cast<j_decompress_ptr>(jpeg)->input_scan_number > kMaxScans) {
    std::snprintf(reinterpret_cast<JpegErrors*>(jpeg->err)->message, JMSG_LENGTH_MAX, "more than %d scans", kMaxScans);
    std::longjmp(reinterpret_cast<JpegErrors*>(jpeg->err)->exit, 1);
  }
}

/// One decompression. It owns everything that a jump out of libjpeg would leave behind.
class JpegReader {
 public:
  JpegReader() {
    jpeg_.err = jpeg_std_error(&errors_.callbacks);
    errors_.callbacks.error_exit = leave;
    errors_.callbacks.emit_message = judge_message;
    progress_.progress_monitor = limit_scans;
  }
  ~JpegReader() { jpeg_destroy_decompress(&jpeg_); }
  JpegReader(const JpegReader&) = delete;
  JpegReader& operator=(const JpegReader&) = delete;

  /// False when the file is damaged; message() then says how. No object with a destructor lives in these frames.
  bool read_header(Bytes file, Image* image) {
    if (setjmp(errors_.exit) != 0) return false;
    jpeg_create_decompress(&jpeg_);
    jpeg_.progress = &progress_;
    jpeg_.mem->max_memory_to_use = kMaxJpegMemory;
    jpeg_mem_src(&jpeg_, reinterpret_cast<const unsigned char*>(file.data()), file.size());
    jpeg_read_header(&jpeg_, TRUE);
    image->height = jpeg_.image_height;
    image->width = jpeg_.image_width;
    image->channels = jpeg_.num_components >= 3 ? 3 : 1;
    return true;
  }

  /// Fills image->pixels, which must have its size already.
  bool read_pixels(Image* image) {
    if (setjmp(errors_.exit) != 0) return false;
    jpeg_.out_color_space = image->channels == 3 ? JCS_RGB : JCS_GRAYSCALE;
    jpeg_start_decompress(&jpeg_);
    while (jpeg_.output_scanline < jpeg_.output_height) {
      JSAMPROW row = image->pixels.data() + int64_t{jpeg_.output_scanline} * image->width * image->channels;
      jpeg_read_scanlines(&jpeg_, &row, 1);
    }
    jpeg_finish_decompress(&jpeg_);
    return true;
  }

  const char* message() const { return errors_.message; }

 private:
  JpegErrors errors_{};
  jpeg_progress_mgr progress_{};
  jpeg_decompress_struct jpeg_{};
};

Image read_jpeg(Bytes file, const std::string& path, bool decode, int64_t channels) {
  Image image;
  JpegReader reader;
  if (!reader.read_header(file, &image))
    fail(Fault::kData, "the picture {} is truncated or corrupt ({})", path, reader.message());
  check_size(image.height, image.width, kMaxJpegPixelsPerByte, file, path);
  if (!decode) return image;
  if (channels != 0) image.channels = channels;
  image.pixels.resize(static_cast<size_t>(image.height * image.width * image.channels));
  if (!reader.read_pixels(&image))
    fail(Fault::kData, "the picture {} is truncated or corrupt ({})", path, reader.message());
  return image;
}

Image read_picture(Bytes file, const std::string& path, bool decode, int64_t channels) {
  if (is_png(file)) return read_png(file, path, decode, channels);
  if (is_jpeg(file)) return read_jpeg(file, path, decode, channels);
  fail(Fault::kData, "expected a PNG or JPEG picture, found something else in {}", path);
}

}  // namespace

Image image_header(Bytes file, const std::string& path) { return read_picture(file, path, /*decode=*/false, 0); }

Image decode_image(Bytes file, const std::string& path, int64_t channels) {
  return read_picture(file, path, /*decode=*/true, channels);
}

}  // namespace agon
