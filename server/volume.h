// volume: one exported filesystem: the service that the export calls, over its two stores.
//
// All of it runs on the loop thread. An operation is attempted as plain synchronous code over a
// transaction (transaction.h) and ends in one of these ways:
//   answered   it only read, or failed: no batch, no transno;
//   written    its batch (effect + reply record + low-water mark) is in the store. An early answer
//              (inbound_call::early_answer) is given now, any other when the batch is committed;
//   blocked    a read needs the disk: warmed on the pool, then attempted again;
//   gated      another data operation of the inode runs: attempted again when the gate is free;
//   working    it has begun object I/O: attempted again, one stage on, when that ends.
// Every answer, also of a failure, is held until what it shows of other clients is committed
// (sharing.h). A commit (volume_commit.cc) begins when anybody waits for it, when an object action
// has to follow, and commit_interval_ms after a batch.
//
// Invariants:
//   1. Effect and reply record of a mutation are one batch. Batches are numbered in the order
//      written; up to committed_ they are durable. Replays have old transnos, so it is this number
//      that answers and actions wait for.
//   2. Data before log. A small write's bytes are in its batch, as a redo record. The object of a
//      larger one is flushed before its batch can become durable: the log becomes durable by
//      kv.sync() alone (kv.h), a sync is begun when every object in dirty_ has been flushed, and
//      from then to its end no such batch is written. Since the flush covers all that was done to
//      the object before, that batch may remove the object's earlier redo records: a log that
//      holds the removal comes after the flush.
//   3. An object is cut or removed only after the transaction that says so is durable, inside the
//      inode's gate; the intent is a redo record until the object is flushed.
//   4. When an inode's redo records are removed by a checkpoint, all they say has been flushed.
//   5. An operation holds at most one gate. The gate is held from before the object I/O until the
//      batch is written, or until the object action is done.
//   6. transno = boot generation << 32 | counter. last_committed is a low-water mark: it never
//      passes a transno whose batch is not durable, nor moves while a client may still make changes
//      of an earlier boot again (recovered_ is false), however much is written and synced then.
//      Its durable copy is in each batch; so a crash within the window finds it as it was.
//   7. A change depends on its call, its transno and its time alone: made again with the same, it
//      leaves the same bytes in the store (usage, quotas.h, is what they add up to).
//
// A failure of the commit itself stops the process: nothing may be answered after it, and the
// restart finds the prefix that is durable.
#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <functional>
#include <list>
#include <map>
#include <memory>
#include <set>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "base/clock.h"
#include "base/problem.h"
#include "protocol/data_ops.h"
#include "rdma/service.h"
#include "server/access_times.h"
#include "server/dirty_regions.h"
#include "server/disk_space.h"
#include "server/inode_ranges.h"
#include "server/export_rules.h"
#include "server/guarded_file.h"
#include "server/hidden_range.h"
#include "server/kv.h"
#include "server/locks.h"
#include "server/objects.h"
#include "server/opens.h"
#include "server/recent_lookups.h"
#include "server/operation.h"
#include "server/permission.h"
#include "server/redo_log.h"
#include "server/sharing.h"
#include "server/transaction.h"
#include "server/volume_answers.h"
#include "server/volume_options.h"
#include "server/workers.h"

namespace tangelo {

class volume final : public service {
 public:
  // Writes an empty filesystem into an empty store, durably.
  static error_code format(kv_store& kv, std::uint32_t uid, std::uint32_t gid, std::int64_t now_ns);
  // Blocks: raises the boot generation durably and does again what redo records say.
  static outcome<std::unique_ptr<volume>> open(volume_options options, volume_parts parts);
  ~volume() override;
  volume(const volume&) = delete;
  volume& operator=(const volume&) = delete;

  id128 target_id() const override { return options_.id; }
  bool admits(std::string_view peer) const override { return is_in(options_.rules.allow, peer); }
  std::uint64_t boot_generation() const override { return boot_; }
  std::uint64_t last_committed() const override { return last_committed_; }
  void execute(inbound_call& call) override;
  void answered_again(const inbound_call& call, byte_span answer) override;
  std::vector<client_record> load_clients() override;
  void remember_client(const client_key& key, std::function<void(error_code)> done) override;
  void watch_commits(std::function<void()> watcher) override { watcher_ = std::move(watcher); }
  void forget_client(const client_key& key, bool tombstone,
                     std::function<void(error_code)> done) override;
  void set_awaited(const client_key& key, bool awaited,
                   std::function<void(error_code)> done) override;
  bool has_opens(const client_key& key) const override;
  void watch_locks(std::function<void(const client_key&)> watcher) override {
    lock_watcher_ = std::move(watcher);
  }
  std::vector<lock_notice> notices_of(const client_key& key) const override {
    return locks_.notices(key);
  }
  void noticed(const client_key& key, std::uint64_t lock_id, bool kept) override;
  bool is_waited_for(const client_key& key) const override { return locks_.is_waited_for(key); }
  void recovery_ended() override;

  // Flushes the objects and removes the redo records; `done` when no work is left. No calls may
  // come any more.
  void stop(std::function<void()> done);
  volume_status status() const;

 private:
  using handler = error_code (volume::*)(operation&, transaction&);

  volume(volume_options options, volume_parts parts);
  // volume_open.cc
  outcome<bool> load();
  outcome<bool> redo_all();
  error_code redo_one(const redo_record& record, byte_span bytes);
  problem damaged(std::string_view what) const;

  // volume.cc: the way of an operation
  static handler handler_of(opcode op);
  operation& begin(inbound_call* call);
  void begin_own(std::function<error_code(operation&, transaction&)> own,
                 std::function<void(error_code)> done);
  void repeat(bool& running, handler step, std::string_view otherwise);
  void run(operation& o);
  error_code attempt(operation& o, transaction& t);
  void warm(operation& o, std::vector<missed_read> misses);
  std::int64_t time_of(const operation& o) const;
  void answer(operation& o, error_code status, transaction& t);
  std::uint64_t hold_answer(operation& o, const transaction& t);
  void write_batch(operation& o, transaction& t);
  void add_reply(const operation& o, kv_batch& batch);
  void audit(const operation& o, kv_batch& batch);
  void fill_answer(operation& o, transaction& t);
  void add_time(operation& o);
  void proceed(operation& o);
  void give_answer(operation& o);
  void end(operation& o);
  bool has_space(const operation& o);
  error_code need_space(operation& o, std::uint64_t inode, std::uint64_t offset,
                        std::uint64_t size);
  void needs_no_block(operation& o);
  void release_room(operation& o);
  // gates
  error_code need_gate(operation& o, std::uint64_t inode);
  void enter_gate(operation& o);
  void leave_gate(operation& o);
  // volume_commit.cc
  void wait_for(std::uint64_t written, operation& o);
  void commit_later(const operation& o);
  void kick_commit();
  void start_commit();
  void flush_dirty();
  void flush_next();
  void check_commit(error_code e, std::uint64_t inode) const;
  error_code wait_for_log(operation& o);
  void sync_log();
  void commit_ended(std::uint64_t written, std::uint64_t low_water);
  // volume_checkpoint.cc
  bool has_much_redo() const;
  void arm_checkpoint();
  void start_checkpoint();
  void checkpoint_next();
  void checkpoint_inode(std::uint64_t inode);
  void checkpoint_flushed(std::uint64_t inode, const std::vector<std::string>& keys, error_code e);
  void stop_step();
  // volume_names.cc, volume_make.cc
  error_code do_lookup(operation& o, transaction& t);
  error_code do_make(operation& o, transaction& t);  // mknod, mkdir, symlink, create
  error_code do_tmpfile(operation& o, transaction& t);
  error_code make_inode(operation& o, transaction& t, const make_call& c, inode_record& dir);
  void open_created(operation& o, const make_call& c, std::uint64_t inode);
  error_code create_existing(operation& o, transaction& t, const make_call& c,
                             const dirent_record& found);
  error_code inherit(transaction& t, const make_call& c, const inode_record& dir,
                     inode_record& r);
  error_code do_link(operation& o, transaction& t);
  error_code do_unlink(operation& o, transaction& t);  // and rmdir
  error_code do_readdir(operation& o, transaction& t);
  op_result<inode_record*> directory(transaction& t, std::uint64_t number);
  error_code drop_link(operation& o, transaction& t, std::uint64_t number, bool directory,
                       std::uint64_t handle);
  error_code erase_inode(operation& o, transaction& t, std::uint64_t number);
  error_code is_empty(transaction& t, std::uint64_t number);
  // volume_rename.cc
  error_code do_rename(operation& o, transaction& t);
  error_code check_may_rename(const operation& o, transaction& t, const rename_call& c,
                              const dirent_record& from, const dirent_record* to);
  error_code exchange(operation& o, transaction& t, const rename_call& c,
                      const dirent_record& from, const dirent_record& to);
  error_code is_below(transaction& t, std::uint64_t directory, std::uint64_t ancestor);
  error_code moved(operation& o, transaction& t, std::uint64_t inode, std::uint64_t from,
                   std::uint64_t to);
  // volume_attr.cc
  static void stamp_ctime(const operation& o, inode_record& r);
  static void stamp(const operation& o, inode_record& directory);
  static void kill_capability(transaction& t, std::uint64_t number, const inode_record& r);
  static void kill_privileges(transaction& t, const credential& who, std::uint64_t number,
                              inode_record& r);
  error_code do_getattr(operation& o, transaction& t);
  error_code do_setattr(operation& o, transaction& t);
  error_code check_may_setattr(const operation& o, transaction& t, const credential& who,
                               const setattr_call& c, const inode_record& r);
  error_code set_mode(transaction& t, const credential& who, std::uint64_t number,
                      inode_record& r, std::uint32_t mode);
  error_code set_size(operation& o, transaction& t, std::uint64_t number, std::uint64_t size);
  error_code do_readlink(operation& o, transaction& t);
  error_code do_statfs(operation& o, transaction& t);
  // volume_permission.cc
  credential caller_of(const credential& who) const;
  error_code check_may_use(const operation& o, transaction& t, const credential& who,
                           std::uint64_t handle, std::uint64_t inode, std::uint32_t want);
  op_result<std::optional<acl>> acl_of(transaction& t, std::uint64_t number,
                                       const inode_record& r, std::string_view name);
  error_code check_may(const operation& o, transaction& t, const credential& who,
                       std::uint64_t number, std::uint32_t want);
  error_code check_may_open(const operation& o, transaction& t, const credential& who,
                            std::uint64_t number, std::uint32_t open_flags);
  error_code check_may_remove(const operation& o, transaction& t, const credential& who,
                              std::uint64_t directory, std::uint64_t victim);
  // volume_access.cc
  bool atime_is_due(std::uint64_t inode, const inode_record& r, std::int64_t now_ns) const;
  void note_access(const operation& o, std::uint64_t inode, const inode_record& r);
  void save_access();
  attributes shown(std::uint64_t number, const inode_record& r) const;
  // volume_xattr.cc
  error_code check_may_xattr(const operation& o, transaction& t, const credential& who,
                             std::uint64_t number, const inode_record& r, std::string_view name,
                             bool writes);
  static op_result<std::string> take_acl(const credential& who, inode_record& r,
                                         std::string_view name, std::string_view value);
  error_code check_xattr_room(transaction& t, std::uint64_t number, std::string_view name);
  error_code do_setxattr(operation& o, transaction& t);
  error_code do_getxattr(operation& o, transaction& t);
  error_code do_listxattr(operation& o, transaction& t);
  error_code do_removexattr(operation& o, transaction& t);
  // volume_data.cc
  error_code do_read(operation& o, transaction& t);
  error_code end_read(operation& o, transaction& t, const read_call& c, const inode_record* r,
                      std::size_t size);
  error_code do_write(operation& o, transaction& t);
  error_code write_inline(operation& o, transaction& t, const write_call& c, inode_record& r);
  error_code stage_inline(operation& o, transaction& t, std::uint64_t inode,
                          const inode_record& r);
  void make_object(operation& o, std::uint64_t inode, std::uint64_t size, bool cuts,
                   std::function<void(error_code)> then);
  void add_made_redo(operation& o, transaction& t, std::uint64_t inode, inode_record& r, bool cuts);
  error_code begin_object_write(operation& o, transaction& t, const write_call& c,
                                inode_record& r);
  void object_write_bytes(operation& o, std::uint64_t inode, std::uint64_t size_before);
  error_code end_object_write(operation& o, transaction& t, const write_call& c,
                              inode_record& r);
  void written(operation& o, transaction& t, const write_call& c, inode_record& r);
  void resume(operation& o, error_code e);
  friend class guarded_file;
  // volume_mending.cc
  outcome<bool> drop_marked();
  void end_marks(operation& o);
  static void put_unguarded(transaction& t, const dirty_region& region);
  void mend_later(std::vector<dirty_region> regions, std::uint64_t first, std::uint64_t end);
  void start_mending();
  error_code mend_step(operation& o, transaction& t);
  // volume_space.cc
  void add_space_redo(transaction& t, redo_kind kind, std::uint64_t inode, std::uint64_t offset,
                      std::uint64_t size);
  void act(operation& o);
  void acted(operation& o, op_result<std::uint64_t> blocks);
  void correct_blocks(std::uint64_t inode, std::uint64_t blocks);
  void hide_range(std::uint64_t inode, std::uint64_t offset, std::uint64_t size);
  error_code measure_rest(operation& o, std::uint64_t inode, std::uint64_t offset,
                          std::uint64_t size);
  error_code do_fallocate(operation& o, transaction& t);
  error_code begin_punch(operation& o, transaction& t, const space_call& c, const inode_record& r);
  error_code zero_inline(operation& o, transaction& t, const space_call& c,
                         const inode_record& r);
  error_code begin_allocate(operation& o, transaction& t, const space_call& c,
                            const inode_record& r);
  void allocate(operation& o, const space_call& c, std::uint64_t size_before, bool cuts);
  error_code end_fallocate(operation& o, transaction& t, const space_call& c, inode_record& r);
  error_code do_seek(operation& o, transaction& t);
  // volume_copy.cc
  error_code do_copy_range(operation& o, transaction& t);
  error_code compare_source(operation& o, transaction& t, const copy_call& c,
                            const inode_record& from);
  error_code begin_copy(operation& o, transaction& t, const copy_call& c,
                        std::uint64_t from_size, const inode_record& to);
  void copy_bytes_of(operation& o, const copy_call& c, std::uint64_t size,
                     std::uint64_t size_before);
  error_code end_copy(operation& o, transaction& t, const copy_call& c, inode_record& to);
  // volume_clients.cc
  error_code do_open(operation& o, transaction& t);  // and reclaim_open
  error_code do_release(operation& o, transaction& t);
  error_code do_fsync(operation& o, transaction& t);
  error_code do_inode_range(operation& o, transaction& t);
  error_code drop_client(transaction& t, const client_key& key, bool older_only,
                         std::uint64_t& highest);
  op_result<std::optional<saved_client>> saved_of(transaction& t, const id128& client);
  void released(const std::vector<std::uint64_t>& inodes);
  void remove_orphan(std::uint64_t inode);
  bool may_linger(std::uint64_t inode, const inode_record& r, const client_key& by) const;
  void keep_for_a_moment(std::uint64_t inode);
  void note_handle(operation& o, std::uint64_t handle, std::uint64_t inode);
  // volume_quota.cc
  outcome<bool> load_quotas(std::uint64_t last_boot, kv_batch& batch);
  bool is_unlimited(const operation& o) const;
  error_code check_quotas(const operation& o, const std::vector<quota_change>& changes) const;
  error_code need_room(operation& o, std::uint64_t inode, const inode_record& r,
                       std::uint64_t offset, std::uint64_t size);
  void release_quotas(operation& o);
  error_code set_quota(operation& o, transaction& t, const xattr_call& c, bool removes);
  op_result<std::string> quota_text(const xattr_call& c, const inode_record& r) const;
  error_code add_tree_room(transaction& t, std::uint64_t inode, statfs_answer& a);
  // volume_trees.cc
  bool is_tree_root(std::uint64_t number, const inode_record& r) const;
  error_code make_tree(operation& o, transaction& t, std::uint64_t top, const saved_quota& limits);
  error_code check_not_nested(transaction& t, std::uint64_t directory);
  error_code link_into_tree(const operation& o, inode_record& r, const inode_record& dir) const;
  error_code move_into_tree(const operation& o, transaction& t, std::uint64_t number,
                            std::uint64_t from, std::uint64_t to);
  void start_walk();
  error_code walk_step(operation& o, transaction& t);
  error_code walk_directory(transaction& t, const std::string& key, std::uint64_t after);
  // volume_locks.cc
  error_code do_get_lock(operation& o, transaction& t);
  error_code do_set_lock(operation& o, transaction& t);
  error_code do_cancel_lock(operation& o, transaction& t);
  error_code do_reclaim_lock(operation& o, transaction& t);
  void tell_lock_news();

  const volume_options options_;
  const volume_parts parts_;
  std::uint64_t boot_ = 0;
  std::uint64_t last_transno_ = 0;    // given out
  std::uint64_t low_water_ = 0;       // last_committed as it is in the last batch
  std::uint64_t last_committed_ = 0;  // and as it is durably
  std::uint64_t written_ = 0;         // batches in the store
  std::uint64_t committed_ = 0;       // batches that are durable
  std::uint64_t next_inode_ = 0;

  std::list<operation> operations_;
  std::unordered_map<std::uint64_t, std::deque<operation*>> gates_;  // front: its holder
  open_table opens_;
  recent_lookups looked_up_;
  std::uint64_t last_keeping_ = 0;  // handle of what keep_for_a_moment() keeps
  lock_table locks_;
  std::function<void(const client_key&)> lock_watcher_;
  bool lock_news_posted_ = false;
  inode_ranges ranges_;
  redo_log redo_;
  sharing sharing_;
  std::set<client_key, client_less> known_;
  std::unordered_set<std::uint64_t> orphans_;
  // Bytes that are zero, though their object does not know it yet. The gate is held meanwhile.
  std::unordered_map<std::uint64_t, hidden_range> hidden_;
  quota_table quotas_;
  dirty_regions marks_;
  bool mending_ = false, walking_ = false;  // start_mending(), start_walk()
  access_times access_;
  timer_id access_timer_ = 0;
  std::function<void()> watcher_;
  bool recovered_ = false;  // no client can re-claim anything any more
  std::multimap<std::uint64_t, operation*> waiting_;  // by the batch they wait for
  timer_id commit_timer_ = 0;
  bool commit_posted_ = false;
  bool committing_ = false, commit_again_ = false;
  std::set<std::uint64_t> dirty_;  // inodes with bytes that are in no redo record and not flushed
  std::vector<std::uint64_t> flush_left_;
  std::size_t flush_running_ = 0;
  bool log_closed_ = false;  // to batches that add to dirty_
  std::vector<operation*> wait_for_log_;

  timer_id checkpoint_timer_ = 0;
  bool checkpointing_ = false;
  std::vector<std::uint64_t> checkpoint_left_;
  std::size_t checkpoint_running_ = 0;
  std::function<void()> stopped_;
  disk_space disk_;
  volume_status counts_;
  // A callback that does nothing when this volume is gone.
  template <class F>
  auto guarded(F f) {
    return [alive = std::weak_ptr<bool>(alive_), f = std::move(f)](auto&&... args) {
      if (!alive.expired()) f(std::forward<decltype(args)>(args)...);
    };
  }
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

}  // namespace tangelo
