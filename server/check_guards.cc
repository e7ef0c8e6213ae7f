// The part of a round that looks at the guards (block_guards.h): that each belongs to a file. What
// they say of the bytes is found out by scrub.
#include <fmt/format.h>

#include "server/block_guards.h"
#include "server/check_pass.h"
#include "server/dirty_regions.h"

namespace tangelo {

namespace {
constexpr std::uint64_t regions_max = 1 << 20;  // of one file that get guards again
}

// An object may end before its file does, in a hole; but not before bytes that have a guard.
void check_pass::check_cut(std::uint64_t inode, node& n, const guard_group& g,
                           std::uint64_t group) {
  const bool judged = n.has_redo || n.unreadable || !n.has_object || n.object_size == 0;
  if (judged || n.is_cut || (n.flags & inode_flag::object) == 0) return;
  static const std::uint32_t guard_of_hole = guard_of({});
  for (std::uint64_t i = 0; i < guard_group_blocks; ++i) {
    const std::uint64_t begin = (group * guard_group_blocks + i) * protected_block_size;
    if ((g.present >> i & 1) == 0 || g.guards[i] == guard_of_hole || begin < n.object_size)
      continue;
    n.is_cut = true;
    return found(finding_kind::data_missing, "inode " + hex_number(inode),
                 fmt::format("its object ends at {}, and had bytes at {}", n.object_size, begin),
                 {});
  }
}

outcome<bool> check_pass::read_guards() {
  const outcome<bool> read =
      scan(column::protection, [this](std::string_view key, std::string_view value) {
        const std::uint64_t inode = number_at(key, 0), group = number_at(key, 8);
        node* n = find(inode);
        const std::optional<guard_group> g = unpacked<guard_group>(value);
        const bool sane = key.size() == key_of(0, 0).size() && g && !check_group(*g, inode, group);
        const bool owned = n != nullptr && (n->unreadable || is_file(*n)) &&
                           (n->unreadable || group * guard_group_blocks < block_end_of(n->size));
        if (sane && owned) {
          check_cut(inode, *n, *g, group);
          return true;
        }
        found(finding_kind::guard, "inode " + hex_number(inode),
              sane ? "guards of no file, or behind its end" : "a record that is none",
              "removed: those blocks are not protected until they are written",
              finding_level::leftover);
        batch_.remove(column::protection, std::string(key));
        return true;
      });
  if (!read || !options_.guards_lost) return read;
  batch_.remove_range(column::protection, {}, std::string(17, '\xff'));
  for (const auto& [inode, n] : nodes_)
    if (is_file(n) && (n.flags & inode_flag::object) != 0)
      for (std::uint64_t region = 0; region < regions_max && region * region_size < n.size;
           ++region)
        batch_.put(column::unguarded, key_of(inode, region), key_of(region * region_blocks));
  return true;
}

}  // namespace tangelo
