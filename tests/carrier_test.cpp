// Which way device memory takes between processes, and what NCCL would be asked to send and receive.
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <tuple>

#include "engine/comm/carrier.h"
#include "kernels/plugin.h"

namespace agon {
namespace {

std::vector<std::vector<std::tuple<bool, int, size_t>>> posts(const std::vector<Move>& moves, int here,
                                                              const std::vector<int>& members) {
  std::vector<std::vector<std::tuple<bool, int, size_t>>> list;
  for (const auto& group : posts_of(moves, here, members)) {
    list.emplace_back();
    for (const Post& post : group) list.back().emplace_back(post.sends, post.peer, post.bytes);
  }
  return list;
}

TEST(Posts, AreThoseOfOneProcessInOrder) {
  using Posts = std::vector<std::vector<std::tuple<bool, int, size_t>>>;
  char a = 0, b = 0;
  const std::vector<Move> moves = {
      {0, &a, 1, &b, 10}, {2, &a, 0, &b, 20}, {0, &a, 1, &b, 30}, {3, &a, 2, &b, 40}, {1, &a, 0, &b, 50}};
  EXPECT_EQ(posts(moves, 0, {0, 1, 2, 3}), (Posts{{{true, 1, 10}, {false, 2, 20}, {true, 1, 30}, {false, 1, 50}}}));
  EXPECT_EQ(posts(moves, 1, {0, 1, 2, 3}), (Posts{{{false, 0, 10}, {false, 0, 30}, {true, 0, 50}}}));
  EXPECT_EQ(posts(moves, 3, {0, 1, 2, 3}), (Posts{{{true, 2, 40}}}));
  EXPECT_EQ(posts(moves, 4, {0, 1, 2, 3, 4}), Posts{});
  const auto first = posts_of(moves, 0, {0, 1, 2, 3}).front();
  EXPECT_EQ(first[0].data, &a);
  EXPECT_EQ(first[1].data, &b);
}

TEST(Posts, CountPeersAmongThoseThatAreLeft) {
  using Posts = std::vector<std::vector<std::tuple<bool, int, size_t>>>;
  const std::vector<Move> moves = {{0, nullptr, 4, nullptr, 1}, {5, nullptr, 0, nullptr, 2}};
  EXPECT_EQ(posts(moves, 0, {0, 4, 5}), (Posts{{{true, 1, 1}, {false, 2, 2}}}));
  EXPECT_EQ(posts(moves, 4, {0, 4, 5}), (Posts{{{false, 0, 1}}}));
  EXPECT_THROW(posts(moves, 0, {0, 5}), Error);
}

TEST(Posts, AreCutAtTheSameMovesForAll) {
  // Process 0 sends to 1 and 2 in turn, in so many moves that they take three groups.
  std::vector<Move> moves;
  for (size_t i = 0; i < 2 * kMovesOfGroup + 3; ++i) moves.push_back({0, nullptr, i % 2 == 0 ? 1 : 2, nullptr, i + 1});
  moves.push_back({1, nullptr, 2, nullptr, 7});
  const std::vector<int> members = {0, 1, 2};
  const auto sent = posts(moves, 0, members), got1 = posts(moves, 1, members), got2 = posts(moves, 2, members);
  ASSERT_EQ(sent.size(), 3u);
  ASSERT_EQ(got1.size(), 3u);
  ASSERT_EQ(got2.size(), 3u);
  EXPECT_EQ(sent[0].size(), kMovesOfGroup);
  EXPECT_EQ(sent[2].size(), 3u);
  for (size_t g = 0; g < 3; ++g) {
    std::vector<std::tuple<bool, int, size_t>> from1, from2;
    for (const auto& [sends, peer, bytes] : sent[g]) (peer == 1 ? from1 : from2).emplace_back(false, 0, bytes);
    if (g == 2) from1.emplace_back(true, 2, 7), from2.emplace_back(false, 1, 7);
    EXPECT_EQ(got1[g], from1);
    EXPECT_EQ(got2[g], from2);
  }
}

TEST(WireChoice, FollowsFromAllEnds) {
  const WireEnd a{true, "host 01"}, b{true, "host 02"}, cpu{false, "computes on the device \"cpu\", and ..."};
  EXPECT_TRUE(goes_by_nccl("auto", std::vector{a, b}));
  EXPECT_TRUE(goes_by_nccl("nccl", std::vector{a, b}));
  EXPECT_TRUE(goes_by_nccl("nccl", std::vector{a}));
  EXPECT_FALSE(goes_by_nccl("host", std::vector{a, b}));
  EXPECT_FALSE(goes_by_nccl("auto", std::vector{a, cpu}));
  EXPECT_FALSE(goes_by_nccl("auto", std::vector{a, b, a}));
  const auto refused = [](const std::vector<WireEnd>& ends) -> std::string {
    try {
      goes_by_nccl("nccl", ends);
    } catch (const Error& error) {
      EXPECT_EQ(error.fault(), Fault::kUsage);
      return error.what();
    }
    return "";
  };
  EXPECT_NE(refused({a, cpu}).find("world.wire is \"nccl\", but process 1 computes on the device \"cpu\""),
            std::string::npos);
  EXPECT_NE(refused({a, b, a}).find("processes 0 and 2 share a GPU (host 01)"), std::string::npos);
}

TEST(OwnDevice, IsThatOfTheLocalRankCountedRound) {
  const std::vector<const char*> names = {"OMPI_COMM_WORLD_LOCAL_RANK", "MPI_LOCALRANKID", "LOCAL_RANK",
                                          "SLURM_LOCALID"};
  for (const char* name : names) unsetenv(name);
  EXPECT_EQ(own_device(4), 0);
  for (const char* name : names) {
    setenv(name, "6", 1);
    EXPECT_EQ(own_device(8), 6) << name;
    EXPECT_EQ(own_device(4), 2) << name;
    EXPECT_EQ(own_device(1), 0) << name;
    unsetenv(name);
  }
  setenv("SLURM_LOCALID", "0", 1);  // of torchrun
  setenv("LOCAL_RANK", "3", 1);     // of the process that it has started
  EXPECT_EQ(own_device(4), 3);
  for (const char* name : names) unsetenv(name);
}

TEST(NcclPlugin, OpensWithoutAGpuAndFitsThisProgram) {
  if (!std::filesystem::exists(AGON_BINARY_DIR "/lib/libagon_nccl.so"))
    GTEST_SKIP() << "this build has no NCCL plug-in";
  std::string reason;
  const auto* plugin = static_cast<const CarrierPlugin*>(open_plugin("nccl", kCarrierPluginEntry, reason));
  ASSERT_TRUE(plugin) << reason;
  EXPECT_NE(plugin->gpu, nullptr);
  EXPECT_NE(plugin->open, nullptr);
}

}  // namespace
}  // namespace agon
