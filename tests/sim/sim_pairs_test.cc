// Two processes die, one after the other, at every pair of steps of a short workload: each ordered
// pair of core, front end, watchdog, server and connection.
//
// The first dies at each of TANGELO_SIM_PAIR_STEPS steps in a row (34 unless told), in the middle
// of the workload; the second at the same step or at any later one of them.
#include <gtest/gtest.h>

#include <cstdlib>

#include "tests/sim/run.h"

namespace tangelo::sim {
namespace {

constexpr std::uint64_t steps_unless_told = 34;

// Creates, writes, renames, unlinks while open, opens, reads, releases: two applications at once.
std::vector<app_script> short_workload() {
  using namespace ops;
  return {in_order({create("/", "f", "F"), write("F", 0, "first"), rename("/", "f", "/", "g"),
                    unlink("/", "g"), write("F", 5, "more"), read("F", 0, 100), release("F")}),
          in_order({mkdir("/", "e"), create("e", "h", "H"), write("H", 0, std::string(70'000, 'x')),
                    release("H"), open("h", "I"), read("I", 0, 100), release("I"),
                    unlink("e", "h"), rmdir("/", "e")})};
}

// Steps from `from` to `to`, where the faults strike.
struct window {
  std::uint64_t from = 0;
  std::uint64_t to = 0;
};

std::uint64_t steps_told() {
  const char* n = std::getenv("TANGELO_SIM_PAIR_STEPS");
  return n == nullptr ? steps_unless_told : std::strtoull(n, nullptr, 10);
}

window middle_of(const run_result& clean) {
  const std::uint64_t size = std::min(steps_told(), clean.steps);
  // Most of the workload lies behind the connecting, which is at its beginning.
  const std::uint64_t from = std::min(clean.steps - size, clean.steps / 3);
  return {from, from + size};
}

// What is wrong with a run in which `a` dies at `at_a` and `b` at `at_b`.
std::string pair_difference(const run_result& clean, victim a, victim b, std::uint64_t at_a,
                            std::uint64_t at_b) {
  // The core of a dead front end dies with it, or later.
  const world_options o{.core_outlives_front_end = (at_a + at_b) % 2 == 0};
  const run_result r = run(o, short_workload(), [=](world& w, auto&, std::uint64_t step) {
    if (step == at_a) w.kill(a);
    if (step == at_b) w.kill(b);
  });
  std::string d = difference(clean, r);
  if (d.empty() && r.effects != clean.effects)
    d = std::to_string(r.effects) + " effects instead of " + std::to_string(clean.effects);
  return d;
}

class SimPairs : public testing::TestWithParam<std::pair<victim, victim>> {};

TEST_P(SimPairs, OnlyCostTimeWheneverTheyDie) {
  const auto [a, b] = GetParam();
  const run_result clean = run({}, short_workload(), nullptr);
  ASSERT_TRUE(clean.finished);
  const window w = middle_of(clean);
  for (std::uint64_t i = w.from; i < w.to; ++i)
    for (std::uint64_t j = i; j < w.to; ++j)
      ASSERT_EQ(pair_difference(clean, a, b, i, j), "")
          << name_of(a) << " at step " << i << ", " << name_of(b) << " at step " << j;
}

std::vector<std::pair<victim, victim>> all_pairs() {
  std::vector<std::pair<victim, victim>> all;
  for (std::size_t a = 0; a < victim_count; ++a)
    for (std::size_t b = 0; b < victim_count; ++b)
      all.emplace_back(static_cast<victim>(a), static_cast<victim>(b));
  return all;
}

std::string pair_name(const testing::TestParamInfo<std::pair<victim, victim>>& info) {
  std::string name = std::string(name_of(info.param.first)) + "_" +
                     std::string(name_of(info.param.second));
  std::erase(name, ' ');
  return name;
}

INSTANTIATE_TEST_SUITE_P(, SimPairs, testing::ValuesIn(all_pairs()), pair_name);

}  // namespace
}  // namespace tangelo::sim
