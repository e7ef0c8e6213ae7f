// Group commit: what it takes to make everything durable that is written now.
//
//   flush    every object that a large write has changed. What large writes change meanwhile is
//            flushed in a second round, with the log closed: no large write may be written to it.
//   sync     the log, still closed: RocksDB syncs whatever is in it, so nothing may come into it
//            whose bytes are not flushed. Small writes and all else may: they bring their bytes.
//   tell     answers and object actions that waited; then large writes that waited for the log.
#include <chrono>
#include <thread>

#include "base/log.h"
#include "server/volume.h"

namespace tangelo {

namespace {
constexpr std::size_t flush_parallel_max = 16;
}

void volume::wait_for(std::uint64_t written, operation& o) {
  waiting_.emplace(written, &o);
  kick_commit();
}

// Nobody may wait for what an early answer told; then it is made durable within the interval.
void volume::commit_later(const operation& o) {
  if (o.call != nullptr && (o.call->flags & message_flag::commit_soon) != 0) kick_commit();
  if (commit_timer_ != 0) return;
  commit_timer_ = parts_.time.call_after(options_.commit_interval_ms * ns_per_ms, guarded([this] {
                                           commit_timer_ = 0;
                                           if (written_ > committed_) kick_commit();
                                         }));
}

// At the end of this turn: what else this turn executes shares the flush.
void volume::kick_commit() {
  if (committing_) {
    commit_again_ = true;
    return;
  }
  if (std::exchange(commit_posted_, true)) return;
  parts_.time.post(guarded([this] { start_commit(); }));
}

void volume::start_commit() {
  commit_posted_ = false;
  committing_ = true;
  flush_dirty();
}

void volume::flush_dirty() {
  if (!options_.flush) dirty_.clear();
  flush_left_.assign(dirty_.begin(), dirty_.end());
  dirty_.clear();
  flush_next();
}

void volume::flush_next() {
  while (!flush_left_.empty() && flush_running_ < flush_parallel_max) {
    const std::uint64_t inode = flush_left_.back();
    flush_left_.pop_back();
    ++flush_running_;
    parts_.objects.sync(inode, guarded([this, inode](error_code e) {
                          check_commit(e, inode);
                          --flush_running_;
                          flush_next();
                        }));
  }
  if (flush_running_ != 0) return;
  log_closed_ = true;
  if (dirty_.empty())
    sync_log();
  else
    flush_dirty();
}

void volume::check_commit(error_code e, std::uint64_t inode) const {
  if (e == error_code::ok) return;
  log_error("{}: commit: object {:#x}: {}: stopping, so that nothing counts as durable that is not",
            options_.where, inode, row_of(e).text);
  CHECK(e == error_code::ok);
}

error_code volume::wait_for_log(operation& o) {
  o.working = true;
  wait_for_log_.push_back(&o);
  return error_code::again_later;
}

void volume::sync_log() {
  parts_.time.cancel(std::exchange(commit_timer_, 0));
  commit_again_ = false;
  const auto e = std::make_shared<error_code>(error_code::ok);
  parts_.committer.submit(
      [&kv = parts_.kv, e, flush = options_.flush, slow_us = options_.slow_us] {
        if (slow_us != 0) std::this_thread::sleep_for(std::chrono::microseconds(slow_us));
        if (flush) *e = kv.sync();
      },
      guarded([this, e, written = written_, low_water = low_water_] {
        check_commit(*e, 0);
        commit_ended(written, low_water);
      }));
}

void volume::commit_ended(std::uint64_t written, std::uint64_t low_water) {
  ++counts_.commits;
  committed_ = written;
  const bool moved = low_water > last_committed_;
  last_committed_ = std::max(last_committed_, low_water);
  sharing_.committed(written);
  marks_.committed(written);
  committing_ = false;
  log_closed_ = false;
  std::vector<operation*> ready;
  const auto behind = waiting_.upper_bound(written);
  for (auto at = waiting_.begin(); at != behind; ++at) ready.push_back(at->second);
  waiting_.erase(waiting_.begin(), behind);
  std::vector<operation*> held;
  held.swap(wait_for_log_);
  if (!waiting_.empty() || commit_again_) start_commit();
  for (operation* o : ready) proceed(*o);
  for (operation* o : held) run(*o);
  if (moved && watcher_) watcher_();
  if (stopped_) parts_.time.post(guarded([this] { stop_step(); }));
}

}  // namespace tangelo
