#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "kernels/ops.h"

namespace agon {

/// Where networks run. Operations are queued in order and may run later; `download` and `synchronize` wait for them.
class Device {
 public:
  virtual ~Device() = default;

  virtual std::string name() const = 0;         ///< "cpu", "cuda:0"
  virtual std::string description() const = 0;  ///< processor, threads, instruction set
  virtual int threads() const = 0;

  /// Zeroed, 64-byte aligned memory. Throws Error(kRun) naming the bytes asked for when there is none.
  virtual void* allocate(size_t bytes) = 0;
  virtual void release(void* memory) noexcept = 0;

  virtual void upload(void* to, const void* from_host, size_t bytes) = 0;
  virtual void download(void* to_host, const void* from, size_t bytes) = 0;
  virtual void copy(void* to, const void* from, size_t bytes) = 0;  ///< within the device, queued
  /// True if operations can read host memory as it is, so that a data set need not be copied.
  virtual bool reads_host_memory() const { return false; }

  virtual void flush() = 0;        ///< start what is queued
  virtual void synchronize() = 0;  ///< and wait for it

  /// Bytes of work space that operations hold at present (packed weights, scratch).
  virtual size_t workspace_bytes() const = 0;
  /// Bytes taken from a memory of its own, in use or kept for reuse, work space and libraries' included; 0 where
  /// everything lies in the process's memory.
  virtual size_t memory_bytes() const { return 0; }

#define AGON_DECLARE(Operation) virtual void run(const ops::Operation& operation) = 0;
  AGON_OPERATIONS(AGON_DECLARE)
#undef AGON_DECLARE
};

/// Opens "cpu", "cuda" (the first GPU; of several processes on a machine each that of its local rank), "cuda:K", or
/// "auto": that GPU if there is one that opens, else the CPU, with a warning that says why where there is an NVIDIA
/// driver. threads, of the CPU; 0: all cores that this process may use. Throws Error(kUsage) saying what is missing.
std::shared_ptr<Device> open_device(const std::string& name, int threads = 0);

/// What `open_device` could open on this machine, the CPU first; a kind without a device says why.
struct DeviceInfo {
  std::string name, description;
  bool usable;
};
std::vector<DeviceInfo> list_devices();

/// Typed device memory that frees itself.
template <class T>
class Buffer {
 public:
  Buffer() = default;
  Buffer(std::shared_ptr<Device> device, int64_t count)
      : device_(std::move(device)),
        data_(count > 0 ? static_cast<T*>(device_->allocate(static_cast<size_t>(count) * sizeof(T))) : nullptr),
        count_(count) {}
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;
  Buffer(Buffer&& other) noexcept { swap(other); }
  Buffer& operator=(Buffer&& other) noexcept {
    swap(other);
    return *this;
  }
  ~Buffer() {
    if (data_) device_->release(data_);
  }

  T* data() const { return data_; }
  int64_t size() const { return count_; }
  explicit operator bool() const { return data_ != nullptr; }

  void set(std::span<const T> host) { device_->upload(data_, host.data(), host.size_bytes()); }
  std::vector<T> host() const {
    std::vector<T> result(static_cast<size_t>(count_));
    if (count_) device_->download(result.data(), data_, result.size() * sizeof(T));
    return result;
  }

 private:
  void swap(Buffer& other) noexcept {
    std::swap(device_, other.device_);
    std::swap(data_, other.data_);
    std::swap(count_, other.count_);
  }

  std::shared_ptr<Device> device_;
  T* data_ = nullptr;
  int64_t count_ = 0;
};

}  // namespace agon
