#include "tests/sim/mount.h"

#include <gtest/gtest.h>
#include <malloc.h>

#include <algorithm>
#include <utility>

#include "tests/sim/server_box.h"

namespace tangelo::sim {

namespace {

constexpr std::uint64_t caller_check_period_ns = 50 * ns_per_ms;

// Making and unmaking arenas costs far more than a short run: the last ones are used again.
std::vector<std::unique_ptr<mapped_arenas>> spare_arenas;

void clear(void* from, const void* to) {
  auto* const begin = static_cast<std::byte*>(from);
  std::fill(begin, static_cast<std::byte*>(const_cast<void*>(to)), std::byte{0});
}

// As new, as far as anybody has written into them. Data slots and the replay log's pages keep what
// they held: so they do in an arena that has been in use for long.
void clear(mapped_arenas& arenas) {
  fs_arena& fs = *arenas.fs;
  shared_arena& shared = *arenas.shared;
  const std::uint32_t ops_end = fs.ops_used_end.load();
  clear(&fs.handles, &fs.handles[fs.handles_used_end.load()]);
  clear(&fs.replays, &fs.replays[fs.replays_used_end.load()]);
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
  if (spare_arenas.empty()) return std::make_unique<mapped_arenas>(mapped_arenas::make());
  std::unique_ptr<mapped_arenas> arenas = std::move(spare_arenas.back());
  spare_arenas.pop_back();
  return arenas;
}

}  // namespace

mount::mount(virtual_scheduler& time, mount_options options, std::uint32_t number)
    : options_(options),
      number_(number),
      time_(time),
      network_(time, loop_options{.seed = options.seed + number * 1000}),
      arenas_(take_arenas()) {
  fill_arena();
  kernel.set_resends(options_.kernel_resends);
  kernel.set_seed(options_.seed);
  kernel.observe([this](fake_kernel::call, fake_kernel::moment when) { on_kernel_call(when); });
}

mount::~mount() {
  stores_.reset();
  core_.reset();
  fs_.reset();
  clear(*arenas_);
  spare_arenas.push_back(std::move(arenas_));
}

void mount::fill_arena() {
  arena().watchdog.client_id.fill(static_cast<std::byte>(0x5a + number_));
  arena().watchdog.incarnation = incarnation_;
  write_policy(arena().watchdog.policy, options_.policy);
}

void mount::start() {
  start_front_end();
  start_core();
}

void mount::start_core() {
  core_due_ = false;
  const std::uint64_t generation = fs_->attach_core();
  std::vector<std::string> addresses{std::string(server_addresses[0])};
  if (options_.knows_backup) addresses.emplace_back(server_addresses[1]);
  core_ = std::make_unique<core>(
      core::wiring{*arenas_->fs, *arenas_->shared, generation, network_, time_, [] {},
                   secret{}, options_.cursor_by_boot},
      std::move(addresses), "vol");
  core_->start();
}

void mount::core_is_missing(std::uint64_t for_ns) {
  core_due_ = false;
  (void)time_.call_after(for_ns, [this] { core_due_ = true; });
}

void mount::kill_core() {
  if (core_ == nullptr) return;
  core_.reset();
  core_is_missing(options_.core_down_ns);
  if (fs_ != nullptr) as_front_end([this] { fs_->lose_core(); });
}

template <class F>
void mount::as_front_end(F does) {
  if (stores_) stores_->arm();
  does();
  if (stores_) stores_->disarm();
  if (dying_) bury_front_end();
}

void mount::start_front_end() {
  core_.reset();
  front_end_due_ = false;
  kernel.note_successor();
  ++front_ends_;
  as_front_end([this] {
    fs_ = std::make_unique<front_end>(front_end::wiring{kernel, callers, time_, core_bell_,
                                                        *arenas_->fs, *arenas_->shared,
                                                        options_.kernel_resends,
                                                        options_.overlap_rule});
    fs_->start();
  });
  core_due_ = fs_ != nullptr;
}

void mount::kill_front_end() {
  if (fs_ != nullptr) as_front_end([this] { die_here(); });
}

void mount::abort_callers() {
  if (fs_ != nullptr) as_front_end([this] { fs_->abort_callers(); });
}

void mount::vanish() {
  stores_.reset();
  core_.reset();
  fs_.reset();
  network_.cut_all();
  gone_ = true;
}

void mount::remount() {
  if (!gone_) vanish();
  clear(*arenas_);
  ++incarnation_;
  fill_arena();
  kernel.forget_all();
  gone_ = false;
  left_ = false;
  start();
}

void mount::die_here() {
  dying_ = true;
  kernel.freeze();
  arenas_->freeze();
}

void mount::bury_front_end() {
  fs_.reset();
  arenas_->thaw();
  dying_ = false;
  if (!options_.core_outlives_front_end) core_.reset();
  core_due_ = false;
  (void)time_.call_after(options_.front_end_down_ns, [this] { front_end_due_ = true; });
}

void mount::die_at_call(std::uint64_t n, fake_kernel::moment when) {
  fatal_call_ = kernel_calls_ + n;
  fatal_moment_ = when;
}

void mount::on_kernel_call(fake_kernel::moment when) {
  if (when == fake_kernel::moment::before) ++kernel_calls_;
  // What the kernel itself writes, it writes whole.
  if (stores_ && when == fake_kernel::moment::before) stores_->disarm();
  if (stores_ && !dying_ && when == fake_kernel::moment::after) stores_->arm();
  if (kernel_calls_ != fatal_call_ || when != fatal_moment_) return;
  fatal_call_ = 0;
  die_here();
}

void mount::die_at_store(std::uint64_t n) {
  stores_.reset();
  stores_ = std::make_unique<store_trap>(arena(), n, [this] { die_here(); });
}

void mount::kill_watchdog() {
  if (!has_watchdog_) return;
  has_watchdog_ = false;
  (void)time_.call_after(options_.watchdog_down_ns, [this] { has_watchdog_ = true; });
}

void mount::leave() {
  if (core_ != nullptr) core_->leave([this] { left_ = true; });
}

std::size_t mount::replay_count() const {
  const fs_arena& fs = *arenas_->fs;
  std::size_t count = 0;
  for (std::uint32_t i = 0; i < fs.replays_used_end.load(); ++i)
    if (control_of(fs.replays[i]).state != 0) ++count;
  return count;
}

void mount::turn_front_end() {
  if (gone_) return;
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

void mount::turn_core() {
  if (gone_) return;
  if (core_ != nullptr) {
    (void)core_->turn();
    ASSERT_FALSE(core_->broken());
  } else if (core_due_ && has_watchdog_ && fs_ != nullptr) {
    start_core();
  }
}

}  // namespace tangelo::sim
