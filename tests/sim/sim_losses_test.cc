// Long random runs of two mounts that are cut off, written off and replaced, beside all other
// faults: what was synced stays; what was answered stays, or its loss is told to each open file
// once; nobody is told of a loss that was none. To repeat one:
//   TANGELO_SIM_SEED=N build/.../sim_test --gtest_filter='SimLosses.*'
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <array>
#include <cerrno>
#include <cstdlib>
#include <optional>
#include <vector>

#include "base/prng.h"
#include "tests/sim/stage.h"

namespace tangelo::sim {
namespace {

constexpr std::size_t file_count = 2;
constexpr std::size_t handle_count_of_app = 2 * file_count;  // two of each file
constexpr std::size_t block_count = 4;
constexpr std::uint64_t steps_of_faults = 15'000;

std::string bytes_of_version(std::uint32_t version, std::size_t size) {
  if (version == 0) return std::string(size, '\0');  // never written
  const std::string one = fmt::format("{:08}", version);
  std::string all;
  while (all.size() < size) all += one;
  return all;
}

// What one block of a file may hold: what is durable, or one of the later writes. Those up to the
// last certain one are there unless they were lost.
struct block {
  struct write {
    std::uint32_t version = 0;
    bool certain = false;  // answered, and nobody was told that it may be gone
  };
  std::uint32_t durable = 0;
  std::vector<write> later;  // in the order made

  // The first n are there: the last of them is what is there now.
  void settle(std::size_t n) {
    if (n != 0) durable = later[n - 1].version;
    later.erase(later.begin(), later.begin() + static_cast<std::ptrdiff_t>(n));
  }
  std::size_t certain_count() const {
    for (std::size_t n = later.size(); n != 0; --n)
      if (later[n - 1].certain) return n;
    return 0;
  }
  // How many of `later` there are if this is seen; nothing: it cannot be.
  std::optional<std::size_t> count_if(std::string_view bytes) const {
    for (std::size_t n = later.size(); n != 0; --n)
      if (bytes == bytes_of_version(later[n - 1].version, bytes.size())) return n;
    if (bytes == bytes_of_version(durable, bytes.size())) return 0;
    return std::nullopt;
  }
};

struct file_model {
  std::size_t block_size = 0;
  std::array<block, block_count> blocks;
  void doubt_all() {
    for (block& b : blocks)
      for (block::write& w : b.later) w.certain = false;
  }
};

// What an application knows of its files, what it may be told and what it must be told.
class file_user {
 public:
  file_user(std::uint64_t seed, std::size_t number, mount& m)
      : random_(seed), number_(number), m_(m) {
    for (std::size_t f = 0; f < file_count; ++f) files_[f].block_size = f == 0 ? 1000 : 80'000;
  }
  std::vector<app_op> making() const {
    std::vector<app_op> all;
    for (std::size_t f = 0; f < file_count; ++f) {
      all.push_back(ops::create("/", name(f), handle(f)));
      all.push_back(ops::write(handle(f), block_count * files_[f].block_size - 1, {'\0'}));
      all.push_back(ops::fsync(handle(f)));
      all.push_back(ops::open(name(f), handle(f + file_count)));
    }
    return all;
  }
  // Of a mount in the place of one that is gone: nobody is told what that one lost.
  std::vector<app_op> opening() {
    std::vector<app_op> all;
    for (std::size_t h = 0; h < handle_count_of_app; ++h) {
      all.push_back(ops::lookup("/", name(h % file_count)));
      all.push_back(ops::open(name(h % file_count), handle(h)));
    }
    for (file_model& f : files_) f.doubt_all();
    told_ = {};
    evictions_ = 0;
    after_ = nullptr;
    return all;
  }
  // Random work, until it is told to stop.
  app_script work() {
    return [this](app&) -> std::optional<app_op> {
      finish_last();
      if (stops || !problem.empty()) return std::nullopt;
      const std::size_t h = random_.below(handle_count_of_app);
      const std::size_t b = random_.below(block_count);
      switch (random_.below(8)) {
        case 0: return sync(h);
        case 1:
        case 2: return read(h, b);
        default: return write(h, b);
      }
    };
  }
  // Every file is synced twice through each handle, then read.
  app_script last_look() {
    return [this, n = std::size_t{0}](app&) mutable -> std::optional<app_op> {
      finish_last();
      const std::size_t i = n++;
      if (i < 2 * handle_count_of_app) return sync(i / 2);
      const std::size_t left = i - 2 * handle_count_of_app;
      if (left == file_count * block_count) return std::nullopt;
      return read(left / block_count, left % block_count);
    };
  }

  std::string problem;
  bool stops = false;
  std::size_t told_count = 0;

 private:
  struct telling {
    bool may_be = false;   // there was an eviction since it was told last
    bool must_be = false;  // and what it was answered was seen to be gone
  };
  std::string name(std::size_t f) const { return fmt::format("m{}f{}", number_, f); }
  static std::string handle(std::size_t h) { return fmt::format("h{}", h); }
  file_model& file_of(std::size_t h) { return files_[h % file_count]; }
  void wrong(std::string text) {
    if (problem.empty()) problem = fmt::format("mount {}: {}", number_, text);
  }

  // `after(answer)` when it has ended; no answer: EIO.
  app_op tracked(app_op op, std::function<void(const std::string*)> after) {
    what_ = op.what;
    after_ = std::move(after);
    answer_.reset();
    op.note = [this](app&, const fake_kernel::answer& r) {
      answer_ = std::string(text_of(r.body));
      return std::string("ok");
    };
    return op;
  }
  void finish_last() {
    const std::uint64_t now = m_.arena().evictions_done.load();
    evicted_meanwhile_ = now != evictions_;
    evictions_ = now;
    if (evicted_meanwhile_) {
      eviction_due_ = false;
      for (telling& t : told_) t.may_be = true;
    } else if (eviction_due_ && answer_) {
      wrong("EIO for a call, and no eviction: " + due_to_);
    }
    if (after_) std::exchange(after_, nullptr)(answer_ ? &*answer_ : nullptr);
  }
  // What was answered EIO is of unknown fate; its eviction may be published a little later.
  void unanswered() {
    if (evicted_meanwhile_) return;
    eviction_due_ = true;
    due_to_ = what_;
  }

  app_op write(std::size_t h, std::size_t b) {
    file_model& f = file_of(h);
    const std::uint32_t version = ++version_;
    f.blocks[b].later.push_back({version, false});
    return tracked(ops::write(handle(h), b * f.block_size, bytes_of_version(version, f.block_size)),
                   [this, &f, b, version](const std::string* answer) {
                     if (answer == nullptr) return unanswered();
                     for (block::write& w : f.blocks[b].later)
                       if (w.version == version) w.certain = true;
                   });
  }
  app_op read(std::size_t h, std::size_t b) {
    file_model& f = file_of(h);
    return tracked(ops::read(handle(h), b * f.block_size, static_cast<std::uint32_t>(f.block_size)),
                   [this, h, b](const std::string* answer) {
                     if (answer == nullptr) return unanswered();
                     seen(h, b, *answer);
                   });
  }
  void seen(std::size_t h, std::size_t b, std::string_view bytes) {
    block& k = file_of(h).blocks[b];
    const std::optional<std::size_t> n = k.count_if(bytes);
    if (!n || bytes.size() != file_of(h).block_size)
      return wrong(fmt::format("{}: bytes that nobody wrote, or that were gone", what_));
    if (*n >= k.certain_count() || evicted_meanwhile_) return;
    if (!told_[h].may_be) return wrong(what_ + ": what was answered is gone, and nobody was told");
    told_[h].must_be = true;
  }
  app_op sync(std::size_t h) {
    return tracked(ops::fsync(handle(h)), [this, h](const std::string* answer) {
      synced(h, answer != nullptr);
    });
  }
  void synced(std::size_t h, bool ok) {
    file_model& f = file_of(h);
    telling& t = told_[h];
    if (ok) {
      if (t.must_be) wrong(what_ + ": a loss is not told");
      if (evicted_meanwhile_) return;  // it may have been answered before that
      t = {};
      for (block& b : f.blocks) b.settle(b.certain_count());
      return;
    }
    if (!t.may_be) return unanswered();
    ++told_count;
    // Unless it was itself what the eviction has ended.
    if (!evicted_meanwhile_) t = {};
    t.must_be = false;
    f.doubt_all();
  }

  prng random_;
  std::size_t number_;
  mount& m_;
  std::array<file_model, file_count> files_;
  std::array<telling, handle_count_of_app> told_;
  std::uint32_t version_ = 0;
  std::uint64_t evictions_ = 0;  // that we know of
  bool evicted_meanwhile_ = false;
  bool eviction_due_ = false;
  std::string due_to_;
  std::string what_;
  std::optional<std::string> answer_;
  std::function<void(const std::string*)> after_;
};

struct losses_run {
  explicit losses_run(std::uint64_t seed) : faults(seed ^ 0x105u), s(options(seed)) {
    for (std::size_t i = 0; i < 2; ++i) {
      users.push_back(std::make_unique<file_user>(seed * 2 + i, i, s.w.at(i)));
      (void)s.add(i, users[i]->making());
    }
  }
  static world_options options(std::uint64_t seed) {
    world_options o{.seed = seed, .mounts = 2};
    o.sessions.lease_ms = 2'000;
    o.sessions.evict_ms = 10'000;
    o.sessions.window_soft_ms = 3'000;
    o.sessions.window_hard_ms = 8'000;
    return o;
  }
  void strike();
  void evict();
  void replace(std::size_t i);
  void play();
  void look();

  prng faults;
  stage s;
  std::vector<std::unique_ptr<file_user>> users;
  std::array<std::uint64_t, 2> cut_off_until_ns{};
  std::size_t replaced = 0;
};

void losses_run::evict() {
  if (!s.w.has_server()) return;
  const std::vector<export_status> all = s.w.server().sessions().status();
  if (all.empty()) return;
  const export_status& e = all[faults.below(all.size())];
  (void)s.w.server().sessions().evict("vol", hex_of(e.client.client_id), "a test");
}

void losses_run::replace(std::size_t i) {
  s.w.at(i).vanish();
  s.w.at(i).remount();
  const auto pid = static_cast<std::uint32_t>(200 + replaced++);
  s.apps[i] = std::make_unique<app>(s.w.at(i), pid, in_order(users[i]->opening()));
  s.apps[i]->retry_on(EIO);  // until it has its files open
}

void losses_run::strike() {
  world& w = s.w;
  const std::size_t i = faults.below(2);
  switch (faults.below(1500)) {
    case 0: w.kill(victim::core, i); break;
    case 1: w.kill(victim::connection, i); break;
    case 2: w.kill(victim::server); break;
    case 3: w.power_cut(faults.below(3), faults.below(2) == 0); break;
    case 4: w.kill(victim::front_end, i); break;
    case 5: evict(); break;
    case 6:
    case 7:
      w.at(i).partition(true);
      cut_off_until_ns[i] = w.time().now_ns() + faults.below(25) * ns_per_s;
      break;
    case 8:
      if (faults.below(4) == 0) replace(i);
      break;
    default: break;
  }
  for (std::size_t m = 0; m < 2; ++m) {
    if (cut_off_until_ns[m] == 0 || w.time().now_ns() < cut_off_until_ns[m]) continue;
    cut_off_until_ns[m] = 0;
    w.at(m).partition(false);
  }
}

void losses_run::play() {
  ASSERT_TRUE(s.finish_all());
  ASSERT_TRUE(s.settle());
  const std::uint64_t end = s.w.step_count() + steps_of_faults;
  while (s.w.step_count() < end) {
    for (std::size_t i = 0; i < 2; ++i) {
      if (!s.apps[i]->done()) continue;
      s.apps[i]->retry_on(0);
      s.apps[i]->go_on(users[i]->work());
    }
    for (const auto& a : s.apps) a->pump();
    strike();
    s.w.step();
  }
  for (std::size_t i = 0; i < 2; ++i) {
    s.w.at(i).partition(false);
    users[i]->stops = true;
  }
  ASSERT_TRUE(s.finish_all()) << "somebody waits for ever";
}

void losses_run::look() {
  for (std::size_t i = 0; i < 2; ++i) s.apps[i]->go_on(users[i]->last_look());
  ASSERT_TRUE(s.finish_all());
  for (std::size_t i = 0; i < 2; ++i)
    ASSERT_TRUE(s.play(*s.apps[i], {ops::release("h0"), ops::release("h1"), ops::release("h2"),
                                    ops::release("h3")}));
  EXPECT_EQ(harm(s.end()), "");
  for (const auto& u : users) EXPECT_EQ(u->problem, "");
}

// Losses that were told.
std::size_t run_with_losses(std::uint64_t seed) {
  SCOPED_TRACE(fmt::format("repeat with TANGELO_SIM_SEED={}", seed));
  losses_run r(seed);
  r.play();
  if (!testing::Test::HasFailure()) r.look();
  return r.users[0]->told_count + r.users[1]->told_count;
}

TEST(SimLosses, WhatIsLostIsToldOnceAndNothingElseIs) {
  if (const char* fixed = std::getenv("TANGELO_SIM_SEED")) {
    (void)run_with_losses(std::strtoull(fixed, nullptr, 10));
    return;
  }
  std::uint64_t count = 60;
  if (const char* n = std::getenv("TANGELO_SIM_RUNS")) count = std::strtoull(n, nullptr, 10);
  std::size_t told = 0;
  for (std::uint64_t seed = 1; seed <= count && !testing::Test::HasFailure(); seed += stride())
    told += run_with_losses(seed);
  EXPECT_GT(told, 0u) << "it never came to that";
  std::printf("%zu losses were told\n", told);
}

}  // namespace
}  // namespace tangelo::sim
