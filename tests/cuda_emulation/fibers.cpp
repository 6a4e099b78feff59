// The threads of a block as fibers of one host thread.
#include "fibers.h"

#include <sys/mman.h>
#include <ucontext.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <memory>
#include <vector>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/common_interface_defs.h>
#endif

namespace cuda_emulation {
namespace {

constexpr int kWarp = 32;
constexpr size_t kStack = 256 << 10;

/// Where a fiber, or the scheduler, goes on.
struct Context {
#if defined(__x86_64__)
  void* stack_pointer = nullptr;
#else
  ucontext_t state;
#endif
  void* fake_stack = nullptr;  // AddressSanitizer's
  const void* bottom = nullptr;
  size_t size = 0;
};

#if defined(__x86_64__)
extern "C" void cuda_emulation_switch(void** save, void* load);
asm(R"(
.text
.globl cuda_emulation_switch
.hidden cuda_emulation_switch
.type cuda_emulation_switch, @function
cuda_emulation_switch:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size cuda_emulation_switch, .-cuda_emulation_switch
)");
#endif

void arrive(Context& here, Context& from) {
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_finish_switch_fiber(here.fake_stack, &from.bottom, &from.size);
#else
  (void)here, (void)from;
#endif
}

void change(Context& from, Context& to) {
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_start_switch_fiber(&from.fake_stack, to.bottom, to.size);
#endif
#if defined(__x86_64__)
  cuda_emulation_switch(&from.stack_pointer, to.stack_pointer);
#else
  swapcontext(&from.state, &to.state);
#endif
  arrive(from, to);
}

struct Block;
struct Fiber {
  Context context;
  std::byte* stack;

  Fiber();
  Fiber(const Fiber&) = delete;
  Fiber& operator=(const Fiber&) = delete;
  ~Fiber() { munmap(stack, kStack); }
};

enum class State { kNotStarted, kWaitsForBlock, kWaitsForWarp, kRuns, kDone };

/// One block in flight. Blocks run one after the other.
struct Block {
  const std::function<void(int)>* thread;
  const std::function<void(int)>* enter;
  int count, next = 0, finished = 0, at_block_barrier = 0, current = 0;
  std::vector<State> states;
  std::vector<Fiber*> fibers;  // of each thread that waits
  std::vector<int> at_warp_barrier, alive;
  std::deque<int> runnable;
  std::vector<Fiber*> idle;
  Fiber* running = nullptr;
  Context scheduler;
};

Block* block = nullptr;

/// What a fiber does: threads that have not started yet, then it gives itself back.
void work() {
  for (;;) {
    while (block->next < block->count) {
      const int i = block->current = block->next++;
      block->states[i] = State::kRuns;
      (*block->enter)(i);
      (*block->thread)(i);
      const int done = block->current;
      block->states[done] = State::kDone;
      ++block->finished;
      --block->alive[done / kWarp];
    }
    Fiber* self = block->running;
    block->idle.push_back(self);
    change(self->context, block->scheduler);
  }
}

void first_entry() {
  arrive(block->running->context, block->scheduler);
  work();
}

Fiber::Fiber() {
  void* memory = mmap(nullptr, kStack, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) std::abort();
  stack = static_cast<std::byte*>(memory);
  context.bottom = stack;
  context.size = kStack;
#if defined(__x86_64__)
  auto* top = reinterpret_cast<uintptr_t*>(stack + kStack) - 2;  // as if called: the stack is 8 past a multiple of 16
  *--top = 0;
  *--top = reinterpret_cast<uintptr_t>(&first_entry);
  for (int saved = 0; saved < 6; ++saved) *--top = 0;
  context.stack_pointer = top;
#else
  getcontext(&context.state);
  context.state.uc_stack.ss_sp = stack;
  context.state.uc_stack.ss_size = kStack;
  makecontext(&context.state, &first_entry, 0);
#endif
}

void resume(Fiber* fiber) {
  block->running = fiber;
  change(block->scheduler, fiber->context);
}

void release(int thread) {
  block->states[thread] = State::kRuns;
  block->runnable.push_back(thread);
}

/// Lets those go on whose barrier everybody has reached. Threads that have ended need not come.
bool release_barriers() {
  Block& b = *block;
  if (b.next < b.count) return false;
  bool any = false;
  for (size_t w = 0; w < b.alive.size(); ++w)
    if (b.at_warp_barrier[w] > 0 && b.at_warp_barrier[w] == b.alive[w]) {
      b.at_warp_barrier[w] = 0, any = true;
      for (int i = static_cast<int>(w) * kWarp; i < b.count && i < (static_cast<int>(w) + 1) * kWarp; ++i)
        if (b.states[i] == State::kWaitsForWarp) release(i);
    }
  if (b.at_block_barrier > 0 && b.at_block_barrier == b.count - b.finished) {
    b.at_block_barrier = 0, any = true;
    for (int i = 0; i < b.count; ++i)
      if (b.states[i] == State::kWaitsForBlock) release(i);
  }
  return any;
}

void wait(State state) {
  const int self = block->current;
  block->states[self] = state;
  block->fibers[self] = block->running;
  change(block->fibers[self]->context, block->scheduler);
}

}  // namespace

int current_thread() { return block->current; }

void wait_for_block() {
  ++block->at_block_barrier;
  wait(State::kWaitsForBlock);
}

void wait_for_warp() {
  ++block->at_warp_barrier[block->current / kWarp];
  wait(State::kWaitsForWarp);
}

void run_block(int count, const std::function<void(int)>& thread, const std::function<void(int)>& enter) {
  static std::vector<std::unique_ptr<Fiber>> all;
  static std::vector<Fiber*> idle;
  const int warps = (count + kWarp - 1) / kWarp;
  Block mine{.thread = &thread, .enter = &enter, .count = count};
  mine.states.assign(static_cast<size_t>(count), State::kNotStarted);
  mine.fibers.assign(static_cast<size_t>(count), nullptr);
  mine.at_warp_barrier.assign(static_cast<size_t>(warps), 0);
  for (int w = 0; w < warps; ++w) mine.alive.push_back(std::min(kWarp, count - w * kWarp));
  mine.idle.swap(idle);
  block = &mine;
  while (mine.finished < count) {
    if (mine.next < count) {
      if (mine.idle.empty()) mine.idle.push_back(all.emplace_back(std::make_unique<Fiber>()).get());
      Fiber* fiber = mine.idle.back();
      mine.idle.pop_back();
      resume(fiber);
    } else if (!mine.runnable.empty()) {
      mine.current = mine.runnable.front();
      mine.runnable.pop_front();
      enter(mine.current);
      resume(mine.fibers[mine.current]);
    } else if (!release_barriers()) {
      std::fprintf(stderr, "cuda_emulation: the threads of a block wait for each other at different barriers\n");
      std::abort();
    }
  }
  idle.swap(mine.idle);
  block = nullptr;
}

}  // namespace cuda_emulation
