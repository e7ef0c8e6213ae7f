// Trees of directories that are counted together (quotas.h).
//
// An inode is told its tree when it is made: that of its directory. What is there already when a
// directory becomes the top of a tree is told by a walk: each directory that is to be walked has a
// record, which says how far that has come and goes with the last of its entries; so a walk goes on
// after a crash. What moves meanwhile is told, or walked, as it moves. An inode that was met
// stays where it was met first, whatever other names it has.
//
// In a recovery window nobody walks: what is made again then finds tops and directories as it did.
// Names that are made again may lead into another tree, since clients come in any order: then their
// inodes follow them, with a walk if need be, also a walk out of any tree (tree 0).
#include <sys/stat.h>

#include "base/log.h"
#include "server/volume.h"

namespace tangelo {

namespace {
constexpr std::size_t step_entry_count = 256;
}  // namespace

bool volume::is_tree_root(std::uint64_t number, const inode_record& r) const {
  const saved_quota* q = quotas_.find({quota_kind::tree, r.tree});
  return q != nullptr && q->root == number;
}

// Neither below the top of a tree nor above one.
error_code volume::check_not_nested(transaction& t, std::uint64_t directory) {
  for (const auto& [key, q] : quotas_.all()) {
    if (key.kind != quota_kind::tree) continue;
    error_code e = is_below(t, q.root, directory);
    if (e == error_code::ok) e = is_below(t, directory, q.root);
    if (e == error_code::invalid || e == error_code::again_later) return e;
  }
  return error_code::ok;
}

error_code volume::make_tree(operation& o, transaction& t, std::uint64_t number,
                             const saved_quota& limits) {
  const op_result<inode_record*> found = t.inode(number);
  if (!found) return found.error();
  inode_record& r = **found;
  if (r.link_count == 0) return error_code::stale;
  if (!o.replay) {
    if (quotas_.live_tree(r.tree) != 0) return error_code::invalid;
    if (const error_code e = check_not_nested(t, number); e != error_code::ok) return e;
  }
  const error_code empty = is_empty(t, number);
  if (empty != error_code::ok && empty != error_code::not_empty) return empty;
  saved_quota q = limits;
  q.root = number;
  q.making = empty == error_code::ok ? 0 : 1;
  r.tree = o.replay ? o.call->transno : last_transno_ + 1;  // what write_batch will give it
  t.edit_quota({quota_kind::tree, r.tree}, q);
  if (q.making != 0) t.add_walk(r.tree, number);
  return error_code::ok;
}

// A new name: the inode may not get into two trees, but while one is being made, it is not known
// where it belongs.
error_code volume::link_into_tree(const operation& o, inode_record& r,
                                  const inode_record& dir) const {
  const std::uint64_t have = quotas_.live_tree(r.tree), want = quotas_.live_tree(dir.tree);
  if (have == want) return error_code::ok;
  if (!o.replay && !quotas_.is_making(have) && !quotas_.is_making(want))
    return error_code::cross_device;
  if (have == 0) r.tree = want;  // its link count changes anyway
  return error_code::ok;
}

error_code volume::move_into_tree(const operation& o, transaction& t, std::uint64_t number,
                                  std::uint64_t from, std::uint64_t to) {
  const op_result<inode_record*> r = t.inode(number);
  if (!r) return r.error();
  const op_result<inode_record*> dir = t.inode(to);
  if (!dir) return dir.error();
  const std::uint64_t have = quotas_.live_tree((*r)->tree), want = quotas_.live_tree((*dir)->tree);
  if (is_tree_root(number, **r)) {
    if (from == to || o.replay) return error_code::ok;
    for (const auto& [key, q] : quotas_.all()) {  // `to` may be in a tree and not know it yet
      if (key.kind != quota_kind::tree || key.id == have) continue;
      const error_code e = is_below(t, to, q.root);
      if (e == error_code::invalid) return error_code::cross_device;
      if (e == error_code::again_later) return e;
    }
    return error_code::ok;
  }
  if (have == want) return error_code::ok;
  const bool making = quotas_.is_making(have) || quotas_.is_making(want);
  if (from == to && !making) return error_code::ok;  // it was met under another name
  if (!making && !o.replay) return error_code::cross_device;
  if (making && !o.replay) {
    const std::uint64_t made = quotas_.is_making(have) ? have : want;
    const std::uint64_t top = quotas_.find({quota_kind::tree, made})->root;
    for (const std::uint64_t at : {from, to}) {
      const error_code e = is_below(t, at, top);
      if (e == error_code::ok) return error_code::cross_device;
      if (e != error_code::invalid) return e;
    }
    if (want == 0) return error_code::ok;  // the walk will come to where it goes
  }
  (*r)->tree = want;
  t.touch(number);
  if (S_ISDIR((*r)->mode)) t.add_walk(want, number);
  return error_code::ok;
}

void volume::start_walk() {
  repeat(walking_, &volume::walk_step, "the count of a tree stops until the next start");
}

// The first directory that is to be walked, or the end of a tree without any.
error_code volume::walk_step(operation&, transaction& t) {
  std::string key;
  std::uint64_t after = 0;
  const std::string from(1, walk_prefix);
  const error_code e = t.scan(column::quotas, from, end_of(from),
                              [&](std::string_view k, std::string_view value) {
                                key = k;
                                const std::optional<saved_walk> w = unpacked<saved_walk>(value);
                                after = w ? w->cookie : 0;
                                return false;
                              });
  if (e != error_code::ok) return e;
  const std::uint64_t tree = key.empty() ? UINT64_MAX : number_at(key, 1);
  for (const auto& [name, q] : quotas_.all()) {
    if (name.kind != quota_kind::tree || q.making == 0 || name.id >= tree) continue;
    saved_quota made = q;
    made.making = 0;
    t.edit_quota(name, made);
    return error_code::ok;
  }
  if (key.empty()) return error_code::no_data;
  if (tree == 0 || quotas_.live_tree(tree) != 0) return walk_directory(t, key, after);
  std::size_t left = step_entry_count;  // of a tree that was given up
  return t.scan(column::quotas, key, end_of(walk_key(tree, UINT64_MAX)),
                [&t, &left](std::string_view k, std::string_view) {
                  t.remove(column::quotas, std::string(k));
                  return --left > 0;
                });
}

error_code volume::walk_directory(transaction& t, const std::string& key, std::uint64_t after) {
  const std::uint64_t tree = number_at(key, 1), directory = number_at(key, 1 + sizeof tree);
  std::vector<std::uint64_t> inodes;
  const std::string listing = key_of(directory);
  const error_code e = t.scan(column::cookies, key_of(directory, after + 1), end_of(listing),
                              [&](std::string_view k, std::string_view value) {
                                const auto entry = unpacked<cookie_record>(value);
                                after = number_at(k, 8);
                                if (entry) inodes.push_back(entry->inode);
                                return inodes.size() < step_entry_count;
                              });
  if (e != error_code::ok) return e;
  for (const std::uint64_t inode : inodes) {
    const op_result<inode_record*> r = t.inode(inode);
    if (!r) continue;  // noted as a miss, or gone
    const std::uint64_t have = quotas_.live_tree((*r)->tree);
    if (have == tree || is_tree_root(inode, **r) || (have != 0 && tree != 0)) continue;
    (*r)->tree = tree;
    t.touch_quietly(inode);
    if (S_ISDIR((*r)->mode)) t.add_walk(tree, inode);
  }
  if (!t.misses().empty()) return error_code::again_later;
  if (inodes.size() < step_entry_count)
    t.remove(column::quotas, key);
  else
    t.put(column::quotas, key, packed(saved_walk{record_version, after}));
  return error_code::ok;
}

}  // namespace tangelo
