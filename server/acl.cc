#include "server/acl.h"

#include <algorithm>

#include "base/check.h"

namespace tangelo {

namespace {

constexpr std::uint32_t acl_version = 2;
constexpr std::size_t header_size = 4;
constexpr std::size_t entry_size = 8;
constexpr std::uint32_t no_id = UINT32_MAX;  // of entries without a name

bool is_named(acl_tag tag) { return tag == acl_tag::user || tag == acl_tag::group; }

}  // namespace

bool in_group(const credential& who, std::uint32_t gid) noexcept {
  if (who.gid == gid) return true;
  const auto end = who.groups.begin() + who.group_count;
  return std::find(who.groups.begin(), end, gid) != end;
}

std::optional<acl> acl::parse(std::string_view value) {
  if (value.size() < header_size || (value.size() - header_size) % entry_size != 0)
    return std::nullopt;
  wire_reader r(bytes_of(value));
  std::uint32_t version = 0;
  r(version);
  if (version != acl_version) return std::nullopt;
  acl list;
  for (std::size_t n = (value.size() - header_size) / entry_size; n > 0; --n) {
    std::uint16_t tag = 0;
    acl_entry e;
    r(tag), r(e.permission), r(e.id);
    e.tag = static_cast<acl_tag>(tag);
    if (!is_named(e.tag)) e.id = no_id;
    list.entries_.push_back(e);
  }
  if (!list.is_valid()) return std::nullopt;
  return list;
}

// One of each unnamed entry, in order; a mask where there are names.
bool acl::is_valid() const {
  std::uint16_t seen = 0;
  for (const acl_entry& e : entries_) {
    const auto bit = static_cast<std::uint16_t>(e.tag);
    if (e.permission > 7 || seen > (static_cast<unsigned>(bit) << 1) - 1) return false;
    switch (e.tag) {
      case acl_tag::owner:
      case acl_tag::owning_group:
      case acl_tag::mask:
      case acl_tag::other:
        if ((seen & bit) != 0) return false;
        break;
      case acl_tag::user:
      case acl_tag::group:
        if (e.id == no_id) return false;
        break;
      default: return false;
    }
    seen |= bit;
  }
  constexpr std::uint16_t needed = 0x01 | 0x04 | 0x20;
  constexpr std::uint16_t names = 0x02 | 0x08;
  constexpr std::uint16_t mask = 0x10;
  return (seen & needed) == needed && ((seen & names) == 0 || (seen & mask) != 0);
}

std::string acl::packed() const {
  std::string value(header_size + entries_.size() * entry_size, '\0');
  wire_writer w({reinterpret_cast<std::byte*>(value.data()), value.size()});
  std::uint32_t version = acl_version;
  w(version);
  for (const acl_entry& e : entries_) {
    auto tag = static_cast<std::uint16_t>(e.tag);
    w(tag), w(e.permission), w(e.id);
  }
  CHECK(w.ok());
  return value;
}

acl_entry& acl::group_class() {
  acl_entry* found = nullptr;
  for (acl_entry& e : entries_)
    if (e.tag == acl_tag::mask || e.tag == acl_tag::owning_group) found = &e;  // the mask is behind
  CHECK(found != nullptr);
  return *found;
}

std::uint32_t acl::mode_bits() const {
  std::uint32_t mode = std::uint32_t{group_class().permission} << 3;
  for (const acl_entry& e : entries_) {
    if (e.tag == acl_tag::owner) mode |= std::uint32_t{e.permission} << 6;
    if (e.tag == acl_tag::other) mode |= e.permission;
  }
  return mode;
}

bool acl::is_equivalent_to_mode() const { return entries_.size() == 3; }

void acl::restrict_to(std::uint32_t& mode) {
  const std::uint32_t asked = mode;
  for (acl_entry& e : entries_) {
    if (e.tag == acl_tag::owner) e.permission &= (asked >> 6) & 7;
    if (e.tag == acl_tag::other) e.permission &= asked & 7;
  }
  group_class().permission &= (asked >> 3) & 7;
  mode = (mode & ~0777u) | mode_bits();
}

void acl::set_mode(std::uint32_t mode) {
  for (acl_entry& e : entries_) {
    if (e.tag == acl_tag::owner) e.permission = (mode >> 6) & 7;
    if (e.tag == acl_tag::other) e.permission = mode & 7;
  }
  group_class().permission = (mode >> 3) & 7;
}

bool acl::allows(const credential& who, std::uint32_t owning_gid, std::uint32_t want) const {
  std::uint32_t masked = 7;
  for (const acl_entry& e : entries_)
    if (e.tag == acl_tag::mask) masked = e.permission;
  bool member = false;
  for (const acl_entry& e : entries_) {
    const bool enough = (e.permission & want) == want;
    switch (e.tag) {
      case acl_tag::owner:
      case acl_tag::mask: break;
      case acl_tag::user:
        if (e.id == who.uid) return (e.permission & masked & want) == want;
        break;
      case acl_tag::owning_group:
      case acl_tag::group:
        if (!in_group(who, e.tag == acl_tag::group ? e.id : owning_gid)) break;
        if (enough) return (masked & want) == want;
        member = true;
        break;
      case acl_tag::other: return !member && enough;
    }
  }
  return false;
}

}  // namespace tangelo
