#include "tests/sim/world.h"

namespace tangelo::sim {

namespace {

mount_options mount_options_of(const world_options& o) {
  return {.seed = o.seed,
          .core_down_ns = o.core_down_ns,
          .front_end_down_ns = o.front_end_down_ns,
          .watchdog_down_ns = o.watchdog_down_ns,
          .kernel_resends = o.kernel_resends,
          .policy = o.policy,
          .core_outlives_front_end = o.core_outlives_front_end,
          .knows_backup = o.knows_backup,
          .cursor_by_boot = o.cursor_by_boot,
          .overlap_rule = o.overlap_rule};
}

std::vector<std::unique_ptr<mount>> make_mounts(virtual_scheduler& time, const world_options& o) {
  std::vector<std::unique_ptr<mount>> all;
  for (std::uint32_t i = 0; i < o.mounts; ++i)
    all.push_back(std::make_unique<mount>(time, mount_options_of(o), i));
  return all;
}

}  // namespace

world::world(world_options options)
    : mounts_(make_mounts(time_, options)),
      kernel(mounts_[0]->kernel),
      server_(time_, {.down_ns = options.server_down_ns,
                      .keep_reply_records = options.keep_reply_records,
                      .commit_on_share = options.commit_on_share,
                      .sessions = options.sessions}) {
  for (const auto& m : mounts_) server_.add_network(m->network());
  server_.start();
  for (const auto& m : mounts_) m->start();
}

world::~world() = default;

void world::kill(victim v, std::size_t i) {
  switch (v) {
    case victim::core: at(i).kill_core(); return;
    case victim::front_end: at(i).kill_front_end(); return;
    case victim::watchdog: at(i).kill_watchdog(); return;
    case victim::server: server_.kill(); return;
    case victim::connection: at(i).network().cut_all(); return;
    case victim::power: server_.power_cut(0, false); return;
  }
}

bool world::at_rest() {
  if (!server_.is_at_rest()) return false;
  for (const auto& m : mounts_) {
    if (m->is_gone()) continue;
    if (!m->has_front_end() || m->pending_count() != 0 || m->replay_count() != 0) return false;
  }
  return true;
}

void world::step() {
  mount& m = *mounts_[steps_ / 3 % mounts_.size()];
  switch (steps_++ % 3) {
    case 0: m.turn_front_end(); break;
    case 1: m.turn_core(); break;
    default: (void)time_.run_one(); break;
  }
  server_.look();
}

}  // namespace tangelo::sim
