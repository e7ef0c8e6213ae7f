// Guards that are made anew, of the bytes that are there: after a crash, after a write that failed
// half way, and of copies, whose bytes never came by. What is to be done is in the store
// (column::unguarded), a region at a time; blocks that have a guard keep it.
#include <fmt/format.h>

#include <algorithm>

#include "base/log.h"
#include "server/volume.h"

namespace tangelo {

namespace {
constexpr std::uint64_t step_blocks = 256;
const std::string every_key_end(17, '\xff');  // keys have 16 bytes
}

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

// The operation has ended, in its batch or without one.
void volume::end_marks(operation& o) {
  if (o.marked.empty()) return;
  std::vector<dirty_region> marked;
  marked.swap(o.marked);
  const bool failed = o.batch == 0;
  // Some of its bytes may be in the object.
  if (failed) marks_.distrust(marked);
  marks_.release(marked, o.batch);
  if (failed) mend_later(std::move(marked), o.marked_first, o.marked_end);
}

void volume::put_unguarded(transaction& t, const dirty_region& region) {
  t.put(column::unguarded, key_of(region.inode, region.region),
        key_of(region.region * region_blocks));
}

// Blocks of regions that nobody trusts: their guards are dropped first, those of others stay.
void volume::mend_later(std::vector<dirty_region> regions, std::uint64_t first,
                        std::uint64_t end) {
  begin_own(
      [regions, first, end](operation&, transaction& t) {
        block_guards g(t, regions.front().inode);
        if (const error_code e = g.load(first, end); e != error_code::ok) return e;
        g.clear(first, end);
        g.save();
        for (const dirty_region& r : regions) put_unguarded(t, r);
        return error_code::ok;
      },
      [this, regions](error_code e) {
        if (e != error_code::ok) return;  // they stay marked
        for (const dirty_region& r : regions) marks_.trust(r);
        start_mending();
      });
}

void volume::start_mending() {
  repeat(mending_, &volume::mend_step, "guards are made anew after the next start");
}

// The next blocks of the first region that there is.
error_code volume::mend_step(operation& o, transaction& t) {
  std::string key;
  std::uint64_t block = 0;
  error_code e = t.scan(column::unguarded, {}, every_key_end,
                        [&](std::string_view k, std::string_view v) {
                          key = k;
                          block = number_at(v, 0);
                          return false;
                        });
  if (e != error_code::ok) return e;
  if (key.empty()) return error_code::no_data;
  const dirty_region region{number_at(key, 0), number_at(key, 8)};
  const op_result<inode_record*> r = t.inode(region.inode);
  if (!r && r.error() != error_code::stale) return r.error();
  const std::uint64_t file_end = r ? block_end_of((*r)->size) : 0;
  const std::uint64_t region_end = std::min((region.region + 1) * region_blocks, file_end);
  const std::uint64_t end = std::min(block + step_blocks, region_end);
  if (block >= end || ((*r)->flags & inode_flag::object) == 0) {
    ++counts_.mended_regions;
    t.remove(column::unguarded, key);
    return error_code::ok;
  }
  const std::uint64_t from = block * protected_block_size;
  const std::uint64_t size = std::min(end * protected_block_size, (*r)->size) - from;
  // Another region may have come in front while the bytes of this one were read.
  if (o.gate != region.inode || o.offset != from || o.staging.size() != size) o.stage = 0;
  if (e = need_gate(o, region.inode); e != error_code::ok) return e;
  if (o.stage == 0) {
    o.offset = from;
    o.staging.assign(size, std::byte{0});
    o.working = true;
    parts_.objects.read(region.inode, from, o.staging,
                        guarded([this, &o](op_result<std::uint64_t> n) {
                          resume(o, n ? error_code::ok : n.error());
                        }));
    return error_code::again_later;
  }
  if (o.io_error != error_code::ok) return o.io_error;
  block_guards g(t, region.inode);
  if (e = g.load(block, end); e != error_code::ok) return e;
  protection_trailer made;
  protect(region.inode, from, o.staging, made);
  for (std::uint64_t b = block; b < end; ++b)
    if (!g.at(b)) g.set(b, made.guards[b - block]);
  g.save();
  t.put(column::unguarded, key, key_of(end));
  return error_code::ok;
}

}  // namespace tangelo
