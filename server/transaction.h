// transaction: one attempt at executing an operation: what it read, and the one batch it writes.
//
// Made and used on the loop thread by the volume's handlers; nothing in the store changes before
// seal() and write. A read that would have to wait for the disk is noted and fails with
// error_code::again_later: the attempt is then thrown away, the noted reads are warmed on a pool
// thread, and the operation is run again.
//
// Invariants:
//   1. A handler sees its own changes of inode records, not those of entries and values.
//   2. What was read by inode(), entry(), value() and scan() is in looked(), what the batch changes
//      in changed(), as keys of sharing.h. Handlers add what only they know: that an answer shows
//      attributes, that bytes of an object are read or written, that a change does not commute.
#pragma once

#include <cstdint>
#include <deque>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "server/kv.h"
#include "server/quotas.h"
#include "server/records.h"
#include "server/sharing.h"

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

  // Changes of the record go into the batch; of a kind that commutes (sharing.h).
  void touch(std::uint64_t number);
  // And of another kind, too.
  void touch(std::uint64_t number, aspect what) {
    touch(number);
    change({what, number, 0});
  }
  // The record goes into the batch, but nothing has changed of which a client would have to know.
  void touch_quietly(std::uint64_t number);
  void look(aspect what, std::uint64_t number) { looked_.push_back({what, number, 0}); }
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
  void remove_range(column where, std::string from, std::string until) {
    batch_.remove_range(where, std::move(from), std::move(until));
  }
  void add_redo(const redo_record& record, byte_span bytes);

  // The limits, the tree's root and whether it is made; usage is not touched by it. Nothing: it is
  // forgotten.
  void edit_quota(const quota_key& key, std::optional<saved_quota> now) {
    quota_edits_.push_back({key, std::move(now)});
    walks_ = walks_ || key.kind == quota_kind::tree;
  }
  // What is in this directory is to be told that it is in this tree.
  void add_walk(std::uint64_t tree, std::uint64_t directory) {
    put(column::quotas, walk_key(tree, directory), packed(saved_walk{}));
    walks_ = true;
  }

  // Completes the batch for this number; changed records carry it as their `change`, unless they
  // have a higher one (that a replay comes behind).
  kv_batch& seal(std::uint64_t transno);

  struct redo_note {
    std::uint64_t inode = 0;
    std::string key;
    std::size_t size = 0;
  };
  const std::vector<missed_read>& misses() const noexcept { return misses_; }
  const std::vector<share_key>& looked() const noexcept { return looked_; }
  const std::vector<share_key>& changed() const noexcept { return changed_; }
  const std::vector<redo_note>& redo_notes() const noexcept { return redo_notes_; }
  // How the records that it changes change what is in use.
  std::vector<quota_change> quota_changes() const;
  const std::vector<quota_update>& quota_edits() const noexcept { return quota_edits_; }
  bool has_walks() const noexcept { return walks_; }  // or trees that have gone

 private:
  struct held_inode {
    std::uint64_t number = 0;
    inode_record record;
    bool changed = false;
    bool removed = false;
    bool quietly = false;  // changed, but not so that `change` would say it
    std::optional<inode_record> before;  // as it is in the store
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
  void change(const share_key& key) { changed_.push_back(key); }
  void change_name(std::uint64_t parent, std::string_view name);
  error_code translate(kv_status s, missed_read missed, error_code when_absent);

  kv_store& store_;
  read_mode mode_;
  std::deque<held_inode> inodes_;  // a deque: records stay where they are
  std::vector<new_entry> entries_;
  std::vector<new_redo> redos_;
  std::vector<redo_note> redo_notes_;
  std::vector<quota_update> quota_edits_;
  bool walks_ = false;
  std::vector<missed_read> misses_;
  std::vector<share_key> looked_;
  std::vector<share_key> changed_;
  kv_batch batch_;
};

}  // namespace tangelo
