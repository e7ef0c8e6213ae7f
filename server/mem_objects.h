// mem_objects: object_store in memory, with a power switch, for tests and the simulator.
//
// Bytes move when a call is made; its completion comes `delay_ns` later. power_cut() either loses
// all that was not flushed or keeps all of it: a volume must be right in both cases.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <vector>

#include "base/clock.h"
#include "server/flush_log.h"
#include "server/objects.h"

namespace tangelo {

class mem_objects final : public object_store {
 public:
  explicit mem_objects(scheduler& time, flush_log* log = nullptr) : time_(time), log_(log) {}

  bool read_now(std::uint64_t inode, std::uint64_t offset, mutable_byte_span into) override;
  void read(std::uint64_t inode, std::uint64_t offset, mutable_byte_span into,
            count_done f) override;
  void write(std::uint64_t inode, std::uint64_t offset, byte_span from, bool durably,
             count_done f) override;
  void truncate(std::uint64_t inode, std::uint64_t size, done f) override;
  void change_space(space_change what, std::uint64_t inode, std::uint64_t offset,
                    std::uint64_t size, count_done f) override;
  void blocks_inside(std::uint64_t inode, std::uint64_t offset, std::uint64_t size,
                     count_done f) override;
  void blocks_outside(std::uint64_t inode, std::uint64_t offset, std::uint64_t size,
                      count_done f) override;
  void writable_inside(std::uint64_t inode, std::uint64_t offset, std::uint64_t size,
                       count_done f) override;
  void seek(std::uint64_t inode, std::uint64_t offset, bool hole, count_done f) override;
  void copy(std::uint64_t from, std::uint64_t from_offset, std::uint64_t to,
            std::uint64_t to_offset, std::uint64_t size, count_done f) override;
  void forget(std::uint64_t, std::uint64_t, std::uint64_t) override {}
  void remove(std::uint64_t inode, done f) override;
  void sync(std::uint64_t inode, done f) override;
  op_result<store_space> space() override { return space_; }
  op_result<std::uint64_t> load_now(std::uint64_t inode, std::uint64_t offset,
                                    mutable_byte_span into) override;
  error_code write_now(std::uint64_t inode, std::uint64_t offset, byte_span from) override;
  error_code truncate_now(std::uint64_t inode, std::uint64_t size) override;
  error_code change_space_now(space_change what, std::uint64_t inode, std::uint64_t offset,
                              std::uint64_t size) override;
  error_code remove_now(std::uint64_t inode) override;
  error_code sync_now() override;

  void power_cut(bool keep_unflushed);
  void set_flush(bool on) { flush_ = on; }
  void set_delay_ns(std::uint64_t delay_ns) { delay_ns_ = delay_ns; }
  void set_cached(bool on) { cached_ = on; }  // off: read_now() always declines
  void set_space(const store_space& s) { space_ = s; }
  // The next `count` writes fail with `e` after changing half of their bytes.
  void fail_writes(error_code e, unsigned count) { write_error_ = e, write_error_count_ = count; }
  // Of files: what a volume keeps for itself is not counted.
  std::size_t count() const { return now_.size() - now_.count(0); }
  // Changes one byte behind everybody's back, as a bad disk does; false: there is none.
  bool flip(std::uint64_t inode, std::uint64_t offset);
  // The object's bytes; nullptr when there is none.
  const std::vector<std::byte>* bytes_of_object(std::uint64_t inode) const;

 private:
  struct object {
    std::vector<std::byte> bytes;
    std::set<std::uint64_t> pages;  // of 4 KiB, that have room
  };
  using objects = std::map<std::uint64_t, object>;
  std::uint64_t take(std::uint64_t inode, std::uint64_t offset, mutable_byte_span into) const;
  std::uint64_t blocks_of(std::uint64_t inode) const;
  std::uint64_t blocks_in(std::uint64_t inode, std::uint64_t offset, std::uint64_t size) const;
  void flush(std::uint64_t inode);
  void later(std::function<void()> f);

  scheduler& time_;
  flush_log* log_;
  objects now_;
  objects durable_;
  store_space space_{4096, 1 << 20, 1 << 20, 1 << 20, 1 << 20, 1 << 20};
  bool flush_ = true;
  bool cached_ = true;
  std::uint64_t delay_ns_ = 0;
  error_code write_error_ = error_code::ok;
  unsigned write_error_count_ = 0;
};

}  // namespace tangelo
