#include "cli/snapshot.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cstring>
#include <optional>

#include "cli/control.h"
#include "cli/op_paths.h"
#include "protocol/core_metrics.h"
#include "protocol/op_state.h"
#include "protocol/protection.h"
#include "protocol/records.h"
#include "rdma/import.h"
#include "rdma/provider.h"

namespace tangelo {

namespace {

struct counter_row {
  std::string_view name;
  atomic_u64 fs_counters::*member;
};
constexpr std::array<counter_row, counter_count> counter_rows{{
    {"requests", &fs_counters::requests},
    {"replies", &fs_counters::replies},
    {"upcalls", &fs_counters::upcalls},
    {"downcalls", &fs_counters::downcalls},
    {"downcalls_dropped", &fs_counters::downcalls_dropped},
    {"downcalls_damaged", &fs_counters::downcalls_damaged},
    {"interrupts", &fs_counters::interrupts},
    {"given_up", &fs_counters::given_up},
    {"core_losses", &fs_counters::core_losses},
    {"core_losses_waiting", &fs_counters::core_losses_waiting},
    {"core_losses_in_progress", &fs_counters::core_losses_in_progress},
    {"core_losses_serviced", &fs_counters::core_losses_serviced},
    {"purged", &fs_counters::purged},
    {"in_progress_max", &fs_counters::in_progress_max},
    {"deaf_periods", &fs_counters::deaf_periods},
    {"lost_files", &fs_counters::lost_files},
    {"locks_held", &fs_counters::locks_held},
    {"locks_waiting", &fs_counters::locks_waiting},
    {"lost_locks", &fs_counters::lost_locks},
    {"resent", &fs_counters::resent},
    {"callers_lost", &fs_counters::callers_lost},
    {"refused", &fs_counters::refused},
    {"lost_changes", &fs_counters::lost_changes},
    {"losses_told", &fs_counters::losses_told},
    {"replays_kept", &fs_counters::replays_kept},
    {"replay_bytes", &fs_counters::replay_bytes},
    {"commits_demanded", &fs_counters::commits_demanded},
}};

template <std::size_t N>
std::string text_of_words(const std::array<atomic_u64, N>& words) {
  std::array<std::uint64_t, N> copy{};
  for (std::size_t i = 0; i < N; ++i) copy[i] = words[i].load(std::memory_order_relaxed);
  return printable(text_of(std::as_bytes(std::span(copy))));
}

template <class Enum>
std::string_view name_or_unknown(Enum value) {
  const std::string_view name = name_of(value);
  return name.empty() ? std::string_view("?") : name;
}

std::uint64_t since(std::uint64_t then_ns, std::uint64_t now_ns) {
  return then_ns == 0 || then_ns > now_ns ? 0 : now_ns - then_ns;
}

// Field 22 of /proc/PID/stat; 0 when there is no such process, or nothing but its exit status.
std::uint64_t start_ticks_of(std::uint32_t pid) {
  const std::string path = "/proc/" + std::to_string(pid) + "/stat";
  const unique_fd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  char text[1024];
  const ssize_t n = fd ? ::read(fd.get(), text, sizeof text) : -1;
  if (n <= 0) return 0;
  std::string_view rest(text, static_cast<std::size_t>(n));
  rest.remove_prefix(std::min(rest.rfind(')'), rest.size()));  // the command may hold blanks
  if (rest.starts_with(") Z") || rest.starts_with(") X")) return 0;
  for (int field = 2; field < 22; ++field)
    rest.remove_prefix(std::min(rest.find(' '), rest.size() - 1) + 1);
  std::uint64_t ticks = 0;
  (void)std::from_chars(rest.data(), rest.data() + rest.size(), ticks);  // 0 if it is no number
  return ticks;
}

// Without a watchdog nobody takes a dead process out of its record.
bool is_still_there(const process_record& r, std::uint32_t pid) {
  const std::uint64_t recorded = r.start_ticks.load(std::memory_order_relaxed);
  const std::uint64_t found = start_ticks_of(pid);
  return found != 0 && (recorded == 0 || recorded == found);
}

// Empty for a slot that holds no op now.
std::optional<op_view> view_of(const op_slot& slot, std::uint32_t index, std::uint64_t now_ns) {
  constexpr int attempts_max = 3;
  op_cell cell;
  control_word word;
  for (int i = 0; i < attempts_max; ++i) {
    const bool whole = copy_record(slot, word, cell);
    const auto state = static_cast<op_state>(word.state);
    if (state == op_state::unknown) return std::nullopt;
    if (!whole) continue;
    op_view v;
    v.index = index;
    v.xid = cell.xid;
    v.op = name_or_unknown(cell.op);
    v.state = name_or_unknown(state);
    v.inode = cell.inode;
    v.offset = cell.offset;
    v.size = std::max(cell.payload_in.size, cell.payload_out.size);
    v.age_ns = since(cell.arrived_ns, now_ns);
    v.attempts = slot.attempts.load(std::memory_order_relaxed);
    v.core_losses = slot.core_losses.load(std::memory_order_relaxed);
    v.pid = cell.pid;
    v.command = command_of(cell.pid);
    v.name = name_in_directory(cell);
    return v;
  }
  return std::nullopt;
}

std::string hex_of(const id128& id) {
  static constexpr char digits[] = "0123456789abcdef";
  std::string text;
  for (const std::byte b : id)
    text += {digits[std::to_integer<unsigned>(b) >> 4], digits[std::to_integer<unsigned>(b) & 15]};
  return text;
}

}  // namespace

std::string command_of(std::uint32_t pid) {
  if (pid == 0) return {};
  const std::string path = "/proc/" + std::to_string(pid) + "/comm";
  const unique_fd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  char name[64];
  const ssize_t n = fd ? ::read(fd.get(), name, sizeof name) : -1;
  if (n <= 0) return {};
  const std::string_view text(name, static_cast<std::size_t>(n));
  return printable(text.substr(0, text.find('\n')));
}

outcome<arena_view> arena_view::open(const std::string& run_root, const mount_ref& mount,
                                     int wait_ms_max) {
  outcome<control_reply> reply =
      ask_either(run_root, mount, control_verb::arenas, wait_ms_max);
  if (!reply) return failure{reply.error()};
  if (reply->errno_value != 0) return failure{refusal(mount, *reply)};
  outcome<fs_arena_map> fs =
      fs_arena_map::map(std::move(reply->fs_arena), arena_access::read_only);
  if (!fs) return failure{fs.error()};
  outcome<shared_arena_map> shared =
      shared_arena_map::map(std::move(reply->shared_arena), arena_access::read_only);
  if (!shared) return failure{shared.error()};
  return arena_view(*std::move(fs), *std::move(shared), std::move(reply->silence));
}

process_view arena_view::process(process_role role, std::uint64_t now_ns) const {
  const process_record& r = fs_->watchdog.processes[static_cast<std::size_t>(role)];
  process_view v;
  v.role = name_of(role);
  v.pid = r.pid.load(std::memory_order_acquire);
  if (!supervised() && !is_still_there(r, v.pid)) v.pid = 0;
  v.generation = r.generation.load(std::memory_order_relaxed);
  v.restarts = r.restarts.load(std::memory_order_relaxed);
  v.last_status = r.last_status.load(std::memory_order_relaxed);
  v.hangs = r.hangs.load(std::memory_order_relaxed);
  const std::uint64_t next = r.next_start_ns.load(std::memory_order_relaxed);
  v.next_start_in_ns = supervised() && v.pid == 0 && next > now_ns ? next - now_ns : 0;
  v.uptime_ns = v.pid == 0 ? 0 : since(r.started_ns.load(std::memory_order_relaxed), now_ns);
  return v;
}

path_view arena_view::path(std::uint64_t now_ns) const {
  const fs_pulse& pulse = fs_->pulse;
  path_view v;
  v.state = name_or_unknown(static_cast<path_state>(pulse.path.load(std::memory_order_relaxed)));
  v.for_ns = since(pulse.path_since_ns.load(std::memory_order_relaxed), now_ns);
  v.draining = pulse.draining.load(std::memory_order_relaxed) != 0;
  return v;
}

namespace {

std::string mismatch_text(const core_page& page) {
  mismatch_cell last;
  control_word word;
  if (!copy_record(page.mismatch, word, last) || word.state == 0) return {};
  protection_fault fault;
  fault.kind = static_cast<protection_kind>(last.kind);
  fault.hop = static_cast<protection_hop>(last.hop);
  fault.inode = last.inode;
  fault.block = last.block;
  fault.expected = last.expected;
  fault.found = last.found;
  return text_of(fault);
}

}  // namespace

core_view arena_view::core() const {
  const core_page& page = shared_->core;
  core_view v;
  v.import_state =
      name_or_unknown(static_cast<import_state>(page.import_state.load(std::memory_order_relaxed)));
  v.address = text_of_words(page.address);
  v.last_text = text_of_words(page.last_text);
  v.last_down_reason = name_or_unknown(
      static_cast<down_reason>(page.last_down_reason.load(std::memory_order_relaxed)));
  v.boot_generation = page.boot_generation.load(std::memory_order_relaxed);
  v.last_committed = page.last_committed.load(std::memory_order_relaxed);
  v.connection_count = page.connection_count.load(std::memory_order_relaxed);
  v.sending = page.sending.load(std::memory_order_relaxed);
  v.delayed = page.delayed.load(std::memory_order_relaxed);
  eviction_cell last;
  control_word word;
  if (copy_record(page.eviction, word, last) && word.state != 0) {
    v.evictions = last.sequence;
    v.eviction_text = printable(text_of(std::as_bytes(std::span(last.text))));
  }
  const core_metrics& metrics = metrics_of(*shared_);
  v.mismatches_healed = metrics.mismatches_healed.load(std::memory_order_relaxed);
  v.mismatches_reported = metrics.mismatches_reported.load(std::memory_order_relaxed);
  v.mismatch_text = mismatch_text(page);
  return v;
}

mount_view arena_view::status(const mount_ref& mount, std::uint64_t now_ns) const {
  mount_view v;
  v.mount = mount;
  v.supervised = supervised();
  v.known = true;
  v.client_id = hex_of(fs_->watchdog.client_id);
  v.incarnation = fs_->watchdog.incarnation;
  v.core_generation = fs_->core_generation.load(std::memory_order_relaxed);
  v.core_attached = fs_->core_attached.load(std::memory_order_relaxed) != 0;
  v.pending_ops = fs_->pending_ops.load(std::memory_order_relaxed);
  for (std::size_t i = 0; i < process_role_count; ++i)
    v.processes[i] = process(static_cast<process_role>(i), now_ns);
  v.core = core();
  v.path = path(now_ns);
  v.policy = policy();
  const std::uint64_t lease_end = shared_->core.lease_until_ns.load(std::memory_order_relaxed);
  v.lease_left_ns = lease_end > now_ns ? lease_end - now_ns : 0;
  for (std::size_t i = 0; i < counter_count; ++i)
    v.counters[i] = {counter_rows[i].name, (fs_->counters.*counter_rows[i].member).load(
                                               std::memory_order_relaxed)};
  return v;
}

std::vector<op_view> arena_view::ops(std::uint64_t now_ns) const {
  std::vector<op_view> found;
  for (std::uint32_t i = 0; i < op_slot_count;) {
    // Reading a hole through the mapping would fill it: ask where the next data is.
    const auto begin = static_cast<off_t>(offsetof(fs_arena, ops) + i * sizeof(op_slot));
    const off_t data = ::lseek(fs_.fd(), begin, SEEK_DATA);
    if (data < 0) break;
    const auto skipped = static_cast<std::uint64_t>(data - begin) / sizeof(op_slot);
    if (skipped != 0) {
      i = static_cast<std::uint32_t>(std::min<std::uint64_t>(i + skipped, op_slot_count));
      continue;
    }
    if (std::optional<op_view> v = view_of(fs_->ops[i], i, now_ns)) found.push_back(*v);
    ++i;
  }
  std::stable_sort(found.begin(), found.end(),
                   [](const op_view& a, const op_view& b) { return a.age_ns > b.age_ns; });
  return found;
}

}  // namespace tangelo
