// The parts of a round that look at records by themselves, and at the numbers of all of them.
#include <fmt/format.h>
#include <sys/stat.h>

#include "server/check_pass.h"

namespace tangelo {

namespace {

std::string client_name(std::string_view key) {
  std::string out = "client ";
  for (const char c : key.substr(0, sizeof(id128)))
    out += fmt::format("{:02x}", static_cast<unsigned char>(c));
  return out;
}

}  // namespace

bool check_pass::is_known_type(std::uint32_t mode) {
  const std::uint32_t type = mode & S_IFMT;
  return type == S_IFREG || type == S_IFDIR || type == S_IFLNK || type == S_IFCHR ||
         type == S_IFBLK || type == S_IFIFO || type == S_IFSOCK;
}

void check_pass::see_transno(std::uint64_t transno) {
  if (transno > highest_transno_) highest_transno_ = transno;
}

outcome<bool> check_pass::read_meta() {
  for (const auto& [name, to] : {std::pair{meta_boot, &boot_}, {meta_transno, &transno_},
                                 {meta_next_inode, &next_inode_}}) {
    std::string value;
    const kv_status s = kv_.get(column::meta, name, value, read_mode::blocking);
    if (s == kv_status::failed) return unreadable_store("meta");
    if (s == kv_status::found && value.size() == sizeof(std::uint64_t)) {
      *to = number_at(value, 0);
      continue;
    }
    found(finding_kind::meta, std::string(name), "missing or cut off",
          "set to the least that fits all other records");
    if (to == &transno_) transno_missing_ = true;
    batch_.put(column::meta, std::string(name), key_of(0));
  }
  return true;
}

outcome<bool> check_pass::read_inodes() {
  nodes_[root_inode].unreadable = true;  // until it has been read: what is in it stays in it
  return scan(column::inodes, [this](std::string_view key, std::string_view value) {
    const std::uint64_t inode = number_at(key, 0);
    if (key.size() != sizeof(std::uint64_t) || inode == 0) {
      found(finding_kind::inode, "a key of " + std::to_string(key.size()) + " bytes",
            "no inode number", "removed");
      batch_.remove(column::inodes, std::string(key));
      return true;
    }
    ++report.inodes;
    highest_inode_ = std::max(highest_inode_, inode);
    node& n = nodes_[inode];
    const std::optional<inode_record> r = unpacked<inode_record>(value);
    if (!r || !is_known_type(r->mode)) {
      n.unreadable = true;
      return true;
    }
    n.unreadable = false;
    n.mode = r->mode, n.flags = r->flags, n.link_count = r->link_count;
    n.size = r->size, n.blocks = r->blocks, n.parent = r->parent;
    see_transno(r->change);
    if (is_directory(n)) ++report.directories;
    return true;
  });
}

outcome<bool> check_pass::read_xattrs() {
  return scan(column::xattrs, [this](std::string_view key, std::string_view) {
    const std::uint64_t inode = number_at(key, 0);
    node* n = find(inode);
    if (n == nullptr || key.size() <= sizeof inode) {
      found(finding_kind::xattr, "inode " + hex_number(inode), "an attribute of no inode",
            "removed");
      batch_.remove(column::xattrs, std::string(key));
    } else if (!n->has_xattrs) {
      n->has_xattrs = true;
      if ((n->flags & inode_flag::xattrs) != 0 || n->unreadable) return true;
      found(finding_kind::xattr, "inode " + hex_number(inode),
            "has attributes, but its record says that it never had", "the record is corrected");
      changed(inode).flags |= inode_flag::xattrs;
    }
    return true;
  });
}

outcome<bool> check_pass::read_small_data() {
  return scan(column::inline_data, [this](std::string_view key, std::string_view value) {
    const std::uint64_t inode = number_at(key, 0);
    const std::string where = "inode " + hex_number(inode);
    node* n = find(inode);
    std::string_view what;
    if (n == nullptr || key.size() != sizeof inode)
      what = "data of no file";
    else if (!n->unreadable && !is_file(*n) && !is_link(*n))
      what = "data of what is no file";
    else if (is_file(*n) && (n->flags & inode_flag::object) != 0)
      what = "old data of a file whose data is in an object";
    if (!what.empty()) {
      found(finding_kind::small_data, where, std::string(what), "removed");
      batch_.remove(column::inline_data, std::string(key));
      return true;
    }
    n->has_inline = true;
    n->inline_size = static_cast<std::uint32_t>(value.size());
    const std::size_t most = is_link(*n)      ? link_target_size_max
                             : n->unreadable ? inline_size_max
                                             : std::min<std::uint64_t>(n->size, inline_size_max);
    if (value.size() > most) {
      found(finding_kind::small_data, where,
            fmt::format("{} bytes of data, at most {} belong to it", value.size(), most), "cut");
      batch_.put(column::inline_data, std::string(key), std::string(value.substr(0, most)));
      n->inline_size = static_cast<std::uint32_t>(most);
    }
    return true;
  });
}

outcome<bool> check_pass::read_redo() {
  const std::size_t header_size = packed(redo_record{}).size();
  return scan(column::redo, [this, header_size](std::string_view key, std::string_view value) {
    const std::uint64_t transno = number_at(key, 0);
    const std::optional<redo_record> r = unpacked<redo_record>(value);
    const bool good = r && value.size() >= header_size && key.size() == 10 &&
                      r->kind >= redo_kind::write && r->kind <= redo_kind::trim;
    if (!good) {
      found(finding_kind::redo, "transaction " + hex_number(transno), "its record cannot be read",
            "removed: bytes of one small write may be lost");
      batch_.remove(column::redo, std::string(key));
      return true;
    }
    see_transno(transno);
    highest_inode_ = std::max(highest_inode_, r->inode);
    if (r->kind == redo_kind::remove) removed_.insert(r->inode);
    if (node* n = find(r->inode); n != nullptr) n->has_redo = true;
    return true;
  });
}

outcome<bool> check_pass::read_orphans() {
  return scan(column::orphans, [this](std::string_view key, std::string_view) {
    const std::uint64_t inode = number_at(key, 0);
    if (node* n = find(inode); n != nullptr && key.size() == sizeof inode) {
      n->is_orphan = true;
      return true;
    }
    found(finding_kind::orphan, "inode " + hex_number(inode), "is an orphan, but does not exist",
          "the record is removed");
    batch_.remove(column::orphans, std::string(key));
    return true;
  });
}

outcome<bool> check_pass::read_clients() {
  const outcome<bool> read =
      scan(column::clients, [this](std::string_view key, std::string_view value) {
        if (key.size() == sizeof(id128))
          see_client(key, value);
        else
          see_range(key, value);
        return true;
      });
  if (!read) return read;
  std::uint64_t end = 0;
  for (const auto& [first, range] : ranges_) {
    if (first < end) {
      found(finding_kind::client, client_name(range.second),
            "inode numbers from " + hex_number(first) + " were given out twice",
            "the second range is removed: its client asks for another one");
      batch_.remove(column::clients, range.second);
    }
    end = std::max(end, range.first);
  }
  range_end_ = end;
  return true;
}

void check_pass::see_client(std::string_view key, std::string_view value) {
  id128 id{};
  copy_bytes(id, bytes_of(key));
  const std::optional<saved_client> c = unpacked<saved_client>(value);
  if (c) {
    clients_[id] = c->incarnation;
    return;
  }
  found(finding_kind::client, client_name(key), "its record cannot be read",
        "removed: when it comes back it is told that it was written off");
  batch_.remove(column::clients, std::string(key));
}

void check_pass::see_range(std::string_view key, std::string_view value) {
  id128 id{};
  copy_bytes(id, bytes_of(key));
  const std::uint64_t first = number_at(key, sizeof id);
  const std::optional<saved_range> r = unpacked<saved_range>(value);
  const auto client = clients_.find(id);  // its record comes before its ranges
  const bool well = key.size() == sizeof id + sizeof first && r && r->count != 0 &&
                    first + r->count > first;
  if (well && client != clients_.end()) {
    ranges_[first] = {first + r->count, std::string(key)};
    return;
  }
  found(finding_kind::client, client_name(key),
        well ? "inode numbers of a client that is not known" : "a range that cannot be read",
        "removed");
  batch_.remove(column::clients, std::string(key));
}

std::string check_pass::reply_trouble(std::string_view key, std::string_view value) {
  if (key.size() != sizeof(id128) + sizeof(std::uint16_t)) return "of no client and slot";
  id128 id{};
  copy_bytes(id, bytes_of(key));
  const std::optional<saved_reply> r = unpacked<saved_reply>(value);
  if (!r || r->body.size() > answer_size_max) return "cannot be read";
  const auto client = clients_.find(id);
  if (client == clients_.end()) return "of a client that is not known";
  if (client->second != r->incarnation) return "of another life of its client";
  if (name_of(static_cast<opcode>(r->op)).empty()) return "of an unknown operation";
  see_transno(r->transno);
  return {};
}

outcome<bool> check_pass::read_replies() {
  return scan(column::replies, [this](std::string_view key, std::string_view value) {
    const std::string what = reply_trouble(key, value);
    if (what.empty()) return true;
    found(finding_kind::reply, client_name(key) + ", slot " +
                                   std::to_string(number_at(key, sizeof(id128))),
          what, "removed");
    batch_.remove(column::replies, std::string(key));
    return true;
  });
}

void check_pass::check_numbers() {
  if (transno_missing_)
    batch_.put(column::meta, std::string(meta_transno), key_of(highest_transno_));
  const std::uint64_t least = std::max(highest_inode_ + 1, range_end_);
  if (next_inode_ >= least) return;
  found(finding_kind::meta, std::string(meta_next_inode),
        fmt::format("{:#x} would be given out again: numbers up to {:#x} are in use", next_inode_,
                    least - 1),
        "raised");
  batch_.put(column::meta, std::string(meta_next_inode), key_of(least));
  next_inode_ = least;
}

// With a boot generation that is too low, what repairs would number anew is not new. So it is
// mended alone, and another round sees the rest.
bool check_pass::check_boot() {
  const std::uint64_t highest = std::max(highest_transno_, transno_);
  if ((highest >> 32) <= boot_) return true;
  if (options_.repair) {
    report = {};
    batch_ = {};
    changed_.clear();
    remove_objects_.clear();
  }
  found(finding_kind::meta, std::string(meta_boot),
        fmt::format("{} is older than transaction {:#x}: copies of different times?", boot_,
                    highest),
        "raised");
  boot_ = highest >> 32;
  batch_.put(column::meta, std::string(meta_boot), key_of(boot_));  // and once more by apply()
  return !options_.repair;
}

}  // namespace tangelo
