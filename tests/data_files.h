#pragma once

// What the tests of data sets share: a scratch folder, files of the raw formats made by hand, and real data if present.

#include <gtest/gtest.h>
#include <unistd.h>
#include <zlib.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <string>
#include <vector>

#include "kernels/error.h"

namespace agon {

/// A fresh folder for the running test, removed at its end.
class ScratchFolder {
 public:
  ScratchFolder() {
    const auto* test = testing::UnitTest::GetInstance()->current_test_info();
    path_ = std::filesystem::path(testing::TempDir()) /
            fmt::format("agon-{}-{}-{}", test->test_suite_name(), test->name(), getpid());
    std::filesystem::remove_all(path_);
    std::filesystem::create_directories(path_);
  }
  ~ScratchFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }

  std::string operator/(const std::string& name) const { return path_ / name; }
  std::string path() const { return path_; }

  /// Writes a file (and the folders above it) and returns its path.
  std::string put(const std::string& name, const std::string& bytes) const {
    const std::filesystem::path file = path_ / name;
    std::filesystem::create_directories(file.parent_path());
    std::ofstream(file, std::ios::binary) << bytes;
    return file;
  }

 private:
  std::filesystem::path path_;
};

inline std::string big_endian(uint32_t value) {
  return {static_cast<char>(value >> 24), static_cast<char>(value >> 16), static_cast<char>(value >> 8),
          static_cast<char>(value)};
}

inline std::string idx_images(uint32_t count, uint32_t height, uint32_t width, const std::string& pixels) {
  return big_endian(0x803) + big_endian(count) + big_endian(height) + big_endian(width) + pixels;
}

inline std::string idx_labels(uint32_t count, const std::string& labels) {
  return big_endian(0x801) + big_endian(count) + labels;
}

/// Bytes 0, 1, 2, ... (mod 251, so that rows differ).
inline std::string counting(size_t bytes) {
  std::string text(bytes, '\0');
  for (size_t i = 0; i < bytes; ++i) text[i] = static_cast<char>(i % 251);
  return text;
}

inline std::string gzip(const std::string& bytes) {
  z_stream stream{};
  deflateInit2(&stream, 6, Z_DEFLATED, 16 + MAX_WBITS, 8, Z_DEFAULT_STRATEGY);
  std::string packed(deflateBound(&stream, bytes.size()) + 64, '\0');
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(bytes.data()));
  stream.avail_in = static_cast<uInt>(bytes.size());
  stream.next_out = reinterpret_cast<Bytef*>(packed.data());
  stream.avail_out = static_cast<uInt>(packed.size());
  deflate(&stream, Z_FINISH);
  packed.resize(stream.total_out);
  deflateEnd(&stream);
  return packed;
}

/// One member of a tar archive: header and padded contents.
inline std::string tar_member(const std::string& name, const std::string& bytes) {
  std::string header(512, '\0');
  header.replace(0, name.size(), name);
  header.replace(124, 11, fmt::format("{:011o}", bytes.size()));
  header[156] = '0';
  header.replace(257, 5, "ustar");
  header.replace(148, 8, "        ");
  unsigned sum = 0;
  for (unsigned char c : header) sum += c;
  header.replace(148, 7, fmt::format("{:06o}", sum) + '\0');
  return header + bytes + std::string((512 - bytes.size() % 512) % 512, '\0');
}

/// `count` CIFAR-10 records with labels 0, 1, 2, ...
inline std::string cifar10_records(int count) {
  std::string bytes;
  for (int i = 0; i < count; ++i) bytes += static_cast<char>(i % 10) + counting(3072);
  return bytes;
}

/// One row of a table of bad inputs: what must fail, and a part of the sentence that must be said.
struct BadInput {
  std::string name;
  std::function<void()> use;
  std::string says;
  Fault fault = Fault::kData;
};

inline void expect_refused(const std::vector<BadInput>& cases) {
  for (const BadInput& bad : cases) {
    try {
      bad.use();
      ADD_FAILURE() << bad.name << ": accepted";
    } catch (const Error& error) {
      const std::string sentence = error.what();
      EXPECT_EQ(error.fault(), bad.fault) << bad.name << ": " << sentence;
      EXPECT_NE(sentence.find(bad.says), std::string::npos) << bad.name << ": " << sentence;
      EXPECT_EQ(sentence.find('\n'), std::string::npos) << bad.name << ": " << sentence;
    }
  }
}

/// Where a real data set lies; empty when this machine has none.
inline std::string real_data(const std::string& name) {
  const char* chosen = std::getenv("AGON_DATA");
  for (const auto& root : {std::filesystem::path(AGON_SOURCE_DIR).parent_path() / "shared" / "data",
                           std::filesystem::path(chosen != nullptr ? chosen : "")})
    if (!root.empty() && std::filesystem::exists(root / name)) return root / name;
  return {};
}

}  // namespace agon
