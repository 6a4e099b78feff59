// gzip through zlib, and just enough of tar (POSIX ustar) to look into a data set's archive.
#include "datasets/archive.h"

#include <zlib.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <numeric>

#include "kernels/error.h"

namespace agon {
namespace {

constexpr size_t kFirstChunk = 1 << 16;
constexpr size_t kTarBlock = 512;

/// A fixed-width field of a tar header, up to its first NUL.
std::string text_field(std::span<const std::byte> header, size_t at, size_t width) {
  const auto* first = reinterpret_cast<const char*>(header.data()) + at;
  return std::string(first, strnlen(first, width));
}

/// An octal number; -1 when there is anything else in the field.
int64_t octal_field(std::span<const std::byte> header, size_t at, size_t width) {
  int64_t value = 0;
  bool ended = false;
  for (char c : text_field(header, at, width)) {
    if (c == ' ') {
      ended = value != 0;
    } else if (c < '0' || c > '7' || ended) {
      return -1;
    } else {
      value = value * 8 + (c - '0');
    }
  }
  return value;
}

/// Sum of the header's bytes with its own checksum field read as spaces.
int64_t header_sum(std::span<const std::byte> header) {
  int64_t sum = 8 * ' ';
  for (size_t i = 0; i < kTarBlock; ++i)
    if (i < 148 || i >= 156) sum += std::to_integer<int64_t>(header[i]);
  return sum;
}

}  // namespace

bool is_gzip(std::span<const std::byte> bytes) {
  return bytes.size() >= 2 && bytes[0] == std::byte{0x1f} && bytes[1] == std::byte{0x8b};
}

std::vector<std::byte> gunzip(std::span<const std::byte> bytes, const std::string& path, uint64_t limit) {
  z_stream stream{};
  constexpr int kGzipOnly = 16 + MAX_WBITS;
  if (inflateInit2(&stream, kGzipOnly) != Z_OK) fail(Fault::kRun, "cannot start to unpack {}: out of memory", path);
  const std::unique_ptr<z_stream, int (*)(z_stream*)> closer(&stream, inflateEnd);

  std::vector<std::byte> unpacked(kFirstChunk);
  size_t size = 0, taken = 0;
  for (bool open = true; open;) {
    if (size == unpacked.size()) {
      if (size > limit)
        fail(Fault::kData, "{} unpacks to more than {} bytes: it is corrupt or no data set", path, limit);
      unpacked.resize(size * 2);
    }
    // zlib counts in 32 bits, so that input and output are given in pieces.
    const size_t in = std::min<size_t>(bytes.size() - taken, 1u << 30);
    const size_t out = std::min<size_t>(unpacked.size() - size, 1u << 30);
    stream.next_in = reinterpret_cast<Bytef*>(const_cast<std::byte*>(bytes.data() + taken));
    stream.avail_in = static_cast<uInt>(in);
    stream.next_out = reinterpret_cast<Bytef*>(unpacked.data() + size);
    stream.avail_out = static_cast<uInt>(out);
    const int state = inflate(&stream, Z_NO_FLUSH);
    taken += in - stream.avail_in;
    size += out - stream.avail_out;
    if (state == Z_STREAM_END) {
      // A gzip file may be several streams in a row; anything else behind the end is damage.
      open = is_gzip(bytes.subspan(taken));
      if (!open && taken != bytes.size())
        fail(Fault::kData, "{} goes on for {} bytes after its compressed data: it is corrupt", path,
             bytes.size() - taken);
      if (open) inflateReset(&stream);
    } else if (state == Z_BUF_ERROR || (state == Z_OK && taken == bytes.size() && stream.avail_out > 0)) {
      fail(Fault::kData, "{} is truncated: its compressed data end after {} bytes", path, bytes.size());
    } else if (state != Z_OK) {
      fail(Fault::kData, "{} is corrupt: its compressed data are damaged near byte {}", path, taken);
    }
  }
  unpacked.resize(size);
  return unpacked;
}

FileContents::FileContents(const std::string& path) : mapping_(path), bytes_(mapping_.bytes()) {
  if (!is_gzip(bytes_)) return;
  unpacked_ = gunzip(bytes_, path);
  bytes_ = unpacked_;
}

std::vector<TarMember> tar_members(std::span<const std::byte> archive, const std::string& path) {
  std::vector<TarMember> members;
  while (archive.size() >= kTarBlock) {
    const auto header = archive.first(kTarBlock);
    if (std::all_of(header.begin(), header.end(), [](std::byte b) { return b == std::byte{0}; })) return members;
    if (octal_field(header, 148, 8) != header_sum(header))
      fail(Fault::kData, "{} is no tar archive or corrupt: the checksum of member {} is wrong", path,
           members.size() + 1);
    const int64_t size = octal_field(header, 124, 12);
    archive = archive.subspan(kTarBlock);
    if (size < 0 || static_cast<uint64_t>(size) > archive.size())
      fail(Fault::kData, "{} is truncated or corrupt: \"{}\" ends outside the archive", path,
           text_field(header, 0, 100));

    const auto type = std::to_integer<char>(header[156]);
    if (type == '0' || type == '\0') {
      const std::string prefix = text_field(header, 257, 5) == "ustar" ? text_field(header, 345, 155) : "";
      const std::string name = text_field(header, 0, 100);
      members.push_back({prefix.empty() ? name : prefix + "/" + name, archive.first(static_cast<size_t>(size))});
    }
    const size_t padded = (static_cast<size_t>(size) + kTarBlock - 1) / kTarBlock * kTarBlock;
    archive = archive.subspan(std::min(padded, archive.size()));
  }
  if (members.empty())
    fail(Fault::kData, "expected a tar archive, found {} bytes without any file in {}", archive.size(), path);
  fail(Fault::kData, "{} is truncated: it stops after member {} (\"{}\"), without the zeros that end a tar archive",
       path, members.size(), members.back().name);
}

}  // namespace agon
