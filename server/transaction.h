// transaction: one attempt at executing an operation: what it read, and the one batch it writes.
//
// Made and used on the loop thread by the volume's handlers; nothing in the store changes before
// seal() and write. A read that would have to wait for the disk is noted and fails with
// error_code::again_later: the attempt is then thrown away, the noted reads are warmed on a pool
// thread, and the operation is run again.
//
// Invariants:
//   1. A handler sees its own changes of inode records, not those of entries and values.
//   2. Every inode whose record or entries were read is in read_inodes(), every changed one in
//      changed_inodes(): what commit-on-share needs.
#pragma once

#include <cstdint>
#include <deque>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "server/kv.h"
#include "server/records.h"

namespace tangelo {

struct missed_read {
  column where{};
  std::string from;
  std::string until;  // empty: one key
};

class transaction {
 public:
  transaction(kv_store& store, read_mode mode) : store_(store), mode_(mode) {}

  // The record, which may be changed in place and then touched; `stale` when there is none.
  op_result<inode_record*> inode(std::uint64_t number);
  op_result<dirent_record> entry(std::uint64_t parent, std::string_view name);  // or no_entry
  op_result<std::string> value(column where, const std::string& key);           // or no_data
  error_code scan(column where, const std::string& from, const std::string& until,
                  const kv_store::visitor& visit);

  void touch(std::uint64_t number);
  // A record where there was none.
  inode_record& add_inode(std::uint64_t number, const inode_record& record);
  void remove_inode(std::uint64_t number);
  // Cookie 0: a new one is given at seal().
  void put_entry(std::uint64_t parent, std::string_view name, std::uint64_t inode,
                 std::uint8_t type, std::uint64_t cookie);
  void remove_entry(std::uint64_t parent, std::string_view name, std::uint64_t cookie);
  void put(column where, std::string key, std::string value) {
    batch_.put(where, std::move(key), std::move(value));
  }
  void remove(column where, std::string key) { batch_.remove(where, std::move(key)); }
  void add_redo(const redo_record& record, byte_span bytes);

  // Completes the batch for this number; changed records carry it as their `change`.
  kv_batch& seal(std::uint64_t transno);

  struct redo_note {
    std::uint64_t inode = 0;
    std::string key;
    std::size_t size = 0;
  };
  const std::vector<missed_read>& misses() const noexcept { return misses_; }
  const std::vector<std::uint64_t>& read_inodes() const noexcept { return read_; }
  std::vector<std::uint64_t> changed_inodes() const;
  const std::vector<redo_note>& redo_notes() const noexcept { return redo_notes_; }

 private:
  struct held_inode {
    std::uint64_t number = 0;
    inode_record record;
    bool changed = false;
    bool removed = false;
  };
  struct new_entry {
    std::uint64_t parent = 0;
    std::string name;
    std::uint64_t inode = 0;
    std::uint8_t type = 0;
    std::uint64_t cookie = 0;
  };
  struct new_redo {
    redo_record record;
    std::string bytes;
  };
  held_inode* find(std::uint64_t number);
  error_code translate(kv_status s, missed_read missed, error_code when_absent);

  kv_store& store_;
  read_mode mode_;
  std::deque<held_inode> inodes_;  // a deque: records stay where they are
  std::vector<new_entry> entries_;
  std::vector<new_redo> redos_;
  std::vector<redo_note> redo_notes_;
  std::vector<missed_read> misses_;
  std::vector<std::uint64_t> read_;
  kv_batch batch_;
};

}  // namespace tangelo
