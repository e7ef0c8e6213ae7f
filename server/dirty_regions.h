// dirty_regions: the durable memory of where, after a crash, blocks and guards may not fit.
//
// Bytes are written into an object before the batch that has their guards. Where a block has a
// guard already and is written over, a crash in between leaves new bytes and an old guard. So
// before that the region (4 MiB of a file) is marked, durably; of what is marked when a volume is
// opened no guard is believed: they are dropped, and made anew of what is there. A region stays
// marked for a while: writing to it again costs nothing.
//
// The marks are the object of no_inode. Loop thread only.
//
// Invariants:
//   1. mark() calls back after the marks are durable.
//   2. A mark is taken away when everything that was written under it is committed, and nobody
//      holds it. That it is gone need not be durable: a mark too many costs only time.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <vector>

#include "base/clock.h"
#include "protocol/errors.h"
#include "protocol/protection.h"
#include "server/objects.h"

namespace tangelo {

inline constexpr std::uint64_t no_inode = 0;
inline constexpr std::uint64_t region_size = 4 << 20;
inline constexpr std::uint64_t region_blocks = region_size / protected_block_size;

struct dirty_region {
  std::uint64_t inode = 0;
  std::uint64_t region = 0;  // offset / region_size
  auto operator<=>(const dirty_region&) const = default;
};

class dirty_regions {
 public:
  static constexpr std::size_t count_max = 2048;
  static constexpr std::size_t image_size = count_max * 32;  // bytes of the object

  dirty_regions(object_store& objects, scheduler& time);
  ~dirty_regions();
  dirty_regions(const dirty_regions&) = delete;
  dirty_regions& operator=(const dirty_regions&) = delete;

  // Before the loop runs, blocking: what was marked when the store was last used; and then: that
  // nothing is, with room for all marks.
  static op_result<std::vector<dirty_region>> load(object_store& objects);
  static std::vector<dirty_region> parse(byte_span image);
  static error_code clear(object_store& objects);

  // Are all of them marked, durably? Then they are held from now on.
  bool hold(const std::vector<dirty_region>& regions);
  // Marks them; then hold() is true if it is asked at once. Without success the disk failed.
  void mark(std::vector<dirty_region> regions, std::function<void(error_code)> done);
  // Ends a hold: what was written is in this batch; 0: in none, nothing was changed.
  void release(const std::vector<dirty_region>& regions, std::uint64_t batch);
  // All batches up to this one are durable: room that somebody waits for may be there.
  void committed(std::uint64_t batch);
  // Takes marks away that have not been used for a while.
  void sweep();

  // All is written and flushed, nobody will write any more: nothing is marked when it is opened.
  void end();

  // Blocks whose guards are wrong until somebody has dropped them: a write has failed half way.
  void distrust(const std::vector<dirty_region>& regions);
  void trust(const dirty_region& region);
  bool is_trusted(std::uint64_t inode, std::uint64_t block) const;

 private:
  struct mark_state {
    std::size_t slot = 0;
    bool durable = false;
    unsigned users = 0;
    unsigned distrusted = 0;
    std::uint64_t batch = 0;    // the last one written under it
    std::uint64_t used_ns = 0;
  };
  struct waiter {
    std::vector<dirty_region> regions;
    std::function<void(error_code)> done;
  };
  bool take_slots(const std::vector<dirty_region>& regions);
  void drop_idle(std::uint64_t older_than_ns);
  void write_image();
  void written(std::size_t offset, const std::vector<dirty_region>& marked, error_code e);

  object_store& objects_;
  scheduler& time_;
  std::map<dirty_region, mark_state> marks_;
  std::vector<std::size_t> free_slots_;
  std::vector<std::byte> image_;    // as the object is to be
  std::vector<std::byte> writing_;  // the part of it that is being written
  std::size_t changed_from_, changed_end_ = 0;  // of the image, since the last write began
  std::vector<dirty_region> becoming_durable_;
  std::vector<waiter> waiters_;  // of the next write
  std::vector<waiter> written_waiters_;  // of this one
  std::vector<waiter> without_room_;
  bool running_ = false;
  bool failed_ = false;  // the last write; the next one waits for somebody who needs it
  std::uint64_t committed_ = 0;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

}  // namespace tangelo
