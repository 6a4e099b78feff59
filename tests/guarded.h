#pragma once

// One check for every operation: the values against a double-precision reference, guard words around every replica,
// the same bits on any number of threads and with or without `split`, and no NaN crossing from one replica to another.

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <functional>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "tests/devices.h"

namespace agon::guarded {

/// One operand of an operation before it runs: `count` numbers for each replica, or one set that all replicas share.
struct Operand {
  std::vector<float> values;
  bool integers = false;
  bool shared = false;
  bool overwritten = false;  ///< holds NaN beforehand: nothing may read it
  double scale = 0;          ///< errors are relative to |expected| + scale; 0: root mean square of what is expected
};

class Operands {
 public:
  Operands(int64_t replicas, uint32_t seed) : replicas_(replicas), random_(seed) {}

  Operand uniform(int64_t count, float low = -1.f, float high = 1.f, bool shared = false) {
    std::uniform_real_distribution<float> draw(low, high);
    Operand operand{std::vector<float>(static_cast<size_t>((shared ? 1 : replicas_) * count))};
    for (float& value : operand.values) value = draw(random_);
    operand.shared = shared;
    return operand;
  }
  Operand labels(int64_t count, int classes) {
    std::uniform_int_distribution<int32_t> draw(0, classes - 1);
    Operand operand{std::vector<float>(static_cast<size_t>(replicas_ * count))};
    for (float& value : operand.values) value = std::bit_cast<float>(draw(random_));
    operand.integers = true;
    return operand;
  }
  Operand output(int64_t count, double scale = 0) const {
    constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
    return {std::vector<float>(static_cast<size_t>(replicas_ * count), kNan), false, false, true, scale};
  }

 private:
  int64_t replicas_;
  std::mt19937 random_;
};

/// Where the operands lie on the device.
class Blocks {
 public:
  explicit Blocks(std::vector<Floats> blocks) : blocks_(std::move(blocks)) {}
  Floats operator[](size_t i) const { return blocks_[i]; }
  Ints ints(size_t i) const { return {reinterpret_cast<int32_t*>(blocks_[i].data), blocks_[i].stride}; }

 private:
  std::vector<Floats> blocks_;
};

/// The operands of one replica in double precision.
using Values = std::vector<std::vector<double>>;

struct Check {
  std::string name;
  int64_t replicas;
  std::vector<Operand> operands;
  std::function<void(Device&, const Blocks&, bool split)> run;
  std::function<void(Values&, int64_t replica)> reference;  ///< turns a replica's operands into what is expected
  double tolerance = 2e-6;
  bool mixes = false;  ///< replicas read each other, so NaN may pass between them
};

namespace detail {

inline constexpr int64_t kGuard = 19;
inline constexpr float kGuardWord = 12345.678f;

inline int64_t count_of(const Check& check, const Operand& operand) {
  return static_cast<int64_t>(operand.values.size()) / (operand.shared ? 1 : check.replicas);
}

/// Runs the operation between guard words and returns the operands' values as they are afterwards.
inline std::vector<std::vector<float>> run(const Check& check, const std::vector<Operand>& operands, int threads,
                                           bool split) {
  const auto device = test_device(threads);
  std::vector<Buffer<float>> buffers;
  std::vector<Floats> blocks;
  for (const Operand& operand : operands) {
    const int64_t sets = operand.shared ? 1 : check.replicas, count = count_of(check, operand);
    std::vector<float> image(static_cast<size_t>(kGuard + sets * (count + kGuard)), kGuardWord);
    for (int64_t r = 0; r < sets; ++r)
      std::copy_n(operand.values.begin() + r * count, count, image.begin() + kGuard + r * (count + kGuard));
    buffers.emplace_back(device, static_cast<int64_t>(image.size()));
    buffers.back().set(image);
    blocks.push_back({buffers.back().data() + kGuard, operand.shared ? 0 : count + kGuard});
  }
  check.run(*device, Blocks(blocks), split);

  std::vector<std::vector<float>> results;
  for (size_t o = 0; o < operands.size(); ++o) {
    const std::vector<float> image = buffers[o].host();
    const int64_t sets = operands[o].shared ? 1 : check.replicas, count = count_of(check, operands[o]);
    std::vector<float>& result = results.emplace_back();
    for (int64_t i = 0; i < static_cast<int64_t>(image.size()); ++i) {
      const int64_t place = i % (count + kGuard);
      if (place >= kGuard) {
        result.push_back(image[static_cast<size_t>(i)]);
      } else {
        EXPECT_EQ(image[static_cast<size_t>(i)], kGuardWord)
            << "operand " << o << ": guard word " << place << " before replica " << i / (count + kGuard) << " of "
            << sets << " was overwritten";
      }
    }
  }
  return results;
}

inline Values values_of(const Check& check, const std::vector<std::vector<float>>& floats, int64_t replica) {
  Values values;
  for (size_t o = 0; o < floats.size(); ++o) {
    const int64_t count = count_of(check, check.operands[o]), first = check.operands[o].shared ? 0 : replica * count;
    std::vector<double>& one = values.emplace_back();
    for (int64_t i = first; i < first + count; ++i) {
      const float value = floats[o][static_cast<size_t>(i)];
      one.push_back(check.operands[o].integers ? std::bit_cast<int32_t>(value) : static_cast<double>(value));
    }
  }
  return values;
}

inline void expect_reference(const Check& check, const std::vector<std::vector<float>>& results) {
  std::vector<std::vector<float>> before;
  for (const Operand& operand : check.operands) before.push_back(operand.values);
  for (int64_t r = 0; r < check.replicas; ++r) {
    Values expected = values_of(check, before, r);
    const Values found = values_of(check, results, r);
    check.reference(expected, r);
    for (size_t o = 0; o < expected.size(); ++o) {
      ASSERT_FALSE(expected[o].empty()) << "operand " << o;
      ASSERT_EQ(expected[o].size(), found[o].size()) << "operand " << o;
      double squares = 0;
      for (double value : expected[o]) squares += value * value;
      const double mean_square = squares / static_cast<double>(expected[o].size());
      const double scale = check.operands[o].scale > 0 ? check.operands[o].scale : std::sqrt(mean_square);
      for (size_t i = 0; i < expected[o].size(); ++i) {
        ASSERT_TRUE(std::isfinite(expected[o][i])) << "reference of operand " << o << ", element " << i;
        ASSERT_TRUE(std::isfinite(found[o][i])) << "operand " << o << ", replica " << r << ", element " << i << ": "
                                                << found[o][i] << ", expected " << expected[o][i];
        ASSERT_LE(std::abs(found[o][i] - expected[o][i]), check.tolerance * (std::abs(expected[o][i]) + scale))
            << "operand " << o << ", replica " << r << ", element " << i << ": " << found[o][i] << ", expected "
            << expected[o][i];
      }
    }
  }
}

/// The same bits in every replica but `except`.
inline void expect_same_bits(const Check& check, const std::vector<std::vector<float>>& a,
                             const std::vector<std::vector<float>>& b, int64_t except, const std::string& when) {
  ASSERT_EQ(a.size(), b.size());
  for (size_t o = 0; o < a.size(); ++o) {
    ASSERT_FALSE(a[o].empty());
    ASSERT_EQ(a[o].size(), b[o].size());
    const int64_t count = count_of(check, check.operands[o]);
    for (size_t i = 0; i < a[o].size(); ++i) {
      if (!check.operands[o].shared && static_cast<int64_t>(i) / count == except) continue;
      ASSERT_EQ(std::bit_cast<uint32_t>(a[o][i]), std::bit_cast<uint32_t>(b[o][i]))
          << when << ": operand " << o << ", element " << i << ": " << a[o][i] << " and " << b[o][i];
    }
  }
}

}  // namespace detail

inline void run_check(const Check& check) {
  SCOPED_TRACE(check.name);
  ASSERT_FALSE(check.operands.empty());
  const auto first = detail::run(check, check.operands, 1, false);
  ASSERT_NO_FATAL_FAILURE(detail::expect_reference(check, first));
  for (const int threads : testing_cpu() ? std::vector{1, 3} : std::vector{1})
    for (const bool split : {false, true}) {
      const auto again = detail::run(check, check.operands, threads, split);
      ASSERT_NO_FATAL_FAILURE(detail::expect_same_bits(check, first, again, -1, split ? "split" : "on threads"));
    }
  if (check.replicas < 2 || check.mixes) return;
  std::vector<Operand> spoilt = check.operands;
  const int64_t victim = check.replicas / 2;
  for (Operand& operand : spoilt) {
    if (operand.shared || operand.integers) continue;
    const int64_t count = detail::count_of(check, operand);
    std::fill_n(operand.values.begin() + victim * count, count, std::numeric_limits<float>::quiet_NaN());
  }
  const auto beside_nan = detail::run(check, spoilt, 2, false);
  detail::expect_same_bits(check, first, beside_nan, victim, "beside NaN");
}

}  // namespace agon::guarded
