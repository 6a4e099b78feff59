// Data sets: what readers make of good files, and what they say about bad ones.
#include "datasets/archive.h"
#include "datasets/cifar.h"
#include "datasets/commands.h"
#include "datasets/dataset.h"
#include "datasets/idx.h"
#include "datasets/packed.h"
#include "datasets/reader.h"
#include "datasets/synthetic.h"
#include "engine/image.h"
#include "tests/data_files.h"

namespace agon {
namespace {

namespace fs = std::filesystem;

std::span<const std::byte> bytes_of(const std::string& text) { return std::as_bytes(std::span(text)); }

/// A folder as MNIST's, with 12 + 2 images of 3 x 5.
void put_mnist(const ScratchFolder& folder, const std::function<std::string(const std::string&)>& pack,
               const std::string& suffix) {
  folder.put("train-images-idx3-ubyte" + suffix, pack(idx_images(12, 3, 5, counting(12 * 15))));
  folder.put("train-labels-idx1-ubyte" + suffix, pack(idx_labels(12, std::string("\0\1\2\3\4\5\6\7\10\11\0\1", 12))));
  folder.put("t10k-images-idx3-ubyte" + suffix, pack(idx_images(2, 3, 5, counting(30))));
  folder.put("t10k-labels-idx1-ubyte" + suffix, pack(idx_labels(2, std::string("\7\2", 2))));
}

TEST(Mnist, FolderIsReadPackedOrNot) {
  for (const bool packed : {false, true}) {
    const ScratchFolder folder;
    put_mnist(
        folder, [&](const std::string& bytes) { return packed ? gzip(bytes) : bytes; }, packed ? ".gz" : "");
    const DataSource source = load_data(folder.path(), 1);
    EXPECT_EQ(source.train.count(), 12);
    EXPECT_EQ(source.train.channels(), 1);
    EXPECT_EQ(source.train.height(), 3);
    EXPECT_EQ(source.train.width(), 5);
    EXPECT_EQ(source.train.classes(), 10);
    EXPECT_EQ(source.train.class_name(7), "7");
    EXPECT_EQ(source.train.labels()[9], 9);
    EXPECT_EQ(std::memcmp(source.train.images(), counting(180).data(), 180), 0);
    ASSERT_TRUE(source.test.has_value());
    EXPECT_EQ(source.test->labels(), (std::vector<int32_t>{7, 2}));
    EXPECT_EQ(source.train.class_counts(), (std::vector<int64_t>{2, 2, 1, 1, 1, 1, 1, 1, 1, 1}));
  }
}

TEST(Mnist, PackedFormHasTheSameItemsAndChecksum) {
  const ScratchFolder folder;
  put_mnist(folder, gzip, ".gz");
  const auto written = convert("mnist", folder.path(), folder / "packed.safetensors");
  EXPECT_EQ(written, (std::vector<std::string>{folder / "packed.safetensors", folder / "packed-test.safetensors"}));
  const DataSource raw = load_data(folder.path(), 1), packed = load_data(folder / "packed.safetensors", 1);
  SafetensorsFile::open(written[0]).verify();
  ASSERT_TRUE(packed.test.has_value());
  EXPECT_EQ(packed.train.checksum(), raw.train.checksum());
  EXPECT_EQ(packed.test->checksum(), raw.test->checksum());
  EXPECT_NE(packed.train.checksum(), packed.test->checksum());
  EXPECT_EQ(packed.train.labels(), raw.train.labels());
  EXPECT_EQ(packed.train.class_names(), raw.train.class_names());
  EXPECT_EQ(std::memcmp(packed.train.images(), raw.train.images(), 180), 0);
}

TEST(Idx, BadFilesAreRefused) {
  const std::string good = idx_images(2, 3, 5, counting(30));
  const auto parse = [](const std::string& bytes) { return [bytes] { parse_idx(bytes_of(bytes), 3, "case.idx"); }; };
  EXPECT_NO_THROW(parse(good)());
  expect_refused({
      {"empty", parse(""), "truncated"},
      {"header cut", parse(good.substr(0, 15)), "truncated"},
      {"one byte short", parse(good.substr(0, good.size() - 1)), "promises 2 x 3 x 5"},
      {"one byte long", parse(good + "x"), "promises 2 x 3 x 5"},
      {"labels, not images", parse(idx_labels(30, counting(30))), "0x00000801"},
      {"floats", parse(big_endian(0xd03) + good.substr(4)), "0x00000d03"},
      {"not IDX at all", parse("<!DOCTYPE html><html>"), "IDX number"},
      {"absurd extents", parse(idx_images(0xffffffffu, 0xffffffffu, 0xffffffffu, "")), "promises"},
      {"extents whose product wraps to 0", parse(idx_images(1u << 31, 1u << 31, 4, "")), "promises"},
      {"no images", parse(idx_images(0, 3, 5, "")), "found none"},
      {"images without pixels", parse(idx_images(2, 0, 5, "")), "promises"},
  });
}

TEST(Idx, BadFoldersAreRefused) {
  const ScratchFolder folder;
  const std::string labels = "train-labels-idx1-ubyte", images = "train-images-idx3-ubyte";
  folder.put("short/" + images, idx_images(3, 2, 2, counting(12)));
  folder.put("short/" + labels, idx_labels(2, std::string(2, '\1')));
  folder.put("eleven/" + images, idx_images(1, 2, 2, counting(4)));
  folder.put("eleven/" + labels, idx_labels(1, "\12"));
  folder.put("unlabelled/" + images, idx_images(1, 2, 2, counting(4)));
  folder.put("two-sizes/" + images, idx_images(1, 2, 2, counting(4)));
  folder.put("two-sizes/" + labels, idx_labels(1, "\1"));
  folder.put("two-sizes/t10k-images-idx3-ubyte", idx_images(1, 2, 3, counting(6)));
  folder.put("two-sizes/t10k-labels-idx1-ubyte", idx_labels(1, "\1"));
  folder.put("cut/" + images + ".gz", gzip(idx_images(9, 9, 9, counting(729))).substr(0, 200));
  const auto load = [&](const std::string& name) { return [&, name] { load_data(folder / name, 1); }; };
  expect_refused({
      {"fewer labels than images", load("short"), "expected 3 labels"},
      {"label 10 in MNIST", load("eleven"), "labels from 0 to 9"},
      {"no labels in MNIST", load("unlabelled"), "labels file"},
      {"test images of another size", load("two-sizes"), "1 x 2 x 3"},
      {"truncated gzip", load("cut"), "truncated"},
      {"nothing there", load("absent"), "no file or folder"},
  });
  const Dataset unlabelled = in_memory(reader("idx").read(folder / "unlabelled", {}).train);
  EXPECT_EQ(unlabelled.classes(), 0);
}

TEST(Gzip, EveryTruncationAndDamageIsRefused) {
  const std::string plain = counting(5000), good = gzip(plain);
  const auto unpacked = gunzip(bytes_of(good), "x.gz");
  ASSERT_EQ(unpacked.size(), plain.size());
  EXPECT_EQ(std::memcmp(unpacked.data(), plain.data(), plain.size()), 0);
  EXPECT_EQ(gunzip(bytes_of(good + good), "x.gz").size(), 2 * plain.size());
  for (size_t n = 0; n < good.size(); ++n) EXPECT_THROW(gunzip(bytes_of(good.substr(0, n)), "x.gz"), Error) << n;
  for (size_t i = 10; i < good.size(); ++i) {
    std::string bad = good;
    bad[i] = static_cast<char>(bad[i] ^ 0x55);
    EXPECT_THROW(gunzip(bytes_of(bad), "x.gz"), Error) << i;
  }
  expect_refused({
      {"rubbish behind the end", [&] { gunzip(bytes_of(good + "rubbish"), "x.gz"); }, "goes on"},
      {"a bomb", [&] { gunzip(bytes_of(gzip(std::string(1 << 20, 'x'))), "x.gz", 1 << 16); }, "more than 65536 bytes"},
  });
}

TEST(Cifar, FolderAndArchiveAreTheSame) {
  const ScratchFolder folder;
  const std::string names = "a\nb\nc\nd\ne\nf\ng\nh\ni\nj\n\n";
  folder.put("f/cifar-10-batches-bin/data_batch_1.bin", cifar10_records(3));
  folder.put("f/cifar-10-batches-bin/data_batch_2.bin", cifar10_records(4));
  folder.put("f/cifar-10-batches-bin/test_batch.bin", cifar10_records(2));
  folder.put("f/cifar-10-batches-bin/batches.meta.txt", names);
  const std::string archive = tar_member("cifar-10-batches-bin/data_batch_2.bin", cifar10_records(4)) +
                              tar_member("cifar-10-batches-bin/batches.meta.txt", names) +
                              tar_member("cifar-10-batches-bin/test_batch.bin", cifar10_records(2)) +
                              tar_member("cifar-10-batches-bin/data_batch_1.bin", cifar10_records(3)) +
                              std::string(1024, '\0');
  folder.put("cifar-10-binary.tar.gz", gzip(archive));
  folder.put("a/cifar-10-binary.tar", archive);
  uint64_t checksum = 0;
  for (const char* source : {"f", "f/cifar-10-batches-bin", "cifar-10-binary.tar.gz", "a/cifar-10-binary.tar", "a"}) {
    const DataSource data = load_data(folder / source, 1);
    EXPECT_EQ(data.train.count(), 7) << source;
    EXPECT_EQ(data.train.channels(), 3);
    EXPECT_EQ(data.train.height(), 32);
    EXPECT_EQ(data.train.labels(), (std::vector<int32_t>{0, 1, 2, 0, 1, 2, 3}));
    EXPECT_EQ(data.train.class_name(2), "c");
    EXPECT_EQ(std::memcmp(data.train.images() + 5 * 3072, counting(3072).data(), 3072), 0);
    ASSERT_TRUE(data.test.has_value()) << source;
    EXPECT_EQ(data.test->count(), 2);
    if (checksum == 0) checksum = data.train.checksum();
    EXPECT_EQ(data.train.checksum(), checksum) << source;
  }
}

TEST(Readers, ScalePicturesOfEveryKindToASize) {
  const ScratchFolder folder;
  // Planes of one grey each, a lighter left half in the last one, of two pictures.
  std::string record(1, '\3');
  for (int plane = 0; plane < 3; ++plane)
    for (int i = 0; i < 1024; ++i) record += static_cast<char>(plane == 2 && i % 32 < 16 ? 200 : 40 * plane + 10);
  folder.put("data_batch_1.bin", record + record);
  folder.put("test_batch.bin", record);
  const Reader& cifar = reader("cifar10");
  for (const int64_t size : {64, 8, 5}) {
    const RawSource source = read_raw(cifar, folder.path(), {.size = size});
    ASSERT_EQ(source.test->height, size);
    const Dataset data = in_memory(source.train);
    ASSERT_EQ(data.values_per_item(), 3 * size * size);
    EXPECT_EQ(data.labels(), (std::vector<int32_t>{3, 3}));
    const uint8_t* second = data.images() + data.values_per_item();
    for (int64_t i = 0; i < size * size; ++i) {
      EXPECT_EQ(second[i], 10);
      EXPECT_EQ(second[size * size + i], 50);
      const bool left = i % size < size / 4;
      const bool right = i % size > size - 1 - size / 4;
      if (left || right) {
        EXPECT_NEAR(second[2 * size * size + i], left ? 200 : 90, 12) << size;
      }
    }
  }
  EXPECT_EQ(read_raw(cifar, folder.path(), {}).train.height, 32);
}

TEST(Cifar, HundredUsesTheFineLabel) {
  const ScratchFolder folder;
  folder.put("cifar-100-binary/train.bin", std::string("\1\143", 2) + counting(3072));
  const DataSource data = load_data(folder.path(), 1);
  EXPECT_EQ(data.train.labels(), (std::vector<int32_t>{99}));
  EXPECT_EQ(data.train.classes(), 100);
  EXPECT_FALSE(data.test.has_value());
}

TEST(Cifar, BadFilesAreRefused) {
  const ScratchFolder folder;
  const std::string good = cifar10_records(2), member = tar_member("data_batch_1.bin", good);
  const auto load = [&](const std::string& name, const std::string& bytes) {
    return [&folder, file = name, bytes] { load_data(folder.put(file, bytes), 1); };
  };
  std::string bad_label = good, bad_sum = member, bad_size = member;
  bad_label[3073] = 10;
  bad_sum[150] ^= 1;
  bad_size.replace(124, 11, "77777777777");
  expect_refused({
      {"a byte short", load("1/data_batch_1.bin", good.substr(1)), "cannot tell"},  // a lone batch is no data set
      {"a byte short", [&] { check_cifar_records(bytes_of(good.substr(1)), kCifar10Layout, "x"); }, "records of 3073"},
      {"a byte long", [&] { check_cifar_records(bytes_of(good + "x"), kCifar10Layout, "x"); }, "records of 3073"},
      {"empty", [&] { check_cifar_records({}, kCifar10Layout, "x"); }, "records of 3073"},
      {"label 10", [&] { check_cifar_records(bytes_of(bad_label), kCifar10Layout, "x"); }, "found 10 at image 1"},
      {"tar: wrong checksum", load("2.tar", bad_sum), "checksum of member 1"},
      {"tar: absurd size", load("3.tar", bad_size), "checksum of member 1"},
      {"tar: cut in a member", load("4.tar", member.substr(0, 700)), "ends outside"},
      {"tar: cut in a header", load("5.tar", member.substr(0, 300)), "without any file"},
      {"tar: no batch in it", load("6.tar", tar_member("readme.bin", "x") + std::string(1024, '\0')),
       "no training batch"},
      {"Python version", load("7.tar", tar_member("cifar-10-batches-py/data_batch_1", "x") + std::string(512, '\0')),
       "Python version"},
      {"tar: cut between members", load("8.tar", member + member), "without the zeros"},
      {"tar: cut in a later header", load("9.tar", member + member.substr(0, 100)), "without the zeros"},
      {"tar: cut, then packed", load("a.tar.gz", gzip(member + member.substr(0, 100))), "without the zeros"},
      {"gzip cut", load("8.tar.gz", gzip(member).substr(0, 100)), "truncated"},
  });
}

/// A picture whose pixels all have one value (a grey level or an RGB triple).
void put_picture(const std::string& path, int64_t height, int64_t width, const std::vector<uint8_t>& colour) {
  fs::create_directories(fs::path(path).parent_path());
  std::vector<uint8_t> pixels;
  for (int64_t i = 0; i < height * width; ++i) pixels.insert(pixels.end(), colour.begin(), colour.end());
  write_png(path, pixels.data(), height, width, static_cast<int64_t>(colour.size()));
}

TEST(Folder, SubFoldersAreClassesAndSplits) {
  const ScratchFolder folder;
  put_picture(folder / "train/cat/1.png", 4, 6, {10, 20, 30});
  put_picture(folder / "train/cat/2.PNG", 4, 6, {40, 50, 60});
  put_picture(folder / "train/dog/1.png", 4, 6, {70});
  put_picture(folder / "test/dog/1.png", 4, 6, {1, 2, 3});
  folder.put("train/cat/notes.txt", "not a picture");
  folder.put("train/cat/.hidden.png", "not a picture either");
  const DataSource data = load_data(folder.path(), 1);
  EXPECT_EQ(data.train.count(), 3);
  EXPECT_EQ(data.train.channels(), 3);  // one grey picture among coloured ones becomes RGB
  EXPECT_EQ(data.train.height(), 4);
  EXPECT_EQ(data.train.width(), 6);
  EXPECT_EQ(data.train.labels(), (std::vector<int32_t>{0, 0, 1}));
  EXPECT_EQ(data.train.class_names(), (std::vector<std::string>{"cat", "dog"}));
  EXPECT_EQ(data.train.images()[0], 10);
  EXPECT_EQ(data.train.images()[24], 20);  // planes, not pixels, follow each other
  EXPECT_EQ(data.train.images()[72 + 71], 60);
  EXPECT_EQ(data.train.images()[2 * 72], 70);
  ASSERT_TRUE(data.test.has_value());
  EXPECT_EQ(data.test->labels(), (std::vector<int32_t>{1}));
}

TEST(Folder, SizeScalesTheMiddleSquareAndConvertStreams) {
  const ScratchFolder folder;
  std::vector<uint8_t> stripes(8 * 24);  // left third black, middle 100, right 200
  for (size_t i = 0; i < stripes.size(); ++i) stripes[i] = static_cast<uint8_t>(i % 24 / 8 * 100);
  write_png(folder / "a.png", stripes.data(), 8, 24, 1);
  put_picture(folder / "b.png", 5, 9, {77});
  convert("folder", folder.path(), folder / "out.safetensors", {.size = 4});
  const Dataset data = load_data(folder / "out.safetensors", 1).train;
  ASSERT_EQ(data.count(), 2);
  EXPECT_EQ(data.classes(), 0);
  EXPECT_EQ(data.height(), 4);
  for (int i = 0; i < 16; ++i) {
    EXPECT_EQ(data.images()[i], 100) << i;
    EXPECT_EQ(data.images()[16 + i], 77) << i;
  }
}

TEST(Folder, BadFoldersAreRefused) {
  const ScratchFolder folder;
  fs::create_directories(folder / "empty");
  put_picture(folder / "sizes/a.png", 4, 4, {1});
  put_picture(folder / "sizes/b.png", 4, 5, {1});
  put_picture(folder / "both/a.png", 4, 4, {1});
  put_picture(folder / "both/class/a.png", 4, 4, {1});
  put_picture(folder / "stranger/train/cat/a.png", 4, 4, {1});
  put_picture(folder / "stranger/test/cow/a.png", 4, 4, {1});
  folder.put("text/a.png", "this is no picture");
  put_picture(folder / "cut/a.png", 40, 40, {1, 200, 3});
  fs::resize_file(folder / "cut/a.png", fs::file_size(folder / "cut/a.png") - 30);
  // An image header of 16384 x 16384 and the start of its pixels.
  const std::string header("IHDR\0\0\x40\0\0\0\x40\0\x8\6\0\0\0", 17);
  const auto crc = static_cast<uint32_t>(crc32(0, reinterpret_cast<const Bytef*>(header.data()), 17));
  folder.put("bomb/a.png", "\x89PNG\r\n\x1a\n" + big_endian(13) + header + big_endian(crc) + big_endian(900) + "IDAT");
  const auto load = [&](const std::string& name) { return [&, name] { load_data(folder / name, 1); }; };
  expect_refused({
      {"no picture at all", load("empty"), "found none"},
      {"two sizes", load("sizes"), "found 4 x 5 in " + (folder / "sizes/b.png")},
      {"pictures beside class folders", load("both"), "one sub-folder per class, or none"},
      {"a class only in the test split", load("stranger"), "\"cow\""},
      {"text named png", load("text"), folder / "text/a.png"},
      {"a truncated picture", load("cut"), folder / "cut/a.png"},
      {"a huge picture in 41 bytes", load("bomb"), "absurd"},
      {"an absurd size", [&] { convert("folder", folder / "sizes", folder / "o.safetensors", {.size = 1 << 20}); },
       "size from 1 to", Fault::kUsage},
  });
  EXPECT_FALSE(fs::exists(folder / "o.safetensors"));
}

TEST(Celeba, AttributesBecomeLabels) {
  const ScratchFolder folder;
  put_picture(folder / "img_align_celeba/000001.png", 20, 16, {9, 9, 9});
  put_picture(folder / "img_align_celeba/000002.png", 20, 16, {8, 8, 8});
  folder.put("list_attr_celeba.txt", "2\nMale Smiling Young\n000001.png -1  1 -1\n000002.png  1 -1 -1\n");
  const std::string commas = folder.put("x.csv", "image_id,Male,Smiling\n000001.png,1,-1\n000002.png,-1,1\n");
  const std::string short_list = folder.put("short.txt", "1\nMale\n000001.png 1\n");
  const std::string broken = folder.put("broken.txt", "2\nMale Smiling\n000001.png 1\n");
  const auto read = [&](const ReadOptions& options) {
    return in_memory(reader("celeba").read(folder.path(), options).train);
  };
  EXPECT_EQ(load_data(folder.path(), 1).train.classes(), 0);
  EXPECT_EQ(load_data(folder.path(), 1).train.height(), 128);
  const Dataset smiling = read({.size = 8, .attribute = "Smiling"});
  EXPECT_EQ(smiling.labels(), (std::vector<int32_t>{1, 0}));
  EXPECT_EQ(smiling.class_names(), (std::vector<std::string>{"not Smiling", "Smiling"}));
  EXPECT_EQ(smiling.width(), 8);
  EXPECT_EQ(read({.size = 8, .attributes = commas, .attribute = "Smiling"}).labels(), (std::vector<int32_t>{0, 1}));
  expect_refused({
      {"unknown attribute", [&] { read({.attribute = "Smilling"}); }, "nearest is \"Smiling\""},
      {"a picture without a line", [&] { read({.attributes = short_list, .attribute = "Male"}); },
       "no line for 000002.png"},
      {"a line without the value", [&] { read({.attributes = broken, .attribute = "Smiling"}); }, "expected 1 or -1"},
      {"a file but no attribute", [&] { read({.attributes = commas}); }, "without the attribute", Fault::kUsage},
  });
}

TEST(Convert, RefusesWhatWouldSurpriseLater) {
  const ScratchFolder folder;
  put_mnist(folder, gzip, ".gz");
  put_picture(folder / "pictures/a.png", 4, 4, {1});
  convert("mnist", folder.path(), folder / "m.safetensors");
  for (const char* image : {"cut/train/cat/a.png", "cut/test/cat/a.png"})
    put_picture(folder / image, 40, 40, {1, 2, 3});
  fs::resize_file(folder / "cut/train/cat/a.png", fs::file_size(folder / "cut/train/cat/a.png") - 30);
  folder.put("eleven/train-images-idx3-ubyte", idx_images(1, 2, 2, counting(4)));
  folder.put("eleven/train-labels-idx1-ubyte", idx_labels(1, "\12"));
  folder.put("eleven/t10k-images-idx3-ubyte", idx_images(1, 2, 2, counting(4)));
  folder.put("eleven/t10k-labels-idx1-ubyte", idx_labels(1, "\1"));
  expect_refused({
      {"a label that is no digit", [&] { convert("mnist", folder / "eleven", folder / "m.safetensors"); },
       "labels from 0 to 9"},
      {"a picture that is cut", [&] { convert("folder", folder / "cut", folder / "x.safetensors"); }, "cut/train"},
      {"a size below nothing", [&] { convert("celeba", folder / "cut", folder / "x.safetensors", {.size = -5}); },
       "at least 1 pixel, got -5", Fault::kUsage},
      {"unknown kind", [&] { convert("mnst", folder.path(), folder / "x.safetensors"); }, "\"mnist\"", Fault::kUsage},
      {"unknown ending", [&] { convert("mnist", folder.path(), folder / "x.zip"); }, ".safetensors", Fault::kUsage},
      {"no source", [&] { convert("mnist", folder / "absent", folder / "x.safetensors"); }, "no file or folder"},
      {"no destination", [&] { convert("mnist", folder.path(), folder / "no/x.safetensors"); }, "cannot write",
       Fault::kRun},
      {"an older test split", [&] { convert("folder", folder / "pictures", folder / "m.safetensors"); },
       "m-test.safetensors", Fault::kUsage},
  });
  EXPECT_FALSE(fs::exists(folder / "x.safetensors") || fs::exists(folder / "x-test.safetensors"));
  EXPECT_EQ(load_data(folder / "m.safetensors", 1).train.count(), 12);
}

TEST(Load, NamesTheNearestBuiltInSet) {
  expect_refused({{"a slip", [] { load_data("strokse", 1); }, "\"strokes\""},
                  {"a slip in synth", [] { synthesise("rnig", {}); }, "\"ring\"", Fault::kUsage},
                  {"a negative count", [] { synthesise("ring", {.count = -3}); }, "count", Fault::kUsage}});
}

TEST(Commands, DescribePreviewAndSplit) {
  const ScratchFolder folder;
  put_mnist(folder, gzip, ".gz");
  const DataSource data = load_data(folder.path(), 1);
  const std::string text = describe(data);
  EXPECT_NE(text.find("12 images of 1 x 3 x 5"), std::string::npos) << text;
  EXPECT_NE(text.find("10 classes"), std::string::npos) << text;
  EXPECT_NE(text.find(checksum_text(data.test->checksum())), std::string::npos) << text;

  preview(data.train, folder / "p.png", {.per_class = 2});
  const MappedFile png(folder / "p.png");
  const Image sheet = decode_image(png.bytes(), "p.png");
  EXPECT_EQ(sheet.height, 10 * (3 * 21 + 2) + 2);  // ten classes, each a row, enlarged 21 times
  EXPECT_EQ(sheet.width, 2 * (5 * 21 + 2) + 2);
  preview(synthesise("ring", {.count = 100}).train, folder / "r.png");
  EXPECT_GT(fs::file_size(folder / "r.png"), 100u);

  const std::string table = split(data.train, folder / "parts", 3, {.kind = "iid", .seed = 4});
  EXPECT_EQ(std::count(table.begin(), table.end(), '\n'), 4) << table;
  std::vector<bool> seen(180);
  for (int n = 0; n < 3; ++n) {
    const Dataset part = load_data(folder / fmt::format("parts/worker-{}.safetensors", n), 1).train;
    EXPECT_EQ(part.count(), 4);
    EXPECT_EQ(part.class_names(), data.train.class_names());
    for (int64_t i = 0; i < part.count(); ++i) {
      const auto item = static_cast<size_t>(part.images()[i * 15]) / 15;  // counting() numbers the items
      EXPECT_EQ(part.labels()[static_cast<size_t>(i)], data.train.labels()[item]);
      EXPECT_FALSE(seen[item]);
      seen[item] = true;
    }
  }
}

TEST(Commands, WhatCannotBeDoneLeavesNothing) {
  const ScratchFolder folder;
  put_mnist(folder, gzip, ".gz");
  const Dataset data = load_data(folder.path(), 1).train;
  const std::vector<uint8_t> pixels(5 * 4);
  const Dataset odd({.name = "odd", .count = 1, .channels = 5, .height = 2, .width = 2, .images = pixels.data()});
  const auto deal = [&](const std::string& where, int64_t workers) {
    return [&, where, workers] { split(data, folder / where, workers, {.kind = "iid", .seed = 4}); };
  };
  deal("four", 4)();
  deal("four", 4)();  // again is fine
  fs::create_directories(folder / "blocked/worker-1.safetensors");
  expect_refused({
      {"more pictures than fit into memory", [&] { preview(data, folder / "p.png", {.per_class = int64_t{1} << 62}); },
       "fit side by side", Fault::kUsage},
      {"a picture's name", [&] { preview(data, folder / "p.jpg"); }, "end in .png", Fault::kUsage},
      {"five channels", [&] { preview(odd, folder / "p.png"); }, "found 5 in odd"},
      {"shards of more workers", deal("four", 2), "the shards of more than 2 workers", Fault::kUsage},
      {"a shard's name is taken", deal("blocked", 2), "a folder of that name is in the way", Fault::kRun},
  });
  EXPECT_EQ(std::distance(fs::directory_iterator(folder / "four"), {}), 4);
  EXPECT_EQ(std::distance(fs::directory_iterator(folder / "blocked"), {}), 1);
}

TEST(RealData, Mnist) {
  const std::string path = real_data("mnist");
  if (path.empty()) GTEST_SKIP() << "no MNIST in ../shared/data or $AGON_DATA";
  const DataSource data = load_data(path, 1);
  EXPECT_EQ(data.train.count(), 60000);
  EXPECT_EQ(data.train.class_counts(),
            (std::vector<int64_t>{5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949}));
  ASSERT_TRUE(data.test.has_value());
  EXPECT_EQ(data.test->class_counts(), (std::vector<int64_t>{980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009}));
  double sum = 0;
  for (int64_t i = 0; i < data.train.count() * 784; ++i) sum += data.train.images()[i];
  EXPECT_NEAR(sum / (60000.0 * 784) / 255, 0.1307, 5e-5);  // the mean that everybody normalises with
}

TEST(RealData, CifarPart) {
  const std::string path = real_data("cifar10-part");
  if (path.empty()) GTEST_SKIP() << "no part of CIFAR-10 in ../shared/data or $AGON_DATA";
  const DataSource data = load_data(path, 1);
  EXPECT_EQ(data.train.count(), 7728);
  EXPECT_EQ(data.train.class_name(9), "truck");
  ASSERT_TRUE(data.test.has_value());
  EXPECT_EQ(data.test->count(), 932);
}

TEST(RealData, CelebaPart) {
  const ScratchFolder folder;
  const std::string path = real_data("celeba-part");
  if (path.empty()) GTEST_SKIP() << "no part of CelebA in ../shared/data or $AGON_DATA";
  convert("celeba", path, folder / "c.safetensors", {.size = 32});
  const Dataset data = load_data(folder / "c.safetensors", 1).train;
  EXPECT_EQ(data.count(), 1000);
  EXPECT_EQ(data.channels(), 3);
  EXPECT_EQ(data.height(), 32);
}

}  // namespace
}  // namespace agon
