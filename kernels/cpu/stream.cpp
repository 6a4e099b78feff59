// The CPU's queue and its threads.
#include "kernels/cpu/stream.h"

#include <omp.h>
#include <signal.h>

#include <atomic>
#include <condition_variable>
#include <cstdlib>
#include <exception>
#include <mutex>
#include <new>
#include <thread>

#include "kernels/error.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace agon::cpu {

namespace {

std::atomic<size_t> total_scratch{0};

/// While it lives no signal handler runs on this thread, nor on those that it starts. oneDNN's matrix products need the
/// stack pointer as one more register for data; the kernel would put a handler's frame there.
class Undisturbed {
 public:
  Undisturbed() {
    sigset_t signals;
    sigfillset(&signals);
    for (int fault : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGTRAP}) sigdelset(&signals, fault);
    pthread_sigmask(SIG_BLOCK, &signals, &before_);
  }
  ~Undisturbed() { pthread_sigmask(SIG_SETMASK, &before_, nullptr); }
  Undisturbed(const Undisturbed&) = delete;
  Undisturbed& operator=(const Undisturbed&) = delete;

 private:
  sigset_t before_;
};

/// Waits a moment in a busy loop: regions follow each other within microseconds. After a while the core is offered to
/// others, which matters when there are more runnable threads than cores.
class Spin {
 public:
  void wait() {
    constexpr int kPatience = 2000;
    if (++turns_ > kPatience) std::this_thread::yield();
#if defined(__x86_64__)
    else
      _mm_pause();
#endif
  }
  int turns() const { return turns_; }

 private:
  int turns_ = 0;
};

/// Scratch slots of one thread, freed with it.
class Scratch {
 public:
  ~Scratch() {
    for (const Slot& slot : slots_) {
      total_scratch -= slot.bytes;
      std::free(slot.memory);
    }
  }
  float* get(int index, int64_t floats) {
    if (index >= static_cast<int>(slots_.size())) slots_.resize(static_cast<size_t>(index) + 1);
    Slot& slot = slots_[static_cast<size_t>(index)];
    const size_t bytes = (static_cast<size_t>(floats) * sizeof(float) + 63) / 64 * 64;
    if (bytes > slot.bytes) {
      std::free(slot.memory);
      total_scratch -= slot.bytes;
      slot = {};
      slot.memory = std::aligned_alloc(64, bytes);
      if (!slot.memory) fail(Fault::kRun, "out of memory: {} bytes of work space were needed", bytes);
      slot.bytes = bytes;
      total_scratch += bytes;
    }
    return static_cast<float*>(slot.memory);
  }

 private:
  struct Slot {
    void* memory = nullptr;
    size_t bytes = 0;
  };
  std::vector<Slot> slots_;
};

}  // namespace

float* scratch(int slot, int64_t floats) {
  thread_local Scratch scratch;
  return scratch.get(slot, floats);
}

size_t scratch_bytes() { return total_scratch; }

/// Threads that share the pieces of one region at a time. The caller is one of them.
class Stream::Pool {
 public:
  explicit Pool(int threads) : threads_(threads) {
    const Undisturbed so_are_helpers;
    for (int i = 1; i < threads; ++i) helpers_.emplace_back([this] { help(); });
  }
  ~Pool() {
    stop_ = true;
    wake();
    for (std::thread& helper : helpers_) helper.join();
  }
  int threads() const { return threads_; }

  /// Calls piece(0 .. count-1), each once, on any thread; returns when all are done; passes on the first exception.
  void run(int64_t count, const std::function<void(int64_t)>& piece) {
    if (threads_ == 1 || count == 1) {
      for (int64_t i = 0; i < count; ++i) piece(i);
      return;
    }
    piece_ = &piece;
    done_ = 0;
    ticket_.store(static_cast<uint64_t>(count) << 32, std::memory_order_release);
    wake();
    work();
    // Only pieces that were taken are waited for: a helper that has not got a core yet holds nobody up.
    for (Spin spin; done_.load(std::memory_order_acquire) < count;) spin.wait();
    if (error_) std::rethrow_exception(std::exchange(error_, nullptr));
  }

 private:
  void wake() {
    {
      std::lock_guard lock(mutex_);
      ++generation_;
    }
    start_.notify_all();
  }

  /// Takes pieces until none are left. A piece is taken by moving the ticket on, so whoever comes late, perhaps in the
  /// middle of a later region, takes a piece of that one or none. Until it is done, `piece_` stays.
  void work() {
    for (uint64_t ticket = ticket_.load(std::memory_order_acquire);;) {
      const uint64_t count = ticket >> 32, index = ticket & 0xffffffffu;
      if (index >= count) return;
      if (!ticket_.compare_exchange_weak(ticket, ticket + 1, std::memory_order_acq_rel)) continue;
      try {
        (*piece_.load(std::memory_order_acquire))(static_cast<int64_t>(index));
      } catch (...) {
        std::lock_guard lock(mutex_);
        if (!error_) error_ = std::current_exception();
      }
      done_.fetch_add(1, std::memory_order_acq_rel);
      ticket = ticket_.load(std::memory_order_acquire);
    }
  }

  void help() {
    omp_set_num_threads(1);  // a piece is one thread's work, also inside the libraries it calls
    for (uint64_t seen = 0;;) {
      constexpr int kTurnsBeforeSleep = 2500;
      for (Spin spin; spin.turns() < kTurnsBeforeSleep && generation_.load(std::memory_order_acquire) == seen;)
        spin.wait();
      if (generation_.load(std::memory_order_acquire) == seen) {
        std::unique_lock lock(mutex_);
        start_.wait(lock, [&] { return generation_ != seen; });
      }
      seen = generation_;
      if (stop_) return;
      work();
    }
  }

  const int threads_;
  std::vector<std::thread> helpers_;
  std::mutex mutex_;
  std::condition_variable start_;
  std::atomic<uint64_t> generation_{0};
  std::atomic<bool> stop_{false};
  std::atomic<const std::function<void(int64_t)>*> piece_{nullptr};
  std::atomic<uint64_t> ticket_{0};  // pieces of this region in the upper half, the next one to be taken in the lower
  std::atomic<int64_t> done_{0};
  std::exception_ptr error_;
};

Stream::Stream(int threads) : pool_(std::make_unique<Pool>(threads)) {}
Stream::~Stream() = default;
int Stream::threads() const { return pool_->threads(); }

void Stream::add(Task task) {
  constexpr size_t kLongestQueue = 1024;
  if (queue_.size() >= kLongestQueue) flush();
  queue_.push_back(std::move(task));
}

void Stream::flush() {
  if (queue_.empty()) return;
  const Undisturbed computing;
  omp_set_num_threads(1);
  const std::vector<Task> queue = std::exchange(queue_, {});
  const int64_t threads = pool_->threads();
  for (size_t begin = 0, end; begin < queue.size(); begin = end) {
    const Task& first = queue[begin];
    end = begin + 1;
    const bool by_replica =
        !first.across && first.replicas > 1 && (first.replicas % threads == 0 || first.replicas >= 2 * threads);
    if (by_replica) {
      while (end < queue.size() && !queue[end].across && queue[end].replicas == first.replicas) ++end;
      pool_->run(first.replicas, [&](int64_t r) {
        for (size_t t = begin; t < end; ++t)
          for (int64_t c = 0; c < queue[t].chunks; ++c) queue[t].body(r, c);
      });
    } else {
      pool_->run(first.replicas * first.chunks,
                 [&](int64_t piece) { first.body(piece / first.chunks, piece % first.chunks); });
    }
  }
  queue_.reserve(queue.size());
}

}  // namespace agon::cpu
