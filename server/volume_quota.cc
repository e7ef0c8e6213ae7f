// Quotas as operations meet them: who may take how much, and the attributes that say so.
//
// What an operation takes is known when its records are (check_quotas, before its batch). Object
// I/O cannot be taken back, so what it may take is asked for and reserved before it (need_room);
// that operation is not refused any more, even if the disk takes some blocks more than its bytes.
// Nothing that gives back is refused, nor what was answered before a crash and is made again.
#include <sys/stat.h>
#include <sys/xattr.h>

#include <algorithm>
#include <charconv>

#include "base/log.h"
#include "server/quota_names.h"
#include "server/volume.h"

namespace tangelo {

namespace {

constexpr std::uint64_t block_size = 512;
constexpr std::uint64_t page_size = 4096;
constexpr std::size_t list_line_count_max = 256;  // so that it fits into an attribute

// The credential leads every body.
struct credential_call {
  credential who;
  template <class Self, class V>
  static void fields(Self& s, V& v) {
    v(s.who);
  }
};

std::optional<std::uint64_t> number_of(std::string_view text) {
  std::uint64_t n = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), n);
  if (error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return n;
}

bool is_made(opcode op) noexcept {
  return op == opcode::create || op == opcode::mknod || op == opcode::mkdir ||
         op == opcode::symlink || op == opcode::tmpfile;
}

// Whether it is this operation's to be refused.
bool is_asked_for(const operation& o, const quota_change& c) noexcept {
  if (o.op == opcode::setattr) return c.inodes > 0;  // a new owner; a truncate gives back
  return (is_made(o.op) || o.op == opcode::write) && (c.inodes > 0 || c.blocks > 0);
}

}  // namespace

std::optional<quota_name> parse_quota_name(std::string_view name) {
  if (!is_quota_name(name)) return std::nullopt;
  name.remove_prefix(quota_prefix.size());
  if (name == "quota") return quota_name{quota_name::form::tree, {}};
  if (name == "quotas") return quota_name{quota_name::form::list, {}};
  const bool is_list = name.starts_with("quotas.");
  if (!is_list && !name.starts_with("quota.")) return std::nullopt;
  name.remove_prefix(is_list ? 7 : 6);
  const std::size_t dot = name.find('.');
  if (dot == name.npos) return std::nullopt;
  const std::optional<std::uint64_t> id = number_of(name.substr(dot + 1));
  if (!id) return std::nullopt;
  for (const quota_kind kind : {quota_kind::user, quota_kind::group, quota_kind::tree}) {
    if (name.substr(0, dot) != name_of(kind)) continue;
    if (!is_list && (kind == quota_kind::tree || *id > UINT32_MAX)) return std::nullopt;
    return quota_name{is_list ? quota_name::form::list : quota_name::form::one, {kind, *id}};
  }
  return std::nullopt;
}

bool parse_limits(std::string_view text, saved_quota& limits) {
  bool any = false;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find(' '), text.size());
    const std::string_view word = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    const std::size_t sign = word.find('=');
    if (sign == word.npos) return false;
    const std::optional<std::uint64_t> n = number_of(word.substr(sign + 1));
    const std::string_view what = word.substr(0, sign);
    if (!n || (what != "bytes" && what != "inodes")) return false;
    (what == "bytes" ? limits.bytes_max : limits.inodes_max) = *n;
    any = true;
  }
  return any;
}

std::string text_of_quota(const saved_quota& q) {
  std::string out = "bytes=" + std::to_string(q.bytes_max) +
                    " inodes=" + std::to_string(q.inodes_max) +
                    " used_bytes=" + std::to_string(q.blocks * block_size) +
                    " used_inodes=" + std::to_string(q.inodes);
  if (q.root != 0) out += " root=" + std::to_string(q.root);
  if (q.making != 0) out += " state=counting";
  return out;
}

// Usage is right as of the batch before `last_boot` ended, if that server counted at all.
outcome<bool> volume::load_quotas(std::uint64_t last_boot, kv_batch& batch) {
  if (!quotas_.load(parts_.kv)) return failure{damaged("quotas cannot be read")};
  std::string counted;
  const kv_status s = parts_.kv.get(column::meta, meta_counted, counted, read_mode::blocking);
  batch.put(column::meta, std::string(meta_counted), key_of(boot_));
  if (s == kv_status::found && number_at(counted, 0) == last_boot) return true;
  std::optional<quota_table::rows> usage = counted_usage(parts_.kv, quotas_);
  if (!usage) return failure{damaged("inodes cannot be read")};
  for (const auto& [key, q] : quotas_.all()) (*usage)[key];  // limits of who has nothing
  std::vector<quota_update> updates;
  for (auto& [key, q] : *usage) {
    saved_quota now = q;
    if (const saved_quota* limits = quotas_.find(key); limits != nullptr) {
      now = *limits;
      now.blocks = q.blocks, now.inodes = q.inodes;
    }
    updates.push_back({key, now});
  }
  put_quotas(updates, batch);
  quotas_.apply(updates);
  log_notice("{}: usage of {} users, groups and trees counted", options_.where, updates.size());
  return true;
}

// By limits of users and groups. Of pages it is not known whose they were: the kernel writes them
// in its own name.
bool volume::is_unlimited(const operation& o) const {
  const std::optional<credential_call> caller = decode<credential_call>(o.call->body);
  if (!caller || caller_of(caller->who).uid != 0) return false;
  if (o.op != opcode::write) return true;
  const std::optional<write_call> w = decode<write_call>(o.call->body);
  return w && (w->flags & write_flag::of_pages) == 0;
}

error_code volume::check_quotas(const operation& o,
                                const std::vector<quota_change>& changes) const {
  if (o.call == nullptr || o.replay || o.has_room) return error_code::ok;
  for (const quota_change& c : changes) {
    if (!is_asked_for(o, c) || quotas_.allows(c, false)) continue;
    if (!quotas_.allows(c, is_unlimited(o))) return error_code::quota;
  }
  return error_code::ok;
}

// Before object I/O that gives a file room: whether its owner, its group and its tree may have it.
error_code volume::need_room(operation& o, std::uint64_t inode, const inode_record& r,
                             std::uint64_t offset, std::uint64_t size) {
  release_quotas(o);
  if (o.replay) return error_code::ok;
  const bool is_inline = (r.flags & inode_flag::object) == 0;
  const std::uint64_t from = offset / page_size * page_size;
  const std::uint64_t to = (offset + size + page_size - 1) / page_size * page_size;
  std::uint64_t wanted = (to - from) / block_size;
  if (is_inline) {  // its bytes, at most a page, go to the object, too
    const bool has_page = shown_blocks(r) != 0;
    if (has_page && from == 0) wanted -= page_size / block_size;
  } else if (o.blocks_inside) {
    wanted -= std::min(wanted, *o.blocks_inside);
  }
  const std::array<quota_key, 3> of = charged(r);
  const bool fits = std::all_of(of.begin(), of.end(), [&](const quota_key& key) {
    const quota_change more{key, static_cast<std::int64_t>(wanted), 0};
    return quotas_.allows(more, false) || quotas_.allows(more, is_unlimited(o));
  });
  if (fits) {
    o.has_room = true;
    o.room_of = of;
    o.room_blocks = wanted;
    for (const quota_key& key : of) quotas_.reserve(key, wanted);
    return error_code::ok;
  }
  if (is_inline || o.blocks_inside) return error_code::quota;
  o.working = true;  // what of the range has its room already?
  parts_.objects.blocks_inside(inode, from, to - from,
                               guarded([this, &o](op_result<std::uint64_t> n) {
                                 o.blocks_inside = n ? *n : 0;
                                 run(o);
                               }));
  return error_code::again_later;
}

void volume::release_quotas(operation& o) {
  if (o.room_blocks != 0)
    for (const quota_key& key : o.room_of) quotas_.release(key, o.room_blocks);
  o.room_blocks = 0;
}

// setxattr and removexattr. Who may: as for the trusted namespace.
error_code volume::set_quota(operation& o, transaction& t, const xattr_call& c, bool removes) {
  const std::optional<quota_name> name = parse_quota_name(c.name);
  if (!name || name->what == quota_name::form::list) return error_code::not_supported;
  const op_result<inode_record*> r = t.inode(c.inode);
  if (!r) return r.error();
  const bool was_allowed = o.replay && options_.rules.believe_clients();
  if (!was_allowed && !has_power(caller_of(c.who), power::sys_admin))
    return error_code::not_permitted;
  const bool is_tree = name->what == quota_name::form::tree;
  if (is_tree ? !S_ISDIR((*r)->mode) : c.inode != root_inode) return error_code::invalid;
  const bool has_tree = is_tree && is_tree_root(c.inode, **r);
  const quota_key key = is_tree ? quota_key{quota_kind::tree, (*r)->tree} : name->key;
  const saved_quota* now = is_tree && !has_tree ? nullptr : quotas_.find(key);
  saved_quota limits = now == nullptr ? saved_quota{} : *now;
  const bool is_set = has_tree || limits.bytes_max != 0 || limits.inodes_max != 0;
  if (!is_set && (removes || (c.flags & XATTR_REPLACE) != 0)) return error_code::no_data;
  if (is_set && !removes && (c.flags & XATTR_CREATE) != 0) return error_code::exists;
  if (!removes && !parse_limits(text_of(o.call->payload_in), limits)) return error_code::invalid;
  if (removes) limits.bytes_max = limits.inodes_max = 0;
  t.touch(c.inode, aspect::life);
  if (is_tree && !removes && !has_tree) return make_tree(o, t, c.inode, limits);
  if (is_tree && removes)
    t.edit_quota(key, std::nullopt);
  else
    t.edit_quota(key, limits);
  return error_code::ok;
}

op_result<std::string> volume::quota_text(const xattr_call& c,
                                          const inode_record& r) const {
  const std::optional<quota_name> name = parse_quota_name(c.name);
  if (!name) return failure{error_code::not_supported};
  if (name->what == quota_name::form::tree) {
    const saved_quota* q = quotas_.find({quota_kind::tree, r.tree});
    return q == nullptr ? op_result<std::string>(failure{error_code::no_data}) : text_of_quota(*q);
  }
  if (c.inode != root_inode) return failure{error_code::invalid};
  const credential who = caller_of(c.who);
  const bool sees_all = has_power(who, power::sys_admin);
  if (name->what == quota_name::form::one) {
    const bool own = name->key.kind == quota_kind::user
                         ? name->key.id == who.uid
                         : is_member(who, static_cast<std::uint32_t>(name->key.id));
    if (!own && !sees_all) return failure{error_code::not_permitted};
    const saved_quota* q = quotas_.find(name->key);
    return text_of_quota(q == nullptr ? saved_quota{} : *q);
  }
  if (!sees_all) return failure{error_code::not_permitted};
  std::string out;
  std::size_t left = list_line_count_max;
  const quota_table::rows& all = quotas_.all();
  for (auto at = all.upper_bound(name->key); at != all.end() && left > 0; ++at) {
    out += std::string(name_of(at->first.kind)) + " " + std::to_string(at->first.id) + " " +
           text_of_quota(at->second) + "\n";
    --left;
  }
  return out;
}

// statfs within a tree shows the tree's room, if that is less.
error_code volume::add_tree_room(transaction& t, std::uint64_t inode, statfs_answer& a) {
  const op_result<inode_record*> r = t.inode(inode);
  if (!r) return r.error() == error_code::stale ? error_code::ok : r.error();
  const saved_quota* q = quotas_.find({quota_kind::tree, (*r)->tree});
  if (q == nullptr || q->making != 0) return error_code::ok;
  const std::uint64_t unit = a.block_size / block_size;
  if (const std::uint64_t most = q->bytes_max / a.block_size; q->bytes_max != 0 && unit != 0) {
    const std::uint64_t used = (q->blocks + unit - 1) / unit;
    a.blocks = std::min(a.blocks, most);
    const std::uint64_t left = a.blocks < used ? 0 : a.blocks - used;
    a.blocks_free = std::min(a.blocks_free, left);
    a.blocks_available = std::min(a.blocks_available, left);
  }
  if (q->inodes_max != 0) {
    a.files = std::min(a.files, q->inodes_max);
    a.files_free = std::min(a.files_free, a.files < q->inodes ? 0 : a.files - q->inodes);
  }
  return error_code::ok;
}

}  // namespace tangelo
