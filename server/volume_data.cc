// Reading and writing of file data.
//
// A small file is a value in the store; writing it is a transaction like any other. Writing to an
// object goes: into the gate -> object I/O (cut old bytes behind the end if there will be a gap;
// an inline file's bytes; the bytes) -> attempt again, stage 1 -> batch -> out of the gate. The
// batch has redo records of what was done to the object; above redo_payload_max, and when there is
// much of them, it has none, and the next commit flushes the object before it.
#include <sys/stat.h>

#include "base/log.h"
#include "server/volume.h"

namespace tangelo {

namespace {
constexpr std::uint64_t size_max = INT64_MAX;
}  // namespace

void volume::resume(operation& o, error_code e) {
  o.io_error = e;
  o.stage = 1;
  run(o);
}

error_code volume::do_read(operation& o, transaction& t) {
  const std::optional<read_call> c = decode<read_call>(o.call->body);
  if (!c) return error_code::invalid;
  const op_result<inode_record*> r = t.inode(c->inode);
  t.look(aspect::data, c->inode);
  if (o.stage == 1) {  // the bytes are there; `t` needs to know whose they are
    if (o.io_error != error_code::ok) return o.io_error;
    return end_read(o, t, *c, r ? *r : nullptr, o.io_count);
  }
  if (!r) return r.error();
  if (S_ISDIR((*r)->mode)) return error_code::is_directory;
  if (!S_ISREG((*r)->mode)) return error_code::invalid;
  if (c->offset > size_max) return error_code::invalid;
  note_handle(o, c->handle, c->inode);
  if (const error_code e = check_may_use(o, t, c->who, c->handle, c->inode, may::read);
      e != error_code::ok)
    return e;
  if (c->keep_atime == 0 && c->size != 0) note_access(o, c->inode, **r);
  const std::uint64_t left = c->offset < (*r)->size ? (*r)->size - c->offset : 0;
  const std::size_t wanted = std::min<std::uint64_t>(
      std::min<std::uint64_t>(c->size, o.call->payload_out.size()), left);
  if (wanted == 0) return error_code::ok;
  const mutable_byte_span into = o.call->payload_out.first(wanted);
  if (((*r)->flags & inode_flag::object) == 0) {
    const op_result<std::string> data = t.value(column::inline_data, key_of(c->inode));
    if (!data && data.error() != error_code::no_data) return data.error();
    std::size_t n = 0;
    if (data && c->offset < data->size())
      n = copy_bytes(into, bytes_of(std::string_view(*data).substr(c->offset)));
    std::fill(into.begin() + static_cast<std::ptrdiff_t>(n), into.end(), std::byte{0});
    return end_read(o, t, *c, *r, wanted);
  }
  const auto hidden = hidden_.find(c->inode);
  const hidden_range zeros = hidden == hidden_.end() ? hidden_range{} : hidden->second;
  if (parts_.objects.read_now(c->inode, c->offset, into)) {
    zeros.hide(into, c->offset);
    return end_read(o, t, *c, *r, wanted);
  }
  o.working = true;
  parts_.objects.read(c->inode, c->offset, into,
                      guarded([this, &o, into, zeros, at = c->offset](op_result<std::uint64_t> n) {
                        if (n) {  // behind the object's end is a hole
                          const auto had = static_cast<std::ptrdiff_t>(*n);
                          std::fill(into.begin() + had, into.end(), std::byte{0});
                          o.io_count = into.size();
                          zeros.hide(into, at);
                        }
                        resume(o, n ? error_code::ok : n.error());
                      }));
  return error_code::again_later;
}

// `r`: null when the file is gone meanwhile.
error_code volume::end_read(operation& o, transaction& t, const read_call& c,
                            const inode_record* r, std::size_t size) {
  o.payload_size = size;
  if (!o.call->wants_protection || size == 0) return error_code::ok;
  const mutable_byte_span bytes = o.call->payload_out.first(size);
  if (r != nullptr) return guarded_file(*this, o, t, c.inode, *r).check_read(c.offset, bytes);
  protect(c.inode, c.offset, bytes, o.protection.emplace());
  return error_code::ok;
}

error_code volume::do_write(operation& o, transaction& t) {
  const std::optional<write_call> c = decode<write_call>(o.call->body);
  if (!c || c->size != o.call->payload_in.size()) return error_code::invalid;
  const op_result<inode_record*> found = t.inode(c->inode);
  if (!found) return found.error();
  t.look(aspect::data, c->inode);
  inode_record& r = **found;
  if (S_ISDIR(r.mode)) return error_code::is_directory;
  if (!S_ISREG(r.mode)) return error_code::invalid;
  note_handle(o, c->handle, c->inode);
  if (o.stage == 0)
    if (const error_code e = check_may_use(o, t, writer_of(*c, r, options_.rules.squash),
                                           c->handle, c->inode, may::write);
        e != error_code::ok)
      return e;
  if (const error_code e = need_gate(o, c->inode); e != error_code::ok) return e;
  if (o.stage == 1) return end_object_write(o, t, *c, r);
  if (const error_code e = guarded_file(*this, o, t, c->inode, r).check_sent_tags(*c);
      e != error_code::ok)
    return e;
  o.offset = (c->flags & write_flag::append) != 0 ? r.size : c->offset;
  if (o.offset > size_max || c->size > size_max - o.offset) return error_code::file_too_big;
  if (c->size == 0) {
    needs_no_block(o);
    written(o, t, *c, r);
    return error_code::ok;
  }
  const bool small = o.offset + c->size <= inline_size_max;
  if ((r.flags & inode_flag::object) == 0 && small) return write_inline(o, t, *c, r);
  return begin_object_write(o, t, *c, r);
}

// What every write changes besides the bytes.
void volume::written(operation& o, transaction& t, const write_call& c, inode_record& r) {
  o.written = {};
  o.written.written = c.size;
  o.written.offset = o.offset;
  o.written.change_before = r.change;
  if (c.size != 0) {
    r.size = std::max(r.size, o.offset + c.size);
    r.mtime_ns = o.time_ns;
    stamp_ctime(o, r);
    t.touch(c.inode, aspect::data);
    kill_capability(t, c.inode, r);
    if ((c.flags & write_flag::kill_setid) != 0)
      kill_privileges(t, caller_of(c.who), c.inode, r);
  }
  o.form = answer_form::write;
  o.subject = c.inode;
}

error_code volume::write_inline(operation& o, transaction& t, const write_call& c,
                                inode_record& r) {
  const std::string key = key_of(c.inode);
  std::string data, before;
  if (r.size != 0) {
    op_result<std::string> old = t.value(column::inline_data, key);
    if (!old && old.error() != error_code::no_data) return old.error();
    if (old) data = before = std::move(*old);
  }
  if (data.size() >= o.offset + c.size)
    needs_no_block(o);
  else
    data.resize(o.offset + c.size, '\0');
  data.replace(o.offset, c.size, text_of(o.call->payload_in));
  guarded_file file(*this, o, t, c.inode, r);
  if (const error_code e = file.changed_inline(before, data); e != error_code::ok) return e;
  t.put(column::inline_data, key, std::move(data));
  r.flags &= ~inode_flag::hole;
  written(o, t, c, r);
  return error_code::ok;
}

error_code volume::begin_object_write(operation& o, transaction& t, const write_call& c,
                                      inode_record& r) {
  const error_code space = need_space(o, c.inode, o.offset, c.size);
  if (space != error_code::ok) return space;
  const error_code room = need_room(o, c.inode, r, o.offset, c.size);
  if (room != error_code::ok) return room;
  guarded_file file(*this, o, t, c.inode, r);
  if (const error_code e = file.prepare_overwrite(o.offset, c.size); e != error_code::ok) return e;
  const bool is_inline = (r.flags & inode_flag::object) == 0;
  if (const error_code e = stage_inline(o, t, c.inode, r); e != error_code::ok) return e;
  o.working = true;
  const std::uint64_t size_before = is_inline ? 0 : r.size;
  make_object(o, c.inode, size_before, is_inline || o.offset > r.size,
              [this, &o, inode = c.inode, size_before](error_code e) {
                if (e != error_code::ok) return resume(o, e);
                object_write_bytes(o, inode, size_before);
              });
  return error_code::again_later;
}

// An inline file's bytes, for its object.
error_code volume::stage_inline(operation& o, transaction& t, std::uint64_t inode,
                                const inode_record& r) {
  o.staging.clear();
  if ((r.flags & inode_flag::object) != 0 || r.size == 0) return error_code::ok;
  const op_result<std::string> data = t.value(column::inline_data, key_of(inode));
  if (!data) return data.error() == error_code::no_data ? error_code::ok : data.error();
  const byte_span bytes = bytes_of(*data);
  o.staging.assign(bytes.begin(), bytes.end());
  return error_code::ok;
}

// Makes the object what the record says it is: without old bytes behind its end, if something is to
// come there, and with the bytes of an inline file. `then` is called at once if it is so already.
void volume::make_object(operation& o, std::uint64_t inode, std::uint64_t size, bool cuts,
                         std::function<void(error_code)> then) {
  if (!cuts) return then(error_code::ok);
  parts_.objects.truncate(inode, size, guarded([this, &o, inode, then](error_code e) {
    if (e != error_code::ok || o.staging.empty()) return then(e);
    parts_.objects.write(inode, 0, o.staging, false,
                         guarded([then](op_result<std::uint64_t> n) {
                           then(n ? error_code::ok : n.error());
                         }));
  }));
}

// The same in the batch.
void volume::add_made_redo(operation& o, transaction& t, std::uint64_t inode, inode_record& r,
                           bool cuts) {
  const bool was_inline = (r.flags & inode_flag::object) == 0;
  if (cuts) t.add_redo({record_version, redo_kind::truncate, inode, was_inline ? 0 : r.size}, {});
  if (!o.staging.empty()) t.add_redo({record_version, redo_kind::write, inode, 0}, o.staging);
}

void volume::object_write_bytes(operation& o, std::uint64_t inode, std::uint64_t size_before) {
  const mutable_byte_span bytes = o.call->payload_in;
  parts_.objects.write(
      inode, o.offset, bytes, false,
      guarded([this, &o, inode, size_before](op_result<std::uint64_t> blocks) {
        if (blocks) {
          o.io_count = *blocks;
          return resume(o, error_code::ok);
        }
        // Give back what was allocated behind the end; the answer is the write's own error.
        const error_code e = blocks.error();
        parts_.objects.truncate(inode, size_before,
                                guarded([this, &o, e](error_code) { resume(o, e); }));
      }));
}

error_code volume::end_object_write(operation& o, transaction& t, const write_call& c,
                                    inode_record& r) {
  if (o.io_error != error_code::ok) return o.io_error;
  const bool was_inline = (r.flags & inode_flag::object) == 0;
  if (const error_code e = guarded_file(*this, o, t, c.inode, r).written(); e != error_code::ok)
    return e;
  if (c.size > redo_payload_max || has_much_redo()) {
    if (log_closed_) return wait_for_log(o);
    o.dirties = c.inode;
    o.supersedes = c.inode;  // the flush covers all that was done to the object before
  } else {
    add_made_redo(o, t, c.inode, r, was_inline || o.offset > r.size);
    t.add_redo({record_version, redo_kind::write, c.inode, o.offset}, o.call->payload_in);
  }
  if (was_inline) {
    t.remove(column::inline_data, key_of(c.inode));
    r.flags |= inode_flag::object;
  }
  r.blocks = o.io_count;
  written(o, t, c, r);
  return error_code::ok;
}

}  // namespace tangelo
