#include "engine/comm/roll_call.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <ifaddrs.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <random>
#include <sstream>

#include "engine/comm/communicator.h"

namespace agon {
namespace {

using Time = std::chrono::steady_clock;

// What is said: one word, a number. A rank says that it is lost.
constexpr int32_t kHere = -1, kGoodbye = -2, kRefused = -3, kOver = -4;
constexpr int kPatience = 2;                 // with the first process, in deadlines: it finds the lost first
constexpr RollCall::Seconds kGathering(60);  // until the last process must have come

struct Introduction {
  uint64_t token;  ///< of this run: nobody else is let in
  int32_t rank;
};

/// Small messages that fit a socket's buffer; whom they do not reach any more, the deadline tells.
void say(int socket, int32_t word) { (void)send(socket, &word, sizeof(word), MSG_NOSIGNAL | MSG_DONTWAIT); }

/// The next word, if it is there.
enum class Heard { kNothing, kWord, kHungUp };
Heard hear(int socket, int32_t& word) {
  const ssize_t got = recv(socket, &word, sizeof(word), MSG_DONTWAIT | MSG_PEEK);
  if (got == static_cast<ssize_t>(sizeof(word))) {
    (void)recv(socket, &word, sizeof(word), MSG_DONTWAIT);
    return Heard::kWord;
  }
  if (got == 0 || (got < 0 && errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR)) return Heard::kHungUp;
  return Heard::kNothing;
}

/// This machine's IPv4 addresses, the loopback first: a neighbour needs no more.
std::vector<std::string> addresses() {
  std::vector<std::string> list = {"127.0.0.1"};
  ifaddrs* all = nullptr;
  if (getifaddrs(&all) != 0) return list;
  for (const ifaddrs* one = all; one; one = one->ifa_next) {
    if (!one->ifa_addr || one->ifa_addr->sa_family != AF_INET) continue;
    char text[INET_ADDRSTRLEN] = "";
    inet_ntop(AF_INET, &reinterpret_cast<const sockaddr_in*>(one->ifa_addr)->sin_addr, text, sizeof(text));
    if (text != list.front()) list.emplace_back(text);
  }
  freeifaddrs(all);
  return list;
}

void no_delay(int socket) {
  const int yes = 1;
  setsockopt(socket, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof(yes));
}

/// A connection within the deadline, or -1.
int connect_to(const std::string& address, uint16_t port, RollCall::Seconds deadline) {
  sockaddr_in place{};
  place.sin_family = AF_INET, place.sin_port = htons(port);
  if (inet_pton(AF_INET, address.c_str(), &place.sin_addr) != 1) return -1;
  const int s = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (s < 0) return -1;
  int error = 0;
  socklen_t length = sizeof(error);
  if (connect(s, reinterpret_cast<const sockaddr*>(&place), sizeof(place)) != 0) {
    pollfd waiting{s, POLLOUT, 0};
    const bool answered = errno == EINPROGRESS && poll(&waiting, 1, static_cast<int>(deadline.count() * 1000)) == 1;
    if (!answered || getsockopt(s, SOL_SOCKET, SO_ERROR, &error, &length) != 0 || error != 0) return close(s), -1;
  }
  no_delay(s);
  return s;
}

}  // namespace

RollCall::RollCall(int size, Seconds deadline) : size_(size), deadline_(deadline), guests_(static_cast<size_t>(size)) {
  std::random_device entropy;
  token_ = (uint64_t{entropy()} << 32) | entropy();
  listener_ = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  sockaddr_in place{};
  place.sin_family = AF_INET, place.sin_addr.s_addr = htonl(INADDR_ANY);
  socklen_t length = sizeof(place);
  if (listener_ < 0 || bind(listener_, reinterpret_cast<sockaddr*>(&place), length) != 0 ||
      listen(listener_, size) != 0 || getsockname(listener_, reinterpret_cast<sockaddr*>(&place), &length) != 0)
    fail(Fault::kRun, "the first process cannot open a port for the others: {}", std::strerror(errno));
  invitation_ = fmt::format("{} {}", token_, ntohs(place.sin_port));
  for (const std::string& address : addresses()) invitation_ += " " + address;
  for (Guest& guest : guests_) guest.heard = Time::now();
  thread_ = std::thread([this] { host(); });
}

RollCall::RollCall(int rank, const std::string& invitation, Seconds deadline)
    : size_(0), deadline_(deadline), invitation_(invitation) {
  std::istringstream words(invitation);
  uint16_t port = 0;
  std::string address;
  words >> token_ >> port;
  const Introduction me{token_, rank};
  while (socket_ < 0 && words >> address) {
    socket_ = connect_to(address, port, deadline);
    int32_t answer = 0;
    pollfd waiting{socket_, POLLIN, 0};
    // Another machine's loopback may lead anywhere: only the first process of this run answers.
    if (socket_ >= 0 && (send(socket_, &me, sizeof(me), MSG_NOSIGNAL) != static_cast<ssize_t>(sizeof(me)) ||
                         poll(&waiting, 1, static_cast<int>(deadline.count() * 1000)) != 1 ||
                         hear(socket_, answer) != Heard::kWord || answer != kHere))
      close(socket_), socket_ = -1;
  }
  if (socket_ < 0)
    fail(Fault::kRun, "process {} cannot reach the first process, tried port {} of{}", rank, port,
         invitation.substr(invitation.find(' ', invitation.find(' ') + 1)));
  thread_ = std::thread([this] { guest(); });
}

RollCall::~RollCall() {
  leaves_ = true;
  if (thread_.joinable()) thread_.join();
  for (const Guest& guest : guests_)
    if (guest.socket >= 0) close(guest.socket);
  if (socket_ >= 0) close(socket_);
  if (listener_ >= 0) close(listener_);
}

std::vector<int> RollCall::lost(int losses) const {
  const std::lock_guard lock(mutex_);
  return {lost_.begin(), lost_.begin() + losses};
}

void RollCall::check() const {
  switch (bond_) {
    case Bond::kHolds:
      return;
    case Bond::kBroken:
      throw FirstLost(Fault::kRun,
                      "the first process, which has the server, is lost; go on from its last checkpoint "
                      "with --resume");
    case Bond::kRefused:
      throw Refused(Fault::kRun, fmt::format("this process did not answer for more than {} s, and the others went on "
                                             "without it",
                                             deadline_.count()));
  }
}

void RollCall::end() {
  if (socket_ >= 0) say(socket_, kOver);
  for (const Guest& guest : guests_)
    if (guest.socket >= 0) say(guest.socket, kOver);
}

void RollCall::lose(int rank) {
  Guest& gone = guests_[static_cast<size_t>(rank)];
  if (gone.gone) return;
  gone.gone = true;
  if (gone.socket >= 0) say(gone.socket, kRefused), shutdown(gone.socket, SHUT_WR);
  {
    const std::lock_guard lock(mutex_);
    lost_.push_back(rank);
  }
  losses_.fetch_add(1, std::memory_order_release);
  for (const Guest& guest : guests_)
    if (!guest.gone && guest.socket >= 0) say(guest.socket, rank);
}

void RollCall::welcome() {
  const int s = accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
  if (s < 0) return;
  no_delay(s);
  const timeval patience{1, 0};
  setsockopt(s, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
  Introduction who{};
  const bool known = recv(s, &who, sizeof(who), MSG_WAITALL) == static_cast<ssize_t>(sizeof(who)) &&
                     who.token == token_ && who.rank > 0 && who.rank < size_ &&
                     guests_[static_cast<size_t>(who.rank)].socket < 0;
  if (!known) {
    close(s);
    return;
  }
  Guest& guest = guests_[static_cast<size_t>(who.rank)];
  guest.socket = s, guest.heard = Time::now();
  say(s, guest.gone ? kRefused : kHere);
  for (int rank : lost(losses())) say(s, rank);
}

void RollCall::host() {
  const auto beat = static_cast<int>(deadline_.count() * 1000 / 5) + 1;
  auto said = Time::now(), looked = said;
  while (true) {
    std::vector<pollfd> waiting = {{listener_, POLLIN, 0}};
    bool company = false;  // somebody who has not left yet
    for (const Guest& guest : guests_)
      if (&guest != &guests_.front() && !guest.gone) {
        company = true;
        if (guest.socket >= 0) waiting.push_back({guest.socket, POLLIN, 0});
      }
    if (leaves_ && !company) return;
    poll(waiting.data(), waiting.size(), leaves_ ? std::min(beat, 20) : std::min(beat, 100));
    if (waiting.front().revents) welcome();
    const auto now = Time::now();
    if (now - looked > kPatience * deadline_) {  // this process was stopped itself, and the others have left it
      bond_ = Bond::kRefused;
      return;
    }
    looked = now;
    for (int rank = 1; rank < size_; ++rank) {
      Guest& guest = guests_[static_cast<size_t>(rank)];
      if (guest.gone) continue;
      int32_t word = 0;
      Heard heard = Heard::kNothing;
      while (guest.socket >= 0 && (heard = hear(guest.socket, word)) == Heard::kWord && !guest.gone) {
        guest.heard = now;
        guest.gone = word == kGoodbye || word == kOver;
      }
      if (guest.gone) continue;
      const Seconds patience = guest.socket >= 0 ? deadline_ : std::max(deadline_, kGathering);
      if (heard == Heard::kHungUp || now - guest.heard > patience) lose(rank);
    }
    if (now - said > std::chrono::milliseconds(beat)) {
      said = now;
      for (const Guest& guest : guests_)
        if (guest.socket >= 0 && !guest.gone) say(guest.socket, kHere);
    }
  }
}

void RollCall::guest() {
  const auto beat = static_cast<int>(deadline_.count() * 1000 / 5) + 1;
  auto said = Time::now(), heard = said;
  while (true) {
    if (leaves_) {
      say(socket_, kGoodbye);
      return;
    }
    pollfd waiting{socket_, POLLIN, 0};
    poll(&waiting, 1, std::min(beat, 20));
    const auto now = Time::now();
    int32_t word = 0;
    Heard got;
    while ((got = hear(socket_, word)) == Heard::kWord) {
      heard = now;
      if (word == kRefused) bond_ = Bond::kRefused;
      if (word == kRefused || word == kOver) return;
      if (word >= 0) {
        const std::lock_guard lock(mutex_);
        lost_.push_back(word);
        losses_.fetch_add(1, std::memory_order_release);
      }
    }
    // After a stop of its own a process hears first that it was refused.
    if (got == Heard::kHungUp || now - heard > kPatience * deadline_) {
      bond_ = Bond::kBroken;
      return;
    }
    if (now - said > std::chrono::milliseconds(beat)) said = now, say(socket_, kHere);
  }
}

}  // namespace agon
