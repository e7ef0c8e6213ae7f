// stage: a world with applications that are led step by step, for scenarios.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "tests/sim/run.h"

namespace tangelo::sim {

class stage {
 public:
  explicit stage(world_options o = {}) : w(o) {}

  // A new application on that mount; it begins with the next step.
  app& add(std::size_t mount_number, std::vector<app_op> ops) {
    const auto pid = static_cast<std::uint32_t>(100 + apps.size());
    apps.push_back(std::make_unique<app>(w.at(mount_number), pid, in_order(std::move(ops))));
    return *apps.back();
  }
  // Until `done`, which is what it returns, or for so long.
  template <class Done>
  bool go_until(Done done, std::uint64_t limit_ns = 600 * ns_per_s) {
    return w.step_until(
        [this, &done] {
          for (const auto& a : apps) a->pump();
          return done();
        },
        limit_ns);
  }
  void go_for(std::uint64_t ns) {
    (void)go_until([] { return false; }, ns);
  }
  bool all_done() const {
    for (const auto& a : apps)
      if (!a->done()) return false;
    return true;
  }
  bool finish_all(std::uint64_t limit_ns = 600 * ns_per_s) {
    return go_until([this] { return all_done(); }, limit_ns);
  }
  bool play(app& a, std::vector<app_op> ops) {
    a.go_on(in_order(std::move(ops)));
    return go_until([&a] { return a.done(); });
  }
  bool settle() {
    return go_until([this] { return w.at_rest(); });
  }
  // Until the server has started once more than now, and so for whoever has crashed it.
  bool await_next_server() {
    const std::uint64_t starts = w.server().starts();
    return go_until([this, starts] { return w.server().starts() != starts; });
  }
  // At the end: everything comes to rest; what is wrong whatever anybody was told.
  run_result end() {
    w.server().set_judge(nullptr);
    come_to_rest(w);
    run_result r;
    r.finished = all_done();
    r.steps = w.step_count();
    for (const auto& a : apps) r.notes.push_back(a->notes());
    note_end(w, r);
    return r;
  }

  world w;
  std::vector<std::unique_ptr<app>> apps;
};

}  // namespace tangelo::sim
