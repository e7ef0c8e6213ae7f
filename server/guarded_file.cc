#include "server/guarded_file.h"

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

error_code guarded_file::load(std::uint64_t first, std::uint64_t end) {
  const error_code e = guards_.load(first, end);
  return e == error_code::integrity ? fault(guards_.fault()) : e;
}

error_code guarded_file::load_both(std::uint64_t first, std::uint64_t last) {
  const error_code e = load(first, first + 1);
  return e == error_code::ok ? load(last, last + 1) : e;
}

error_code guarded_file::fault(const protection_fault& f) {
  o_.fault = f;
  ++v_.counts_.protection_faults;
  log_error("{}: protection: {}", v_.options_.where, text_of(f));
  return error_code::integrity;
}

// Again, as the header says; then it is so.
error_code guarded_file::mismatch(std::uint64_t block, std::uint32_t expected,
                                  std::uint32_t found) {
  o_.edges = {};
  o_.stage = 0;
  if (o_.gate != inode_) return v_.need_gate(o_, inode_);
  if (++o_.rereads >= protection_attempts)
    return fault({protection_kind::guard, protection_hop::stored, inode_, block, expected, found});
  ++v_.counts_.protection_rereads;
  v_.parts_.objects.forget(inode_, begin_of(block), protected_block_size);
  o_.working = true;
  v_.parts_.time.post(v_.guarded([v = &v_, o = &o_] { v->run(*o); }));
  return error_code::again_later;
}

// Has it a guard, and is that to be believed?
bool guarded_file::is_believed(std::uint64_t block) const {
  return guards_.at(block) && v_.marks_.is_trusted(inode_, block);
}

// Of an object. False: it is being read, and the operation goes on then.
bool guarded_file::read_block(std::size_t which) {
  operation::block_copy& copy = o_.edges[which];
  const byte_range file = inside(copy.block, 0, r_.size);
  copy.bytes.assign(protected_block_size, std::byte{0});
  const mutable_byte_span into = mutable_byte_span(copy.bytes).first(file.end - file.from);
  const auto hidden = v_.hidden_.find(inode_);
  const hidden_range zeros = hidden == v_.hidden_.end() ? hidden_range{} : hidden->second;
  if (v_.parts_.objects.read_now(inode_, file.from, into)) {
    zeros.hide(into, file.from);
    copy.ready = true;
    return true;
  }
  o_.working = true;
  v_.parts_.objects.read(
      inode_, file.from, into,
      v_.guarded([v = &v_, o = &o_, &copy, into, zeros,
                  from = file.from](op_result<std::uint64_t> n) {
        if (!n) return v->resume(*o, n.error());
        std::fill(into.begin() + static_cast<std::ptrdiff_t>(*n), into.end(), std::byte{0});
        zeros.hide(into, from);
        copy.ready = true;
        v->run(*o);
      }));
  return false;
}

// Afterwards edges[which] is the block, and fits its guard.
error_code guarded_file::need_block(std::uint64_t block, std::size_t which) {
  operation::block_copy& copy = o_.edges[which];
  if (!copy.ready || copy.block != block) {
    copy.block = block;
    copy.ready = false;
    if ((r_.flags & inode_flag::object) != 0) {
      if (!read_block(which)) return error_code::again_later;
    } else {
      const op_result<std::string> data = t_.value(column::inline_data, key_of(inode_));
      if (!data && data.error() != error_code::no_data) return data.error();
      copy.bytes.assign(protected_block_size, std::byte{0});
      if (data && block == 0) copy_bytes(copy.bytes, bytes_of(*data));
      copy.ready = true;
    }
  }
  if (!is_believed(block)) return error_code::ok;
  const std::uint32_t expected = *guards_.at(block), found = guard_of(copy.bytes);
  return found == expected ? error_code::ok : mismatch(block, expected, found);
}

// The blocks at both ends of this range, if they keep bytes that are not in it.
error_code guarded_file::need_kept(std::uint64_t from, std::uint64_t end) {
  const std::uint64_t first = block_of(from), last = block_of(end - 1);
  for (const std::uint64_t b : {first, last}) {
    if (!keeps_bytes(b, from, end, r_.size)) continue;
    const error_code e = need_block(b, b == first ? 0 : 1);
    if (e != error_code::ok) return e;
  }
  return error_code::ok;
}

// Before bytes with guards are written over in place.
error_code guarded_file::need_marks(std::uint64_t from, std::uint64_t end) {
  if (!o_.marked.empty()) return error_code::ok;
  std::vector<dirty_region> regions;
  for (std::uint64_t b = block_of(from); b < block_end_of(end); ++b) {
    const dirty_region region{inode_, b / region_blocks};
    if (guards_.at(b) && (regions.empty() || regions.back() != region)) regions.push_back(region);
  }
  if (regions.empty()) return error_code::ok;
  if (v_.marks_.hold(regions)) {
    o_.marked = std::move(regions);
    o_.marked_first = block_of(from);
    o_.marked_end = block_end_of(end);
    return error_code::ok;
  }
  o_.working = true;
  v_.marks_.mark(std::move(regions), v_.guarded([v = &v_, o = &o_](error_code e) {
                   if (e != error_code::ok) return v->resume(*o, e);
                   v->run(*o);
                 }));
  return error_code::again_later;
}

error_code guarded_file::prepare_overwrite(std::uint64_t offset, std::uint64_t size) {
  const std::uint64_t end = offset + size;
  error_code e = load(block_of(offset), block_end_of(end));
  if (e == error_code::ok) e = need_kept(offset, end);
  const std::uint64_t over = std::min(end, r_.size);
  const bool in_place = (r_.flags & inode_flag::object) != 0 && offset < over;
  if (e == error_code::ok && in_place) e = need_marks(offset, over);
  return e;
}

// Where an append goes nobody knew when its trailer was made; a replay of it names the place that
// it got.
error_code guarded_file::check_sent_tags(const write_call& c) {
  if (!o_.call->protection) return error_code::ok;
  const protection_trailer& tags = *o_.call->protection;
  const bool appends = (c.flags & write_flag::append) != 0 ||
                       (o_.replay && tags.reference == 0 && tags.lead == 0);
  o_.fault = check_tags(tags, inode_, appends ? std::nullopt : std::optional(c.offset));
  if (!o_.fault) return error_code::ok;
  o_.fault->hop = protection_hop::sent;
  log_error("{}: protection: {}", v_.options_.where, text_of(*o_.fault));
  return error_code::integrity;
}

error_code guarded_file::check_read(std::uint64_t offset, mutable_byte_span into) {
  const std::uint64_t end = offset + into.size();
  const std::uint64_t first = block_of(offset), last = block_of(end - 1);
  if (const error_code e = load(first, last + 1); e != error_code::ok) return e;
  const auto is_part = [&](std::uint64_t b) {
    return is_believed(b) && keeps_bytes(b, offset, end, r_.size);
  };
  for (const std::uint64_t b : {first, last}) {
    if (!is_part(b)) continue;
    const std::size_t which = b == first ? 0 : 1;
    if (const error_code e = need_block(b, which); e != error_code::ok) return e;
    const byte_range piece = inside(b, offset, end);
    copy_bytes(into.subspan(piece.from - offset),
               byte_span(o_.edges[which].bytes)
                   .subspan(piece.from - begin_of(b), piece.end - piece.from));
  }
  protection_trailer& trailer = o_.protection.emplace();
  protect(inode_, offset, into, trailer);
  for (std::uint64_t b = first; b <= last; ++b) {
    if (!is_believed(b) || is_part(b)) continue;
    const std::uint32_t expected = *guards_.at(b), found = trailer.guards[b - first];
    if (found != expected) return mismatch(b, expected, found);
  }
  return error_code::ok;
}

error_code guarded_file::written() {
  const byte_span bytes = o_.call->payload_in;
  const std::uint64_t end = o_.offset + bytes.size();
  const std::uint64_t first = block_of(o_.offset), last = block_of(end - 1);
  if (const error_code e = load(first, last + 1); e != error_code::ok) return e;
  protection_trailer made;
  const protection_trailer* tags = o_.call->protection ? &*o_.call->protection : nullptr;
  if (tags == nullptr || tags->lead != o_.offset % protected_block_size) {
    protect(inode_, o_.offset, bytes, made);
    tags = &made;
  }
  for (std::uint64_t b = first; b <= last; ++b) {
    const bool keeps = keeps_bytes(b, o_.offset, end, r_.size);
    if (begin_of(b) >= o_.offset && !keeps) {
      guards_.set(b, tags->guards[b - first]);
      continue;
    }
    std::array<std::byte, protected_block_size> whole{};
    if (keeps) copy_bytes(whole, o_.edges[b == first ? 0 : 1].bytes);
    const byte_range piece = inside(b, o_.offset, end);
    copy_bytes(mutable_byte_span(whole).subspan(piece.from - begin_of(b)),
               bytes.subspan(piece.from - o_.offset, piece.end - piece.from));
    guards_.set(b, guard_of(whole));
  }
  guards_.save();
  return error_code::ok;
}

error_code guarded_file::copied(std::uint64_t offset, std::uint64_t size) {
  const std::uint64_t first = block_of(offset), end = block_end_of(offset + size);
  if (const error_code e = load_both(first, end - 1); e != error_code::ok) return e;
  guards_.drop(first, end);
  guards_.save();
  for (std::uint64_t r = first / region_blocks; r * region_blocks < end; ++r)
    volume::put_unguarded(t_, {inode_, r});
  o_.after_write = [v = &v_] { v->start_mending(); };
  return error_code::ok;
}

error_code guarded_file::changed_inline(std::string_view old, std::string_view now) {
  if (const error_code e = load(0, 1); e != error_code::ok) return e;
  const std::uint32_t found = guard_of(bytes_of(old));
  if (const std::optional<std::uint32_t> expected = guards_.at(0); expected && *expected != found)
    return fault({protection_kind::guard, protection_hop::stored, inode_, 0, *expected, found});
  const bool whole = o_.call->protection && o_.op == opcode::write && o_.offset == 0 &&
                     o_.call->payload_in.size() == now.size();
  if (now.empty())
    guards_.clear(0, 1);
  else
    guards_.set(0, whole ? o_.call->protection->guards[0] : guard_of(bytes_of(now)));
  guards_.save();
  return error_code::ok;
}

error_code guarded_file::cut(std::uint64_t size) {
  const std::uint64_t last = block_of(size), rest = size % protected_block_size;
  if (size != 0) {
    error_code e = load(last, last + 2);
    if (e == error_code::ok && rest != 0 && guards_.at(last)) e = need_block(last, 0);
    if (e != error_code::ok) return e;
    if (rest != 0 && guards_.at(last))
      guards_.set(last, guard_of(byte_span(o_.edges[0].bytes).first(rest)));
  }
  guards_.cut(block_end_of(size), r_.size);
  guards_.save();
  return error_code::ok;
}

error_code guarded_file::zeroed(std::uint64_t offset, std::uint64_t size) {
  const std::uint64_t end = std::min(offset + size, r_.size);
  if (offset >= end) return error_code::ok;
  const std::uint64_t first = block_of(offset), last = block_of(end - 1);
  error_code e = load_both(first, last);
  if (e == error_code::ok) e = need_kept(offset, end);
  if (e != error_code::ok) return e;
  guards_.drop(first, last + 1);
  for (const std::uint64_t b : {first, last}) {
    if (!keeps_bytes(b, offset, end, r_.size)) continue;
    std::vector<std::byte> whole = o_.edges[b == first ? 0 : 1].bytes;
    const byte_range zero = inside(b, offset, end);
    std::fill_n(whole.begin() + static_cast<std::ptrdiff_t>(zero.from - begin_of(b)),
                zero.end - zero.from, std::byte{0});
    guards_.set(b, guard_of(whole));
  }
  guards_.save();
  return error_code::ok;
}

}  // namespace tangelo
