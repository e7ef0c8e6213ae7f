// run: a world with its applications from the first step to the last, and what must hold then.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "tests/sim/app.h"
#include "tests/sim/dump.h"

namespace tangelo::sim {

using fault = std::function<void(world&, std::vector<std::unique_ptr<app>>&, std::uint64_t step)>;

// The step of a loop over moments: `by`, or TANGELO_SIM_STRIDE times that, where all of them would
// take too long.
inline std::uint64_t stride(std::uint64_t by = 1) {
  const char* const told = std::getenv("TANGELO_SIM_STRIDE");
  return by * (told == nullptr ? 1 : std::max(1ull, std::strtoull(told, nullptr, 10)));
}

struct run_result {
  std::vector<std::vector<std::string>> notes;  // of each application
  std::vector<std::string> store;               // what the server holds at the end
  std::uint64_t steps = 0;     // until the applications were done
  std::uint64_t frames = 0;    // delivered by the fabric until then
  std::uint64_t executed = 0;  // mutations, those included that a server took along and that were
                               // replayed
  std::size_t effects = 0;     // mutations that the store holds
  std::uint64_t duplicates = 0;
  std::size_t repeated_answers = 0;
  std::size_t pending = 0;       // ops, after everything has come to rest
  std::size_t replays = 0;       // in the replay logs, likewise
  std::size_t open_handles = 0;  // at the server, likewise
  bool shared_numbers = false;   // an inode number is in both ranges
  std::uint64_t kernel_calls = 0;
  bool finished = false;
};

inline bool ranges_overlap(const fs_arena& arena) {
  const inode_range_record& a = arena.inode_ranges[0];
  const inode_range_record& b = arena.inode_ranges[1];
  return a.next.load() < b.end.load() && b.next.load() < a.end.load();
}

// Goes on until everything is at rest, or for so long that it will never be.
inline void come_to_rest(world& w) {
  const auto rests = [&w] { return w.at_rest() && w.server_status().open_handles == 0; };
  for (std::uint64_t n = 0; n < 3000 && !rests(); ++n) w.step();
  while (!w.has_server()) w.step();
}

inline void note_end(world& w, run_result& r) {
  r.executed = w.executed();
  r.effects = audited_effects(w.server().kv());
  r.store = dump_of(w.server().kv(), w.server().objects());
  r.duplicates = w.duplicate_effects();
  r.open_handles = w.server_status().open_handles;
  for (std::size_t i = 0; i < w.mount_count(); ++i) {
    mount& m = w.at(i);
    r.repeated_answers += m.kernel.repeated();
    if (m.is_gone()) continue;
    r.pending += m.pending_count();
    r.replays += m.replay_count();
    r.shared_numbers = r.shared_numbers || ranges_overlap(m.arena());
  }
}

// The applications are spread over the mounts, one after the other.
inline run_result run(world_options options, const std::vector<app_script>& scripts,
                      const fault& at_step, std::uint64_t step_max = 60'000) {
  world w(options);
  std::vector<std::unique_ptr<app>> apps;
  for (const app_script& s : scripts) {
    const std::uint32_t number = static_cast<std::uint32_t>(apps.size());
    apps.push_back(std::make_unique<app>(w.at(number % w.mount_count()), 100 + number, s));
  }
  run_result r;
  const auto all_done = [&apps] {
    for (const auto& a : apps)
      if (!a->done()) return false;
    return true;
  };
  while (!all_done() && w.step_count() < step_max) {
    for (const auto& a : apps) a->pump();
    if (at_step) at_step(w, apps, w.step_count());
    w.step();
  }
  r.finished = all_done();
  r.steps = w.step_count();
  r.frames = w.network().delivered();
  r.kernel_calls = w.kernel_call_count();
  come_to_rest(w);
  for (const auto& a : apps) r.notes.push_back(a->notes());
  note_end(w, r);
  return r;
}

// What must not be whatever the applications were told; empty when all is well.
inline std::string harm(const run_result& r) {
  if (!r.finished) return "an application was still waiting after " + std::to_string(r.steps);
  if (r.repeated_answers != 0) return "a request was answered twice";
  if (r.duplicates != 0) return std::to_string(r.duplicates) + " effects happened twice";
  if (r.shared_numbers) return "an inode number is in both ranges";
  if (r.pending != 0) return std::to_string(r.pending) + " ops never ended";
  if (r.replays != 0) return std::to_string(r.replays) + " changes stayed in the replay log";
  if (r.open_handles != 0) return std::to_string(r.open_handles) + " handles stayed open";
  for (const std::string& line : r.store)
    if (line.starts_with("FAULT")) return line;
  return {};
}

// Empty when `r` is as good as `clean`, a run without faults; else what is wrong with it.
inline std::string difference(const run_result& clean, const run_result& r) {
  for (std::size_t a = 0; r.finished && a < clean.notes.size(); ++a)
    for (std::size_t i = 0; i < clean.notes[a].size(); ++i) {
      const std::string got = i < r.notes[a].size() ? r.notes[a][i] : "(nothing)";
      if (got != clean.notes[a][i])
        return "op " + std::to_string(i) + ": \"" + got + "\" instead of \"" +
               clean.notes[a][i] + "\"";
    }
  std::string d = harm(r);
  if (d.empty()) d = first_difference(clean.store, r.store);
  return d;
}

inline run_result clean_run() { return run({}, {in_order(every_opcode("d"))}, nullptr); }

}  // namespace tangelo::sim
