#include "tests/sim/server_box.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <utility>

namespace tangelo::sim {

namespace {
constexpr std::uint32_t test_uid = 1000;
constexpr std::uint32_t test_gid = 1001;
}  // namespace

server_box::server_box(virtual_scheduler& time, server_options options)
    : time_(time), options_(options), objects_(std::make_unique<mem_objects>(time)) {
  EXPECT_EQ(volume::format(*kv_, test_uid, test_gid, 1), error_code::ok);
  EXPECT_EQ(kv_->sync(), error_code::ok);
  objects_->set_delay_ns(50 * ns_per_us);
}

server_box::~server_box() {
  bury(zombie_);
  bury(now_);
}

void server_box::start() {
  ++starts_;
  now_ = std::make_unique<process>(time_, *kv_, *objects_, judge_);
  process& p = *now_;
  p.pool.set_delay_ns(20 * ns_per_us);
  p.committer.set_delay_ns(options_.sync_ns);
  volume_options o;
  o.id.fill(std::byte{0x77});
  o.where = "memory";
  o.audit = true;
  o.keep_reply_records = options_.keep_reply_records;
  o.commit_on_share = options_.commit_on_share;
  outcome<std::unique_ptr<volume>> v =
      volume::open(o, {time_, p.store, p.files, p.pool, p.committer});
  ASSERT_TRUE(v.has_value()) << v.error().text;
  p.fs = std::move(*v);
  p.sessions = export_host::make(options_.sessions, time_);
  p.sessions->add_volume("vol", *p.fs);
  for (loop_network* network : networks_) {
    outcome<std::unique_ptr<listener>> l =
        network->listen(server_addresses[address_], [&p](std::unique_ptr<endpoint> e) {
          p.sessions->accept(tapped(std::move(e), p.life));
        });
    ASSERT_TRUE(l.has_value()) << l.error().text;
    p.listeners.push_back(*std::move(l));
  }
}

// What dies does nothing more, also while it is taken apart.
void server_box::bury(std::unique_ptr<process>& p) {
  if (p == nullptr) return;
  duplicates_ += p->fs->status().duplicate_effects;
  executed_ += p->fs->status().executed;
  p->life.die();
  p->listeners.clear();
  p->sessions.reset();
  p->fs.reset();
  p.reset();
}

void server_box::end(std::size_t extra, objects_fate objects) {
  if (now_ == nullptr) return;
  now_->life.die();
  const std::size_t survivors = std::min(extra, now_->life.survivors());
  bury(now_);
  kv_->power_cut(survivors);
  objects_->power_cut(objects == objects_fate::kept);
  (void)time_.call_after(options_.down_ns, [this] { start(); });
}

void server_box::look() {
  if (zombie_ != nullptr && zombie_->life.dead()) bury(zombie_);
  if (now_ != nullptr && now_->life.dead()) end(extra_at_tap_, objects_fate::kept);
}

void server_box::fail_over() {
  if (now_ == nullptr) return;
  bury(zombie_);
  zombie_judge_ = die_at(place::before_sync);
  now_->listeners.clear();
  now_->life.set_judge(zombie_judge_);
  zombie_ = std::move(now_);
  old_kv_.push_back(std::move(kv_));
  old_objects_.push_back(std::move(objects_));
  kv_ = std::make_unique<mem_kv>(*old_kv_.back());
  kv_->power_cut();
  objects_ = std::make_unique<mem_objects>(*old_objects_.back());
  address_ = 1 - address_;
  start();
}

void server_box::take_snapshot() {
  snapshot_kv_ = std::make_unique<mem_kv>(*kv_);
  snapshot_kv_->power_cut();
  snapshot_objects_ = std::make_unique<mem_objects>(*objects_);
}

void server_box::restore_snapshot() {
  ASSERT_FALSE(is_up());
  *kv_ = *snapshot_kv_;
  old_objects_.push_back(std::move(objects_));
  objects_ = std::make_unique<mem_objects>(*snapshot_objects_);
}

std::uint64_t server_box::duplicate_effects() const {
  return duplicates_ + (now_ ? now_->fs->status().duplicate_effects : 0);
}

std::uint64_t server_box::executed() const {
  return executed_ + (now_ ? now_->fs->status().executed : 0);
}

}  // namespace tangelo::sim
