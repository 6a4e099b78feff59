#include "engine/comm/roll_call.h"

#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <random>
#include <sstream>

#include "engine/comm/communicator.h"

namespace agon {
namespace {

using Time = std::chrono::steady_clock;

// What is said: one word, a number. A rank says that it is lost, kOver less an exit code that all is over.
constexpr int32_t kHere = -1, kGoodbye = -2, kRefused = -3, kOver = -4;
constexpr int kPatience = 2;                 // with the first process, in deadlines: it finds the lost first
constexpr RollCall::Seconds kGathering(60);  // until the last process must have come

struct Introduction {
  uint64_t token;  ///< of this run: nobody else is let in
  int32_t rank;
};

/// Small messages that fit a socket's buffer; whom they do not reach any more, the deadline tells.
void say(const Socket& socket, int32_t word) {
  (void)send(socket.get(), &word, sizeof(word), MSG_NOSIGNAL | MSG_DONTWAIT);
}

/// The next word, if it is there.
enum class Heard { kNothing, kWord, kHungUp };
Heard hear(const Socket& socket, int32_t& word) {
  const ssize_t got = recv(socket.get(), &word, sizeof(word), MSG_DONTWAIT | MSG_PEEK);
  if (got == static_cast<ssize_t>(sizeof(word))) {
    (void)recv(socket.get(), &word, sizeof(word), MSG_DONTWAIT);
    return Heard::kWord;
  }
  if (got == 0 || (got < 0 && errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR)) return Heard::kHungUp;
  return Heard::kNothing;
}

}  // namespace

RollCall::RollCall(int size, Seconds deadline, Over over)
    : size_(size),
      deadline_(deadline),
      beat_(deadline / kBeats),
      over_(std::move(over)),
      guests_(static_cast<size_t>(size)) {
  std::random_device entropy;
  token_ = (uint64_t{entropy()} << 32) | entropy();
  std::optional<Socket> listener = listen_at(0, size);
  if (!listener) fail(Fault::kRun, "the first process cannot open a port for the others: {}", std::strerror(errno));
  listener_ = std::move(*listener);
  invitation_ = fmt::format("{} {}", token_, port_of(listener_));
  for (const std::string& address : own_addresses()) invitation_ += " " + address;
  for (Guest& guest : guests_) guest.heard = Time::now();
  thread_ = std::thread([this] { host(); });
}

RollCall::RollCall(int rank, const std::string& invitation, Seconds deadline, Over over)
    : size_(0), deadline_(deadline), beat_(deadline / kBeats), over_(std::move(over)), invitation_(invitation) {
  std::istringstream words(invitation);
  uint16_t port = 0;
  std::string address;
  words >> token_ >> port;
  const Introduction me{token_, rank};
  while (!socket_ && words >> address) {
    const auto place = place_of(address, port);
    if (place) socket_ = connect_to(*place, deadline);
    int32_t answer = 0;
    // Another machine's loopback may lead anywhere: only the first process of this run answers.
    if (socket_ && (!socket_.send_all(&me, sizeof(me), deadline) ||
                    !socket_.receive_all(&answer, sizeof(answer), deadline) || answer != kHere))
      socket_.close();
  }
  if (!socket_)
    fail(Fault::kRun, "process {} cannot reach the first process, tried port {} of{}", rank, port,
         invitation.substr(invitation.find(' ', invitation.find(' ') + 1)));
  thread_ = std::thread([this] { guest(); });
}

RollCall::~RollCall() {
  leaves_ = true;
  if (thread_.joinable()) thread_.join();
}

void RollCall::set_deadline(Seconds deadline) {
  since_ = Time::now();
  deadline_ = deadline;
}

bool RollCall::silent(Time::time_point heard, Seconds patience) const {
  return Time::now() - std::max(heard, since_.load()) > patience;
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
                                             deadline_.load().count()));
  }
}

void RollCall::end(int exit_code) {
  if (socket_) say(socket_, kOver - exit_code);
  for (const Guest& guest : guests_)
    if (guest.socket) say(guest.socket, kOver - exit_code);
}

void RollCall::lose(int rank) {
  Guest& gone = guests_[static_cast<size_t>(rank)];
  if (gone.gone) return;
  gone.gone = true;
  if (gone.socket) say(gone.socket, kRefused), shutdown(gone.socket.get(), SHUT_WR);
  {
    const std::lock_guard lock(mutex_);
    lost_.push_back(rank);
  }
  losses_.fetch_add(1, std::memory_order_release);
  for (const Guest& guest : guests_)
    if (!guest.gone && guest.socket) say(guest.socket, rank);
}

void RollCall::welcome() {
  Socket s = accept_from(listener_);
  Introduction who{};
  const bool known = s && s.receive_all(&who, sizeof(who), Seconds(1)) && who.token == token_ && who.rank > 0 &&
                     who.rank < size_ && !guests_[static_cast<size_t>(who.rank)].socket;
  if (!known) return;
  Guest& guest = guests_[static_cast<size_t>(who.rank)];
  guest.socket = std::move(s), guest.heard = Time::now();
  say(guest.socket, guest.gone ? kRefused : kHere);
  for (int rank : lost(losses())) say(guest.socket, rank);
}

void RollCall::host() {
  auto said = Time::now(), looked = said;
  while (true) {
    std::vector<pollfd> waiting = {{listener_.get(), POLLIN, 0}};
    bool company = false;  // somebody who has not left yet
    for (const Guest& guest : guests_)
      if (&guest != &guests_.front() && !guest.gone) {
        company = true;
        if (guest.socket) waiting.push_back({guest.socket.get(), POLLIN, 0});
      }
    if (leaves_ && !company) return;
    poll(waiting.data(), waiting.size(), leaves_ ? 20 : static_cast<int>(std::min(100., beat_.load().count() * 1000)));
    if (waiting.front().revents) welcome();
    const auto now = Time::now();
    if (silent(looked, kPatience * deadline_.load())) {  // this process was stopped itself, and the others have left it
      bond_ = Bond::kRefused;
      return;
    }
    looked = now;
    for (int rank = 1; rank < size_; ++rank) {
      Guest& guest = guests_[static_cast<size_t>(rank)];
      if (guest.gone) continue;
      int32_t word = 0;
      Heard heard = Heard::kNothing;
      while (guest.socket && (heard = hear(guest.socket, word)) == Heard::kWord && !guest.gone) {
        guest.heard = now;
        guest.gone = word == kGoodbye || word <= kOver;
        if (word <= kOver && over_) end(kOver - word), over_(kOver - word);
      }
      if (guest.gone) continue;
      const Seconds deadline = deadline_;
      if (heard == Heard::kHungUp || silent(guest.heard, guest.socket ? deadline : std::max(deadline, kGathering)))
        lose(rank);
    }
    if (now - said > beat_.load()) {
      said = now;
      for (const Guest& guest : guests_)
        if (guest.socket && !guest.gone) say(guest.socket, kHere);
    }
  }
}

void RollCall::guest() {
  auto said = Time::now(), heard = said;
  while (true) {
    if (leaves_) {
      say(socket_, kGoodbye);
      return;
    }
    (void)socket_.readable(std::min(beat_.load(), Seconds(0.02)));
    const auto now = Time::now();
    int32_t word = 0;
    Heard got;
    while ((got = hear(socket_, word)) == Heard::kWord) {
      heard = now;
      if (word == kRefused) bond_ = Bond::kRefused;
      if (word <= kOver && over_) over_(kOver - word);
      if (word == kRefused || word <= kOver) return;
      if (word >= 0) {
        const std::lock_guard lock(mutex_);
        lost_.push_back(word);
        losses_.fetch_add(1, std::memory_order_release);
      }
    }
    // After a stop of its own a process hears first that it was refused.
    if (got == Heard::kHungUp || silent(heard, kPatience * deadline_.load())) {
      bond_ = Bond::kBroken;
      return;
    }
    if (now - said > beat_.load()) said = now, say(socket_, kHere);
  }
}

}  // namespace agon
