#include "cli/op_watch.h"

#include <algorithm>
#include <charconv>

#include "base/clock.h"
#include "protocol/records.h"

namespace tangelo {

op_watch::op_watch(const fs_arena& arena)
    : arena_(arena),
      first_xid_(arena.next_xid.load(std::memory_order_acquire)),
      slots_(op_slot_count) {
  // What ended before is none of ours; what is under way is seen when it ends.
  for (std::uint32_t i = 0; i < used_end(); ++i)
    if (control_of(arena_.ops[i]).state == static_cast<std::uint8_t>(op_state::unknown))
      slots_[i].control = arena_.ops[i].control.load(std::memory_order_acquire);
}

std::uint32_t op_watch::used_end() const {
  return std::min(arena_.ops_used_end.load(std::memory_order_acquire), op_slot_count);
}

std::vector<passed_op> op_watch::look(std::uint64_t now_ns, std::uint64_t long_ns) {
  std::vector<passed_op> out;
  for (std::uint32_t i = 0; i < used_end(); ++i) {
    const op_slot& slot = arena_.ops[i];
    slot_memory& memory = slots_[i];
    const std::uint64_t control = slot.control.load(std::memory_order_acquire);
    if (control == memory.control && (!memory.live || memory.told_long)) continue;
    passed_op op;
    control_word word;
    if (control == 0 || !copy_record(slot, word, op.cell)) continue;  // seen by the next look
    op.state = static_cast<op_state>(word.state);
    op.age_ns = now_ns > op.cell.arrived_ns ? now_ns - op.cell.arrived_ns : 0;
    const bool is_new = op.cell.xid != memory.xid;
    if (is_new && op.cell.xid > first_xid_) ++seen_;
    op.was_live = !is_new && memory.live;
    const bool is_live = op.state != op_state::unknown;
    const bool is_long = is_live && op.age_ns >= long_ns && (is_new || !memory.told_long);
    const bool has_ended = !is_live && (is_new || memory.live);
    memory = {word.pack(), op.cell.xid, is_live, is_long || (!is_new && memory.told_long)};
    if (has_ended || is_long) out.push_back(op);
  }
  std::stable_sort(out.begin(), out.end(), [](const passed_op& a, const passed_op& b) {
    return a.cell.xid < b.cell.xid;
  });
  return out;
}

std::uint64_t op_watch::passed_count() const {
  return arena_.next_xid.load(std::memory_order_acquire) - first_xid_;
}

std::uint64_t op_watch::unseen_count() const {
  const std::uint64_t passed = passed_count();
  return passed > seen_ ? passed - seen_ : 0;
}

std::optional<std::uint64_t> parse_time(std::string_view text) {
  double value = 0;
  const auto end = std::from_chars(text.data(), text.data() + text.size(), value);
  if (end.ec != std::errc{} || value < 0 || value > 1e9) return std::nullopt;
  const std::string_view unit(end.ptr, static_cast<std::size_t>(text.data() + text.size() -
                                                                end.ptr));
  double ns = 0;
  if (unit == "us") ns = 1e3;
  else if (unit == "ms") ns = 1e6;
  else if (unit == "s" || value == 0) ns = 1e9;
  else return std::nullopt;
  return static_cast<std::uint64_t>(value * ns);
}

}  // namespace tangelo
