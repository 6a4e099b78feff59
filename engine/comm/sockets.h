#pragma once

// TCP as the processes of a run use it: IPv4, small messages without delay.

#include <netinet/in.h>

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace agon {

/// A file descriptor of its own.
class Socket {
 public:
  Socket() = default;
  explicit Socket(int descriptor) : descriptor_(descriptor) {}
  ~Socket() { close(); }
  Socket(Socket&& other) noexcept : descriptor_(other.release()) {}
  Socket& operator=(Socket&& other) noexcept;

  int get() const { return descriptor_; }
  explicit operator bool() const { return descriptor_ >= 0; }
  int release();
  void close();

  /// All of `bytes`, or false: the other end hung up, or `patience` has passed without a byte.
  bool send_all(const void* data, size_t bytes, std::chrono::duration<double> patience) const;
  bool receive_all(void* data, size_t bytes, std::chrono::duration<double> patience) const;
  /// Whether there is something to read (or a connection to accept) within the time.
  bool readable(std::chrono::duration<double> patience) const;

 private:
  int descriptor_ = -1;
};

/// Listens at a port of all this machine's addresses, 0: any that is free. Without a value, errno says why.
std::optional<Socket> listen_at(uint16_t port, int backlog);
uint16_t port_of(const Socket& listener);
/// The next connection, if there is one; does not wait.
Socket accept_from(const Socket& listener);
/// A connection within the time, or none. Its calls do not wait.
Socket connect_to(const sockaddr_in& place, std::chrono::duration<double> patience);

/// "10.0.0.7" or a host's name; nothing if nobody knows it.
std::optional<sockaddr_in> place_of(const std::string& host, uint16_t port);
/// This machine's addresses, the loopback first: a neighbour needs no more.
std::vector<std::string> own_addresses();

}  // namespace agon
