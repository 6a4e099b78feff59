#pragma once

#include <cstddef>
#include <map>
#include <string>
#include <unordered_map>

#include "kernels/cuda/check.h"

namespace agon::cuda {

/// Device memory that is kept when it is given back, and handed out again in the order of the stream: what is queued
/// may still use a block while its next owner's work is queued behind. Blocks have whole sizes, so a block of the same
/// size keeps its address, and with it the graphs that know it.
class Memory {
 public:
  explicit Memory(std::string device) : device_(std::move(device)) {}
  ~Memory();
  Memory(const Memory&) = delete;
  Memory& operator=(const Memory&) = delete;

  /// 256-byte aligned, not zeroed. Throws Error(kRun) naming what was needed and which settings lower it.
  void* take(size_t bytes);
  void give(void* memory) noexcept;
  size_t taken() const { return taken_; }  ///< bytes handed out and not given back
  size_t held() const { return held_; }    ///< bytes taken from the driver: those, and what is kept for reuse
  /// Changes whenever idle blocks went back to the driver, after which remembered addresses mean nothing.
  int trims() const { return trims_; }

 private:
  void trim();

  std::string device_;
  std::multimap<size_t, void*> idle_;
  std::unordered_map<void*, size_t> sizes_;
  size_t taken_ = 0, held_ = 0;
  int trims_ = 0;
};

}  // namespace agon::cuda
