// Safetensors files, atomic writes, checksums: what is written comes back, what is corrupt is refused in one sentence.
#include "engine/safetensors.h"

#include <gtest/gtest.h>
#include <sys/resource.h>

#include <csignal>
#include <cstring>
#include <filesystem>

#include "engine/text.h"
#include "tests/data_files.h"

namespace agon {
namespace {

namespace fs = std::filesystem;

class SafetensorsTest : public testing::Test {
 protected:
  std::string path(const std::string& name) const { return folder_ / name; }

  ScratchFolder folder_;
};

/// A file image from a header and `payload` zero bytes.
std::string image(const std::string& header, size_t payload) {
  const uint64_t length = header.size();
  std::string bytes(reinterpret_cast<const char*>(&length), sizeof length);
  return bytes + header + std::string(payload, '\0');
}

SafetensorsFile parse(const std::string& bytes) {
  return SafetensorsFile::parse(std::as_bytes(std::span(bytes)), "case.safetensors");
}

TEST_F(SafetensorsTest, RoundTripKeepsBytesShapesAndMetadata) {
  const std::vector<uint8_t> pixels = {1, 2, 3, 4, 5, 6};
  const std::vector<float> weights = {0.5f, -1.25f};
  const double scalar = 3.5;
  SafetensorsWriter writer;
  writer.add("pixels", "U8", {2, 3}, pixels.data());
  writer.add("weights", "F32", {2}, weights.data());
  writer.add("scalar", "F64", {}, &scalar);
  writer.add("nothing", "I32", {0, 7}, nullptr);
  writer.metadata("source", "a \"quoted\" source, line 1\nline 2");
  const uint64_t sum = writer.write(path("a.safetensors"));

  const auto file = SafetensorsFile::open(path("a.safetensors"));
  file.verify();
  EXPECT_EQ(file.metadata("checksum"), checksum_text(sum));
  EXPECT_EQ(file.metadata("source"), "a \"quoted\" source, line 1\nline 2");
  EXPECT_EQ(file.metadata("absent", "default"), "default");
  ASSERT_EQ(file.tensors().size(), 4u);
  EXPECT_EQ(std::memcmp(file.at("pixels", "U8", {2, 3}).data, pixels.data(), 6), 0);
  EXPECT_EQ(std::memcmp(file.at("weights", "F32", {2}).data, weights.data(), 8), 0);
  EXPECT_EQ(std::memcmp(file.at("scalar", "F64", {}).data, &scalar, 8), 0);
  EXPECT_EQ(file.at("nothing").bytes, 0u);
  for (const SafeTensor& tensor : file.tensors())
    EXPECT_EQ(reinterpret_cast<uintptr_t>(tensor.data) % dtype_bytes(tensor.dtype), 0u) << tensor.name;
}

TEST_F(SafetensorsTest, StreamedTensorEqualsOneGivenWhole) {
  std::vector<int32_t> values(1000);
  for (int i = 0; i < 1000; ++i) values[i] = i * i;
  SafetensorsWriter whole, streamed;
  whole.add("x", "I32", {1000}, values.data());
  streamed.add_streamed("x", "I32", {1000}, [&](const SafetensorsWriter::Sink& sink) {
    for (int i = 0; i < 1000; i += 8) sink(&values[i], 8 * sizeof(int32_t));
  });
  EXPECT_EQ(whole.write(path("whole")), streamed.write(path("streamed")));
  EXPECT_EQ(read_text(path("whole")), read_text(path("streamed")));
}

TEST_F(SafetensorsTest, TooShortStreamLeavesNothingBehind) {
  SafetensorsWriter writer;
  writer.add_streamed("x", "U8", {10}, [](const SafetensorsWriter::Sink& sink) { sink("abc", 3); });
  EXPECT_THROW(writer.write(path("x")), Error);
  EXPECT_TRUE(fs::is_empty(folder_.path()));
}

TEST_F(SafetensorsTest, VerifyFindsEveryFlippedTensorByte) {
  const std::vector<uint8_t> bytes(40, 7);
  SafetensorsWriter writer;
  writer.add("x", "U8", {40}, bytes.data());
  writer.write(path("x"));
  const std::string good = read_text(path("x"));
  for (size_t i = good.size() - 40; i < good.size(); ++i) {
    std::string bad = good;
    bad[i] ^= 1;
    EXPECT_THROW(parse(bad).verify(), Error) << i;
  }
}

TEST_F(SafetensorsTest, VerifyFindsEveryFlippedHeaderByte) {
  SafetensorsWriter writer;
  writer.add("x", "U8", {4}, "abcd");
  writer.metadata("description", "{\"iteration\":24}");
  writer.metadata("source", "not UTF-8: \xff");
  writer.write(path("x"));
  const std::string good = read_text(path("x"));
  parse(good).verify();
  const std::string name = "header_checksum";
  const size_t field = good.find(name);
  for (size_t i = 0; i < good.size() - 4; ++i) {
    if (i >= field && i < field + name.size()) continue;  // a file of earlier versions has no such field
    std::string bad = good;
    bad[i] ^= 1;
    EXPECT_THROW(parse(bad).verify(), Error) << i << " " << bad;
  }
}

TEST_F(SafetensorsTest, EveryTruncationIsRefused) {
  const std::vector<float> values(8, 1.0f);
  SafetensorsWriter writer;
  writer.add("x", "F32", {8}, values.data());
  writer.write(path("x"));
  const std::string good = read_text(path("x"));
  for (size_t n = 0; n < good.size(); ++n) EXPECT_THROW(parse(good.substr(0, n)), Error) << n;
}

TEST_F(SafetensorsTest, AbsentTensorNamesTheNearest) {
  SafetensorsWriter writer;
  writer.add("generator.weight", "U8", {1}, "a");
  writer.add("other", "U8", {1}, "b");
  writer.write(path("x"));
  const auto file = SafetensorsFile::open(path("x"));
  try {
    file.at("generator.wieght");
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.fault(), Fault::kData);
    EXPECT_NE(std::string(error.what()).find("\"generator.weight\""), std::string::npos) << error.what();
  }
  EXPECT_THROW(file.at("other", "U8", {2}), Error);
  EXPECT_THROW(file.at("other", "I8", {1}), Error);
}

struct BadFile {
  const char* name;
  std::string bytes;
  const char* says;  // part of the sentence
};

TEST_F(SafetensorsTest, BadFilesAreRefusedInOneSentence) {
  const std::string huge_length = std::string(8, '\xff') + "{}";
  const std::vector<BadFile> cases = {
      {"empty", "", "only 0 bytes"},
      {"seven bytes", "1234567", "only 7 bytes"},
      {"header longer than the file", huge_length, "claims"},
      {"not JSON", image("{\"a\":", 0), "no valid JSON"},
      {"not UTF-8", image("{\"\xff\":1}", 0), "no valid JSON"},
      {"a number beyond all doubles", image("{\"a\":1e99999}", 0), "absurd number"},
      {"a list", image("[]", 0), "JSON object"},
      {"tensor is a number", image("{\"a\":3}", 0), "no \"dtype\""},
      {"no shape", image(R"({"a":{"dtype":"U8","data_offsets":[0,1]}})", 1), "no \"shape\""},
      {"no offsets", image(R"({"a":{"dtype":"U8","shape":[1]}})", 1), "no \"data_offsets\""},
      {"unknown dtype", image(R"({"a":{"dtype":"U9","shape":[1],"data_offsets":[0,1]}})", 1), "unknown dtype"},
      {"dtype is a number", image(R"({"a":{"dtype":8,"shape":[1],"data_offsets":[0,1]}})", 1), "unknown dtype"},
      {"negative extent", image(R"({"a":{"dtype":"U8","shape":[-1],"data_offsets":[0,1]}})", 1), "shape"},
      {"fractional extent", image(R"({"a":{"dtype":"U8","shape":[1.0],"data_offsets":[0,1]}})", 1), "shape"},
      {"overflowing shape", image(R"({"a":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,0]}})", 0),
       "does not fit"},
      {"extent beyond 63 bits", image(R"({"a":{"dtype":"U8","shape":[18446744073709551615],"data_offsets":[0,1]}})", 1),
       "shape"},
      {"shape against bytes", image(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}})", 4), "does not fit"},
      {"one offset", image(R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0]}})", 1), "two offsets"},
      {"offsets reversed", image(R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[1,0]}})", 1), "truncated"},
      {"past the end", image(R"({"a":{"dtype":"U8","shape":[9],"data_offsets":[0,9]}})", 8), "truncated"},
      {"overlap",
       image(
           R"({"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},"b":{"dtype":"U8","shape":[2],"data_offsets":[1,3]}})",
           3),
       "overlaps"},
      {"hole",
       image(
           R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"b":{"dtype":"U8","shape":[1],"data_offsets":[2,3]}})",
           3),
       "belong to no tensor"},
      {"trailing bytes", image(R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}})", 5), "found 5"},
      {"two of a name",
       image(
           R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}})",
           1),
       "twice"},
      {"metadata not text", image(R"({"__metadata__":{"a":1}})", 0), "metadata"},
  };
  for (const BadFile& bad : cases) {
    try {
      parse(bad.bytes);
      ADD_FAILURE() << bad.name << ": accepted";
    } catch (const Error& error) {
      const std::string sentence = error.what();
      EXPECT_EQ(error.fault(), Fault::kData) << bad.name;
      EXPECT_NE(sentence.find(bad.says), std::string::npos) << bad.name << ": " << sentence;
      EXPECT_NE(sentence.find("case.safetensors"), std::string::npos) << bad.name << ": " << sentence;
      EXPECT_EQ(sentence.find('\n'), std::string::npos) << bad.name;
    }
  }
}

TEST_F(SafetensorsTest, DeeplyNestedHeaderIsRefused) {
  EXPECT_THROW(parse(image(std::string(1'000'000, '['), 0)), Error);
  EXPECT_THROW(parse(image(std::string(1'000'000, '[') + std::string(1'000'000, ']'), 0)), Error);
}

TEST_F(SafetensorsTest, MissingFileAndFolderAreDataErrors) {
  for (const std::string& bad : {path("absent"), folder_.path(), std::string("/dev/null")}) {
    try {
      SafetensorsFile::open(bad);
      ADD_FAILURE() << bad;
    } catch (const Error& error) {
      EXPECT_EQ(error.fault(), Fault::kData);
      EXPECT_NE(std::string(error.what()).find(bad), std::string::npos) << error.what();
    }
  }
}

TEST_F(SafetensorsTest, FailedWriteKeepsTheOldFileAndRemovesTheNew) {
  write_atomically(path("file"), "old");
  EXPECT_THROW(write_atomically(path("file"),
                                [](AtomicFile& file) -> void {
                                  file.write("new", 3);
                                  fail(Fault::kRun, "interrupted");
                                }),
               Error);
  EXPECT_EQ(read_text(path("file")), "old");
  EXPECT_EQ(std::distance(fs::directory_iterator(folder_.path()), {}), 1);
}

TEST_F(SafetensorsTest, FullDiskIsARunErrorAndLeavesNothing) {
  // A file-size limit fails the write as a full disk does, half-way through.
  struct rlimit before;
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &before), 0);
  struct rlimit small = before;
  small.rlim_cur = 1000;
  write_atomically(path("file"), "old");
  const auto old_handler = std::signal(SIGXFSZ, SIG_IGN);
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &small), 0);
  std::string sentence;
  Fault fault = Fault::kUsage;
  try {
    write_atomically(path("file"), std::string(5000, 'x'));
  } catch (const Error& error) {
    sentence = error.what();
    fault = error.fault();
  }
  setrlimit(RLIMIT_FSIZE, &before);
  std::signal(SIGXFSZ, old_handler);
  EXPECT_EQ(fault, Fault::kRun);
  EXPECT_NE(sentence.find("cannot write"), std::string::npos) << sentence;
  EXPECT_EQ(read_text(path("file")), "old");
  EXPECT_EQ(std::distance(fs::directory_iterator(folder_.path()), {}), 1);
}

TEST_F(SafetensorsTest, UnwritablePlacesAreRunErrors) {
  write_atomically(path("file"), "a file where a folder should be");
  for (const std::string& bad :
       {path("no/such/folder/file"), path("file/below"), folder_.path(), std::string("/dev/null")}) {
    try {
      write_atomically(bad, "text");
      ADD_FAILURE() << bad;
    } catch (const Error& error) {
      EXPECT_EQ(error.fault(), Fault::kRun) << bad;
    }
  }
  EXPECT_THROW(make_folder(path("file/below")), Error);
  EXPECT_TRUE(fs::is_character_file("/dev/null"));
}

TEST_F(SafetensorsTest, LeftoverOfAKilledWriterIsReused) {
  write_atomically(path(".file.partial"), std::string(100, 'x'));
  write_atomically(path("file"), "new");
  EXPECT_EQ(read_text(path("file")), "new");
  EXPECT_EQ(std::distance(fs::directory_iterator(folder_.path()), {}), 1);
}

TEST(Checksum, KnownValuesAndAnyDivision) {
  const std::string text = "Nobody inspects the spammish repetition";
  EXPECT_EQ(checksum64("", 0), 0xef46db3751d8e999u);
  EXPECT_EQ(checksum64(text.data(), text.size()), 0xfbcea83c8a378bf1u);
  for (size_t cut = 0; cut <= text.size(); ++cut) {
    Checksum sum;
    sum.add(text.data(), cut);
    sum.add(text.data() + cut, text.size() - cut);
    EXPECT_EQ(sum.value(), 0xfbcea83c8a378bf1u) << cut;
  }
}

TEST(Text, NearestNameAndLists) {
  EXPECT_EQ(edit_distance("", "abc"), 3);
  EXPECT_EQ(edit_distance("kitten", "sitting"), 3);
  EXPECT_EQ(edit_distance("wieght", "weight"), 1);  // one swap of neighbours
  EXPECT_EQ(nearest("itreations", {"iterations", "seed", "device"}), "iterations");
  EXPECT_EQ(nearest("x", {}), "");
  EXPECT_EQ(listed({"a", "b", "c"}), "a, b and c");
  EXPECT_EQ(listed({"a", "b"}, "or"), "a or b");
  EXPECT_EQ(listed({"a"}), "a");
  EXPECT_EQ(listed({}), "");
}

}  // namespace
}  // namespace agon
