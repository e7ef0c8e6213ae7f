// A front end between a kernel and a core that are played by the test.
//
// fake_kernel (fake_kernel.h) gives it requests and collects its answers; fake_core holds the other
// ends of the rings and answers ops as the test says. Nothing here has a clock or a thread.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <optional>
#include <set>
#include <vector>

#include "fs/front_end.h"
#include "protocol/records.h"
#include "tests/unit/arena_fixture.h"
#include "tests/unit/fake_kernel.h"

namespace tangelo {

struct fake_callers final : caller_inspector {
  std::set<std::uint32_t> killed;
  bool is_being_killed(std::uint32_t tid) noexcept override { return killed.contains(tid); }
  // Root is root; of others nothing is known, unless their groups and powers are set here.
  std::optional<credential> others;
  int looks = 0;
  bool look_up(std::uint32_t, credential& who) noexcept override {
    ++looks;
    if (who.uid == 0) who.powers = power::sys_admin;
    if (who.uid != 0 && others) who = {who.uid, who.gid, others->group_count, others->powers,
                                       others->groups};
    return who.uid == 0 || others.has_value();
  }
};

struct fake_bell final : bell {
  int rung = 0;
  void ring() noexcept override { ++rung; }
};

// The core's side of the rings.
class fake_core {
 public:
  fake_core(mapped_arenas& arenas, std::uint64_t generation)
      : arenas_(arenas),
        up_(arenas.shared->up),
        down_(arenas.shared->down),
        generation_(generation),
        next_inode_(generation * 1'000'000) {
    up_.attach();
    down_.attach();
  }
  // The next op offered to us.
  std::optional<std::uint32_t> take() {
    while (const auto hint = up_.pop()) {
      const control_word w = control_of(arenas_.fs->ops[hint->index]);
      if (w.sequence == hint->sequence && w.generation == (generation_ & 0xffffff))
        return hint->index;
    }
    return std::nullopt;
  }
  std::vector<std::uint32_t> take_all() {
    std::vector<std::uint32_t> all;
    while (const auto i = take()) all.push_back(*i);
    return all;
  }
  // The next op that is none of the front end's own; answers requests for inode numbers itself.
  std::optional<std::uint32_t> take_kernel_op() {
    while (const auto i = take()) {
      if (op(*i).op != opcode::inode_range) return i;
      grant_range(*i);
    }
    return std::nullopt;
  }
  void grant_range(std::uint32_t index) {
    answer(index, inode_range_answer{next_inode_, 65536});
    next_inode_ += 65536;
  }
  const op_cell& op(std::uint32_t index) const {
    return arenas_.fs->ops[index].cells[control_of(arenas_.fs->ops[index]).cell];
  }
  template <class Body>
  Body body(std::uint32_t index) const {
    return decode<Body>({op(index).body, op(index).body_size}).value_or(Body{});
  }
  std::uint32_t attempts(std::uint32_t index) const {
    return arenas_.fs->ops[index].attempts.load();
  }
  downcall_cell downcall(std::uint32_t index) const {
    downcall_cell d;
    std::memset(static_cast<void*>(&d), 0, sizeof d);
    d.index = index;
    d.generation = generation_;
    d.slot_seq = control_of(arenas_.fs->ops[index]).sequence;
    return d;
  }
  void write(std::uint32_t index, downcall_cell& d) {
    publish(arenas_.shared->downcalls[index], d,
            static_cast<std::uint8_t>(downcall_state::written),
            static_cast<std::uint32_t>(d.generation), d.slot_seq);
  }
  void hint(std::uint32_t index, std::uint32_t sequence = 0) {
    (void)down_.push({static_cast<std::uint16_t>(index), sequence});
  }
  template <class Body>
  void answer(std::uint32_t index, const Body& b, std::uint32_t payload_size = 0) {
    downcall_cell d = downcall(index);
    d.body_size = static_cast<std::uint16_t>(encode(b, d.body).value());
    d.payload_size = payload_size;
    write(index, d);
    hint(index, d.slot_seq);
  }
  void fail(std::uint32_t index, error_code e) {
    downcall_cell d = downcall(index);
    d.status = static_cast<std::uint16_t>(e);
    write(index, d);
    hint(index, d.slot_seq);
  }
  std::uint64_t generation() const { return generation_; }

 private:
  mapped_arenas& arenas_;
  ring_consumer up_;
  ring_producer down_;
  std::uint64_t generation_;
  std::uint64_t next_inode_;  // of no other core
};

struct front_end_world {
  mapped_arenas arenas = mapped_arenas::make();
  fake_kernel kernel;
  fake_callers callers;
  virtual_scheduler time;
  fake_bell core_bell;
  std::unique_ptr<front_end> fs;
  std::unique_ptr<fake_core> core;

  front_end_world() { start(); }
  void start() {
    kernel.note_successor();
    fs = std::make_unique<front_end>(front_end::wiring{kernel, callers, time, core_bell,
                                                       *arenas.fs, *arenas.shared,
                                                       kernel.resends()});
    fs->start();
  }
  // SIGKILL, and a new one; the core goes with it.
  void restart() {
    die();
    start();
  }
  void die() {
    fs.reset();
    core.reset();
  }
  // From its next call of this kind on nothing that the front end does counts.
  void die_at(fake_kernel::call which, fake_kernel::moment when) {
    kernel.observe([this, which, when](fake_kernel::call c, fake_kernel::moment m) {
      if (c != which || m != when) return;
      kernel.freeze();
      arenas.freeze();
    });
  }
  // It died as die_at() said; another one takes over.
  void restart_dead() {
    EXPECT_TRUE(kernel.frozen()) << "it lives";
    die();
    arenas.thaw();
    kernel.observe(nullptr);
    start();
  }
  void set_policy(std::uint32_t fast_io_fail_tmo, std::uint32_t dev_loss_tmo) {
    write_policy(arenas.fs->watchdog.policy, {policy_off, fast_io_fail_tmo, dev_loss_tmo});
  }
  void attach() {
    core = std::make_unique<fake_core>(arenas, fs->attach_core());
    arenas.shared->core.path_up.store(1);
  }
  // Attaches a core and has it deliver both ranges of inode numbers; nothing else may be pending.
  void attach_settled() {
    attach();
    for (run(); fs->pending_count() != 0; run())
      for (const std::uint32_t i : core->take_all()) core->grant_range(i);
  }
  void lose() {
    fs->lose_core();
    core.reset();
  }
  // Turns until there is nothing more to do.
  void run() {
    while (fs->turn()) {
    }
  }
  const fs_counters& counters() const { return arenas.fs->counters; }
  op_state state(std::uint32_t index) const {
    return static_cast<op_state>(control_of(arenas.fs->ops[index]).state);
  }
  // The slot of the op that answers `unique`.
  std::optional<std::uint32_t> slot_of(std::uint64_t unique) const {
    for (std::uint32_t i = 0; i < op_slot_count; ++i) {
      const op_slot& s = arenas.fs->ops[i];
      const control_word w = control_of(s);
      if (w.sequence == 0) break;
      if (w.state != 0 && s.cells[w.cell].kernel_id == unique) return i;
    }
    return std::nullopt;
  }
};

inline attr_answer attr_of(std::uint64_t inode) {
  attr_answer a;
  a.attr.inode = inode;
  return a;
}
inline entry_answer entry_of(std::uint64_t inode) {
  entry_answer a;
  a.attr.inode = inode;
  return a;
}

}  // namespace tangelo
