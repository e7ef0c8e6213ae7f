// The last part of a round: what the names add up to. Link counts, "..", what nothing leads to.
#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>

#include "server/check_pass.h"
#include "server/volume.h"

namespace tangelo {

namespace {
constexpr std::string_view lost_name = "lost+found";
constexpr std::uint64_t no_owner = 0;
}  // namespace

// The record of an inode as it will be written.
inode_record& check_pass::changed(std::uint64_t inode) {
  const auto [at, fresh] = changed_.try_emplace(inode);
  if (fresh) {
    std::string raw;
    if (kv_.get(column::inodes, key_of(inode), raw, read_mode::blocking) == kv_status::found)
      if (const std::optional<inode_record> r = unpacked<inode_record>(raw); r) at->second = *r;
    at->second.change = fresh_number();
  }
  return at->second;
}

void check_pass::check_tree() {
  check_root();
  std::vector<std::uint64_t> all;
  all.reserve(nodes_.size());
  for (const auto& [inode, n] : nodes_) all.push_back(inode);
  std::sort(all.begin(), all.end());
  find_cycles();
  for (const std::uint64_t inode : all) {
    node& n = *find(inode);
    if (n.unreadable) make_anew(inode, n);
    if (inode == root_inode) continue;
    if (is_directory(n))
      check_directory_links(inode, n);
    else
      check_file_links(inode, n);
  }
  node& root = *find(root_inode);  // last: lost+found may have been added
  if (root.link_count == 2 + root.subdirectories && root.parent == root_inode) return;
  found(finding_kind::link_count, "the root",
        fmt::format("{} links, {} directories in it", root.link_count, root.subdirectories),
        "corrected");
  inode_record& r = changed(root_inode);
  r.link_count = 2 + root.subdirectories;
  r.parent = root_inode;
}

void check_pass::check_root() {
  node& root = nodes_[root_inode];
  if (is_directory(root) && !root.unreadable) return;
  found(finding_kind::inode, "the root", "is missing, or no directory", "made anew");
  root.mode = S_IFDIR | 0755;
  root.unreadable = false;
  root.parent = root_inode;
  root.link_count = 2 + root.subdirectories;
  inode_record r;
  r.mode = root.mode, r.link_count = root.link_count, r.parent = root_inode;
  r.size = inline_size_max, r.blocks = 8, r.change = fresh_number();
  r.atime_ns = r.mtime_ns = r.ctime_ns = r.btime_ns = options_.now_ns;
  changed_[root_inode] = r;
}

// An inode whose record cannot be read; what is known of it is its type, its names and its data.
void check_pass::make_anew(std::uint64_t inode, node& n) {
  if (!is_known_type(n.mode)) n.mode = n.subdirectories != 0 ? S_IFDIR : S_IFREG;
  n.mode = (n.mode & S_IFMT) | (is_directory(n) ? 0700u : 0600u);
  n.unreadable = false;
  n.parent = n.owner;
  n.link_count = is_directory(n) ? 2 + n.subdirectories : std::max(n.names, 1u);
  found(finding_kind::inode, "inode " + hex_number(inode), "its record cannot be read",
        "made anew with its data, for root only");
  inode_record r;
  r.flags = (n.has_object ? inode_flag::object : 0) | (n.has_xattrs ? inode_flag::xattrs : 0);
  r.mode = n.mode, r.link_count = n.link_count, r.parent = n.parent;
  r.size = is_directory(n) ? inline_size_max : n.has_object ? n.object_size : n.inline_size;
  r.blocks = (r.size + 4095) / 4096 * 8;
  r.atime_ns = r.mtime_ns = r.ctime_ns = r.btime_ns = options_.now_ns;
  r.change = fresh_number();
  changed_[inode] = r;
}

void check_pass::check_file_links(std::uint64_t inode, node& n) {
  const std::string where = "inode " + hex_number(inode);
  if (n.names == 0 && n.link_count == 0) {
    if (n.is_orphan) return;
    found(finding_kind::orphan, where, "has no name, and nobody would remove it",
          "the next start of a server removes it");
    batch_.put(column::orphans, key_of(inode), {});
    return;
  }
  if (n.names == 0) return attach(inode, n);
  if (n.is_orphan) {
    found(finding_kind::orphan, where, "is an orphan, but has a name", "it is none any more");
    batch_.remove(column::orphans, key_of(inode));
  }
  if (n.link_count == n.names) return;
  found(finding_kind::link_count, where,
        fmt::format("{} links, {} names", n.link_count, n.names), "corrected");
  changed(inode).link_count = n.names;
}

void check_pass::check_directory_links(std::uint64_t inode, node& n) {
  const std::string where = "directory " + hex_number(inode);
  const std::string from = key_of(inode);
  if (n.owner == no_owner && n.link_count == 0 && n.subdirectories == 0) {
    bool is_empty = true;
    const kv_status s = kv_.scan(column::dirents, from, end_of(from), read_mode::blocking,
                                 [&is_empty](std::string_view, std::string_view) {
                                   return is_empty = false;
                                 });
    if (s == kv_status::found && is_empty) {
      if (n.is_orphan) return;
      found(finding_kind::orphan, where, "has no name, and nobody would remove it",
            "the next start of a server removes it");
      batch_.put(column::orphans, key_of(inode), {});
      return;
    }
  }
  if (n.owner == no_owner) return attach(inode, n);
  if (n.is_orphan) {
    found(finding_kind::orphan, where, "is an orphan, but has a name", "it is none any more");
    batch_.remove(column::orphans, from);
  }
  if (n.parent != n.owner) {
    found(finding_kind::parent, where,
          fmt::format("\"..\" leads to {:#x}, its name is in {:#x}", n.parent, n.owner),
          "corrected");
    changed(inode).parent = n.owner;
  }
  if (n.link_count == 2 + n.subdirectories) return;
  found(finding_kind::link_count, where,
        fmt::format("{} links, {} directories in it", n.link_count, n.subdirectories),
        "corrected");
  changed(inode).link_count = 2 + n.subdirectories;
}

// Directories that only lead to each other: one of each ring is cut loose.
void check_pass::find_cycles() {
  std::unordered_map<std::uint64_t, std::uint64_t> seen;  // directory -> the walk that saw it
  std::uint64_t walk = 0;
  for (auto& [start, unused] : nodes_) {
    ++walk;
    std::uint64_t at = start;
    for (;;) {
      node* n = find(at);
      if (n == nullptr || at == root_inode || n->owner == no_owner) break;
      const auto [place, fresh] = seen.emplace(at, walk);
      if (!fresh && place->second != walk) break;  // known since an earlier walk
      if (fresh) {
        at = n->owner;
        continue;
      }
      const std::uint64_t owner = n->owner;
      const std::string from = key_of(owner);
      (void)kv_.scan(column::dirents, from, end_of(from), read_mode::blocking,
                     [&](std::string_view key, std::string_view value) {
                       const std::optional<dirent_record> e = unpacked<dirent_record>(value);
                       if (!e || e->inode != at) return true;
                       drop_entry(owner, key.substr(sizeof owner), e);
                       return false;
                     });  // what it does not find, the next round does
      --find(owner)->subdirectories;
      n->owner = no_owner;
      n->names = 0;
      break;
    }
  }
}

// Gives what nothing leads to a name in /lost+found.
void check_pass::attach(std::uint64_t inode, node& n) {
  const std::uint64_t parent = lost_and_found();
  const std::string name = fmt::format("#{:x}", inode);
  found(finding_kind::unreachable,
        fmt::format("{} {:#x}", is_directory(n) ? "directory" : "inode", inode),
        "nothing leads there", fmt::format("named /{}/{}", lost_name, name));
  const std::uint64_t cookie = fresh_number();
  const std::uint8_t type = type_of_mode(n.mode);
  batch_.put(column::dirents, key_of(parent, name),
             packed(dirent_record{record_version, type, inode, cookie}));
  batch_.put(column::cookies, key_of(parent, cookie),
             packed(cookie_record{record_version, type, inode, name}));
  if (n.is_orphan) batch_.remove(column::orphans, key_of(inode));
  inode_record& r = changed(inode);
  r.link_count = is_directory(n) ? 2 + n.subdirectories : 1;
  if (!is_directory(n)) return;
  r.parent = parent;
  ++changed(parent).link_count;
}

std::uint64_t check_pass::lost_and_found() {
  if (lost_and_found_ != 0) return lost_and_found_;
  std::string name(lost_name);
  for (int i = 1;; ++i) {
    std::string raw;
    if (kv_.get(column::dirents, key_of(root_inode, name), raw, read_mode::blocking) !=
        kv_status::found)
      break;
    const std::optional<dirent_record> e = unpacked<dirent_record>(raw);
    const node* n = e ? find(e->inode) : nullptr;
    if (n != nullptr && is_directory(*n) && n->owner == root_inode)
      return lost_and_found_ = e->inode;
    name = fmt::format("{}.{}", lost_name, i);
  }
  const std::uint64_t inode = next_inode_;  // check_numbers() has made it right
  lost_and_found_ = inode;
  const std::uint64_t cookie = fresh_number();
  batch_.put(column::dirents, key_of(root_inode, name),
             packed(dirent_record{record_version, S_IFDIR >> 12, inode, cookie}));
  batch_.put(column::cookies, key_of(root_inode, cookie),
             packed(cookie_record{record_version, S_IFDIR >> 12, inode, name}));
  inode_record r;
  r.mode = S_IFDIR | 0700, r.link_count = 2, r.parent = root_inode;
  r.size = inline_size_max, r.blocks = 8, r.change = fresh_number();
  r.atime_ns = r.mtime_ns = r.ctime_ns = r.btime_ns = options_.now_ns;
  changed_[inode] = r;
  node& root = *find(root_inode);
  ++root.subdirectories, ++root.link_count;
  ++changed(root_inode).link_count;
  next_inode_ = inode + 1;
  batch_.put(column::meta, std::string(meta_next_inode), key_of(next_inode_));
  return inode;
}

}  // namespace tangelo
