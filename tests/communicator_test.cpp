// Processes that meet over TCP, without MPI: messages, who is let in, and losses. Real processes, made by fork.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cstdlib>
#include <functional>
#include <thread>
#include <vector>

#include "engine/comm/sockets.h"
#include "engine/comm/tcp.h"

namespace agon {
namespace {

using Seconds = std::chrono::duration<double>;

uint16_t free_port() { return port_of(*listen_at(0, 1)); }

/// What processes 0 .. size - 1 do; each succeeds with true. Returns their pids.
std::vector<pid_t> fork_all(int size, const std::function<bool(int rank)>& act) {
  std::vector<pid_t> children;
  for (int rank = 0; rank < size; ++rank) {
    const pid_t child = fork();
    if (child != 0) {
      children.push_back(child);
      continue;
    }
    alarm(60);
    bool good = false;
    try {
      good = act(rank);
    } catch (const Error& error) {
      fmt::print(stderr, "process {}: {}\n", rank, error.what());
    }
    _exit(good ? 0 : 1);
  }
  return children;
}

void expect_good(const std::vector<pid_t>& children, int but = -1) {
  for (int rank = 0; rank < static_cast<int>(children.size()); ++rank) {
    int status = 0;
    waitpid(children[static_cast<size_t>(rank)], &status, 0);
    if (rank == but) continue;
    EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << "process " << rank;
  }
}

std::vector<char> message(int from, int to, size_t index, size_t bytes) {
  std::vector<char> text(bytes);
  for (size_t i = 0; i < bytes; ++i)
    text[i] = static_cast<char>(i * 31 + i / 251 + index * 7 + static_cast<size_t>(from * 5 + to * 3));
  return text;
}

/// Everybody sends messages of all `sizes` to everybody else who is there, and checks what it gets.
bool all_to_all(Communicator& processes, const std::vector<size_t>& sizes) {
  std::vector<std::vector<char>> sent, got;
  std::vector<Communicator::Outgoing> out;
  std::vector<Communicator::Incoming> in;
  sent.reserve(static_cast<size_t>(processes.size()) * sizes.size()), got.reserve(sent.capacity());
  for (int other = 0; other < processes.size(); ++other)
    for (size_t i = 0; i < sizes.size() && other != processes.rank() && processes.present(other); ++i) {
      out.push_back({other, sent.emplace_back(message(processes.rank(), other, i, sizes[i])).data(), sizes[i]});
      in.push_back({other, got.emplace_back(sizes[i]).data(), sizes[i]});
    }
  processes.exchange(out, in);
  for (size_t m = 0; m < in.size(); ++m)
    if (got[m] != message(in[m].from, processes.rank(), m % sizes.size(), in[m].bytes)) return false;
  return true;
}

TEST(Tcp, MessagesArriveWholeAndInOrder) {
  const uint16_t port = free_port();
  expect_good(fork_all(5, [&](int rank) {
    const auto processes = meet({"127.0.0.1", port, rank, 5, ""});
    bool good = processes->rank() == rank && processes->size() == 5;
    for (int turn = 0; turn < 20; ++turn) good = good && all_to_all(*processes, {0, 1, 7, 4096, 100003, 3});
    good = good && all_to_all(*processes, {5 << 20, 1, 3 << 20});  // more than sockets hold
    good = good && processes->any(rank == 3) && !processes->any(false) && processes->from_first(rank + 40) == 40;
    processes->part();
    return good;
  }));
}

TEST(Tcp, MeetsBesideWhoHasThePortAndLetsNobodyElseIn) {
  const auto taken = listen_at(0, 8);  // as torchrun's own
  ASSERT_TRUE(taken);
  const uint16_t port = port_of(*taken);
  const auto children = fork_all(3, [&](int rank) {
    const std::string job = rank == 2 ? "other" : "this";  // two runs that meet at one place
    const auto processes = meet({"localhost", port, rank % 2, job == "this" ? 2 : 1, job});
    return processes->size() == 1 || all_to_all(*processes, {10});
  });
  const auto place = place_of("127.0.0.1", static_cast<uint16_t>(port + 1));
  for (int knocks = 0; knocks < 100; ++knocks) {  // a stranger
    const Socket stranger = connect_to(*place, Seconds(0.1));
    const std::array<char, 64> noise{};
    if (stranger && stranger.send_all(noise.data(), noise.size(), Seconds(0.1))) break;
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  expect_good(children);
}

/// A process dies or stops while the others talk to it: they notice, agree, and go on.
void lose_one(int signal) {
  const uint16_t port = free_port();
  constexpr int kSize = 4, kVictim = 2;
  const auto children = fork_all(kSize, [&](int rank) {
    const auto processes = meet({"127.0.0.1", port, rank, kSize, ""});
    processes->watch(0.5);
    if (!all_to_all(*processes, {100, 200000})) return false;
    if (rank == kVictim) {
      raise(signal);
      try {  // only a stopped process comes here, and is not taken back
        while (true) all_to_all(*processes, {100, 200000});
      } catch (const Refused&) {
        return true;
      }
    }
    try {
      while (true) all_to_all(*processes, {100, 200000});
    } catch (const ProcessLost&) {
    }
    processes->settle();
    bool good = !processes->present(kVictim) && processes->present(3) && processes->speaks() == (rank == 0);
    for (int turn = 0; turn < 5; ++turn) good = good && all_to_all(*processes, {100, 1 << 20});
    processes->any(false);
    processes->part();
    return good;
  });
  if (signal == SIGSTOP) {
    std::this_thread::sleep_for(Seconds(2));
    kill(children[kVictim], SIGCONT);
  }
  expect_good(children, signal == SIGKILL ? kVictim : -1);
}

TEST(Tcp, WhoDiesIsLeftBehind) { lose_one(SIGKILL); }
TEST(Tcp, WhoStopsIsLeftBehindAndRefused) { lose_one(SIGSTOP); }

TEST(Tcp, TheFirstOnesDeathIsKnownToAll) {
  const uint16_t port = free_port();
  expect_good(fork_all(3,
                       [&](int rank) {
                         const auto processes = meet({"127.0.0.1", port, rank, 3, ""});
                         processes->watch(0.5);
                         all_to_all(*processes, {10});
                         if (rank == 0) raise(SIGKILL);
                         try {
                           while (true) all_to_all(*processes, {10});
                         } catch (const FirstLost&) {
                           return processes->speaks() == (rank == 1);
                         }
                       }),
              0);
}

TEST(Tcp, WhoAbandonsEndsAllWithItsCode) {
  for (const int who : {0, 2}) {
    const uint16_t port = free_port();
    const auto children = fork_all(3, [&](int rank) {
      const auto processes = meet({"127.0.0.1", port, rank, 3, ""});
      all_to_all(*processes, {10});
      if (rank == who) processes->abandon(3);
      while (true) std::this_thread::sleep_for(Seconds(1));  // busy with something else
      return false;
    });
    for (pid_t child : children) {
      int status = 0;
      waitpid(child, &status, 0);
      EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 3) << who;
    }
  }
}

TEST(Tcp, TheEnvironmentSaysWhereToMeet) {
  const std::vector<std::string> names = {"MASTER_ADDR",  "MASTER_PORT",  "WORLD_SIZE",   "RANK",
                                          "SLURM_NTASKS", "SLURM_PROCID", "SLURM_JOB_ID", "TORCHELASTIC_RUN_ID"};
  const auto with = [&](const std::vector<std::pair<std::string, std::string>>& variables) {
    for (const std::string& name : names) unsetenv(name.c_str());
    for (const auto& [name, value] : variables) setenv(name.c_str(), value.c_str(), 1);
    return meeting_of_environment();
  };
  EXPECT_FALSE(with({}));
  EXPECT_FALSE(with({{"RANK", "1"}, {"WORLD_SIZE", "2"}}));
  EXPECT_FALSE(with({{"MASTER_ADDR", "node1"}}));
  const auto torchrun = with({{"MASTER_ADDR", "node1"}, {"MASTER_PORT", "29500"}, {"RANK", "1"}, {"WORLD_SIZE", "2"}});
  ASSERT_TRUE(torchrun);
  EXPECT_EQ(torchrun->host, "node1");
  EXPECT_EQ(torchrun->port, 29500);
  EXPECT_EQ(torchrun->rank, 1);
  EXPECT_EQ(torchrun->size, 2);
  const auto slurm = with({{"MASTER_ADDR", "node1"},
                           {"MASTER_PORT", "29500"},
                           {"SLURM_PROCID", "3"},
                           {"SLURM_NTASKS", "4"},
                           {"SLURM_JOB_ID", "77"}});
  ASSERT_TRUE(slurm);
  EXPECT_EQ(slurm->rank, 3);
  EXPECT_EQ(slurm->size, 4);
  EXPECT_NE(slurm->job.find("77"), std::string::npos);
  const auto refused = [&](const std::vector<std::pair<std::string, std::string>>& variables, const char* says) {
    try {
      with(variables);
      ADD_FAILURE() << "nothing was refused, expected: " << says;
    } catch (const Error& error) {
      EXPECT_EQ(error.fault(), Fault::kUsage);
      EXPECT_NE(std::string(error.what()).find(says), std::string::npos) << error.what();
    }
  };
  refused({{"MASTER_ADDR", "node1"}, {"RANK", "0"}}, "not WORLD_SIZE");
  refused({{"MASTER_ADDR", "node1"}, {"RANK", "0"}, {"WORLD_SIZE", "2"}}, "not MASTER_PORT");
  refused({{"MASTER_ADDR", "node1"}, {"RANK", "2"}, {"WORLD_SIZE", "2"}},
          "RANK is \"2\", expected a number from 0 to 1");
  refused({{"MASTER_ADDR", "node1"}, {"RANK", "x"}, {"WORLD_SIZE", "2"}}, "RANK is \"x\"");
  with({});
}

}  // namespace
}  // namespace agon
