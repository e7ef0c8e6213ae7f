#include "tests/sim/world.h"

#include <gtest/gtest.h>

#include <utility>

namespace tangelo::sim {

namespace {

constexpr std::string_view server_address = "server:7471";
constexpr std::uint32_t test_uid = 1000;
constexpr std::uint32_t test_gid = 1001;

}  // namespace

world::world(world_options options) : options_(options) {
  network_ = std::make_unique<loop_network>(time_, loop_options{.seed = options_.seed});
  EXPECT_EQ(volume::format(kv_, test_uid, test_gid, 1), error_code::ok);
  EXPECT_EQ(kv_.sync(), error_code::ok);
  start_server();
  arenas_.fs->watchdog.client_id.fill(std::byte{0x5a});
  arenas_.fs->watchdog.incarnation = 7;
  fs_ = std::make_unique<front_end>(front_end::wiring{kernel, callers, time_, core_bell_,
                                                      *arenas_.fs, *arenas_.shared});
  fs_->start();
  start_core();
}

world::~world() {
  core_.reset();
  end_server();
}

void world::start_server() {
  pool_ = std::make_unique<virtual_workers>(time_);
  committer_ = std::make_unique<virtual_workers>(time_);
  pool_->set_delay_ns(20 * ns_per_us);
  committer_->set_delay_ns(100 * ns_per_us);
  objects_.set_delay_ns(50 * ns_per_us);
  volume_options o;
  o.id.fill(std::byte{0x77});
  o.where = "memory";
  o.audit = true;
  o.keep_reply_records = options_.keep_reply_records;
  outcome<std::unique_ptr<volume>> v =
      volume::open(o, {time_, kv_, objects_, *pool_, *committer_});
  ASSERT_TRUE(v.has_value()) << v.error().text;
  volume_ = std::move(*v);
  exports_ = export_host::make({}, time_);
  exports_->add_volume("vol", *volume_);
  outcome<std::unique_ptr<listener>> l = network_->listen(
      server_address, [this](std::unique_ptr<endpoint> e) { exports_->accept(std::move(e)); });
  ASSERT_TRUE(l.has_value()) << l.error().text;
  listener_ = *std::move(l);
}

void world::end_server() {
  if (volume_ != nullptr) {
    duplicates_ += volume_->status().duplicate_effects;
    executed_ += volume_->status().executed;
  }
  listener_.reset();
  exports_.reset();
  volume_.reset();
  pool_.reset();
  committer_.reset();
}

void world::power_cut(std::size_t extra, bool keep_unflushed) {
  if (volume_ == nullptr) return;
  end_server();
  kv_.power_cut(extra);
  objects_.power_cut(keep_unflushed);
  (void)time_.call_after(options_.server_down_ns, [this] { start_server(); });
}

void world::start_core() {
  const std::uint64_t generation = fs_->attach_core();
  core_ = std::make_unique<core>(
      core::wiring{*arenas_.fs, *arenas_.shared, generation, *network_, time_, [] {}},
      std::vector<std::string>{std::string(server_address)}, "vol");
  core_->start();
}

void world::kill_core() {
  if (core_ == nullptr) return;
  core_.reset();
  fs_->lose_core();
  (void)time_.call_after(options_.core_down_ns, [this] { core_due_ = true; });
}

void world::leave() {
  if (core_ != nullptr) core_->leave([this] { left_ = true; });
}

void world::step() {
  switch (steps_++ % 3) {
    case 0:
      (void)fs_->turn();
      ASSERT_FALSE(fs_->bad_core());
      break;
    case 1:
      if (core_ != nullptr) {
        (void)core_->turn();
        ASSERT_FALSE(core_->broken());
      } else if (core_due_) {
        core_due_ = false;
        start_core();
      }
      break;
    default: (void)time_.run_one(); break;
  }
}

}  // namespace tangelo::sim
