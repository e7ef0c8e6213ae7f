// A core whose server has forgotten it.
#include "tests/unit/core_fixture.h"

namespace tangelo::test {
namespace {

struct evicted_world : core_world {
  evicted_world() {
    start_core();
    EXPECT_TRUE(reach(import_state::full));
    open_handle(5);
    keep(0, replay(20));
    offer(3, 1);
    EXPECT_TRUE(until([&] { return server.calls.size() == 1; }));
    evict();
    server.calls.clear();
    server.connects.clear();
    server.ack = {};
    server.ack.verdict = connect_verdict::fresh;
  }
};

TEST(CoreEviction, IsPublishedBeforeAnythingIsForgotten) {
  evicted_world w;
  EXPECT_EQ(w.eviction().sequence, 1u);
  EXPECT_EQ(w.eviction().kept_through, 15u);
  EXPECT_STREQ(w.eviction().text.data(), "evicted by the server");
  ASSERT_TRUE(w.downcall(3, 1).has_value());
  EXPECT_EQ(w.downcall(3, 1)->status, static_cast<std::uint16_t>(error_code::evicted));
  EXPECT_EQ(w.page().boot_generation.load(), 0u);
  EXPECT_EQ(w.page().last_committed.load(), 0u);
  EXPECT_EQ(w.page().path_up.load(), 0u);
}

TEST(CoreEviction, TheNextSessionBeginsWhenTheFrontEndHasActedUponIt) {
  evicted_world w;
  w.wait(10 * ns_per_s);
  EXPECT_TRUE(w.server.connects.empty());
  w.end_op(3);
  w.act_on_eviction();
  ASSERT_TRUE(w.reach(import_state::full));
  EXPECT_EQ(w.server.connects.at(0).last_boot_generation, 0u);
  EXPECT_EQ(w.server.connects.at(0).held, 0u);
  EXPECT_EQ(w.eviction().sequence, 1u);
}

TEST(CoreEviction, ACoreThatDiesMeanwhileChangesNothing) {
  for (const bool acted_before : {false, true}) {
    evicted_world w;
    w.kill_core();
    if (acted_before) w.act_on_eviction();
    w.start_core();
    w.wait(10 * ns_per_s);
    EXPECT_EQ(w.server.connects.empty(), !acted_before);
    w.act_on_eviction();
    ASSERT_TRUE(w.reach(import_state::full));
    EXPECT_EQ(w.server.connects.at(0).last_boot_generation, 0u);
    EXPECT_EQ(w.server.connects.at(0).held, 0u);
    EXPECT_EQ(w.eviction().sequence, 1u);
  }
}

// Else the next core would send it into a session in which it may have been executed already.
TEST(CoreEviction, NothingThatIsOfferedBeforeTheFrontEndHasHeardOfItIsCalled) {
  for (const bool by_the_next_core : {false, true}) {
    evicted_world w;
    if (by_the_next_core) {
      w.kill_core();
      w.start_core();
    }
    w.offer(4, 1, 2);
    ASSERT_TRUE(w.downcall(4, 1).has_value());
    EXPECT_EQ(w.downcall(4, 1)->status, static_cast<std::uint16_t>(error_code::evicted));
    w.end_op(3);
    w.end_op(4);
    w.act_on_eviction();
    w.offer(5, 1, 1);
    ASSERT_TRUE(w.until([&] { return !w.server.calls.empty(); }));
    EXPECT_EQ(w.server.calls[0].header.slot, 5u);
  }
}

// Runs what it is given at the first store to a page.
class first_store {
 public:
  first_store(void* page, std::function<void()> seen) : page_(page), seen_(std::move(seen)) {
    present = this;
    struct sigaction action {};
    action.sa_handler = [](int) noexcept { present->happened(); };
    ::sigaction(SIGSEGV, &action, &before_);
    EXPECT_EQ(::mprotect(page_, 4096, PROT_READ), 0);
  }
  ~first_store() { ::sigaction(SIGSEGV, &before_, nullptr); }

 private:
  void happened() {
    (void)::mprotect(page_, 4096, PROT_READ | PROT_WRITE);
    seen_();
  }
  inline static first_store* present = nullptr;
  void* page_;
  std::function<void()> seen_;
  struct sigaction before_ {};
};

TEST(CoreEviction, IsPublishedBeforeTheAnswersThatSayIt) {
  core_world w;
  w.start_core();
  ASSERT_TRUE(w.reach(import_state::full));
  w.offer(3, 1);
  ASSERT_TRUE(w.until([&] { return w.server.calls.size() == 1; }));
  int stores = 0;
  std::uint64_t published = 0;
  std::uint64_t committed = 1;
  auto* slot = reinterpret_cast<std::byte*>(&w.shared().downcalls[3]);
  slot -= reinterpret_cast<std::uintptr_t>(slot) % 4096;
  const first_store trap(slot, [&] {
    ++stores;
    published = w.eviction().sequence;
    committed = w.page().last_committed.load();
  });
  w.evict();
  EXPECT_EQ(stores, 1);
  EXPECT_EQ(published, 1u);
  EXPECT_EQ(committed, 0u);
}

TEST(CoreEviction, ASecondOneHasTheNextSequence) {
  evicted_world w;
  w.end_op(3);
  w.act_on_eviction();
  ASSERT_TRUE(w.reach(import_state::full));
  w.evict();
  EXPECT_EQ(w.eviction().sequence, 2u);
}

}  // namespace
}  // namespace tangelo::test
