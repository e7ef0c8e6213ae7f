#include "tests/sim/store_trap.h"

#include <csignal>
#include <cstdlib>
#include <sys/mman.h>
#include <ucontext.h>

namespace tangelo::sim {

namespace {

constexpr std::uintptr_t page_size = 4096;
#ifdef __x86_64__
constexpr long long trap_flag = 0x100;
void set_single_step(void* context, bool on) {
  auto& flags = static_cast<ucontext_t*>(context)->uc_mcontext.gregs[REG_EFL];
  flags = on ? flags | trap_flag : flags & ~trap_flag;
}
constexpr bool is_x86 = true;
#else
void set_single_step(void*, bool) {}
constexpr bool is_x86 = false;
#endif

store_trap* present = nullptr;
struct sigaction old_fault, old_step;

void set_access(std::byte* from, std::size_t size, int access) {
  if (::mprotect(from, size, access) != 0) std::abort();
}

void handle_fault(int number, siginfo_t* info, void* context) {
  if (present != nullptr && present->on_fault(info->si_addr, context)) return;
  (void)::sigaction(number, &old_fault, nullptr);  // the store is tried again, and dies of it
}

void handle_step(int number, siginfo_t*, void* context) {
  if (present != nullptr && present->on_step(context)) return;
  (void)::sigaction(number, &old_step, nullptr);
}

}  // namespace

bool store_trap::is_possible() { return is_x86; }

store_trap::store_trap(fs_arena& arena, std::uint64_t fatal, std::function<void()> at_store)
    : arena_(arena),
      begin_(reinterpret_cast<std::byte*>(&arena.core_generation)),
      end_(arena.replay_log),
      fatal_(fatal),
      at_store_(std::move(at_store)) {
  present = this;
  struct sigaction action {};
  action.sa_flags = SA_SIGINFO | SA_NODEFER;
  action.sa_sigaction = handle_fault;
  (void)::sigaction(SIGSEGV, &action, &old_fault);
  action.sa_sigaction = handle_step;
  (void)::sigaction(SIGTRAP, &action, &old_step);
}

store_trap::~store_trap() {
  disarm();
  present = nullptr;
  (void)::sigaction(SIGSEGV, &old_fault, nullptr);
  (void)::sigaction(SIGTRAP, &old_step, nullptr);
}

void store_trap::arm() {
  if (armed_ || (fatal_ != 0 && count_ >= fatal_)) return;
  armed_ = true;
  protect(true);
}

void store_trap::disarm() {
  if (!armed_) return;
  armed_ = false;
  protect(false);
}

void store_trap::protect(bool on) {
  set_access(begin_, static_cast<std::size_t>(end_ - begin_),
             on ? PROT_READ : PROT_READ | PROT_WRITE);
}

bool store_trap::is_counted(const std::byte* address) const {
  const auto* const counters = reinterpret_cast<const std::byte*>(&arena_.counters);
  return address < counters || address >= counters + sizeof arena_.counters;
}

bool store_trap::on_fault(void* address, void* context) {
  auto* const at = static_cast<std::byte*>(address);
  if (!armed_ || at < begin_ || at >= end_) return false;
  // The second page of a store that crosses from one into the next is the same store.
  if (opened_count_ == 0 && is_counted(at) && ++count_ == fatal_) {
    disarm();
    at_store_();
    return true;
  }
  if (opened_count_ == opened_max) return false;
  opened_[opened_count_++] = at - reinterpret_cast<std::uintptr_t>(at) % page_size;
  set_access(opened_[opened_count_ - 1], page_size, PROT_READ | PROT_WRITE);
  set_single_step(context, true);
  return true;
}

bool store_trap::on_step(void* context) {
  if (opened_count_ == 0) return false;
  set_single_step(context, false);
  for (std::size_t i = 0; i < opened_count_; ++i)
    if (armed_) set_access(opened_[i], page_size, PROT_READ);
  opened_count_ = 0;
  return true;
}

}  // namespace tangelo::sim
