#include "server/block_guards.h"

#include <algorithm>

#include "base/check.h"

namespace tangelo {

namespace {

// So many records are removed one by one: a range leaves something in the store that every later
// read in it has to look at.
constexpr std::uint64_t single_removal_max = 64;

}  // namespace

std::optional<protection_fault> check_group(const guard_group& g, std::uint64_t inode,
                                            std::uint64_t group) {
  const std::uint64_t block = group * guard_group_blocks;
  const std::uint32_t application = application_tag_of(inode);
  const std::uint32_t reference = reference_tag_of(block * protected_block_size);
  if (g.application != application)
    return protection_fault{protection_kind::application, protection_hop::stored, inode, block,
                            application, g.application};
  if (g.reference != reference)
    return protection_fault{protection_kind::reference, protection_hop::stored, inode, block,
                            reference, g.reference};
  return std::nullopt;
}

error_code block_guards::load(std::uint64_t first, std::uint64_t end) {
  if (first >= end) return error_code::ok;
  error_code missed = error_code::ok;
  for (std::uint64_t n = first / guard_group_blocks; n <= (end - 1) / guard_group_blocks; ++n) {
    const auto has = [n](const loaded& l) { return l.number == n; };
    if (std::any_of(groups_.begin(), groups_.end(), has)) continue;
    loaded l;
    l.number = n;
    const op_result<std::string> raw = t_.value(column::protection, key_of(inode_, n));
    if (!raw && raw.error() == error_code::again_later) {
      missed = raw.error();  // the others are warmed together with it
      continue;
    }
    if (!raw && raw.error() != error_code::no_data) return raw.error();
    if (raw) {
      const std::optional<guard_group> g = unpacked<guard_group>(*raw);
      if (!g) return error_code::io;
      if (const std::optional<protection_fault> f = check_group(*g, inode_, n)) {
        fault_ = *f;
        return error_code::integrity;
      }
      l.group = *g;
    } else {
      l.group.application = application_tag_of(inode_);
      l.group.reference = reference_tag_of(n * guard_group_blocks * protected_block_size);
    }
    groups_.push_back(l);
  }
  return missed;
}

std::size_t block_guards::place_of(std::uint64_t block) const {
  const auto at = std::find_if(groups_.begin(), groups_.end(), [block](const loaded& l) {
    return l.number == block / guard_group_blocks;
  });
  CHECK(at != groups_.end());
  return static_cast<std::size_t>(at - groups_.begin());
}

std::optional<std::uint32_t> block_guards::at(std::uint64_t block) const {
  const guard_group& g = groups_[place_of(block)].group;
  const std::uint64_t i = block % guard_group_blocks;
  if ((g.present >> i & 1) == 0) return std::nullopt;
  return g.guards[i];
}

void block_guards::set(std::uint64_t block, std::uint32_t guard) {
  loaded& l = groups_[place_of(block)];
  const std::uint64_t i = block % guard_group_blocks;
  l.group.present |= std::uint64_t{1} << i;
  l.group.guards[i] = guard;
  l.changed = true;
}

void block_guards::clear(std::uint64_t first, std::uint64_t end) {
  for (std::uint64_t b = first; b < end; ++b) {
    loaded& l = groups_[place_of(b)];
    const std::uint64_t bit = std::uint64_t{1} << b % guard_group_blocks;
    if ((l.group.present & bit) == 0) continue;
    l.group.present &= ~bit;
    l.changed = true;
  }
}

void block_guards::drop(std::uint64_t first, std::uint64_t end) {
  std::uint64_t group = first / guard_group_blocks;
  std::uint64_t group_end = end / guard_group_blocks;
  if (group == group_end) return clear(first, end);
  if (first % guard_group_blocks != 0) clear(first, ++group * guard_group_blocks);
  clear(group_end * guard_group_blocks, end);
  if (group >= group_end) return;
  for (loaded& l : groups_) {
    if (l.number < group || l.number >= group_end) continue;
    l.group.present = 0;
    l.changed = false;
  }
  if (group_end - group > single_removal_max)
    return t_.remove_range(column::protection, key_of(inode_, group), key_of(inode_, group_end));
  for (; group < group_end; ++group) t_.remove(column::protection, key_of(inode_, group));
}

void block_guards::cut(std::uint64_t first, std::uint64_t size) {
  const std::uint64_t groups = (block_end_of(size) + guard_group_blocks - 1) / guard_group_blocks;
  if (first < groups * guard_group_blocks) drop(first, groups * guard_group_blocks);
}

void block_guards::save() {
  for (loaded& l : groups_) {
    if (!std::exchange(l.changed, false)) continue;
    std::string key = key_of(inode_, l.number);
    if (l.group.present == 0)
      t_.remove(column::protection, std::move(key));
    else
      t_.put(column::protection, std::move(key), packed(l.group));
  }
}

}  // namespace tangelo
