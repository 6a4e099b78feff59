// Which process each participant lives in.
#include "engine/placement.h"

#include <gtest/gtest.h>

#include "tests/data_files.h"

namespace agon {
namespace {

struct Row {
  int64_t workers;
  int processes;
  ServerPlace server;
  std::vector<int> worker;  ///< by hand
};

TEST(Placement, IsEvenByHand) {
  using enum ServerPlace;
  for (const Row& row : std::vector<Row>{{3, 1, kAuto, {0, 0, 0}},
                                         {3, 1, kAlone, {0, 0, 0}},
                                         {5, 2, kAuto, {0, 0, 0, 1, 1}},
                                         {5, 2, kAlone, {1, 1, 1, 1, 1}},
                                         {5, 3, kShared, {0, 0, 1, 1, 2}},
                                         {5, 5, kAuto, {0, 1, 2, 3, 4}},
                                         {5, 6, kAuto, {1, 2, 3, 4, 5}},
                                         {5, 4, kAlone, {1, 1, 2, 2, 3}},
                                         {1, 2, kAuto, {1}}}) {
    const Placement placement = place_evenly(row.workers, row.processes, row.server);
    EXPECT_EQ(placement.worker, row.worker) << row.workers << " workers, " << row.processes << " processes";
    EXPECT_EQ(placement.server, 0);
  }
}

TEST(Placement, IsAsListed) {
  EXPECT_EQ(place_listed({2, 0, 1, 2}, 4, 3).worker, (std::vector<int>{2, 0, 1, 2}));
  EXPECT_EQ(place_listed({2, 0, 1, 2}, 4, 1).worker, (std::vector<int>{0, 0, 0, 0})) << "one process has all";
  expect_refused({{"too few",
                   [] {
                     place_listed({0, 1}, 3, 2);
                   },
                   "lists 2 ranks, expected one for each of 3", Fault::kUsage},
                  {"no such rank",
                   [] {
                     place_listed({0, 1, 2}, 3, 2);
                   },
                   "has rank 2, but 2 processes", Fault::kUsage},
                  {"negative",
                   [] {
                     place_listed({0, 1, -1}, 3, 2);
                   },
                   "has rank -1", Fault::kUsage},
                  {"idle",
                   [] {
                     place_listed({0, 2, 2}, 3, 3);
                   },
                   "no worker is at rank 1", Fault::kUsage}});
}

TEST(Placement, RefusesIdleProcesses) {
  using enum ServerPlace;
  expect_refused({{"more processes than participants", [] { place_evenly(5, 7, kAuto); }, "at most 6", Fault::kUsage},
                  {"a server that must share", [] { place_evenly(5, 6, kShared); }, "at most 5", Fault::kUsage}});
}

}  // namespace
}  // namespace agon
