// Locks that pass from one mount to another: at every moment one holder at most, whoever dies; who
// waits gets it in the end, and from who is gone for ever, too.
#include <fcntl.h>
#include <gtest/gtest.h>

#include <set>

#include "tests/sim/stage.h"
#include "tests/sim/two_mounts.h"

namespace tangelo::sim {
namespace {

using namespace ops;

constexpr int app_count = 4;
constexpr int round_count = 3;

// Who believes to hold the one lock.
struct ledger {
  std::set<int> holders;
  int grants = 0;
  std::string fault;  // the first that was seen

  void granted(int who) {
    ++grants;
    if (!holders.empty() && fault.empty())
      fault = std::to_string(who) + " is granted what " + std::to_string(*holders.begin()) + " has";
    holders.insert(who);
  }
};

app_op set_lock(std::uint32_t type, int who, ledger& l) {
  return {type == F_UNLCK ? "unlock" : "lock",
          [type, who, &l](app& a, std::uint64_t u) {
            if (type == F_UNLCK) l.holders.erase(who);
            fuse_lk_in in{};
            in.fh = a.files["F"].fh;
            in.owner = 1000 + static_cast<std::uint64_t>(who);
            in.lk = {0, INT64_MAX, type, static_cast<std::uint32_t>(who)};
            return fuse_request(FUSE_SETLKW, a.files["F"].node, u).add(in);
          },
          [type, who, &l](app&, const fake_kernel::answer&) -> std::string {
            if (type != F_UNLCK) l.granted(who);
            return {};
          }};
}

app_op read_number(const std::shared_ptr<char>& into) {
  app_op op = read("F", 0, 1);
  op.note = [into](app&, const fake_kernel::answer& r) -> std::string {
    *into = r.body.empty() ? '?' : static_cast<char>(r.body[0]);
    return {};
  };
  return op;
}

app_op write_next(const std::shared_ptr<char>& number) {
  return {"write the next",
          [number](app& a, std::uint64_t u) {
            const std::string next(1, static_cast<char>(*number + 1));
            return fuse_request::write(a.files["F"].node, u, a.files["F"].fh, 0, bytes_of(next));
          },
          nullptr};
}

// Lock; add one to the number in the file; unlock.
std::vector<app_op> counting(int who, ledger& l) {
  const auto number = std::make_shared<char>('?');
  std::vector<app_op> all{lookup("/", "f"), open("f", "F")};
  for (int i = 0; i < round_count; ++i)
    for (app_op& op : std::vector<app_op>{set_lock(F_WRLCK, who, l), read_number(number),
                                          write_next(number), set_lock(F_UNLCK, who, l)})
      all.push_back(std::move(op));
  all.push_back(release("F"));
  return all;
}

struct lock_stage : stage {
  explicit lock_stage(world_options o = two_mounts()) : stage(o) {
    app& maker = add(0, {create("/", "f", "F"), write("F", 0, "0"), release("F")});
    ready = finish_all() && settle();
    maker.go_on(in_order(counting(0, book)));
    for (int who = 1; who < app_count; ++who)
      add(static_cast<std::size_t>(who) % 2, counting(who, book));
  }
  char number() {  // that the file holds
    const auto into = std::make_shared<char>('?');
    add(0, {lookup("/", "f"), open("f", "F"), read_number(into), release("F")});
    return finish_all() ? *into : '?';
  }

  ledger book;
  bool ready = false;
};

// Empty: all was well. `at_step` is called before each step, with its number from 0.
template <class AtStep>
std::string count_together(AtStep at_step, std::uint64_t& steps) {
  lock_stage s;
  if (!s.ready) return "it does not begin";
  steps = 0;
  const bool finished = s.go_until([&s, &steps, &at_step] {
    if (s.all_done() || !s.book.fault.empty()) return true;
    at_step(s.w, steps++);
    return false;
  });
  if (!s.book.fault.empty()) return s.book.fault;
  if (!finished) return "somebody waits for ever";
  for (const auto& a : s.apps)
    for (const std::string& note : a->notes())
      if (note.find("error") != std::string::npos) return note;
  if (s.book.grants != app_count * round_count) return std::to_string(s.book.grants) + " grants";
  if (s.number() != '0' + app_count * round_count) return "the number is wrong";
  return harm(s.end());
}

class SimLocks : public testing::TestWithParam<victim> {};

TEST_P(SimLocks, HaveOneHolderAtMostWhoeverDies) {
  std::uint64_t clean = 0;
  ASSERT_EQ(count_together([](world&, std::uint64_t) {}, clean), "");
  for (std::uint64_t at = 0; at < clean; at += stride(2)) {
    std::uint64_t steps = 0;
    ASSERT_EQ(count_together(
                  [at](world& w, std::uint64_t step) {
                    if (step == at) w.kill(GetParam(), at / stride(2) % 2);
                  },
                  steps),
              "")
        << "at step " << at;
  }
}

TEST_P(SimLocks, AlsoWhenTheServerDiesNext) {
  std::uint64_t clean = 0;
  ASSERT_EQ(count_together([](world&, std::uint64_t) {}, clean), "");
  for (std::uint64_t at = 0; at < clean; at += stride(11)) {
    std::uint64_t steps = 0;
    ASSERT_EQ(count_together(
                  [at](world& w, std::uint64_t step) {
                    if (step == at) w.kill(GetParam(), at % 2);
                    if (step == at + 1 + at % 97) w.power_cut(at % 3, false);
                  },
                  steps),
              "")
        << "at step " << at;
  }
}

INSTANTIATE_TEST_SUITE_P(, SimLocks,
                         testing::Values(victim::core, victim::front_end, victim::server,
                                         victim::connection, victim::power),
                         victim_name);

// A machine that is gone for ever keeps its locks as long as its lease.
TEST(SimLocksOfOne, WhoIsGonePassesTheLockOnWithItsLease) {
  for (const bool also_the_server : {false, true}) {
    stage s(two_mounts());
    ledger book;
    (void)s.add(1, {create("/", "f", "F"), set_lock(F_WRLCK, 1, book)});
    ASSERT_TRUE(s.finish_all());
    ASSERT_TRUE(s.settle());
    app& other = s.add(0, {lookup("/", "f"), open("f", "F"), set_lock(F_WRLCK, 0, book)});
    s.go_for(ns_per_s);
    EXPECT_EQ(book.grants, 1) << "it is held";
    if (also_the_server) s.w.power_cut(0, false);
    s.w.at(1).vanish();
    s.apps.erase(s.apps.begin());
    book.holders.clear();
    EXPECT_TRUE(s.finish_all(60 * ns_per_s)) << "a lock of nobody";
    EXPECT_EQ(book.grants, 2);
    EXPECT_TRUE(s.play(other, {set_lock(F_UNLCK, 0, book), release("F")}));
    EXPECT_EQ(harm(s.end()), "");
  }
}

}  // namespace
}  // namespace tangelo::sim
