// op_watch: the ops of an arena as they pass, by looking at its op records again and again.
//
// Command line only; reads, writes nothing. A slot keeps its last op's record when that has ended,
// so a look sees each slot's last op, also if it began and ended since the look before. Those that
// passed in between are only counted.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "protocol/arena.h"
#include "protocol/op_state.h"

namespace tangelo {

struct passed_op {
  op_cell cell;
  op_state state{};       // unknown: it has ended
  bool was_live = false;  // it was seen before it ended, so its time is known to the next look
  std::uint64_t age_ns = 0;  // when it was seen to have ended, or now
};

class op_watch {
 public:
  // From the ops that there are now.
  explicit op_watch(const fs_arena& arena);

  // What has ended since the last look, and (once each) what is older than `long_ns` and has not.
  std::vector<passed_op> look(std::uint64_t now_ns, std::uint64_t long_ns);
  std::uint64_t passed_count() const;  // all that began since the watch did
  std::uint64_t unseen_count() const;

 private:
  struct slot_memory {
    std::uint64_t control = 0;
    std::uint64_t xid = 0;
    bool live = false;
    bool told_long = false;
  };
  std::uint32_t used_end() const;

  const fs_arena& arena_;
  const std::uint64_t first_xid_;
  std::uint64_t seen_ = 0;
  std::vector<slot_memory> slots_;
};

// "250us", "10ms", "1.5s" in nanoseconds; nothing: no time, or one without its unit.
std::optional<std::uint64_t> parse_time(std::string_view text);

}  // namespace tangelo
