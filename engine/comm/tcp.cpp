// Processes without MPI: they find each other through environment variables and talk over TCP.
#include "engine/comm/tcp.h"

#include <arpa/inet.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>

#include "engine/checksum.h"
#include "engine/comm/sockets.h"
#include "engine/comm/watched.h"
#include "engine/text.h"

namespace agon {
namespace {

using Seconds = std::chrono::duration<double>;
using Time = std::chrono::steady_clock;

constexpr Seconds kGathering(60);  // until the last process must have come
constexpr Seconds kAnswer(2);      // of somebody who is there
constexpr int kPorts = 16;         // that are tried, from the meeting's on

/// The first thing that is said on a connection.
struct Introduction {
  uint64_t token;  ///< of this run: nobody else is let in
  int32_t rank;
  int32_t settled;  ///< losses that are counted on
  uint16_t port;    ///< where this process listens
};

/// Where a process listens, as the first one sees it.
struct Address {
  uint32_t host;
  uint16_t port;
};

bool is_loopback(uint32_t host) { return (ntohl(host) >> 24) == 127; }

class TcpCommunicator final : public Watched {
 public:
  explicit TcpCommunicator(const Meeting& meeting) : peers_(static_cast<size_t>(meeting.size)) {
    rank_ = meeting.rank, size_ = meeting.size;
    const std::string name = fmt::format("{} {} {} {}", meeting.host, meeting.port, meeting.size, meeting.job);
    token_ = checksum64(name.data(), name.size());
    if (rank_ == 0)
      host(meeting);
    else
      visit(meeting);
    connect_all();
    for (const Peer& peer : peers_)
      if (&peer != &peers_[static_cast<size_t>(rank_)] && !peer.socket)
        fail(Fault::kRun, "process {} is not connected to all {} others; can their machines reach each other over TCP?",
             rank_, size_ - 1);
    over_ = [](int exit_code) { std::_Exit(exit_code); };
    watch(kGathering.count());  // what happens before anybody says how long to wait
  }

  std::string name() const override { return "tcp"; }

  void exchange(std::span<const Outgoing> out, std::span<const Incoming> in) override {
    for (const Outgoing& message : out)
      if (message.bytes > 0)
        peer(message.to).out.push_back({const_cast<char*>(static_cast<const char*>(message.data)), message.bytes});
    for (const Incoming& message : in)
      if (message.bytes > 0) peer(message.from).in.push_back({static_cast<char*>(message.data), message.bytes});
    std::optional<Time::time_point> broken;
    int looks = 0;
    while (true) {
      bool moved = false, done = true, breaks = false;
      waiting_.clear();
      for (Peer& p : peers_) {
        if (p.out.empty() && p.in.empty()) continue;
        moved = p.advance() || moved;
        if (p.out.empty() && p.in.empty()) continue;
        done = false, breaks = breaks || !p.socket;
        const int events = (p.out.empty() ? 0 : POLLOUT) | (p.in.empty() ? 0 : POLLIN);
        waiting_.push_back({p.socket.get(), static_cast<short>(events), 0});
      }
      if (done) return;
      if (disturbed()) forget(), give_up();
      if (breaks) {  // the roll call knows whether its process was lost
        broken = broken.value_or(Time::now());
        if (!roll_ || Time::now() - *broken > patience())
          forget(), fail(Fault::kRun, "a connection between two processes broke");
      }
      constexpr int kBusy =
          500;                  // looks before this process goes to sleep, from which waking takes as long as a message
      constexpr int kNap = 20;  // milliseconds until the roll call is asked again
      looks = moved ? 0 : looks + 1;
      if (looks > kBusy)
        poll(waiting_.data(), waiting_.size(), kNap);
      else if (looks > 0)
        std::this_thread::yield();
    }
  }

  /// All connections are made anew: nothing of what was under way arrives.
  void settle() override {
    Watched::settle();
    connect_all();
  }

  void abandon(int exit_code) override {
    std::fflush(nullptr);
    if (roll_) roll_->end(exit_code);
    std::_Exit(exit_code);
  }
  void part() override { roll_.reset(); }

 private:
  struct Bytes {
    char* data;
    size_t count;
  };
  /// Another process, and what is still to be sent to it and to come from it.
  struct Peer {
    Socket socket;
    std::deque<Bytes> out, in;

    /// Moves what can be moved now. False if nothing can; a connection that broke is closed.
    bool advance() {
      const auto move_some = [&](std::deque<Bytes>& queue, auto transfer) {
        bool moved = false;
        while (socket && !queue.empty()) {
          const ssize_t count = transfer(queue.front());
          if (count < 0 && errno == EINTR) continue;
          if (count < 0 && errno == EAGAIN) return moved;
          if (count <= 0) return socket.close(), moved;
          moved = true;
          queue.front().data += count, queue.front().count -= static_cast<size_t>(count);
          if (queue.front().count == 0) queue.pop_front();
        }
        return moved;
      };
      const bool sent = move_some(out, [&](const Bytes& bytes) {
        const int more = out.size() > 1 ? MSG_MORE : 0;
        return send(socket.get(), bytes.data, bytes.count, MSG_NOSIGNAL | MSG_DONTWAIT | more);
      });
      const bool received =
          move_some(in, [&](const Bytes& bytes) { return recv(socket.get(), bytes.data, bytes.count, MSG_DONTWAIT); });
      return sent || received;
    }
  };
  struct Early {
    Introduction who;
    Socket socket;
  };

  Peer& peer(int rank) { return peers_[static_cast<size_t>(rank)]; }
  void forget() {
    for (Peer& p : peers_) p.out.clear(), p.in.clear();
  }

  /// The first process waits for the others and tells all where each one listens.
  void host(const Meeting& meeting) {
    for (int i = 0; i < kPorts && !listener_; ++i)
      if (auto listener = listen_at(static_cast<uint16_t>(meeting.port + i), size_)) listener_ = std::move(*listener);
    if (!listener_)
      fail(Fault::kUsage,
           "the first process cannot open port {} nor one of the next {}: {}; choose another MASTER_PORT", meeting.port,
           kPorts - 1, std::strerror(errno));
    std::vector<Socket> guests(static_cast<size_t>(size_));
    std::vector<int> missing;
    for (int rank = 1; rank < size_; ++rank) missing.push_back(rank);
    places_.resize(static_cast<size_t>(size_));
    const auto begin = Time::now();
    while (!missing.empty()) {
      const Seconds left = kGathering - (Time::now() - begin);
      if (left.count() <= 0)
        fail(Fault::kRun,
             "of {} processes, number {} did not come to {}:{} within {} s; all need the same MASTER_ADDR, "
             "MASTER_PORT and WORLD_SIZE, and each another RANK",
             size_, fmt::join(missing, ", "), meeting.host, meeting.port, kGathering.count());
      if (!listener_.readable(std::min(left, Seconds(1)))) continue;
      Socket guest = accept_from(listener_);
      Introduction who{};
      if (!introduced(guest, who) || std::erase(missing, who.rank) == 0) continue;
      sockaddr_in place{};
      socklen_t length = sizeof(place);
      getpeername(guest.get(), reinterpret_cast<sockaddr*>(&place), &length);
      places_[static_cast<size_t>(who.rank)] = {place.sin_addr.s_addr, who.port};
      guest.send_all(&token_, sizeof(token_), kAnswer);
      guests[static_cast<size_t>(who.rank)] = std::move(guest);
    }
    places_.front() = {htonl(INADDR_LOOPBACK), port_of(listener_)};
    for (const Socket& guest : guests)
      if (guest) guest.send_all(places_.data(), places_.size() * sizeof(Address), kAnswer);
  }

  /// Another one looks for the first, which may not be there yet, and hears where all listen.
  void visit(const Meeting& meeting) {
    auto listener = listen_at(0, size_);
    if (!listener) fail(Fault::kRun, "process {} cannot open a port for the others: {}", rank_, std::strerror(errno));
    listener_ = std::move(*listener);
    const auto begin = Time::now();
    Socket first;
    sockaddr_in place{};
    while (!first) {
      for (int i = 0; i < kPorts && !first; ++i) {
        const auto found = place_of(meeting.host, static_cast<uint16_t>(meeting.port + i));
        if (found) first = connect_to(place = *found, kAnswer);
        const Introduction me{token_, rank_, 0, port_of(listener_)};
        uint64_t answer = 0;  // from somebody else's port comes another one, or none
        if (first && (!first.send_all(&me, sizeof(me), kAnswer) ||
                      !first.receive_all(&answer, sizeof(answer), kAnswer) || answer != token_))
          first.close();
      }
      if (!first && Time::now() - begin > kGathering)
        fail(Fault::kRun,
             "process {} did not find the first one at {}:{} within {} s; is it started, and is its machine "
             "reachable?",
             rank_, meeting.host, meeting.port, kGathering.count());
      if (!first) std::this_thread::sleep_for(std::chrono::milliseconds(50));
    }
    places_.resize(static_cast<size_t>(size_));
    if (!first.receive_all(places_.data(), places_.size() * sizeof(Address), kGathering + kAnswer))
      fail(Fault::kRun, "process {} heard nothing more from the first one at {}:{}; did it end?", rank_, meeting.host,
           meeting.port);
    // What the first one sees at its own machine's inside is for others where they have found it.
    for (Address& address : places_)
      if (is_loopback(address.host)) address.host = place.sin_addr.s_addr;
  }

  bool introduced(const Socket& socket, Introduction& who) const {
    return socket && socket.receive_all(&who, sizeof(who), kAnswer) && who.token == token_ && who.rank > 0 &&
           who.rank < size_;
  }

  /// A connection between each two of those that are left: the higher rank goes, the lower one waits for it.
  void connect_all() {
    for (Peer& p : peers_) p.socket.close();
    for (int lower = 0; lower < rank_; ++lower) {
      if (!present(lower)) continue;
      const Address& address = places_[static_cast<size_t>(lower)];
      sockaddr_in place{};
      place.sin_family = AF_INET, place.sin_addr.s_addr = address.host, place.sin_port = htons(address.port);
      Socket socket = connect_to(place, kAnswer);
      const Introduction me{token_, rank_, settled(), port_of(listener_)};
      if (socket && socket.send_all(&me, sizeof(me), kAnswer)) peer(lower).socket = std::move(socket);
    }
    const auto admit = [&](Early& early) {
      if (early.who.settled == settled() && early.who.rank > rank_)
        peer(early.who.rank).socket = std::move(early.socket);
    };
    for (Early& early : early_) admit(early);
    std::erase_if(early_, [&](const Early& early) { return early.who.settled <= settled(); });
    const auto all_here = [&] {
      for (int higher = rank_ + 1; higher < size_; ++higher)
        if (present(higher) && !peer(higher).socket) return false;
      return true;
    };
    const auto begin = Time::now();
    while (!all_here() && !disturbed() && Time::now() - begin < kGathering) {
      if (!listener_.readable(Seconds(0.02))) continue;
      Early guest{{}, accept_from(listener_)};
      if (!introduced(guest.socket, guest.who)) continue;
      admit(guest);
      if (guest.who.settled > settled()) early_.push_back(std::move(guest));  // knows of a loss that is news here
    }
  }

  uint64_t token_ = 0;
  Socket listener_;
  std::vector<Address> places_;  // by rank
  std::vector<Peer> peers_;      // by rank
  std::vector<Early> early_;
  std::vector<pollfd> waiting_;
};

/// The number in the first of two variables that is set.
int number_of(const char* name, const char* otherwise, int lowest, int highest) {
  const char* used = std::getenv(name) ? name : otherwise;
  const char* value = used ? std::getenv(used) : nullptr;
  if (!value) fail(Fault::kUsage, "MASTER_ADDR is set, but not {}; processes that share a run need both", name);
  char* end = nullptr;
  const long number = std::strtol(value, &end, 10);
  if (end == value || *end != '\0' || number < lowest || number > highest)
    fail(Fault::kUsage, "{} is \"{}\", expected a number from {} to {}", used, value, lowest, highest);
  return static_cast<int>(number);
}

}  // namespace

std::optional<Meeting> meeting_of_environment() {
  const char* host = std::getenv("MASTER_ADDR");
  // Who only keeps the address for other programs does not name a rank.
  if (!host || (!std::getenv("RANK") && !std::getenv("SLURM_PROCID"))) return std::nullopt;
  constexpr int kMost = 1 << 16;
  Meeting meeting{.host = host};
  meeting.size = number_of("WORLD_SIZE", "SLURM_NTASKS", 1, kMost);
  meeting.rank = number_of("RANK", "SLURM_PROCID", 0, meeting.size - 1);
  meeting.port = static_cast<uint16_t>(number_of("MASTER_PORT", nullptr, 1, 65535 - kPorts));
  for (const char* name : {"TORCHELASTIC_RUN_ID", "SLURM_JOB_ID"})
    if (const char* job = std::getenv(name)) meeting.job += std::string(" ") + job;
  return meeting;
}

std::shared_ptr<Communicator> meet(const Meeting& meeting) { return std::make_shared<TcpCommunicator>(meeting); }

}  // namespace agon
