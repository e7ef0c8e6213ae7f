// barriers against a naive model: the same random ops, the same answers. The seed is printed; to
// repeat one: TANGELO_TEST_SEED=N fs_test --gtest_filter='Barriers.*'
#include "fs/barriers.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <set>
#include <string>
#include <vector>

#include "base/prng.h"

namespace tangelo {
namespace {

struct model_op {
  std::uint32_t index;
  std::vector<claim> claims;
};

bool conflict(const model_op& a, const model_op& b) {
  for (const claim& x : a.claims)
    for (const claim& y : b.claims)
      if (x.key == y.key && x.from < y.to && y.from < x.to) return true;
  return false;
}

bool may_go(const std::vector<model_op>& ops, std::size_t at) {
  for (std::size_t i = 0; i < at; ++i)
    if (conflict(ops[i], ops[at])) return false;
  return true;
}

claim random_claim(prng& random) {
  const std::uint64_t inode = 1 + random.below(3);
  switch (random.below(4)) {
    case 0: return claim_inode(inode);
    case 1: return claim_name(inode, std::string(1, static_cast<char>('a' + random.below(3))));
    default: {
      const std::uint64_t from = random.below(8);
      return claim_range(inode, from, from + random.below(4));
    }
  }
}

void compare_with_model(std::uint64_t seed) {
  SCOPED_TRACE("TANGELO_TEST_SEED=" + std::to_string(seed));
  prng random(seed);
  barriers real;
  std::vector<model_op> ops;
  std::set<std::uint32_t> used;
  for (int step = 0; step < 2000; ++step) {
    if (ops.size() < 12 && random.below(2) == 0) {
      std::uint32_t index = 0;
      do index = static_cast<std::uint32_t>(random.below(op_slot_count));
      while (used.contains(index));
      model_op op{index, {}};
      for (std::uint64_t n = random.below(claim_count_max + 1); n-- > 0;)
        op.claims.push_back(random_claim(random));
      real.add(index, op.claims.data(), op.claims.size());
      used.insert(index);
      ops.push_back(op);
    } else if (!ops.empty()) {
      const std::size_t at = random.below(ops.size());
      std::set<std::uint32_t> blocked_before;
      for (std::size_t i = 0; i < ops.size(); ++i)
        if (!may_go(ops, i)) blocked_before.insert(ops[i].index);
      const std::uint32_t gone = ops[at].index;
      ops.erase(ops.begin() + static_cast<std::ptrdiff_t>(at));
      used.erase(gone);
      std::set<std::uint32_t> freed;
      real.remove(gone, [&freed, gone](std::uint32_t i) noexcept {
        if (i != gone) freed.insert(i);
      });
      for (std::size_t i = 0; i < ops.size(); ++i)
        if (may_go(ops, i) && blocked_before.contains(ops[i].index)) {
          ASSERT_TRUE(freed.contains(ops[i].index)) << "step " << step;
        }
      for (const std::uint32_t i : freed) ASSERT_TRUE(used.contains(i)) << "step " << step;
    }
    for (std::size_t i = 0; i < ops.size(); ++i)
      ASSERT_EQ(real.may_go(ops[i].index), may_go(ops, i)) << "step " << step;
  }
}

TEST(Barriers, AgreeWithANaiveModelAndFreeEveryOpThatMayGo) {
  if (const char* fixed = std::getenv("TANGELO_TEST_SEED"))
    return compare_with_model(std::strtoull(fixed, nullptr, 10));
  for (std::uint64_t seed = 1; seed <= 20; ++seed) compare_with_model(seed);
}

TEST(Barriers, LetOverlappingWritesWaitAndOthersGo) {
  barriers b;
  const claim first = claim_range(7, 0, 100);
  const claim touching = claim_range(7, 100, 200);
  const claim inside = claim_range(7, 50, 60);
  const claim other_file = claim_range(8, 50, 60);
  const claim truncate = claim_inode(7);
  b.add(1, &first, 1);
  b.add(2, &touching, 1);
  b.add(3, &inside, 1);
  b.add(4, &other_file, 1);
  b.add(5, &truncate, 1);
  EXPECT_TRUE(b.may_go(1));
  EXPECT_TRUE(b.may_go(2));
  EXPECT_FALSE(b.may_go(3));
  EXPECT_TRUE(b.may_go(4));
  EXPECT_FALSE(b.may_go(5));
  EXPECT_TRUE(b.may_go(6));  // claims nothing
}

TEST(Barriers, KeepANameApartFromTheSameNameElsewhereAndFromData) {
  barriers b;
  const claim name = claim_name(1, "a");
  const claim elsewhere = claim_name(2, "a");
  const claim another = claim_name(1, "b");
  const claim data = claim_inode(1);
  b.add(1, &name, 1);
  b.add(2, &elsewhere, 1);
  b.add(3, &another, 1);
  b.add(4, &data, 1);
  b.add(5, &name, 1);
  EXPECT_TRUE(b.may_go(2) && b.may_go(3) && b.may_go(4));
  EXPECT_FALSE(b.may_go(5));
}

TEST(Barriers, ARenameWaitsForBothOfItsNames) {
  barriers b;
  const claim a = claim_name(1, "a");
  const claim z = claim_name(1, "z");
  const claim both[] = {a, z};
  b.add(1, &a, 1);
  b.add(2, &z, 1);
  b.add(3, both, 2);
  EXPECT_FALSE(b.may_go(3));
  b.remove(1, [](std::uint32_t) noexcept {});
  EXPECT_FALSE(b.may_go(3));
  b.remove(2, [](std::uint32_t) noexcept {});
  EXPECT_TRUE(b.may_go(3));
}

TEST(Barriers, AnOpDoesNotStandInItsOwnWay) {
  barriers b;
  const claim same[] = {claim_name(1, "a"), claim_name(1, "a")};
  b.add(1, same, 2);
  EXPECT_TRUE(b.may_go(1));
}

}  // namespace
}  // namespace tangelo
