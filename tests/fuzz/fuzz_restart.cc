// A new front end on arenas of any bytes: the constructor and start() log what is broken and leave
// it out; they never crash, nor does what follows. The front end's own records have valid checksums
// (else nothing of them is looked at), the shared arena is whatever a wild core has left there.
#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstdlib>
#include <memory>

#include "base/log.h"
#include "fs/front_end.h"
#include "fs/fuse_abi.h"
#include "protocol/arena.h"
#include "protocol/policy.h"
#include "protocol/records.h"

namespace tangelo {
namespace {

constexpr std::uint32_t op_end = 8;
constexpr std::uint32_t handle_end = 8;
constexpr std::uint32_t replay_end = 8;

// Takes the fuzzer's bytes one after the other; zeros when they are used up.
class source {
 public:
  explicit source(byte_span bytes) : rest_(bytes) {}
  template <class T>
  void fill(T& value) {
    rest_ = rest_.subspan(copy_bytes(writable_bytes(value), rest_));
  }
  void fill(void* to, std::size_t size) {
    rest_ = rest_.subspan(copy_bytes({static_cast<std::byte*>(to), size}, rest_));
  }
  std::uint8_t byte() {
    std::uint8_t b = 0;
    fill(b);
    return b;
  }
  bool empty() const { return rest_.empty(); }

 private:
  byte_span rest_;
};

// Repeats the ids that the records name, some of them, as the kernel would.
class any_kernel final : public kernel_port {
 public:
  any_kernel(source& from, fs_arena& arena) : from_(from), arena_(arena) {}
  ssize_t read_request(mutable_byte_span head, mutable_byte_span) noexcept override {
    if (next_ == op_end) return -EAGAIN;
    const op_slot& s = arena_.ops[next_++];
    const std::uint8_t choice = from_.byte();
    fuse_in_header h{};
    h.len = sizeof h;
    h.unique = s.cells[control_of(s).cell].kernel_id;
    if (choice % 4 != 0) h.unique = resent_id(h.unique);
    h.opcode = choice % 8 == 1 ? std::uint32_t{FUSE_INTERRUPT} : std::uint32_t{FUSE_STATFS};
    copy_bytes(head, object_bytes(h));
    return sizeof h;
  }
  int write_reply(const iovec*, int) noexcept override { return 0; }
  int resend() noexcept override { return 0; }
  void populate(mutable_byte_span) noexcept override {}
  bool forget_attributes(std::uint64_t) noexcept override { return true; }
  void drop_caches(std::span<const std::uint64_t>) noexcept override {}
  bool take_back(std::size_t) noexcept override { return false; }
  bool is_dropping() const noexcept override { return false; }

 private:
  source& from_;
  fs_arena& arena_;
  std::uint32_t next_ = 0;
};

struct nobody final : caller_inspector {
  bool is_being_killed(std::uint32_t tid) noexcept override { return tid % 2 == 1; }
};
struct no_bell final : bell {
  void ring() noexcept override {}
};

struct arenas {
  fs_arena_map fs;
  shared_arena_map shared;
};

arenas& the_arenas() {
  static arenas a = [] {
    outcome<arena_fds> fds = make_arenas();
    if (!fds) std::abort();
    log_start("fuzz", static_cast<log_level>(0));  // broken records are not worth a line each
    outcome<fs_arena_map> fs = fs_arena_map::map(std::move(fds->fs), arena_access::read_write);
    outcome<shared_arena_map> shared =
        shared_arena_map::map(std::move(fds->shared), arena_access::read_write);
    if (!fs || !shared) std::abort();
    return arenas{*std::move(fs), *std::move(shared)};
  }();
  return a;
}

// Often one that another op has, too.
slot_ref any_slot(source& from) {
  slot_ref ref;
  ref.kind = static_cast<slot_class>(from.byte() % 7);
  ref.index = from.byte() % 65;
  ref.size = from.byte();
  if (ref.kind == slot_class::none) ref.size = 0;
  return ref;
}

// Most of the record is what a front end would have written, so that what differs is looked at.
void fill_op(source& from, fs_arena& arena, std::uint32_t index) {
  op_cell cell;
  cell.index = index;
  cell.slot_seq = 1;
  cell.xid = index + 1;
  const std::uint8_t changes = from.byte();
  cell.op = static_cast<opcode>(from.byte() % 32);
  cell.kernel_id = from.byte() * std::uint64_t{2};
  cell.handle = from.byte();
  cell.inode = from.byte();
  if ((changes & 1) != 0) cell.payload_in = any_slot(from);
  if ((changes & 2) != 0) cell.payload_out = any_slot(from);
  if ((changes & 4) != 0) from.fill(&cell.xid, op_cell_fixed_size - offsetof(op_cell, xid));
  if ((changes & 8) != 0) cell.body_size = from.byte();
  if (!has_sane_size(cell)) cell.body_size = op_body_size_max;
  from.fill(cell.body, cell.body_size);
  op_slot& slot = arena.ops[index];
  slot.prepared.store(from.byte() % 2);
  slot.attempts.store(from.byte() % 3);
  slot.resent.store(from.byte() % 2);
  const bool sane = (changes & 16) == 0;
  const std::uint8_t state = from.byte();
  publish(slot, cell, sane ? static_cast<std::uint8_t>(state % 6) : state, 1,
          (changes & 32) == 0 ? cell.slot_seq : from.byte());
}

void fill_handle(source& from, fs_arena& arena, std::uint32_t index) {
  handle_cell cell;
  cell.index = index;
  cell.handle = index | 1u << 16;
  if (from.byte() % 2 == 0) from.fill(cell);
  handle_slot& slot = arena.handles[index];
  const std::uint8_t state = from.byte();
  const std::uint8_t sequence = from.byte();
  publish(slot, cell, state % 4, 0, sequence);
}

// Its slot, sequence and pages are often those of an op or of another record.
void fill_replay(source& from, fs_arena& arena, std::uint32_t index) {
  replay_cell cell;
  cell.index = index;
  const std::uint8_t changes = from.byte();
  cell.op = static_cast<opcode>(from.byte() % 32);
  cell.transno = from.byte();
  cell.xid = from.byte();
  cell.slot = from.byte() % op_end;
  cell.slot_seq = from.byte() % 3;
  cell.inode = from.byte();
  if ((changes & 1) != 0) {
    cell.payload.slot = any_slot(from);
    cell.payload.size = cell.payload.slot.size;
  } else {
    cell.payload.first_page = from.byte() % 4;
    cell.payload.size = from.byte() * std::uint32_t{64};
  }
  if ((changes & 2) != 0)
    from.fill(&cell.transno, replay_cell_fixed_size - offsetof(replay_cell, transno));
  if ((changes & 4) != 0) cell.index = from.byte();
  if (!has_sane_size(cell)) cell.body_size = op_body_size_max;
  from.fill(cell.body, cell.body_size);
  publish(arena.replays[index], cell, from.byte() % 3, 0, from.byte());
  if ((changes & 8) != 0) arena.replays[index].cells[0].transno ^= 1;
}

void fill_told(source& from, core_page& core) {
  eviction_cell e;
  e.sequence = from.byte() % 4;
  e.kept_through = from.byte();
  from.fill(e.text);
  if (from.byte() % 2 == 0) publish(core.eviction, e, 1, 0, from.byte());
  replay_failure_cell f;
  f.sequence = from.byte() % 4;
  f.transno = from.byte();
  f.inode = from.byte();
  if (from.byte() % 2 == 0) publish(core.replay_failure, f, 1, 0, from.byte());
  from.fill(core.lease_until_ns);
}

void fill_shared(source& from, shared_arena& shared) {
  from.fill(&shared.core, 64);
  fill_told(from, shared.core);
  from.fill(&shared.up, 192);
  from.fill(&shared.down, 192);
  for (std::uint32_t i = 0; i < op_end; ++i) {
    downcall_cell d;
    d.index = i;
    d.slot_seq = 1;
    if (from.byte() % 2 == 0) from.fill(&d, downcall_cell_fixed_size);
    if (!has_sane_size(d)) d.body_size = answer_size_max;
    d.transno = from.byte();
    from.fill(d.body, d.body_size % 64u);
    publish(shared.downcalls[i], d, from.byte() % 3, 1, from.byte() % 3);
  }
}

// What the run before has used.
void clear(fs_arena& arena) {
  const std::uint32_t end = std::min(arena.ops_used_end.load(), op_slot_count);
  for (std::uint32_t i = 0; i < end; ++i) arena.ops[i].control.store(0);
  const std::uint32_t opened = std::min(arena.handles_used_end.load(), handle_count);
  for (std::uint32_t i = 0; i < opened; ++i) arena.handles[i].control.store(0);
  const std::uint32_t kept = std::min(arena.replays_used_end.load(), replay_count);
  for (std::uint32_t i = 0; i < kept; ++i) arena.replays[i].control.store(0);
}

void restart(byte_span raw) {
  arenas& a = the_arenas();
  source from(raw);
  clear(*a.fs);
  std::fill_n(reinterpret_cast<std::byte*>(&a.fs->core_generation),
              offsetof(fs_arena, ops) - offsetof(fs_arena, core_generation), std::byte{0});
  from.fill(&a.fs->core_generation, 32);
  a.fs->pulse.generation.store(1);
  from.fill(a.fs->pulse.path);
  from.fill(a.fs->inode_ranges);
  from.fill(a.fs->receive);
  a.fs->ops_used_end.store(from.byte() % 64 == 63 ? 0xffffffff : op_end);
  a.fs->handles_used_end.store(from.byte() % 64 == 63 ? 0xffffffff : handle_end);
  write_policy(a.fs->watchdog.policy, {policy_off, 1, 2});
  for (std::uint32_t i = 0; i < op_end; ++i) fill_op(from, *a.fs, i);
  a.fs->replays_used_end.store(from.byte() % 64 == 63 ? 0xffffffff : replay_end);
  for (std::uint32_t i = 0; i < handle_end; ++i) fill_handle(from, *a.fs, i);
  for (std::uint32_t i = 0; i < replay_end; ++i) fill_replay(from, *a.fs, i);
  fill_shared(from, *a.shared);
  virtual_scheduler time;
  any_kernel kernel(from, *a.fs);
  nobody callers;
  no_bell bell;
  front_end fs({kernel, callers, time, bell, *a.fs, *a.shared, from.byte() % 4 != 0});
  fs.start();
  (void)fs.attach_core();
  a.shared->core.path_up.store(from.byte() % 2);
  for (int n = 0; n < 3; ++n) (void)fs.turn();
  fs.lose_core();
  time.advance(3 * ns_per_s);
  (void)fs.turn();
  fs.abort_callers();
}

}  // namespace
}  // namespace tangelo

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace tangelo;
  restart({reinterpret_cast<const std::byte*>(data), size});
  return 0;
}
