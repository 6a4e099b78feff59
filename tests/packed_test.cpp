// The packed form of data sets: files of other programs, and what is said about bad ones.
#include "datasets/packed.h"
#include "datasets/commands.h"
#include "datasets/dataset.h"
#include "engine/checksum.h"
#include "engine/safetensors.h"
#include "tests/data_files.h"

namespace agon {
namespace {

TEST(Packed, FilesOfOtherProgramsWithByteOrLongLabels) {
  const ScratchFolder folder;
  const std::string pixels = counting(2 * 3 * 4 * 4);
  const std::vector<uint8_t> bytes = {3, 1};
  const std::vector<int64_t> longs = {3, 1};
  for (const bool wide : {false, true}) {
    SafetensorsWriter writer;
    writer.add("images", "U8", {2, 3, 4, 4}, pixels.data());
    wide ? writer.add("labels", "I64", {2}, longs.data()) : writer.add("labels", "U8", {2}, bytes.data());
    writer.write(folder / "x.safetensors");
    const Dataset data = load_data(folder / "x.safetensors", 1).train;
    EXPECT_EQ(data.labels(), (std::vector<int32_t>{3, 1}));
    EXPECT_EQ(data.classes(), 4);
    EXPECT_EQ(data.checksum(), checksum64((std::string("\3\0\0\0\1\0\0\0", 8) + pixels).data(), 8 + pixels.size()));
  }
}

TEST(Packed, BadFilesAreRefused) {
  const ScratchFolder folder;
  const std::string pixels = counting(48);
  static const int32_t kAbsurd = 999'999;
  const std::vector<int64_t> labels = {-1, int64_t{1} << 40, 2, 3};
  const auto load = [&](const std::function<void(SafetensorsWriter&)>& fill) {
    return [&folder, fill] {
      SafetensorsWriter writer;
      fill(writer);
      writer.write(folder / "x.safetensors");
      load_data(folder / "x.safetensors", 1);
    };
  };
  const auto with = [&](SafetensorsWriter& writer, const char* dtype, std::vector<int64_t> shape) {
    writer.add("images", dtype, shape, pixels.data());
  };
  const std::vector<float> not_numbers = {0.5f, NAN};
  expect_refused({
      {"no images", load([&](auto& w) { w.add("pictures", "U8", {48}, pixels.data()); }), "tensor \"images\""},
      {"images of three dimensions", load([&](auto& w) {
         with(w, "U8", {3, 4, 4});
       }),
       "[3, 4, 4]"},
      {"no image", load([&](auto& w) {
         with(w, "U8", {0, 3, 4, 4});
       }),
       "holds no images"},
      {"images of no pixels", load([&](auto& w) {
         with(w, "U8", {3, 3, 0, 4});
       }),
       "impossible size"},
      {"signed pixels", load([&](auto& w) {
         with(w, "I8", {1, 3, 4, 4});
       }),
       "found I8"},
      {"float images", load([&](auto& w) {
         with(w, "F32", {1, 1, 3, 4});
       }),
       "found F32"},
      {"points that are no numbers", load([&](auto& w) {
         w.add("images", "F32", {1, 2, 1, 1}, not_numbers.data());
       }),
       "NaN"},
      {"too few labels", load([&](auto& w) {
         with(w, "U8", {3, 1, 4, 4});
         w.add("labels", "U8", {2}, "\1\2");
       }),
       "expected 3 labels"},
      {"a negative label", load([&](auto& w) {
         with(w, "U8", {1, 3, 4, 4});
         w.add("labels", "I64", {1}, labels.data());
       }),
       "found -1"},
      {"an absurd label", load([&](auto& w) {
         with(w, "U8", {1, 3, 4, 4});
         w.add("labels", "I32", {1}, &kAbsurd);
       }),
       "labels from 0 to 65535"},
      {"a label beyond 32 bits", load([&](auto& w) {
         with(w, "U8", {1, 3, 4, 4});
         w.add("labels", "I64", {1}, labels.data() + 1);
       }),
       "absurd"},
      {"float labels", load([&](auto& w) {
         with(w, "U8", {1, 3, 4, 4});
         w.add("labels", "F32", {1}, labels.data());
       }),
       "U8, I32 or I64"},
      {"class names that are no list", load([&](auto& w) {
         with(w, "U8", {1, 3, 4, 4});
         w.metadata("class_names", "{\"a\": 1");
       }),
       "class_names"},
      {"more classes than names", load([&](auto& w) {
         with(w, "U8", {1, 3, 4, 4});
         w.add("labels", "U8", {1}, "\2");
         w.metadata("class_names", "[\"a\", \"b\"]");
       }),
       "labels from 0 to 1"},
      {"a flipped pixel",
       [&] {
         synth("strokes", folder / "s.safetensors", {.count = 2, .test_count = 1});
         std::string bytes = read_text(folder / "s.safetensors");
         bytes.back() = static_cast<char>(bytes.back() ^ 1);
         load_data(folder.put("s.safetensors", bytes), 1);
       },
       "checksum"},
      {"not safetensors", [&] { load_data(folder.put("y.safetensors", "hello, world"), 1); }, "claims"},
  });
}

}  // namespace
}  // namespace agon
