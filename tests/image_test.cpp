// Pictures: PNG round trips, contact sheets, and refusal of damaged files.
#include "engine/image.h"

#include <cstring>

#include "engine/files.h"
#include "tests/data_files.h"

namespace agon {
namespace {

std::span<const std::byte> bytes_of(const std::string& text) { return std::as_bytes(std::span(text)); }

TEST(Png, RoundTrip) {
  const ScratchFolder folder;
  for (const int64_t channels : {1, 3}) {
    const std::string pixels = counting(static_cast<size_t>(5 * 7 * channels));
    write_png(folder / "a.png", reinterpret_cast<const uint8_t*>(pixels.data()), 5, 7, channels);
    const std::string file = read_text(folder / "a.png");
    const Image header = image_header(bytes_of(file), "a.png");
    EXPECT_EQ(header.channels, channels);
    const Image image = decode_image(bytes_of(file), "a.png");
    EXPECT_EQ(image.height, 5);
    EXPECT_EQ(image.width, 7);
    ASSERT_EQ(image.pixels.size(), pixels.size());
    EXPECT_EQ(std::memcmp(image.pixels.data(), pixels.data(), pixels.size()), 0);
    for (size_t n = 0; n < file.size() - 12; ++n)  // the last 12 bytes are the end marker
      EXPECT_THROW(decode_image(bytes_of(file.substr(0, n)), "a.png"), Error) << n;
  }
}

TEST(Png, UnwritablePlaceIsARunError) {
  const uint8_t pixel = 1;
  expect_refused(
      {{"no such folder", [&] { write_png("/nonexistent/a.png", &pixel, 1, 1, 1); }, "cannot write", Fault::kRun}});
}

TEST(Jpeg, TruncatedPicturesAreRefused) {
  const std::string folder = real_data("celeba-part");
  if (folder.empty()) GTEST_SKIP() << "no part of CelebA in ../shared/data or $AGON_DATA";
  const std::string file = read_text(folder + "/201600.jpg");
  const Image image = decode_image(bytes_of(file), "a.jpg");
  EXPECT_EQ(image.height, 128);
  EXPECT_EQ(image.channels, 3);
  EXPECT_EQ(decode_image(bytes_of(file), "a.jpg", 1).pixels.size(), 128u * 128);
  EXPECT_NO_THROW(decode_image(bytes_of(file + std::string(100, '\0')), "a.jpg"));
  for (size_t n = 0; n + 2 < file.size(); n += 7)
    EXPECT_THROW(decode_image(bytes_of(file.substr(0, n)), "a.jpg"), Error) << n;
}

TEST(ContactSheet, PlacesPicturesInRows) {
  // Three grey pictures of 1 x 2, two to a row, doubled, with a border of one.
  const std::vector<uint8_t> pictures = {10, 20, 30, 40, 50, 60};
  const Image sheet = contact_sheet(pictures.data(), 3, 1, 2, 1, {.columns = 2, .border = 1, .scale = 2});
  const uint8_t w = 255;
  ASSERT_EQ(sheet.height, 7);
  ASSERT_EQ(sheet.width, 11);
  EXPECT_EQ(sheet.pixels, (std::vector<uint8_t>{w, w,  w,  w,  w,  w, w,  w,  w,  w,  w,  //
                                                w, 10, 10, 20, 20, w, 30, 30, 40, 40, w,  //
                                                w, 10, 10, 20, 20, w, 30, 30, 40, 40, w,  //
                                                w, w,  w,  w,  w,  w, w,  w,  w,  w,  w,  //
                                                w, 50, 50, 60, 60, w, w,  w,  w,  w,  w,  //
                                                w, 50, 50, 60, 60, w, w,  w,  w,  w,  w,  //
                                                w, w,  w,  w,  w,  w, w,  w,  w,  w,  w}));
}

TEST(ContactSheet, PlanarAndInterleavedAgree) {
  const std::vector<uint8_t> interleaved = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12};  // [2, 1, 2, 3]
  const std::vector<uint8_t> planar = {1, 4, 2, 5, 3, 6, 7, 10, 8, 11, 9, 12};       // [2, 3, 1, 2]
  EXPECT_EQ(contact_sheet(interleaved.data(), 2, 1, 2, 3).pixels,
            contact_sheet_planar(planar.data(), 2, 3, 1, 2).pixels);
  expect_refused(
      {{"two channels", [&] { contact_sheet(planar.data(), 1, 1, 1, 2); }, "1 or 3", Fault::kUsage},
       {"too many", [&] { contact_sheet(planar.data(), 1 << 30, 1, 1, 1); }, "ask for fewer", Fault::kUsage}});
}

TEST(Crop, TakesTheMiddleSquare) {
  const Image wide{.height = 2, .width = 4, .channels = 1, .pixels = {0, 1, 2, 3, 4, 5, 6, 7}};
  EXPECT_EQ(cropped_square(wide, 2).pixels, (std::vector<uint8_t>{1, 2, 5, 6}));
  const Image flat{.height = 6, .width = 3, .channels = 3, .pixels = std::vector<uint8_t>(54, 99)};
  const Image small = cropped_square(flat, 2);
  EXPECT_EQ(small.pixels, std::vector<uint8_t>(12, 99));
}

}  // namespace
}  // namespace agon
