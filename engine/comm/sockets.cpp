#include "engine/comm/sockets.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <ifaddrs.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

namespace agon {
namespace {

using Seconds = std::chrono::duration<double>;

bool wait_for(int descriptor, short events, Seconds patience) {
  pollfd waiting{descriptor, events, 0};
  return poll(&waiting, 1, static_cast<int>(patience.count() * 1000)) == 1;
}

void no_delay(int socket) {
  const int yes = 1;
  setsockopt(socket, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof(yes));
}

/// All bytes through a call that moves some of them.
template <class Move>
bool move_all(int socket, short events, size_t bytes, Seconds patience, Move move) {
  for (size_t done = 0; done < bytes;) {
    const ssize_t moved = move(done);
    if (moved > 0)
      done += static_cast<size_t>(moved);
    else if (moved == 0 || (errno != EAGAIN && errno != EINTR) || !wait_for(socket, events, patience))
      return false;
  }
  return true;
}

}  // namespace

Socket& Socket::operator=(Socket&& other) noexcept {
  if (this != &other) close(), descriptor_ = other.release();
  return *this;
}

int Socket::release() { return std::exchange(descriptor_, -1); }

void Socket::close() {
  if (descriptor_ >= 0) ::close(release());
}

bool Socket::send_all(const void* data, size_t bytes, Seconds patience) const {
  return move_all(descriptor_, POLLOUT, bytes, patience, [&](size_t done) {
    return send(descriptor_, static_cast<const char*>(data) + done, bytes - done, MSG_NOSIGNAL | MSG_DONTWAIT);
  });
}

bool Socket::receive_all(void* data, size_t bytes, Seconds patience) const {
  return move_all(descriptor_, POLLIN, bytes, patience, [&](size_t done) {
    return recv(descriptor_, static_cast<char*>(data) + done, bytes - done, MSG_DONTWAIT);
  });
}

bool Socket::readable(Seconds patience) const { return wait_for(descriptor_, POLLIN, patience); }

std::optional<Socket> listen_at(uint16_t port, int backlog) {
  Socket listener(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  const int yes = 1;  // a port of a run that has just ended is free
  sockaddr_in place{};
  place.sin_family = AF_INET, place.sin_port = htons(port), place.sin_addr.s_addr = htonl(INADDR_ANY);
  if (!listener || setsockopt(listener.get(), SOL_SOCKET, SO_REUSEADDR, &yes, sizeof(yes)) != 0 ||
      bind(listener.get(), reinterpret_cast<sockaddr*>(&place), sizeof(place)) != 0 ||
      listen(listener.get(), backlog) != 0)
    return std::nullopt;
  return listener;
}

uint16_t port_of(const Socket& listener) {
  sockaddr_in place{};
  socklen_t length = sizeof(place);
  getsockname(listener.get(), reinterpret_cast<sockaddr*>(&place), &length);
  return ntohs(place.sin_port);
}

Socket accept_from(const Socket& listener) {
  Socket guest(accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
  if (guest) no_delay(guest.get());
  return guest;
}

Socket connect_to(const sockaddr_in& place, Seconds patience) {
  Socket s(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!s) return s;
  int error = 0;
  socklen_t length = sizeof(error);
  if (connect(s.get(), reinterpret_cast<const sockaddr*>(&place), sizeof(place)) != 0 &&
      (errno != EINPROGRESS || !wait_for(s.get(), POLLOUT, patience) ||
       getsockopt(s.get(), SOL_SOCKET, SO_ERROR, &error, &length) != 0 || error != 0))
    return {};
  no_delay(s.get());
  return s;
}

std::optional<sockaddr_in> place_of(const std::string& host, uint16_t port) {
  addrinfo hints{};
  hints.ai_family = AF_INET, hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  if (getaddrinfo(host.c_str(), nullptr, &hints, &found) != 0 || !found) return std::nullopt;
  sockaddr_in place = *reinterpret_cast<const sockaddr_in*>(found->ai_addr);
  freeaddrinfo(found);
  place.sin_port = htons(port);
  return place;
}

std::vector<std::string> own_addresses() {
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

}  // namespace agon
