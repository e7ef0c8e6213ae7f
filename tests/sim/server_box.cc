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
    : time_(time), options_(options), objects_(time) {
  EXPECT_EQ(volume::format(kv_, test_uid, test_gid, 1), error_code::ok);
  EXPECT_EQ(kv_.sync(), error_code::ok);
  objects_.set_delay_ns(50 * ns_per_us);
}

server_box::~server_box() { stop(); }

void server_box::start() {
  ++starts_;
  life_ = std::make_unique<server_life>(kv_, judge_);
  life_kv_ = std::make_unique<tapped_kv>(kv_, *life_);
  life_objects_ = std::make_unique<tapped_objects>(objects_, *life_);
  pool_ = std::make_unique<virtual_workers>(time_);
  committer_ = std::make_unique<virtual_workers>(time_);
  pool_->set_delay_ns(20 * ns_per_us);
  committer_->set_delay_ns(options_.sync_ns);
  volume_options o;
  o.id.fill(std::byte{0x77});
  o.where = "memory";
  o.audit = true;
  o.keep_reply_records = options_.keep_reply_records;
  outcome<std::unique_ptr<volume>> v =
      volume::open(o, {time_, *life_kv_, *life_objects_, *pool_, *committer_});
  ASSERT_TRUE(v.has_value()) << v.error().text;
  volume_ = std::move(*v);
  exports_ = export_host::make(options_.sessions, time_);
  exports_->add_volume("vol", *volume_);
  for (loop_network* network : networks_) {
    outcome<std::unique_ptr<listener>> l =
        network->listen(server_address, [this](std::unique_ptr<endpoint> e) {
          exports_->accept(tapped(std::move(e), *life_));
        });
    ASSERT_TRUE(l.has_value()) << l.error().text;
    listeners_.push_back(*std::move(l));
  }
}

void server_box::stop() {
  if (volume_ != nullptr) {
    duplicates_ += volume_->status().duplicate_effects;
    executed_ += volume_->status().executed;
  }
  listeners_.clear();
  exports_.reset();
  volume_.reset();
  pool_.reset();
  committer_.reset();
  life_kv_.reset();
  life_objects_.reset();
}

void server_box::end(std::size_t extra, objects_fate objects) {
  if (volume_ == nullptr) return;
  const std::size_t written = life_->unsynced();
  life_->die();
  stop();
  life_.reset();
  kv_.power_cut(std::min(extra, written));
  objects_.power_cut(objects == objects_fate::kept);
  (void)time_.call_after(options_.down_ns, [this] { start(); });
}

std::uint64_t server_box::duplicate_effects() const {
  return duplicates_ + (volume_ ? volume_->status().duplicate_effects : 0);
}

std::uint64_t server_box::executed() const {
  return executed_ + (volume_ ? volume_->status().executed : 0);
}

}  // namespace tangelo::sim
