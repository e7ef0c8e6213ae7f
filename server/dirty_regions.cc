#include "server/dirty_regions.h"

#include <algorithm>
#include <cstring>
#include <memory>
#include <utility>

#include "base/check.h"
#include "base/crc32c.h"
#include "protocol/codec.h"

namespace tangelo {

namespace {

constexpr std::uint64_t idle_ns = 30 * ns_per_s;

// Format final: an entry of the object of marks. All zero: none.
struct saved_mark {
  std::uint32_t crc = 0;  // over everything behind it
  std::uint32_t version = 1;
  std::uint64_t inode = 0;
  std::uint64_t region = 0;
  std::uint64_t reserved = 0;

  template <class Self, class V>
  static void fields(Self& s, V& v) {
    v(s.crc), v(s.version), v(s.inode), v(s.region), v(s.reserved);
  }
};
constexpr std::size_t mark_size = 32;
static_assert(dirty_regions::image_size == dirty_regions::count_max * mark_size);

void put_mark(std::vector<std::byte>& image, std::size_t slot, const dirty_region& r) {
  const mutable_byte_span at = mutable_byte_span(image).subspan(slot * mark_size, mark_size);
  saved_mark m;
  m.inode = r.inode;
  m.region = r.region;
  CHECK(encode(m, at) == mark_size);
  m.crc = crc32c(at.subspan(4));
  CHECK(encode(m, at) == mark_size);
}

}  // namespace

dirty_regions::dirty_regions(object_store& objects, scheduler& time)
    : objects_(objects), time_(time), image_(image_size), changed_from_(image_size) {
  for (std::size_t slot = count_max; slot > 0; --slot) free_slots_.push_back(slot - 1);
}

dirty_regions::~dirty_regions() = default;

op_result<std::vector<dirty_region>> dirty_regions::load(object_store& objects) {
  std::vector<std::byte> image(image_size);
  const op_result<std::uint64_t> size = objects.load_now(no_inode, 0, image);
  if (!size) return failure{size.error()};
  return parse(byte_span(image).first(*size));
}

std::vector<dirty_region> dirty_regions::parse(byte_span image) {
  std::vector<dirty_region> found;
  for (std::size_t at = 0; at + mark_size <= image.size(); at += mark_size) {
    const byte_span raw = image.subspan(at, mark_size);
    const std::optional<saved_mark> m = decode<saved_mark>(raw);
    // Torn: nothing was written under it yet.
    if (m && m->inode != no_inode && m->crc == crc32c(raw.subspan(4)))
      found.push_back({m->inode, m->region});
  }
  return found;
}

error_code dirty_regions::clear(object_store& objects) {
  const error_code e = objects.truncate_now(no_inode, image_size);
  return e == error_code::ok
             ? objects.write_now(no_inode, 0, std::vector<std::byte>(image_size))
             : e;
}

bool dirty_regions::hold(const std::vector<dirty_region>& regions) {
  for (const dirty_region& r : regions) {
    const auto at = marks_.find(r);
    if (at == marks_.end() || !at->second.durable) return false;
  }
  for (const dirty_region& r : regions) {
    mark_state& m = marks_[r];
    ++m.users;
    m.used_ns = time_.now_ns();
  }
  return true;
}

// False: there is not enough room.
bool dirty_regions::take_slots(const std::vector<dirty_region>& regions) {
  std::vector<dirty_region> missing;
  for (const dirty_region& r : regions)
    if (!marks_.contains(r)) missing.push_back(r);
  if (missing.size() > free_slots_.size()) drop_idle(0);
  if (missing.size() > free_slots_.size()) return false;
  for (const dirty_region& r : missing) {
    mark_state& m = marks_[r];
    m.slot = free_slots_.back();
    free_slots_.pop_back();
    m.used_ns = time_.now_ns();
    put_mark(image_, m.slot, r);
    changed_from_ = std::min(changed_from_, m.slot * mark_size);
    changed_end_ = std::max(changed_end_, (m.slot + 1) * mark_size);
    becoming_durable_.push_back(r);
  }
  return true;
}

void dirty_regions::mark(std::vector<dirty_region> regions, std::function<void(error_code)> done) {
  CHECK(regions.size() <= count_max);
  // Dropping idle marks must not take one of these.
  for (const dirty_region& r : regions)
    if (const auto at = marks_.find(r); at != marks_.end()) ++at->second.users;
  const bool has_room = take_slots(regions);
  for (const dirty_region& r : regions)
    if (const auto at = marks_.find(r); at != marks_.end() && at->second.users != 0)
      --at->second.users;
  (has_room ? waiters_ : without_room_).push_back({std::move(regions), std::move(done)});
  if (!running_) write_image();
}

void dirty_regions::write_image() {
  const bool is_clean = changed_from_ >= changed_end_;
  if (waiters_.empty() && (is_clean || failed_)) return;
  if (is_clean) changed_from_ = 0, changed_end_ = mark_size;
  running_ = true;
  const auto from = static_cast<std::ptrdiff_t>(changed_from_);
  const auto end = static_cast<std::ptrdiff_t>(changed_end_);
  writing_.assign(image_.begin() + from, image_.begin() + end);
  written_waiters_.swap(waiters_);
  std::vector<dirty_region> marked;
  marked.swap(becoming_durable_);
  const std::uint64_t offset = changed_from_;
  changed_from_ = image_size;
  changed_end_ = 0;
  objects_.write(no_inode, offset, writing_, true,
                 [this, offset, marked = std::move(marked),
                  alive = std::weak_ptr<bool>(alive_)](op_result<std::uint64_t> r) {
                   if (!alive.expired()) written(offset, marked, r ? error_code::ok : r.error());
                 });
}

void dirty_regions::written(std::size_t offset, const std::vector<dirty_region>& marked,
                            error_code e) {
  running_ = false;
  failed_ = e != error_code::ok;
  for (const dirty_region& m : marked)
    if (const auto at = marks_.find(m); !failed_ && at != marks_.end()) at->second.durable = true;
  if (failed_) {
    changed_from_ = std::min(changed_from_, offset);
    changed_end_ = std::max(changed_end_, offset + writing_.size());
    becoming_durable_.insert(becoming_durable_.end(), marked.begin(), marked.end());
  }
  std::vector<waiter> done;
  done.swap(written_waiters_);
  for (const waiter& w : done) w.done(e);
  if (!running_) write_image();
}

void dirty_regions::release(const std::vector<dirty_region>& regions, std::uint64_t batch) {
  for (const dirty_region& r : regions) {
    const auto at = marks_.find(r);
    CHECK(at != marks_.end() && at->second.users > 0);
    --at->second.users;
    at->second.batch = std::max(at->second.batch, batch);
  }
}

void dirty_regions::drop_idle(std::uint64_t older_than_ns) {
  const std::uint64_t now = time_.now_ns();
  for (auto at = marks_.begin(); at != marks_.end();) {
    const mark_state& m = at->second;
    const bool idle = m.durable && m.users == 0 && m.distrusted == 0 && m.batch <= committed_ &&
                      now - m.used_ns >= older_than_ns;
    if (!idle) {
      ++at;
      continue;
    }
    const auto slot = static_cast<std::ptrdiff_t>(m.slot * mark_size);
    std::fill_n(image_.begin() + slot, mark_size, std::byte{0});
    changed_from_ = std::min(changed_from_, m.slot * mark_size);
    changed_end_ = std::max(changed_end_, (m.slot + 1) * mark_size);
    free_slots_.push_back(m.slot);
    at = marks_.erase(at);
  }
}

void dirty_regions::committed(std::uint64_t batch) {
  committed_ = batch;
  std::vector<waiter> again;
  again.swap(without_room_);
  for (waiter& w : again) mark(std::move(w.regions), std::move(w.done));
}

void dirty_regions::sweep() {
  drop_idle(idle_ns);
  if (!running_) write_image();
}

void dirty_regions::end() {
  for (const auto& [region, m] : marks_)
    if (m.users != 0 || m.distrusted != 0) return;
  if (!running_) (void)clear(objects_);  // else they are mended for nothing
}

void dirty_regions::distrust(const std::vector<dirty_region>& regions) {
  for (const dirty_region& r : regions) ++marks_[r].distrusted;
}

void dirty_regions::trust(const dirty_region& region) {
  const auto at = marks_.find(region);
  CHECK(at != marks_.end() && at->second.distrusted > 0);
  --at->second.distrusted;
}

bool dirty_regions::is_trusted(std::uint64_t inode, std::uint64_t block) const {
  if (marks_.empty()) return true;
  const auto at = marks_.find({inode, block / region_blocks});
  return at == marks_.end() || at->second.distrusted == 0;
}

}  // namespace tangelo
