// Making a volume's first contents, and opening it: boot generation, redo, what is remembered.
#include <fmt/format.h>
#include <sys/stat.h>

#include "base/log.h"
#include "server/volume.h"

namespace tangelo {

error_code volume::format(kv_store& kv, std::uint32_t uid, std::uint32_t gid,
                          std::int64_t now_ns) {
  inode_record root;
  root.mode = S_IFDIR | 0755;
  root.uid = uid;
  root.gid = gid;
  root.link_count = 2;
  root.size = inline_size_max;
  root.blocks = 8;
  root.atime_ns = root.mtime_ns = root.ctime_ns = root.btime_ns = now_ns;
  root.parent = root_inode;
  kv_batch batch;
  batch.put(column::inodes, key_of(root_inode), packed(root));
  batch.put(column::meta, std::string(meta_boot), key_of(0));
  batch.put(column::meta, std::string(meta_transno), key_of(0));
  batch.put(column::meta, std::string(meta_next_inode), key_of(root_inode + 1));
  batch.put(column::meta, std::string(meta_counted), key_of(0));
  for (const quota_key& key : charged(root))
    if (key.kind != quota_kind::tree)
      batch.put(column::quotas, saved_key(key), packed(saved_quota{.blocks = 8, .inodes = 1}));
  const error_code e = kv.write(batch);
  return e == error_code::ok ? kv.sync() : e;
}

problem volume::damaged(std::string_view what) const {
  return problem{exit_code::store, fmt::format("{}: {}", options_.where, what),
                 "the volume is damaged or its disk fails: look at the kernel's log, and restore "
                 "from a backup if the disk is well"};
}

outcome<std::unique_ptr<volume>> volume::open(volume_options options, volume_parts parts) {
  std::unique_ptr<volume> v(new volume(std::move(options), parts));
  if (const outcome<bool> loaded = v->load(); !loaded) return failure{loaded.error()};
  if (const outcome<bool> redone = v->redo_all(); !redone) return failure{redone.error()};
  if (const outcome<bool> dropped = v->drop_marked(); !dropped) return failure{dropped.error()};
  if (v->recovered_) {
    parts.time.post(v->guarded([volume = v.get()] {
      volume->start_walk();
      volume->start_mending();
    }));
  }
  // Orphans of a server that nobody will come back to.
  if (v->recovered_ && !v->orphans_.empty())
    parts.time.post(v->guarded([volume = v.get()] { volume->recovery_ended(); }));
  return v;
}

outcome<bool> volume::load() {
  kv_store& kv = parts_.kv;
  std::string boot, transno, next;
  for (const auto& [name, value] :
       {std::pair{meta_boot, &boot}, {meta_transno, &transno}, {meta_next_inode, &next}})
    if (kv.get(column::meta, name, *value, read_mode::blocking) != kv_status::found)
      return failure{damaged(fmt::format("metadata: no value \"{}\"", name))};
  next_inode_ = number_at(next, 0);
  boot_ = number_at(boot, 0) + 1;
  last_transno_ = boot_ << 32;

  kv_status s = kv.scan(column::orphans, {}, {}, read_mode::blocking,
                        [this](std::string_view key, std::string_view) {
                          orphans_.insert(number_at(key, 0));
                          return true;
                        });
  recovered_ = true;
  const auto client = [this](std::string_view key, std::string_view value) {
    client_key of;
    copy_bytes(of.client_id, bytes_of(key));
    if (key.size() == sizeof(id128)) {
      const std::optional<saved_client> c = unpacked<saved_client>(value);
      if (!c) return false;
      of.incarnation = c->incarnation;
      if (c->tombstone == 0) known_.insert(of);
      if (c->awaited != 0) recovered_ = false;
    } else {
      const std::optional<saved_range> r = unpacked<saved_range>(value);
      if (!r) return false;
      of.incarnation = r->incarnation;
      ranges_.add(of, number_at(key, sizeof(id128)), r->count);
    }
    return true;
  };
  if (s == kv_status::found)
    s = kv.scan(column::clients, {}, {}, read_mode::blocking, client);
  if (s != kv_status::found) return failure{damaged("metadata cannot be read")};

  if (recovered_) locks_.open();
  // Without a client to wait for nothing of an earlier boot will be made again.
  last_committed_ = low_water_ = recovered_ ? last_transno_ : number_at(transno, 0);
  kv_batch batch;
  if (const outcome<bool> known = load_quotas(boot_ - 1, batch); !known) return known;
  batch.put(column::meta, std::string(meta_boot), key_of(boot_));
  batch.put(column::meta, std::string(meta_transno), key_of(low_water_));
  error_code e = kv.write(batch);
  if (e == error_code::ok) e = kv.sync();
  if (e != error_code::ok)
    return failure{damaged(fmt::format("boot generation: {}", row_of(e).text))};
  return true;
}

error_code volume::redo_one(const redo_record& record, byte_span bytes) {
  switch (record.kind) {
    case redo_kind::write: return parts_.objects.write_now(record.inode, record.offset, bytes);
    case redo_kind::truncate: return parts_.objects.truncate_now(record.inode, record.offset);
    case redo_kind::remove: return parts_.objects.remove_now(record.inode);
    case redo_kind::punch:
    case redo_kind::zero:
    case redo_kind::allocate:
    case redo_kind::trim: break;
  }
  const std::optional<space_change> what = space_change_of(record.kind);
  if (!what) return error_code::io;
  const error_code e = parts_.objects.change_space_now(*what, record.inode, record.offset,
                                                       number_at(text_of(bytes), 0));
  // What was promised and cannot be kept; the bytes of the file are right all the same.
  const bool only_room = record.kind == redo_kind::allocate && e == error_code::no_space;
  if (only_room) log_error("{}: object {:#x}: its room is lost", options_.where, record.inode);
  return only_room ? error_code::ok : e;
}

outcome<bool> volume::redo_all() {
  const std::size_t header_size = packed(redo_record{}).size();
  kv_batch batch;
  error_code e = error_code::ok;
  const kv_status s = parts_.kv.scan(
      column::redo, {}, {}, read_mode::blocking,
      [&](std::string_view key, std::string_view value) {
        const std::optional<redo_record> r = unpacked<redo_record>(value);
        e = r && value.size() >= header_size
                ? redo_one(*r, bytes_of(value.substr(header_size)))
                : error_code::io;
        batch.remove(column::redo, std::string(key));
        return e == error_code::ok;
      });
  if (s != kv_status::found) e = error_code::io;
  const std::size_t count = batch.changes().size();
  if (e == error_code::ok && count != 0) {
    e = parts_.objects.sync_now();
    if (e == error_code::ok) e = parts_.kv.write(batch);
    if (e == error_code::ok) e = parts_.kv.sync();
    log_notice("{}: {} redo records done again", options_.where, count);
  }
  if (e != error_code::ok) return failure{damaged(fmt::format("redo: {}", row_of(e).text))};
  return true;
}

}  // namespace tangelo
