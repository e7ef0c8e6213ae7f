// The room of files: preallocating, punching, zeroing; holes; what is done to objects.
//
// Room is allocated before the batch that says so: it changes no byte. Bytes go, by a punch, a zero
// or a trim, only when their batch is durable; until then reads are told zeros (hidden_).
#include <sys/stat.h>

#include "base/log.h"
#include "server/volume.h"

namespace tangelo {

namespace {
constexpr std::uint64_t size_max = INT64_MAX;

// What lies behind the file's end stays allocated, as on ext4.
std::uint64_t punched_size(const space_call& c, const inode_record& r) {
  return c.offset < r.size ? std::min(c.size, r.size - c.offset) : 0;
}
}  // namespace

// Of a change that has not been asked for by its range: whether it may take a little.
bool volume::has_space(const operation& o) {
  if (o.own || o.replay || o.has_space || o.op == opcode::unlink || o.op == opcode::rmdir ||
      o.op == opcode::setattr || o.op == opcode::rename || o.op == opcode::inode_range ||
      o.op == opcode::removexattr ||
      o.op == opcode::fallocate)  // which gives room back, if it has not asked
    return true;
  return disk_.left(redo_.size()) != 0;
}

// Before object I/O that gives a file room: whether the disk has what the range does not have yet.
// It is not refused any more then. A write may end a little behind what is left: it is taken whole.
error_code volume::need_space(operation& o, std::uint64_t inode, std::uint64_t offset,
                              std::uint64_t size) {
  if (o.has_space) return error_code::ok;
  const std::uint64_t inside = o.writable_inside.value_or(0);
  const std::uint64_t taken = inside >= size ? 0 : size - inside;
  const std::uint64_t wanted = o.op == opcode::write ? std::min<std::uint64_t>(taken, 1) : taken;
  const bool may_stay = o.op == opcode::fallocate || disk_.has_store_room(redo_.size());
  const bool fits = wanted != 0 ? wanted <= disk_.left(redo_.size()) : may_stay;
  if (fits || o.replay) {
    o.has_space = true;
    o.space_taken = taken;
    disk_.begin(taken);
    return error_code::ok;
  }
  if (o.writable_inside || !may_stay) return error_code::no_space;
  o.working = true;
  parts_.objects.writable_inside(inode, offset, size,
                                 guarded([this, &o](op_result<std::uint64_t> n) {
                                   o.writable_inside = n ? *n : 0;
                                   run(o);
                                 }));
  return error_code::again_later;
}

// It changes what is in the store, and makes it no longer.
void volume::needs_no_block(operation& o) {
  o.has_space = o.has_space || disk_.has_store_room(redo_.size());
}

void volume::release_room(operation& o) {
  disk_.end(std::exchange(o.space_taken, 0));
  release_quotas(o);
}

std::optional<space_change> space_change_of(redo_kind kind) {
  switch (kind) {
    case redo_kind::punch: return space_change::punch;
    case redo_kind::zero: return space_change::zero;
    case redo_kind::allocate: return space_change::allocate;
    case redo_kind::trim: return space_change::trim;
    case redo_kind::write:
    case redo_kind::truncate:
    case redo_kind::remove: return std::nullopt;
  }
  return std::nullopt;
}

void volume::add_space_redo(transaction& t, redo_kind kind, std::uint64_t inode,
                            std::uint64_t offset, std::uint64_t size) {
  t.add_redo({record_version, kind, inode, offset}, bytes_of(key_of(size)));
}

void volume::act(operation& o) {
  const object_action& a = o.action;
  if (const std::optional<space_change> what = space_change_of(a.kind)) {
    parts_.objects.change_space(*what, a.inode, a.offset, a.size,
                                guarded([this, &o](op_result<std::uint64_t> n) { acted(o, n); }));
    return;
  }
  CHECK(a.kind == redo_kind::remove);
  parts_.objects.remove(a.inode, guarded([this, &o](error_code e) {
                          if (e == error_code::ok) return acted(o, std::uint64_t{0});
                          acted(o, failure{e});
                        }));
}

void volume::acted(operation& o, op_result<std::uint64_t> blocks) {
  const object_action a = o.action;
  if (!blocks) {
    log_error("{}: object {:#x}: {}: {}", options_.where, a.inode,
              a.kind == redo_kind::remove ? "remove" : "change of space",
              row_of(blocks.error()).text);
    // A removal can wait for the next start, where its redo record is; an object that was not cut
    // or punched cannot be used any more.
    CHECK(a.kind == redo_kind::remove);
    redo_.drop(a.inode);
  }
  hidden_.erase(a.inode);
  end(o);
  if (blocks && *blocks != a.blocks) correct_blocks(a.inode, *blocks);
}

// The room was given back in another way than was thought. Nothing but `blocks` changes.
void volume::correct_blocks(std::uint64_t inode, std::uint64_t blocks) {
  if (!recovered_) return;  // replays are to find the record as it was
  begin_own(
      [this, inode, blocks](operation& o, transaction& t) {
        const op_result<inode_record*> r = t.inode(inode);
        if (!r) return r.error();
        const error_code e = need_gate(o, inode);
        if (e != error_code::ok) return e;
        (*r)->blocks = blocks;
        t.touch(inode);
        return error_code::ok;
      },
      nullptr);
}

void volume::hide_range(std::uint64_t inode, std::uint64_t offset, std::uint64_t size) {
  hidden_[inode] = {offset, offset + size};
}

// How many blocks are left without a range; then the operation goes on, one stage on.
error_code volume::measure_rest(operation& o, std::uint64_t inode, std::uint64_t offset,
                                std::uint64_t size) {
  o.working = true;
  parts_.objects.blocks_outside(inode, offset, size,
                                guarded([this, &o](op_result<std::uint64_t> blocks) {
                                  o.io_count = blocks ? *blocks : 0;
                                  resume(o, blocks ? error_code::ok : blocks.error());
                                }));
  return error_code::again_later;
}

error_code volume::do_fallocate(operation& o, transaction& t) {
  const std::optional<space_call> c = decode<space_call>(o.call->body);
  if (!c || c->size == 0) return error_code::invalid;
  const bool keeps = (c->mode & space_mode::keep_size) != 0;
  const bool punches = c->mode == (space_mode::keep_size | space_mode::punch_hole);
  const std::uint32_t rest = c->mode & ~space_mode::keep_size;
  if (!punches && rest != 0 && rest != space_mode::zero_range) return error_code::not_supported;
  if (c->offset > size_max || c->size > size_max - c->offset) return error_code::file_too_big;
  const op_result<inode_record*> found = t.inode(c->inode);
  if (!found) return found.error();
  inode_record& r = **found;
  if (S_ISDIR(r.mode)) return error_code::is_directory;
  if (!S_ISREG(r.mode)) return error_code::invalid;
  note_handle(o, c->handle, c->inode);
  if (o.stage == 0)
    if (const error_code e = check_may_use(o, t, c->who, c->handle, c->inode, may::write);
        e != error_code::ok)
      return e;
  if (const error_code e = need_gate(o, c->inode); e != error_code::ok) return e;
  t.look(aspect::data, c->inode);
  const bool is_inline = (r.flags & inode_flag::object) == 0;
  error_code e = error_code::ok;
  if (is_inline && punches)
    e = zero_inline(o, t, *c, r);
  else if (o.stage == 1)
    e = end_fallocate(o, t, *c, r);
  else if (punches)
    return begin_punch(o, t, *c, r);
  else
    return begin_allocate(o, t, *c, r);
  if (e != error_code::ok) return e;
  if (!keeps) r.size = std::max(r.size, c->offset + c->size);
  r.mtime_ns = o.time_ns;
  stamp_ctime(o, r);
  t.touch(c->inode, aspect::data);
  kill_capability(t, c->inode, r);
  // The kernel says nothing of it, as it does for a write.
  const credential who = caller_of(c->who);
  if (who.uid != 0) kill_privileges(t, who, c->inode, r);
  return error_code::ok;
}

error_code volume::begin_punch(operation& o, transaction& t, const space_call& c,
                               const inode_record& r) {
  const std::uint64_t size = punched_size(c, r);
  guarded_file file(*this, o, t, c.inode, r);
  if (const error_code e = file.zeroed(c.offset, size); e != error_code::ok) return e;
  return measure_rest(o, c.inode, c.offset, size);
}

error_code volume::zero_inline(operation& o, transaction& t, const space_call& c,
                               const inode_record& r) {
  if (c.offset >= r.size) return error_code::ok;
  const std::string key = key_of(c.inode);
  op_result<std::string> data = t.value(column::inline_data, key);
  if (!data) return data.error() == error_code::no_data ? error_code::ok : data.error();
  if (c.offset >= data->size()) return error_code::ok;
  const std::uint64_t n = std::min<std::uint64_t>(c.size, data->size() - c.offset);
  const std::string before = *data;
  data->replace(c.offset, n, n, '\0');
  guarded_file file(*this, o, t, c.inode, r);
  if (const error_code e = file.changed_inline(before, *data); e != error_code::ok) return e;
  t.put(column::inline_data, key, std::move(*data));
  return error_code::ok;
}

error_code volume::begin_allocate(operation& o, transaction& t, const space_call& c,
                                  const inode_record& r) {
  if (const error_code e = need_space(o, c.inode, c.offset, c.size); e != error_code::ok) return e;
  const error_code room = need_room(o, c.inode, r, c.offset, c.size);
  if (room != error_code::ok) return room;
  if (const error_code e = stage_inline(o, t, c.inode, r); e != error_code::ok) return e;
  const bool is_inline = (r.flags & inode_flag::object) == 0;
  if (!is_inline && (c.mode & space_mode::zero_range) != 0) {  // what it needs to know is read now
    const error_code e = guarded_file(*this, o, t, c.inode, r).zeroed(c.offset, c.size);
    if (e != error_code::ok) return e;
  }
  if (is_inline && (c.mode & space_mode::zero_range) != 0 && c.offset < o.staging.size()) {
    const std::uint64_t n = std::min<std::uint64_t>(c.size, o.staging.size() - c.offset);
    std::fill_n(o.staging.begin() + static_cast<std::ptrdiff_t>(c.offset), n, std::byte{0});
  }
  const bool cuts = is_inline || c.offset + c.size > r.size;
  const std::uint64_t size_before = is_inline ? 0 : r.size;
  o.working = true;
  allocate(o, c, size_before, cuts);
  return error_code::again_later;
}

void volume::allocate(operation& o, const space_call& c, std::uint64_t size_before, bool cuts) {
  const auto done = guarded([this, &o](op_result<std::uint64_t> blocks) {
    disk_.ask_again();
    o.io_count = blocks ? *blocks : 0;
    resume(o, blocks ? error_code::ok : blocks.error());
  });
  make_object(o, c.inode, size_before, cuts, [this, &o, c, done](error_code e) {
    if (e != error_code::ok) return resume(o, e);
    parts_.objects.change_space(space_change::allocate, c.inode, c.offset, c.size, done);
  });
}

error_code volume::end_fallocate(operation& o, transaction& t, const space_call& c,
                                 inode_record& r) {
  if (o.io_error != error_code::ok) return o.io_error;
  const bool was_inline = (r.flags & inode_flag::object) == 0;
  const bool punches = (c.mode & space_mode::punch_hole) != 0;
  const bool zeroes = (c.mode & space_mode::zero_range) != 0 && !was_inline;
  r.blocks = o.io_count;
  if (was_inline && !o.staging.empty()) {
    const op_result<std::string> old = t.value(column::inline_data, key_of(c.inode));
    if (!old) return old.error();
    const error_code e =
        guarded_file(*this, o, t, c.inode, r).changed_inline(*old, text_of(o.staging));
    if (e != error_code::ok) return e;
  }
  if (!punches) {
    add_made_redo(o, t, c.inode, r, was_inline || c.offset + c.size > r.size);
    add_space_redo(t, redo_kind::allocate, c.inode, c.offset, c.size);
    if (was_inline) t.remove(column::inline_data, key_of(c.inode));
    r.flags |= inode_flag::object;
  }
  if (!punches && !zeroes) return error_code::ok;
  const redo_kind kind = punches ? redo_kind::punch : redo_kind::zero;
  const std::uint64_t size = punches ? punched_size(c, r) : c.size;
  if (size == 0) return error_code::ok;
  guarded_file file(*this, o, t, c.inode, r);
  if (const error_code e = file.zeroed(c.offset, size); e != error_code::ok) return e;
  add_space_redo(t, kind, c.inode, c.offset, size);
  o.has_action = true;
  o.action = {kind, c.inode, c.offset, size, r.blocks};
  o.after_write = [this, c, size] { hide_range(c.inode, c.offset, size); };
  return error_code::ok;
}

// What is hidden counts as data.
error_code volume::do_seek(operation& o, transaction& t) {
  const std::optional<seek_call> c = decode<seek_call>(o.call->body);
  if (!c) return error_code::invalid;
  const op_result<inode_record*> r = t.inode(c->inode);
  t.look(aspect::data, c->inode);
  if (o.stage == 1) {
    put_answer(o, seek_answer{o.offset});
    return o.io_error;
  }
  if (!r) return r.error();
  if (!S_ISREG((*r)->mode)) return error_code::invalid;
  note_handle(o, c->handle, c->inode);
  const std::uint64_t size = (*r)->size;
  if (c->offset >= size) return error_code::no_device_address;
  if (((*r)->flags & inode_flag::object) == 0) {
    const op_result<std::string> data = t.value(column::inline_data, key_of(c->inode));
    if (!data && data.error() != error_code::no_data) return data.error();
    const std::uint64_t end = data ? data->size() : 0;
    if (c->hole == 0 && c->offset >= end) return error_code::no_device_address;
    put_answer(o, seek_answer{c->hole == 0 ? c->offset : std::max(c->offset, end)});
    return error_code::ok;
  }
  o.working = true;
  parts_.objects.seek(c->inode, c->offset, c->hole != 0,
                      guarded([this, &o, size, hole = c->hole](op_result<std::uint64_t> at) {
                        o.offset = at ? std::min(*at, size) : 0;
                        const bool is_behind = hole == 0 && at && *at >= size;
                        if (is_behind) at = failure{error_code::no_device_address};
                        resume(o, at ? error_code::ok : at.error());
                      }));
  return error_code::again_later;
}

}  // namespace tangelo
