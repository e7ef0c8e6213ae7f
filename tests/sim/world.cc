#include "tests/sim/world.h"

#include <gtest/gtest.h>
#include <malloc.h>

#include <algorithm>
#include <utility>

namespace tangelo::sim {

namespace {

constexpr std::string_view server_address = "server:7471";
constexpr std::uint32_t test_uid = 1000;
constexpr std::uint32_t test_gid = 1001;
constexpr std::uint64_t caller_check_period_ns = 50 * ns_per_ms;

// Making and unmaking arenas costs far more than a short run: the last one's are used again.
std::unique_ptr<mapped_arenas> spare_arenas;

void clear(void* from, const void* to) {
  auto* const begin = static_cast<std::byte*>(from);
  std::fill(begin, static_cast<std::byte*>(const_cast<void*>(to)), std::byte{0});
}

// As new, as far as anybody has written into them. Data slots keep what they held: so they do in
// an arena that has been in use for long.
void clear(mapped_arenas& arenas) {
  fs_arena& fs = *arenas.fs;
  shared_arena& shared = *arenas.shared;
  const std::uint32_t ops_end = fs.ops_used_end.load();
  clear(&fs.handles, &fs.handles[fs.handles_used_end.load()]);
  clear(&fs.ops, &fs.ops[ops_end]);
  clear(&fs.watchdog, &fs.ops);
  clear(&shared.downcalls, &shared.downcalls[ops_end]);
  clear(&shared.core, &shared.downcalls);
}

std::unique_ptr<mapped_arenas> take_arenas() {
  // The tables of a front end are large: without this malloc maps them anew each time. Only speed
  // hangs on it, and the sanitizers' malloc knows nothing of it.
  [[maybe_unused]] static const bool keeps_memory =
      mallopt(M_MMAP_THRESHOLD, 64 << 20) == 1 && mallopt(M_TRIM_THRESHOLD, 256 << 20) == 1;
  if (spare_arenas) return std::move(spare_arenas);
  return std::make_unique<mapped_arenas>(mapped_arenas::make());
}

}  // namespace

world::world(world_options options) : options_(options), arenas_(take_arenas()) {
  network_ = std::make_unique<loop_network>(time_, loop_options{.seed = options_.seed});
  EXPECT_EQ(volume::format(kv_, test_uid, test_gid, 1), error_code::ok);
  EXPECT_EQ(kv_.sync(), error_code::ok);
  start_server();
  arena().watchdog.client_id.fill(std::byte{0x5a});
  arena().watchdog.incarnation = 7;
  write_policy(arena().watchdog.policy, options_.policy);
  kernel.set_resends(options_.kernel_resends);
  kernel.set_seed(options_.seed);
  kernel.observe([this](fake_kernel::call, fake_kernel::moment when) { on_kernel_call(when); });
  start_front_end();
  start_core();
}

world::~world() {
  stores_.reset();
  core_.reset();
  fs_.reset();
  end_server();
  clear(*arenas_);
  spare_arenas = std::move(arenas_);
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

void world::kill(victim v) {
  switch (v) {
    case victim::core: kill_core(); return;
    case victim::front_end: kill_front_end(); return;
    case victim::watchdog: kill_watchdog(); return;
    case victim::server: crash_server(); return;
    case victim::connection: network_->cut_all(); return;
  }
}

void world::start_core() {
  const std::uint64_t generation = fs_->attach_core();
  core_ = std::make_unique<core>(
      core::wiring{*arenas_->fs, *arenas_->shared, generation, *network_, time_, [] {}},
      std::vector<std::string>{std::string(server_address)}, "vol");
  core_->start();
}

void world::core_is_missing(std::uint64_t for_ns) {
  core_due_ = false;
  (void)time_.call_after(for_ns, [this] { core_due_ = true; });
}

void world::kill_core() {
  if (core_ == nullptr) return;
  core_.reset();
  core_is_missing(options_.core_down_ns);
  if (fs_ != nullptr) as_front_end([this] { fs_->lose_core(); });
}

template <class F>
void world::as_front_end(F does) {
  if (stores_) stores_->arm();
  does();
  if (stores_) stores_->disarm();
  if (dying_) bury_front_end();
}

void world::start_front_end() {
  core_.reset();
  front_end_due_ = false;
  kernel.note_successor();
  ++front_ends_;
  as_front_end([this] {
    fs_ = std::make_unique<front_end>(front_end::wiring{kernel, callers, time_, core_bell_,
                                                        *arenas_->fs, *arenas_->shared,
                                                        options_.kernel_resends});
    fs_->start();
  });
  core_due_ = fs_ != nullptr;
}

void world::kill_front_end() {
  if (fs_ != nullptr) as_front_end([this] { die_here(); });
}

void world::abort_callers() {
  if (fs_ != nullptr) as_front_end([this] { fs_->abort_callers(); });
}

void world::die_here() {
  dying_ = true;
  kernel.freeze();
  arenas_->freeze();
}

void world::bury_front_end() {
  fs_.reset();
  arenas_->thaw();
  dying_ = false;
  if (!options_.core_outlives_front_end) core_.reset();
  core_due_ = false;
  (void)time_.call_after(options_.front_end_down_ns, [this] { front_end_due_ = true; });
}

void world::die_at_call(std::uint64_t n, fake_kernel::moment when) {
  fatal_call_ = kernel_calls_ + n;
  fatal_moment_ = when;
}

void world::on_kernel_call(fake_kernel::moment when) {
  if (when == fake_kernel::moment::before) ++kernel_calls_;
  // What the kernel itself writes, it writes whole.
  if (stores_ && when == fake_kernel::moment::before) stores_->disarm();
  if (stores_ && !dying_ && when == fake_kernel::moment::after) stores_->arm();
  if (kernel_calls_ != fatal_call_ || when != fatal_moment_) return;
  fatal_call_ = 0;
  die_here();
}

void world::die_at_store(std::uint64_t n) {
  stores_.reset();
  stores_ = std::make_unique<store_trap>(arena(), n, [this] { die_here(); });
}

void world::kill_watchdog() {
  if (!has_watchdog_) return;
  has_watchdog_ = false;
  (void)time_.call_after(options_.watchdog_down_ns, [this] { has_watchdog_ = true; });
}

void world::leave() {
  if (core_ != nullptr) core_->leave([this] { left_ = true; });
}

void world::turn_front_end() {
  if (fs_ == nullptr) {
    if (front_end_due_ && has_watchdog_) start_front_end();
    return;
  }
  as_front_end([this] {
    (void)fs_->turn();
    if (fs_->wants_caller_checks() && time_.now_ns() >= next_caller_check_ns_) {
      next_caller_check_ns_ = time_.now_ns() + caller_check_period_ns;
      fs_->look_after_callers();
    }
    ASSERT_FALSE(fs_->bad_core());
  });
}

void world::turn_core() {
  if (core_ != nullptr) {
    (void)core_->turn();
    ASSERT_FALSE(core_->broken());
  } else if (core_due_ && has_watchdog_ && fs_ != nullptr) {
    core_due_ = false;
    start_core();
  }
}

void world::step() {
  switch (steps_++ % 3) {
    case 0: turn_front_end(); break;
    case 1: turn_core(); break;
    default: (void)time_.run_one(); break;
  }
}

}  // namespace tangelo::sim
