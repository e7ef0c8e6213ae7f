// The part of a round that looks at names: each stands twice, as an entry (parent, name) and in the
// listing (parent, cookie). Where one of them is damaged the other one restores it.
#include <fmt/format.h>
#include <sys/stat.h>

#include "server/check_pass.h"
#include "server/volume.h"

namespace tangelo {

namespace {

constexpr std::uint64_t first_cookie = 3;  // 1 and 2 are "." and ".."
constexpr std::size_t parent_size = sizeof(std::uint64_t);

bool same(const dirent_record& a, const cookie_record& b, std::string_view name) {
  return a.inode == b.inode && a.type == b.type && b.name == name;
}

}  // namespace

std::string check_pass::place(std::uint64_t parent, std::string_view name) const {
  return fmt::format("directory {:#x}, name \"{}\"", parent, name);
}

outcome<bool> check_pass::read_entries() {
  return scan(column::dirents, [this](std::string_view key, std::string_view value) {
    if (key.size() > parent_size) {
      see_entry(number_at(key, 0), key.substr(parent_size), value);
    } else {
      found(finding_kind::entry, "a key of " + std::to_string(key.size()) + " bytes",
            "not a directory and a name", "removed");
      batch_.remove(column::dirents, std::string(key));
    }
    return true;
  });
}

void check_pass::see_entry(std::uint64_t parent, std::string_view name, std::string_view value) {
  const std::optional<dirent_record> e = unpacked<dirent_record>(value);
  if (!e) return restore_entry(parent, name);
  const node* dir = find(parent);
  const node* target = find(e->inode);
  std::string_view what;
  if (check_name(name) != error_code::ok || name == "." || name == "..")
    what = "not a name";
  else if (dir == nullptr)
    what = "in a directory that does not exist";
  else if (!dir->unreadable && !is_directory(*dir))
    what = "in what is no directory";
  else if (target == nullptr)
    what = "leads to an inode that does not exist";
  else if (e->inode == root_inode)
    what = "leads to the root";
  else if (is_directory(*target) && target->names != 0)
    what = "a second name of a directory";
  if (what.empty()) return count_entry(parent, name, *e);
  found(finding_kind::entry, place(parent, name), std::string(what), "removed");
  drop_entry(parent, name, e);
}

void check_pass::count_entry(std::uint64_t parent, std::string_view name,
                             const dirent_record& e) {
  ++report.entries;
  node& target = *find(e.inode);
  if (target.unreadable && target.mode == 0) target.mode = std::uint32_t{e.type} << 12;
  ++target.names;
  if (is_directory(target)) {
    target.owner = parent;
    ++find(parent)->subdirectories;
  }
  see_transno(e.cookie);
  if (target.unreadable || e.type == type_of_mode(target.mode))
    return check_listing(parent, name, e);
  found(finding_kind::entry, place(parent, name), "says another type than its inode",
        "corrected");
  dirent_record good = e;
  good.type = type_of_mode(target.mode);
  batch_.put(column::dirents, key_of(parent, name), packed(good));
  batch_.put(column::cookies, key_of(parent, e.cookie),
             packed(cookie_record{record_version, good.type, e.inode, name}));
}

// An entry needs its line in the listing.
void check_pass::check_listing(std::uint64_t parent, std::string_view name,
                               const dirent_record& e) {
  std::string raw;
  const std::string key = key_of(parent, e.cookie);
  const kv_status s = kv_.get(column::cookies, key, raw, read_mode::blocking);
  const std::optional<cookie_record> c =
      s == kv_status::found ? unpacked<cookie_record>(raw) : std::nullopt;
  if (c && same(e, *c, name) && e.cookie >= first_cookie) return;
  const bool taken = (c && c->name != name) || e.cookie < first_cookie;
  found(finding_kind::listing, place(parent, name),
        taken ? "another name has its place in the listing" : "missing in the listing, or wrong",
        taken ? "listed at a place of its own" : "listed again");
  dirent_record good = e;
  if (taken) {
    good.cookie = fresh_number();
    batch_.put(column::dirents, key_of(parent, name), packed(good));
  }
  batch_.put(column::cookies, key_of(parent, good.cookie),
             packed(cookie_record{record_version, good.type, good.inode, name}));
}

// An entry that cannot be read: the listing knows what it was, or it goes.
void check_pass::restore_entry(std::uint64_t parent, std::string_view name) {
  std::optional<dirent_record> good;
  const std::string from = key_of(parent);
  const kv_status s = kv_.scan(
      column::cookies, from, end_of(from), read_mode::blocking,
      [&](std::string_view key, std::string_view value) {
        const std::optional<cookie_record> c = unpacked<cookie_record>(value);
        if (!c || c->name != name || find(c->inode) == nullptr) return true;
        good = dirent_record{record_version, c->type, c->inode, number_at(key, parent_size)};
        return false;
      });
  const bool restored = s == kv_status::found && good && find(parent) != nullptr;
  found(finding_kind::entry, place(parent, name), "cannot be read",
        restored ? "restored from the listing" : "removed");
  if (!restored) return drop_entry(parent, name, std::nullopt);
  batch_.put(column::dirents, key_of(parent, name), packed(*good));
  count_entry(parent, name, *good);
}

void check_pass::drop_entry(std::uint64_t parent, std::string_view name,
                            const std::optional<dirent_record>& e) {
  batch_.remove(column::dirents, key_of(parent, name));
  if (!e) return;
  std::string raw;
  const std::string key = key_of(parent, e->cookie);
  if (kv_.get(column::cookies, key, raw, read_mode::blocking) != kv_status::found) return;
  const std::optional<cookie_record> c = unpacked<cookie_record>(raw);
  if (!c || c->name == name) batch_.remove(column::cookies, key);
}

outcome<bool> check_pass::read_cookies() {
  return scan(column::cookies, [this](std::string_view key, std::string_view value) {
    if (key.size() == 2 * parent_size) {
      see_cookie(number_at(key, 0), number_at(key, parent_size), value);
    } else {
      found(finding_kind::listing, "a key of " + std::to_string(key.size()) + " bytes",
            "not a directory and a place", "removed");
      batch_.remove(column::cookies, std::string(key));
    }
    return true;
  });
}

// A line of a listing needs its entry.
void check_pass::see_cookie(std::uint64_t parent, std::uint64_t cookie, std::string_view value) {
  const std::string key = key_of(parent, cookie);
  const std::optional<cookie_record> c = unpacked<cookie_record>(value);
  std::string raw;
  const bool has_entry = c && kv_.get(column::dirents, key_of(parent, c->name), raw,
                                      read_mode::blocking) == kv_status::found;
  const std::optional<dirent_record> e =
      has_entry ? unpacked<dirent_record>(raw) : std::nullopt;
  if (e && e->cookie == cookie) return;  // check_listing() has compared them
  if (has_entry && !e) return;           // restore_entry() has used it
  if (!c && cookie != 0) {
    // Whose it was is in the entry, and check_listing() writes it again; else it goes.
    found(finding_kind::listing, fmt::format("directory {:#x}, place {:#x}", parent, cookie),
          "cannot be read", "removed; its name is listed again");
    batch_.remove(column::cookies, key);
    return;
  }
  const node* dir = find(parent);
  const node* target = c ? find(c->inode) : nullptr;
  const bool lost = c && !has_entry && cookie >= first_cookie && dir != nullptr &&
                    is_directory(*dir) && target != nullptr && c->inode != root_inode &&
                    check_name(c->name) == error_code::ok &&
                    !(is_directory(*target) && target->names != 0);
  found(finding_kind::listing,
        place(parent, c ? c->name : std::string_view("?")),
        has_entry ? "is listed twice" : "is listed, but has no entry",
        lost ? "the entry is restored" : "removed from the listing");
  if (!lost) {
    batch_.remove(column::cookies, key);
    return;
  }
  const dirent_record good{record_version, c->type, c->inode, cookie};
  batch_.put(column::dirents, key_of(parent, c->name), packed(good));
  count_entry(parent, c->name, good);
}

}  // namespace tangelo
