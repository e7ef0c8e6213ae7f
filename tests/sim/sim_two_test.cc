// Two mounts on one server: what one does is never taken back once the other has seen it; one that
// is lost, late or written off harms only itself, and its applications are told.
#include <gtest/gtest.h>

#include <cerrno>
#include <set>

#include "tests/sim/stage.h"
#include "tests/sim/two_mounts.h"

namespace tangelo::sim {
namespace {

using namespace ops;

std::string data(std::size_t size, char c) { return std::string(size, c); }

std::vector<app_script> both() {
  return {in_order(every_opcode("a", false)), in_order(every_opcode("b", false))};
}

class SimTwo : public testing::TestWithParam<victim> {};

TEST_P(SimTwo, BothComeBackWhereverTheServerDies) {
  const run_result clean = run(two_mounts(), both(), nullptr);
  ASSERT_TRUE(clean.finished);
  for (std::uint64_t at = 0; at < clean.steps; at += stride(3)) {
    const run_result r = run(two_mounts(), both(), [at](world& w, auto&, std::uint64_t step) {
      if (step == at) w.kill(GetParam(), at / stride(3) % 2);
    });
    ASSERT_EQ(difference(clean, r), "") << "at step " << at;
    ASSERT_EQ(r.effects, clean.effects) << "at step " << at;
  }
}

TEST_P(SimTwo, AlsoWhenItDiesAgainWhileBothRecover) {
  const run_result clean = run(two_mounts(), both(), nullptr);
  for (std::uint64_t after = 0; after < 240; after += stride(2)) {
    const run_result r = run(two_mounts(), both(), [after](world& w, auto&, std::uint64_t step) {
      if (step == 500) w.power_cut(after % 3, after % 4 < 2);
      if (step == 500 + after) w.kill(GetParam(), after / 2 % 2);
    });
    ASSERT_EQ(difference(clean, r), "") << after << " steps after the first death";
  }
}

INSTANTIATE_TEST_SUITE_P(, SimTwo,
                         testing::Values(victim::core, victim::front_end, victim::server,
                                         victim::connection, victim::power),
                         victim_name);

// An application that looks for names and remembers which of them it has seen.
struct watcher {
  std::set<std::string> seen;
  std::size_t round = 0;

  app_script script(std::vector<std::string> names) {
    return [this, names = std::move(names)](app&) -> std::optional<app_op> {
      const std::string name = names[round++ % names.size()];
      app_op op = lookup("/", name);
      const auto note = op.note;
      op.note = [this, name, note](app& a, const fake_kernel::answer& r) {
        seen.insert(name);
        return note(a, r);
      };
      return op;
    };
  }
};

// What the second mount has been shown of the first one's changes stays, though the first one is
// gone and nobody will replay them. How many it had seen that were not flushed by themselves yet.
std::size_t shares_and_loses(std::uint64_t at, world_options o, std::string& lost) {
  stage s(o);
  std::vector<std::string> names;
  std::vector<app_op> makes;
  for (int i = 0; i < 12; ++i) {
    names.push_back("n" + std::to_string(i));
    makes.push_back(mkdir("/", names.back()));
  }
  app& maker = s.add(0, {mkdir("/", "first")});
  EXPECT_TRUE(s.finish_all());
  EXPECT_TRUE(s.settle());
  s.w.server().slow_commits(ns_per_s);  // whoever sees something has waited for one
  maker.go_on(in_order(makes));
  watcher w;
  s.apps.push_back(std::make_unique<app>(s.w.at(1), 200, w.script(names)));
  for (std::uint64_t n = 0; n < at; ++n) {
    for (const auto& a : s.apps) a->pump();
    s.w.step();
  }
  const std::set<std::string> seen = w.seen;
  s.w.at(0).vanish();
  s.w.power_cut(0, false);
  (void)s.await_next_server();
  const std::vector<std::string> now = dump_of(s.w.server().kv(), s.w.server().objects());
  for (const std::string& name : seen) {
    bool there = false;
    for (const std::string& line : now) there = there || line.starts_with("/" + name + " ");
    if (!there) lost += name + " ";
  }
  return seen.size();
}

// Negative control: without commit-on-share.
TEST(SimTwoMounts, WithoutCommitOnShareALookThatIsTakenBackIsSeen) {
  world_options o = two_mounts();
  o.commit_on_share = false;
  std::string lost;
  for (std::uint64_t at = 0; at < 600 && lost.empty(); at += 7)
    (void)shares_and_loses(at, o, lost);
  EXPECT_NE(lost, "") << "the test is blind";
}

TEST(SimTwoMounts, WhatTheOtherHasSeenIsNotTakenBack) {
  std::size_t seen = 0;
  for (std::uint64_t at = 0; at < 600; at += stride(2)) {
    std::string lost;
    seen += shares_and_loses(at, two_mounts(), lost);
    ASSERT_EQ(lost, "") << "server loses power at step " << at;
  }
  EXPECT_GT(seen, 0u) << "nothing was ever seen";
}

// One of the two is gone for ever when the server comes back, or dies while it replays. The other
// one waits for the window and loses nothing.
TEST(SimTwoMounts, OneVanishesAndTheOtherRecovers) {
  const run_result clean = run(two_mounts(), both(), nullptr);
  for (std::uint64_t after = 0; after < 120; after += 5) {
    stage s(two_mounts());
    (void)s.add(0, every_opcode("a", false));
    (void)s.add(1, every_opcode("b", false));
    (void)s.go_until([&s] { return s.apps[1]->notes().size() == 9; });
    s.w.power_cut(after % 2, after % 4 < 2);
    for (std::uint64_t n = 0; n < after; ++n) s.w.step();
    s.w.at(1).vanish();
    s.apps.pop_back();
    ASSERT_TRUE(s.finish_all()) << "it waits for the lost one for ever";
    EXPECT_EQ(s.apps[0]->notes(), clean.notes[0]) << "it vanishes " << after << " steps later";
    const run_result r = s.end();
    EXPECT_EQ(r.duplicates, 0u);
    EXPECT_EQ(r.pending + r.replays, 0u);
  }
}

// Away for longer than the window: what was durable is there, what was not is lost and told to each
// open file, by one fsync and by every close before it; then the mount is of use.
struct comeback {
  std::vector<std::string> notes;
  run_result result;
};
comeback comes_back_after_the_window(bool durable) {
  stage s(two_mounts());
  app& here = s.add(0, {mkdir("/", "here")});
  app& away = s.add(1, {create("/", "f", "F"), open("f", "G")});
  EXPECT_TRUE(s.finish_all());
  EXPECT_TRUE(s.settle());
  if (!durable) s.w.server().hold_commits();
  away.go_on(in_order({write("F", 0, data(5000, 'l'))}));
  (void)s.go_until([&away] { return away.done(); }, ns_per_s);
  const bool settled = !durable || s.settle();
  EXPECT_TRUE(settled);
  s.w.at(1).partition(true);
  s.w.power_cut(0, false);
  s.go_for(15 * ns_per_s);
  EXPECT_TRUE(s.play(here, {mkdir("here", "after")})) << "the window stays open";
  s.w.at(1).partition(false);
  EXPECT_TRUE(s.finish_all());
  EXPECT_TRUE(s.play(away, {fsync("F"), fsync("F"), flush("G"), flush("G"), fsync("G"),
                            fsync("G"), flush("G"), release("F"), release("G"),
                            create("/", "new", "N"), write("N", 0, "works"), fsync("N"),
                            release("N")}));
  comeback c{away.notes(), s.end()};
  c.notes.erase(c.notes.begin(), c.notes.begin() + 2);
  return c;
}

TEST(SimTwoMounts, OneThatComesBackAfterTheWindowIsToldWhatItLost) {
  const comeback c = comes_back_after_the_window(false);
  ASSERT_EQ(c.notes.size(), 14u);
  const bool told_at_once = c.notes[0].ends_with("error 5");  // it was not answered early
  EXPECT_EQ(c.notes[1], told_at_once ? "fsync F: ok" : "fsync F: error 5");
  EXPECT_EQ(c.notes[2], "fsync F: ok") << "told twice";
  // A close may be a child's, which looks at no answer: it says the loss, the fsync uses it up.
  for (const std::size_t close : {3u, 4u})
    EXPECT_EQ(c.notes[close], told_at_once ? "flush G: ok" : "flush G: error 5");
  EXPECT_EQ(c.notes[5], told_at_once ? "fsync G: ok" : "fsync G: error 5");
  EXPECT_EQ(c.notes[6], "fsync G: ok") << "told twice";
  EXPECT_EQ(c.notes[7], "flush G: ok") << "told twice";
  EXPECT_EQ(c.notes[12], "fsync N: ok");
  EXPECT_EQ(harm(c.result), "");
}

TEST(SimTwoMounts, OneThatLostNothingIsToldNothing) {
  const comeback c = comes_back_after_the_window(true);
  ASSERT_EQ(c.notes.size(), 14u);
  for (std::size_t i = 0; i < c.notes.size(); ++i)
    EXPECT_EQ(c.notes[i].find("error"), std::string::npos) << c.notes[i];
  EXPECT_EQ(harm(c.result), "");
  bool there = false;
  for (const std::string& line : c.result.store)
    there = there || (line.starts_with("/f ") && line.find("size 5000") != std::string::npos);
  EXPECT_TRUE(there) << "what was durable is gone";
}

// Row 11 of the crash-point table: silent for longer than the lease while the other one is heard.
// The server lives: what it has executed is kept, whatever the client has heard of it.
TEST(SimTwoMounts, Row11APartitionLongerThanTheLease) {
  for (const std::uint64_t seconds : {1u, 4u, 30u}) {
    stage s(two_mounts());
    (void)s.add(0, {mkdir("/", "here")});
    app& away = s.add(1, {create("/", "f", "F"), write("F", 0, data(5000, 'p'))});
    ASSERT_TRUE(s.finish_all());
    s.w.at(1).partition(true);
    away.go_on(in_order({write("F", 5000, data(100, 'q')), fsync("F"), fsync("F"), release("F"),
                         create("/", "new", "N"), fsync("N"), release("N")}));
    s.go_for(seconds * ns_per_s);
    s.w.at(1).partition(false);
    ASSERT_TRUE(s.finish_all());
    const std::vector<std::string>& n = away.notes();
    if (seconds < 10) {
      for (const std::string& note : n) EXPECT_EQ(note.find("error"), std::string::npos) << note;
    } else {
      EXPECT_EQ(n[2], "write F 5000 100: error 5") << "nobody knows what became of it";
      EXPECT_EQ(n[4], "fsync F: ok");
      EXPECT_EQ(n[7], "fsync N: ok");
    }
    EXPECT_EQ(harm(s.end()), "") << seconds << " s";
  }
}

// By command, with changes that are answered and not durable: the server lives, so nothing of them
// is lost, and nobody is told that it is.
TEST(SimTwoMounts, AnEvictionByCommandLosesNothingThatWasExecuted) {
  stage s(two_mounts());
  app& a = s.add(1, {create("/", "f", "F")});
  ASSERT_TRUE(s.finish_all());
  ASSERT_TRUE(s.settle());
  a.go_on(in_order({write("F", 0, data(5000, 'e'))}));
  ASSERT_TRUE(s.finish_all());
  for (const export_status& e : s.w.server().sessions().status()) {
    if (!e.has_opens) continue;
    EXPECT_TRUE(s.w.server().sessions().evict("vol", hex_of(e.client.client_id), "a test"));
  }
  ASSERT_TRUE(s.play(a, {getattr("f"), fsync("F"), read("F", 0, 9000), release("F"),
                         create("/", "new", "N"), release("N")}));
  EXPECT_EQ(a.notes()[3], "fsync F: ok");
  EXPECT_TRUE(a.notes()[4].starts_with("read F 0 9000: 5000 bytes")) << a.notes()[4];
  EXPECT_EQ(harm(s.end()), "");
}

TEST(SimTwoMounts, FailoverUnderLoad) {
  world_options o = two_mounts();
  o.knows_backup = true;
  const run_result clean = run(o, both(), nullptr);
  ASSERT_TRUE(clean.finished);
  for (std::uint64_t every = 60; every < 500; every += 20) {
    const run_result r = run(o, both(), [every](world& w, auto&, std::uint64_t step) {
      if (step % every == every - 1 && step < 6000 && w.has_server()) w.server().fail_over();
    });
    ASSERT_EQ(difference(clean, r), "") << "every " << every << " steps";
  }
}

}  // namespace
}  // namespace tangelo::sim
