#include "server/transaction.h"

#include <algorithm>

namespace tangelo {

error_code transaction::translate(kv_status s, missed_read missed, error_code when_absent) {
  switch (s) {
    case kv_status::found: return error_code::ok;
    case kv_status::absent: return when_absent;
    case kv_status::failed: return error_code::io;
    case kv_status::would_block: break;
  }
  misses_.push_back(std::move(missed));
  return error_code::again_later;
}

transaction::held_inode* transaction::find(std::uint64_t number) {
  for (held_inode& h : inodes_)
    if (h.number == number) return &h;
  return nullptr;
}

op_result<inode_record*> transaction::inode(std::uint64_t number) {
  if (held_inode* h = find(number); h != nullptr) {
    if (h->removed) return failure{error_code::stale};
    return &h->record;
  }
  look(aspect::life, number);
  std::string raw;
  const std::string key = key_of(number);
  const kv_status s = store_.get(column::inodes, key, raw, mode_);
  const error_code e = translate(s, {column::inodes, key, {}}, error_code::stale);
  if (e != error_code::ok) return failure{e};
  const std::optional<inode_record> record = unpacked<inode_record>(raw);
  if (!record) return failure{error_code::io};
  inodes_.push_back({number, *record, false, false, false, *record});
  return &inodes_.back().record;
}

op_result<dirent_record> transaction::entry(std::uint64_t parent, std::string_view name) {
  looked_.push_back(key_of_name(parent, name));
  std::string raw;
  const std::string key = key_of(parent, name);
  const kv_status s = store_.get(column::dirents, key, raw, mode_);
  const error_code e = translate(s, {column::dirents, key, {}}, error_code::no_entry);
  if (e != error_code::ok) return failure{e};
  const std::optional<dirent_record> record = unpacked<dirent_record>(raw);
  if (!record) return failure{error_code::io};
  return *record;
}

op_result<std::string> transaction::value(column where, const std::string& key) {
  if (where == column::inline_data) look(aspect::data, number_at(key, 0));
  std::string raw;
  const kv_status s = store_.get(where, key, raw, mode_);
  const error_code e = translate(s, {where, key, {}}, error_code::no_data);
  if (e != error_code::ok) return failure{e};
  return raw;
}

error_code transaction::scan(column where, const std::string& from, const std::string& until,
                             const kv_store::visitor& visit) {
  if (where == column::cookies) look(aspect::names, number_at(from, 0));
  const kv_status s = store_.scan(where, from, until, mode_, visit);
  return translate(s, {where, from, until}, error_code::ok);
}

void transaction::touch(std::uint64_t number) {
  held_inode* h = find(number);
  CHECK(h != nullptr);
  if (!std::exchange(h->changed, true)) change({aspect::shown, number, 0});
}

void transaction::touch_quietly(std::uint64_t number) {
  held_inode* h = find(number);
  CHECK(h != nullptr);
  h->quietly = true;
}

inode_record& transaction::add_inode(std::uint64_t number, const inode_record& record) {
  CHECK(find(number) == nullptr);
  change({aspect::life, number, 0});
  change({aspect::shown, number, 0});
  inodes_.push_back({number, record, true, false, false, std::nullopt});
  return inodes_.back().record;
}

void transaction::remove_inode(std::uint64_t number) {
  touch(number, aspect::life);
  find(number)->removed = true;
}

void transaction::change_name(std::uint64_t parent, std::string_view name) {
  change(key_of_name(parent, name));
  change({aspect::names, parent, 0});
}

void transaction::put_entry(std::uint64_t parent, std::string_view name, std::uint64_t inode,
                            std::uint8_t type, std::uint64_t cookie) {
  change_name(parent, name);
  entries_.push_back({parent, std::string(name), inode, type, cookie});
}

void transaction::remove_entry(std::uint64_t parent, std::string_view name,
                               std::uint64_t cookie) {
  change_name(parent, name);
  batch_.remove(column::dirents, key_of(parent, name));
  batch_.remove(column::cookies, key_of(parent, cookie));
}

void transaction::add_redo(const redo_record& record, byte_span bytes) {
  redos_.push_back({record, std::string(text_of(bytes))});
}

std::vector<quota_change> transaction::quota_changes() const {
  std::vector<quota_change> out;
  const auto charge = [&out](const inode_record& r, std::int64_t sign) {
    for (const quota_key& key : charged(r)) {
      if (key.kind == quota_kind::tree && key.id == 0) continue;
      const auto is_it = [&key](const quota_change& c) { return c.key == key; };
      auto at = std::find_if(out.begin(), out.end(), is_it);
      if (at == out.end()) at = out.insert(at, quota_change{key});
      at->blocks += sign * static_cast<std::int64_t>(shown_blocks(r));
      at->inodes += sign;
    }
  };
  for (const held_inode& h : inodes_) {
    if (!h.changed && !h.quietly) continue;
    const bool same = h.before && !h.removed && charged(*h.before) == charged(h.record) &&
                      shown_blocks(*h.before) == shown_blocks(h.record);
    if (same) continue;
    if (h.before) charge(*h.before, -1);
    if (!h.removed) charge(h.record, 1);
  }
  std::erase_if(out, [](const quota_change& c) { return c.blocks == 0 && c.inodes == 0; });
  return out;
}

kv_batch& transaction::seal(std::uint64_t transno) {
  for (held_inode& h : inodes_) {
    if (!h.changed && !h.quietly) continue;
    if (h.removed) {
      batch_.remove(column::inodes, key_of(h.number));
      continue;
    }
    if (h.changed) h.record.change = std::max(h.record.change, transno);
    batch_.put(column::inodes, key_of(h.number), packed(h.record));
  }
  for (new_entry& e : entries_) {
    if (e.cookie == 0) e.cookie = transno;
    const dirent_record entry{record_version, e.type, e.inode, e.cookie};
    const cookie_record cookie{record_version, e.type, e.inode, e.name};
    batch_.put(column::dirents, key_of(e.parent, e.name), packed(entry));
    batch_.put(column::cookies, key_of(e.parent, e.cookie), packed(cookie));
  }
  std::uint16_t index = 0;
  for (new_redo& r : redos_) {
    std::string key = redo_key(transno, index++);
    std::string value = packed(r.record);
    value.append(r.bytes);
    redo_notes_.push_back({r.record.inode, key, value.size()});
    batch_.put(column::redo, std::move(key), std::move(value));
  }
  return batch_;
}

}  // namespace tangelo
