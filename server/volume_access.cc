// When files were read: noted by reads, shown by every answer, saved some seconds later.
#include "server/volume.h"

namespace tangelo {

namespace {
constexpr std::uint64_t save_after_ns = 5 * ns_per_s;
constexpr std::size_t save_count_max = 256;  // in one batch
}  // namespace

bool volume::atime_is_due(std::uint64_t inode, const inode_record& r, std::int64_t now_ns) const {
  return options_.rules.relatime && !options_.rules.read_only &&
         access_times::is_due(access_.of(inode, r.atime_ns), r, now_ns);
}

void volume::note_access(const operation& o, std::uint64_t inode, const inode_record& r) {
  if (!atime_is_due(inode, r, o.time_ns)) return;
  access_.note(inode, o.time_ns);
  if (access_timer_ == 0)
    access_timer_ = parts_.time.call_after(save_after_ns, guarded([this] {
                                             access_timer_ = 0;
                                             save_access();
                                           }));
}

void volume::save_access() {
  if (access_.all().empty()) return;
  std::vector<std::pair<std::uint64_t, std::int64_t>> some;
  for (const auto& time : access_.all()) {
    some.push_back(time);
    if (some.size() == save_count_max) break;
  }
  begin_own(
      [this, some](operation& o, transaction& t) {
        for (const auto& [inode, time_ns] : some) {
          const op_result<inode_record*> r = t.inode(inode);
          if (!r && r.error() == error_code::stale) continue;
          if (!r && r.error() != error_code::again_later) return r.error();
          if (!r) continue;  // noted as a miss
          (*r)->atime_ns = time_ns;
          t.touch_quietly(inode);
        }
        if (!t.misses().empty()) return error_code::again_later;
        o.after_write = [this, some] {
          for (const auto& [inode, time_ns] : some) access_.saved(inode, time_ns);
        };
        return error_code::ok;
      },
      [this](error_code e) {
        if (e == error_code::ok) save_access();
      });
}

}  // namespace tangelo
