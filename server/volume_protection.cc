// Protection of file data in the store: what is read is compared with its guards, and what changes
// bytes changes the guards with them, in its batch.
//
// A read holds no gate: what it finds may be half of a write that is under way. So what does not
// fit is read again inside the gate, where nobody writes; and once more, from the disk, before it
// is believed. Who changes a part of a block reads the rest of it and compares that first: a bad
// block is never given a good guard.
#include <fmt/format.h>

#include <algorithm>

#include "base/log.h"
#include "server/volume.h"

namespace tangelo {

namespace {

std::uint64_t begin_of(std::uint64_t block) { return block * protected_block_size; }

// Of these bytes of a file: those that are in this block.
struct byte_range {
  std::uint64_t from = 0, end = 0;
};
byte_range inside(std::uint64_t block, std::uint64_t from, std::uint64_t end) {
  return {std::max(from, begin_of(block)), std::min(end, begin_of(block + 1))};
}

// Does the block keep bytes of a file of this size when these are written over?
bool keeps_bytes(std::uint64_t block, std::uint64_t from, std::uint64_t end, std::uint64_t size) {
  const byte_range file = inside(block, 0, size);
  return file.from < file.end && (file.from < from || end < file.end);
}

}  // namespace

// After a crash: what is marked loses its guards, and gets new ones later.
outcome<bool> volume::drop_marked() {
  const op_result<std::vector<dirty_region>> marked = dirty_regions::load(parts_.objects);
  error_code e = marked ? error_code::ok : marked.error();
  if (marked && !marked->empty()) {
    kv_batch batch;
    for (const dirty_region& r : *marked) {
      const std::uint64_t first = r.region * region_blocks;
      batch.remove_range(column::protection, guard_key(r.inode, first),
                         guard_key(r.inode, first + region_blocks));
      batch.put(column::unguarded, key_of(r.inode, r.region), key_of(first));
    }
    e = parts_.kv.write(batch);
    if (e == error_code::ok) e = parts_.kv.sync();
    log_notice("{}: {} regions of files were being written: their guards are made anew",
               options_.where, marked->size());
  }
  if (e == error_code::ok) e = dirty_regions::clear(parts_.objects);
  if (e == error_code::ok) return true;
  return failure{damaged(fmt::format("marks of dirty regions: {}", row_of(e).text))};
}

error_code volume::load_guards(operation& o, block_guards& g, std::uint64_t first,
                               std::uint64_t end) {
  const error_code e = g.load(first, end);
  return e == error_code::integrity ? stored_fault(o, g.fault()) : e;
}

error_code volume::stored_fault(operation& o, const protection_fault& fault) {
  o.fault = fault;
  ++counts_.protection_faults;
  log_error("{}: protection: {}", options_.where, text_of(fault));
  return error_code::integrity;
}

// Again, as the header says; then it is so.
error_code volume::mismatch(operation& o, const protection_fault& fault) {
  o.edges = {};
  o.stage = 0;
  if (o.gate != fault.inode) return need_gate(o, fault.inode);
  if (++o.rereads >= protection_attempts) return stored_fault(o, fault);
  ++counts_.protection_rereads;
  parts_.objects.forget(fault.inode, begin_of(fault.block), protected_block_size);
  o.working = true;
  parts_.time.post(guarded([this, &o] { run(o); }));
  return error_code::again_later;
}

// Of an object. False: it is being read, and the operation goes on then.
bool volume::read_block(operation& o, std::uint64_t inode, std::uint64_t size, std::size_t which) {
  operation::block_copy& copy = o.edges[which];
  const byte_range file = inside(copy.block, 0, size);
  copy.bytes.assign(protected_block_size, std::byte{0});
  const mutable_byte_span into = mutable_byte_span(copy.bytes).first(file.end - file.from);
  const auto hidden = hidden_.find(inode);
  const hidden_range zeros = hidden == hidden_.end() ? hidden_range{} : hidden->second;
  if (parts_.objects.read_now(inode, file.from, into)) {
    zeros.hide(into, file.from);
    copy.ready = true;
    return true;
  }
  o.working = true;
  parts_.objects.read(inode, file.from, into,
                      guarded([this, &o, &copy, into, zeros, from = file.from](
                                  op_result<std::uint64_t> n) {
                        if (!n) return resume(o, n.error());
                        std::fill(into.begin() + static_cast<std::ptrdiff_t>(*n), into.end(),
                                  std::byte{0});
                        zeros.hide(into, from);
                        copy.ready = true;
                        run(o);
                      }));
  return false;
}

// Afterwards edges[which] is the block, and fits its guard.
error_code volume::need_block(operation& o, transaction& t, const block_guards& g,
                              std::uint64_t inode, const inode_record& r, std::uint64_t block,
                              std::size_t which) {
  operation::block_copy& copy = o.edges[which];
  if (!copy.ready || copy.block != block) {
    copy.block = block;
    copy.ready = false;
    if ((r.flags & inode_flag::object) != 0) {
      if (!read_block(o, inode, r.size, which)) return error_code::again_later;
    } else {
      const op_result<std::string> data = t.value(column::inline_data, key_of(inode));
      if (!data && data.error() != error_code::no_data) return data.error();
      copy.bytes.assign(protected_block_size, std::byte{0});
      if (data && block == 0) copy_bytes(copy.bytes, bytes_of(*data));
      copy.ready = true;
    }
  }
  const std::optional<std::uint32_t> expected = g.at(block);
  if (!expected || !marks_.is_trusted(inode, block)) return error_code::ok;
  const std::uint32_t found = guard_of(copy.bytes);
  if (found == *expected) return error_code::ok;
  return mismatch(o, {protection_kind::guard, protection_hop::stored, inode, block, *expected,
                      found});
}

// The blocks at both ends of this range, if they keep bytes that are not in it.
error_code volume::need_kept(operation& o, transaction& t, const block_guards& g,
                             std::uint64_t inode, const inode_record& r, std::uint64_t from,
                             std::uint64_t end) {
  const std::uint64_t first = block_of(from), last = block_of(end - 1);
  for (const std::uint64_t b : {first, last}) {
    if (!keeps_bytes(b, from, end, r.size)) continue;
    const error_code e = need_block(o, t, g, inode, r, b, b == first ? 0 : 1);
    if (e != error_code::ok) return e;
  }
  return error_code::ok;
}

// Before bytes with guards are written over in place.
error_code volume::need_marks(operation& o, const block_guards& g, std::uint64_t inode,
                              std::uint64_t from, std::uint64_t end) {
  if (!o.marked.empty()) return error_code::ok;
  std::vector<dirty_region> regions;
  for (std::uint64_t b = block_of(from); b < block_end_of(end); ++b) {
    const dirty_region region{inode, b / region_blocks};
    if (g.at(b) && (regions.empty() || regions.back() != region)) regions.push_back(region);
  }
  if (regions.empty()) return error_code::ok;
  if (marks_.hold(regions)) {
    o.marked = std::move(regions);
    return error_code::ok;
  }
  o.working = true;
  marks_.mark(std::move(regions), guarded([this, &o](error_code e) {
                if (e != error_code::ok) return resume(o, e);
                run(o);
              }));
  return error_code::again_later;
}

// Inside the gate, before the first byte is written.
error_code volume::prepare_overwrite(operation& o, transaction& t, block_guards& g,
                                     std::uint64_t inode, const inode_record& r,
                                     std::uint64_t offset, std::uint64_t size) {
  const std::uint64_t end = offset + size;
  error_code e = load_guards(o, g, block_of(offset), block_end_of(end));
  if (e == error_code::ok) e = need_kept(o, t, g, inode, r, offset, end);
  const std::uint64_t over = std::min(end, r.size);
  const bool in_place = (r.flags & inode_flag::object) != 0 && offset < over;
  if (e == error_code::ok && in_place) e = need_marks(o, g, inode, offset, over);
  return e;
}

// Is it this file's payload, and these bytes'? Where an append goes nobody knew when it was made;
// a replay of it names the place that it got.
error_code volume::check_sent_tags(operation& o, const write_call& c) {
  if (!o.call->protection) return error_code::ok;
  const protection_trailer& tags = *o.call->protection;
  const bool appends = (c.flags & write_flag::append) != 0 ||
                       (o.replay && tags.reference == 0 && tags.lead == 0);
  o.fault = check_tags(tags, c.inode, appends ? std::nullopt : std::optional(c.offset));
  if (!o.fault) return error_code::ok;
  o.fault->hop = protection_hop::sent;
  log_error("{}: protection: {}", options_.where, text_of(*o.fault));
  return error_code::integrity;
}

// What was read fits its guards; the answer gets its trailer.
error_code volume::check_read(operation& o, transaction& t, block_guards& g, std::uint64_t inode,
                              const inode_record& r, std::uint64_t offset,
                              mutable_byte_span into) {
  const std::uint64_t end = offset + into.size();
  const std::uint64_t first = block_of(offset), last = block_of(end - 1);
  if (const error_code e = load_guards(o, g, first, last + 1); e != error_code::ok) return e;
  const auto is_part = [&](std::uint64_t b) {
    return g.at(b) && marks_.is_trusted(inode, b) && keeps_bytes(b, offset, end, r.size);
  };
  for (const std::uint64_t b : {first, last}) {
    if (!is_part(b)) continue;
    const std::size_t which = b == first ? 0 : 1;
    const error_code e = need_block(o, t, g, inode, r, b, which);
    if (e != error_code::ok) return e;
    const byte_range piece = inside(b, offset, end);
    copy_bytes(into.subspan(piece.from - offset),
               byte_span(o.edges[which].bytes)
                   .subspan(piece.from - begin_of(b), piece.end - piece.from));
  }
  protection_trailer& trailer = o.protection.emplace();
  protect(inode, offset, into, trailer);
  for (std::uint64_t b = first; b <= last; ++b) {
    const std::optional<std::uint32_t> expected = g.at(b);
    const std::uint32_t found = trailer.guards[b - first];
    if (!expected || found == *expected || is_part(b) || !marks_.is_trusted(inode, b)) continue;
    return mismatch(o, {protection_kind::guard, protection_hop::stored, inode, b, *expected,
                        found});
  }
  return error_code::ok;
}

// The guards of what a write has put into the object. `r`: as it was before.
void volume::guard_written(const operation& o, block_guards& g, const write_call& c,
                           const inode_record& r) {
  const byte_span bytes = o.call->payload_in;
  const std::uint64_t end = o.offset + bytes.size();
  protection_trailer made;
  const protection_trailer* tags = o.call->protection ? &*o.call->protection : nullptr;
  if (tags == nullptr || tags->lead != o.offset % protected_block_size) {
    protect(c.inode, o.offset, bytes, made);
    tags = &made;
  }
  const std::uint64_t first = block_of(o.offset), last = block_of(end - 1);
  for (std::uint64_t b = first; b <= last; ++b) {
    const bool keeps = keeps_bytes(b, o.offset, end, r.size);
    if (begin_of(b) >= o.offset && !keeps) {
      g.set(b, tags->guards[b - first]);
      continue;
    }
    std::array<std::byte, protected_block_size> whole{};
    if (keeps) copy_bytes(whole, o.edges[b == first ? 0 : 1].bytes);
    const byte_range piece = inside(b, o.offset, end);
    copy_bytes(mutable_byte_span(whole).subspan(piece.from - begin_of(b)),
               bytes.subspan(piece.from - o.offset, piece.end - piece.from));
    g.set(b, guard_of(whole));
  }
}

// A small file that is, and stays, in the store.
error_code volume::guard_inline(operation& o, transaction& t, std::uint64_t inode,
                                std::string_view old, std::string_view now) {
  block_guards g(t, inode);
  if (const error_code e = load_guards(o, g, 0, 1); e != error_code::ok) return e;
  const std::uint32_t found = guard_of(bytes_of(old));
  if (const std::optional<std::uint32_t> expected = g.at(0); expected && *expected != found)
    return stored_fault(o, {protection_kind::guard, protection_hop::stored, inode, 0, *expected,
                            found});
  const bool whole = o.call->protection && o.op == opcode::write && o.offset == 0 &&
                     o.call->payload_in.size() == now.size();
  if (now.empty())
    g.clear(0, 1);
  else
    g.set(0, whole ? o.call->protection->guards[0] : guard_of(bytes_of(now)));
  g.save();
  return error_code::ok;
}

// An object's file becomes shorter.
error_code volume::cut_guards(operation& o, transaction& t, std::uint64_t inode,
                              const inode_record& r, std::uint64_t size) {
  block_guards g(t, inode);
  const std::uint64_t last = block_of(size), rest = size % protected_block_size;
  if (size != 0) {
    error_code e = load_guards(o, g, last, last + 2);
    if (e == error_code::ok && rest != 0 && g.at(last))
      e = need_block(o, t, g, inode, r, last, 0);
    if (e != error_code::ok) return e;
    if (rest != 0 && g.at(last)) g.set(last, guard_of(byte_span(o.edges[0].bytes).first(rest)));
  }
  g.cut(block_end_of(size), r.size);
  g.save();
  return error_code::ok;
}

// This range of an object's file becomes zero.
error_code volume::zero_guards(operation& o, transaction& t, std::uint64_t inode,
                               const inode_record& r, std::uint64_t offset, std::uint64_t size) {
  const std::uint64_t end = std::min(offset + size, r.size);
  if (offset >= end) return error_code::ok;
  block_guards g(t, inode);
  const std::uint64_t first = block_of(offset), last = block_of(end - 1);
  for (const std::uint64_t b : {first, last})
    if (const error_code e = load_guards(o, g, b, b + 1); e != error_code::ok) return e;
  if (const error_code e = need_kept(o, t, g, inode, r, offset, end); e != error_code::ok)
    return e;
  g.drop(first, last + 1);
  for (const std::uint64_t b : {first, last}) {
    if (!keeps_bytes(b, offset, end, r.size)) continue;
    if (const error_code e = load_guards(o, g, b, b + 1); e != error_code::ok) return e;
    std::vector<std::byte> whole = o.edges[b == first ? 0 : 1].bytes;
    const byte_range zero = inside(b, offset, end);
    std::fill_n(whole.begin() + static_cast<std::ptrdiff_t>(zero.from - begin_of(b)),
                zero.end - zero.from, std::byte{0});
    g.set(b, guard_of(whole));
  }
  g.save();
  return error_code::ok;
}

void volume::end_marks(operation& o) {
  if (o.marked.empty()) return;
  std::vector<dirty_region> marked;
  marked.swap(o.marked);
  const bool failed = o.batch == 0;
  // Some of its bytes may be in the object.
  if (failed) marks_.distrust(marked);
  marks_.release(marked, o.batch);
  if (failed) mend_later(std::move(marked));
}

}  // namespace tangelo
