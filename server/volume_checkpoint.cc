// The checkpoint, which turns redo records into flushed objects; and the end of a volume.
#include "base/log.h"
#include "server/volume.h"

namespace tangelo {

namespace {
constexpr std::size_t checkpoint_parallel_max = 16;
constexpr std::uint64_t redo_size_min = 1 << 20;  // of a small disk, whose log must be small, too
}

// Then a checkpoint begins, and until it is done small writes are flushed as large ones are. On a
// full disk redo records would stand in the way of what overwrites (disk_space.h).
bool volume::has_much_redo() const {
  if (disk_.was_full(redo_.size())) return redo_.size() > redo_size_min;
  const std::uint64_t of_disk = std::max(redo_size_min, disk_.total() / 64);
  return redo_.size() > std::min<std::uint64_t>(options_.redo_size_max, of_disk);
}

void volume::arm_checkpoint() {
  if (redo_.empty() || checkpointing_) return;
  if (has_much_redo()) return start_checkpoint();
  if (checkpoint_timer_ != 0) return;
  checkpoint_timer_ = parts_.time.call_after(options_.redo_age_max_ns, guarded([this] {
                                               checkpoint_timer_ = 0;
                                               start_checkpoint();
                                             }));
}

void volume::start_checkpoint() {
  if (checkpointing_) return;
  parts_.time.cancel(checkpoint_timer_);
  checkpoint_timer_ = 0;
  checkpointing_ = true;
  checkpoint_left_ = redo_.inodes();
  checkpoint_next();
}

void volume::checkpoint_next() {
  while (!checkpoint_left_.empty() && checkpoint_running_ < checkpoint_parallel_max) {
    const std::uint64_t inode = checkpoint_left_.back();
    checkpoint_left_.pop_back();
    ++checkpoint_running_;
    checkpoint_inode(inode);
  }
  if (checkpoint_running_ != 0 || !checkpoint_left_.empty()) return;
  checkpointing_ = false;
  ++counts_.checkpoints;
  marks_.sweep();
  arm_checkpoint();
  if (stopped_) parts_.time.post(guarded([this] { stop_step(); }));
}

// Inside the gate all that the records say has been done to the object; only the flush is missing.
void volume::checkpoint_inode(std::uint64_t inode) {
  begin_own(
      [this, inode](operation& o, transaction&) {
        const error_code e = need_gate(o, inode);
        if (e != error_code::ok) return e;
        const std::vector<std::string> keys = redo_.keys_of(inode);
        parts_.objects.sync(inode, guarded([this, inode, keys](error_code flushed) {
                              checkpoint_flushed(inode, keys, flushed);
                            }));
        return error_code::no_data;  // nothing to write yet
      },
      nullptr);
}

void volume::checkpoint_flushed(std::uint64_t inode, const std::vector<std::string>& keys,
                                error_code e) {
  if (e == error_code::ok && !keys.empty()) {
    kv_batch batch;
    for (const std::string& key : keys) batch.remove(column::redo, key);
    e = parts_.kv.write(batch);
    if (e == error_code::ok) redo_.drop_flushed(inode, keys);
  }
  if (e != error_code::ok) {
    log_error("{}: object {:#x}: flush: {}", options_.where, inode, row_of(e).text);
    // Without space it is tried again. After any other failure the pages may be lost, and only the
    // redo records have the bytes: the restart writes them again.
    CHECK(e == error_code::no_space || e == error_code::quota);
  }
  --checkpoint_running_;
  checkpoint_next();
}

void volume::stop(std::function<void()> done) {
  stopped_ = std::move(done);
  save_access();
  parts_.time.post(guarded([this] { stop_step(); }));
}

void volume::stop_step() {
  if (!stopped_ || checkpointing_ || committing_ || !operations_.empty()) return;
  if (written_ > committed_) return kick_commit();
  if (!redo_.empty()) return start_checkpoint();
  marks_.end();
  std::function<void()> done;
  done.swap(stopped_);
  const auto e = std::make_shared<error_code>(error_code::ok);
  parts_.committer.submit([&kv = parts_.kv, e] { *e = kv.sync(); },
                          guarded([this, e, done = std::move(done)] {
                            if (*e != error_code::ok)
                              log_error("{}: last flush: {}", options_.where, row_of(*e).text);
                            done();
                          }));
}

}  // namespace tangelo
