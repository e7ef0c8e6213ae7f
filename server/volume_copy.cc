// Copying from one object to another without the bytes leaving the server.
//
// The source may change afterwards, so a copy could not be made again from its call: it is never
// answered before it is durable. Its object is flushed before its batch, as a large write's is.
#include <sys/stat.h>

#include "server/volume.h"

namespace tangelo {

namespace {
constexpr std::uint64_t size_max = INT64_MAX;
constexpr std::uint64_t copy_size_max = 16 << 20;  // of one call: a caller has to be able to wait
}  // namespace

// A small file is copied by its client: so the copy is small, too, and need not wait for the disk.
error_code volume::do_copy_range(operation& o, transaction& t) {
  const std::optional<copy_call> c = decode<copy_call>(o.call->body);
  if (!c) return error_code::invalid;
  const op_result<inode_record*> from = t.inode(c->inode);
  if (!from) return from.error();
  const op_result<inode_record*> to = t.inode(c->to_inode);
  if (!to) return to.error();
  t.look(aspect::data, c->inode);
  t.look(aspect::data, c->to_inode);
  if (!S_ISREG((*from)->mode) || !S_ISREG((*to)->mode)) return error_code::invalid;
  note_handle(o, c->handle, c->inode);
  note_handle(o, c->to_handle, c->to_inode);
  if (o.stage == 0) {
    error_code e = check_may_use(o, t, c->who, c->handle, c->inode, may::read);
    if (e == error_code::ok)
      e = check_may_use(o, t, c->who, c->to_handle, c->to_inode, may::write);
    if (e != error_code::ok) return e;
    if (((*from)->flags & inode_flag::object) == 0) return error_code::not_supported;
    if (c->offset > size_max || c->to_offset > size_max) return error_code::invalid;
    // Bytes that are about to go are not to be copied.
    if (hidden_.contains(c->inode) && c->inode != c->to_inode)
      if (e = need_gate(o, c->inode); e != error_code::ok) return e;
    if (e = compare_source(o, t, *c, **from); e != error_code::ok) return e;
  }
  if (const error_code e = need_gate(o, c->to_inode); e != error_code::ok) return e;
  if (o.stage == 1) return end_copy(o, t, *c, **to);
  return begin_copy(o, t, *c, (*from)->size, **to);
}

// A bad block is not to get a good guard by being copied. A piece for each turn.
error_code volume::compare_source(operation& o, transaction& t, const copy_call& c,
                                  const inode_record& from) {
  const std::uint64_t left = c.offset < from.size ? from.size - c.offset : 0;
  const std::uint64_t size = std::min({c.size, left, copy_size_max});
  if (o.compared >= size) return error_code::ok;
  const std::uint64_t at = c.offset + o.compared;
  const std::uint64_t piece = std::min<std::uint64_t>(size - o.compared, wire_payload_size_max);
  o.working = true;
  if (!o.source_read) {
    o.staging.assign(piece, std::byte{0});
    o.source_read = parts_.objects.read_now(c.inode, at, o.staging);
  }
  if (!o.source_read) {
    parts_.objects.read(c.inode, at, o.staging, guarded([this, &o](op_result<std::uint64_t> n) {
                          if (!n) return resume(o, n.error());
                          o.source_read = true;
                          run(o);
                        }));
    return error_code::again_later;
  }
  o.working = o.source_read = false;  // when it is attempted again, it is read again
  const error_code e = guarded_file(*this, o, t, c.inode, from).check_read(at, o.staging);
  if (e != error_code::ok) return e;
  o.edges = {};
  o.rereads = 0;
  o.compared += piece;
  o.working = true;
  parts_.time.post(guarded([this, &o] { run(o); }));
  return error_code::again_later;
}

error_code volume::begin_copy(operation& o, transaction& t, const copy_call& c,
                              std::uint64_t from_size, const inode_record& to) {
  const std::uint64_t left = c.offset < from_size ? from_size - c.offset : 0;
  const std::uint64_t size = std::min({c.size, left, copy_size_max});
  o.offset = 0;
  if (size == 0) {
    put_answer(o, copy_answer{0});
    return error_code::ok;
  }
  if (size > size_max - c.to_offset) return error_code::file_too_big;
  const bool overlaps = c.inode == c.to_inode && c.offset < c.to_offset + size &&
                        c.to_offset < c.offset + size;
  if (overlaps) return error_code::invalid;
  const error_code space = need_space(o, c.to_inode, c.to_offset, size);
  if (space != error_code::ok) return space;
  const error_code room = need_room(o, c.to_inode, to, c.to_offset, size);
  if (room != error_code::ok) return room;
  guarded_file file(*this, o, t, c.to_inode, to);
  if (const error_code e = file.prepare_overwrite(c.to_offset, size); e != error_code::ok) return e;
  if (const error_code e = stage_inline(o, t, c.to_inode, to); e != error_code::ok) return e;
  const bool is_inline = (to.flags & inode_flag::object) == 0;
  const std::uint64_t size_before = is_inline ? 0 : to.size;
  o.working = true;
  make_object(o, c.to_inode, size_before, is_inline || c.to_offset > to.size,
              [this, &o, c, size, size_before](error_code e) {
                if (e != error_code::ok) return resume(o, e);
                copy_bytes_of(o, c, size, size_before);
              });
  return error_code::again_later;
}

// Behind the end of the source's object, and before the source's own, is a hole.
void volume::copy_bytes_of(operation& o, const copy_call& c, std::uint64_t size,
                           std::uint64_t size_before) {
  const auto counted = guarded([this, &o](op_result<std::uint64_t> blocks) {
    o.io_count = blocks ? *blocks : 0;
    resume(o, blocks ? error_code::ok : blocks.error());
  });
  parts_.objects.copy(
      c.inode, c.offset, c.to_inode, c.to_offset, size,
      guarded([this, &o, c, size, size_before, counted](op_result<std::uint64_t> n) {
        if (!n) {
          const error_code e = n.error();
          parts_.objects.truncate(c.to_inode, size_before,
                                  guarded([this, &o, e](error_code) { resume(o, e); }));
          return;
        }
        o.offset = *n == 0 ? size : *n;
        if (*n == 0)
          parts_.objects.change_space(space_change::punch, c.to_inode, c.to_offset, size, counted);
        else
          parts_.objects.blocks_outside(c.to_inode, 0, 0, counted);
      }));
}

error_code volume::end_copy(operation& o, transaction& t, const copy_call& c, inode_record& to) {
  if (o.io_error != error_code::ok) return o.io_error;
  if (log_closed_) return wait_for_log(o);
  guarded_file file(*this, o, t, c.to_inode, to);
  if (const error_code e = file.copied(c.to_offset, o.offset); e != error_code::ok) return e;
  o.dirties = c.to_inode;
  o.supersedes = c.to_inode;  // the flush covers all that was done to the object before
  if ((to.flags & inode_flag::object) == 0) t.remove(column::inline_data, key_of(c.to_inode));
  to.flags |= inode_flag::object;
  to.size = std::max(to.size, c.to_offset + o.offset);
  to.blocks = o.io_count;
  to.mtime_ns = o.time_ns;
  stamp_ctime(o, to);
  t.touch(c.to_inode, aspect::data);
  kill_capability(t, c.to_inode, to);
  const credential who = caller_of(c.who);
  if (who.uid != 0) kill_privileges(t, who, c.to_inode, to);
  put_answer(o, copy_answer{o.offset});
  return error_code::ok;
}

}  // namespace tangelo
