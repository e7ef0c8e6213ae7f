// fabric = auto: verbs where that comes up, else tcp. Two networks in memory stand for the two.
#include <gtest/gtest.h>

#include "rdma/fabric.h"
#include "rdma/loop/loop_network.h"

namespace tangelo {
namespace {

struct recorder final : endpoint_events {
  void on_up() noexcept override { ++ups; }
  void on_message(byte_span) noexcept override {}
  void on_done(std::uint64_t, bool) noexcept override {}
  void on_sendable() noexcept override {}
  void on_down(down_reason r) noexcept override {
    ++downs;
    reason = r;
    EXPECT_EQ(flushes, 0);
  }
  void on_flushed() noexcept override {
    ++flushes;
    EXPECT_EQ(downs, 1);
  }
  int ups = 0, downs = 0, flushes = 0;
  down_reason reason = down_reason::none;
};

class Fabric : public testing::Test {
 protected:
  Fabric() {
    auto tcp = std::make_unique<loop_network>(time_);
    auto verbs = std::make_unique<loop_network>(time_);
    tcp_ = tcp.get();
    verbs_ = verbs.get();
    both_ = make_auto(time_, std::move(tcp), std::move(verbs));
  }
  std::unique_ptr<listener> serve(loop_network& network) {
    auto l = network.listen("server", [this](std::unique_ptr<endpoint> e) {
      accepted_.push_back(std::move(e));
      accepted_.back()->start(peers_.emplace_back());
    });
    EXPECT_TRUE(l.has_value());
    return std::move(*l);
  }
  std::unique_ptr<endpoint> connect() {
    std::unique_ptr<endpoint> e = both_->connect("server");
    e->start(client_);
    return e;
  }
  void run() { time_.advance(5 * ns_per_s); }

  virtual_scheduler time_;
  loop_network* tcp_ = nullptr;
  loop_network* verbs_ = nullptr;
  std::unique_ptr<provider> both_;
  std::deque<recorder> peers_;
  std::vector<std::unique_ptr<endpoint>> accepted_;
  recorder client_;
};

TEST_F(Fabric, VerbsIsTakenWhereItComesUp) {
  const auto a = serve(*tcp_);
  const auto b = serve(*verbs_);
  const auto e = connect();
  run();
  EXPECT_EQ(client_.ups, 1);
  tcp_->cut_all();
  run();
  EXPECT_EQ(client_.downs, 0);
  verbs_->cut_all();
  run();
  EXPECT_EQ(client_.downs, 1);
  EXPECT_EQ(client_.flushes, 1);
  EXPECT_EQ(client_.ups, 1) << "an endpoint that was up dies once";
}

TEST_F(Fabric, TcpIsTakenWhereNobodyListensWithVerbs) {
  const auto a = serve(*tcp_);
  const auto e = connect();
  run();
  EXPECT_EQ(client_.ups, 1);
  EXPECT_EQ(client_.downs, 0);
  tcp_->cut_all();
  run();
  EXPECT_EQ(client_.flushes, 1);
}

TEST_F(Fabric, VerbsThatDoesNotAnswerIsGivenUp) {
  const auto a = serve(*tcp_);
  const auto b = both_->connect("nobody");
  recorder silent;
  b->start(silent);
  run();
  EXPECT_EQ(silent.ups, 0);
  EXPECT_EQ(silent.downs, 1);
  EXPECT_EQ(silent.reason, down_reason::refused);
  EXPECT_EQ(silent.flushes, 1);
}

TEST_F(Fabric, AnAddressThatFailedIsNotTriedOverVerbsForAMinute) {
  const auto a = serve(*tcp_);
  auto e = connect();
  run();
  const auto b = serve(*verbs_);  // too late for the next connection, not for later ones
  e->close(down_reason::admin);
  run();
  e = both_->connect("server");
  recorder second;
  e->start(second);
  run();
  EXPECT_EQ(second.ups, 1);
  verbs_->cut_all();
  run();
  EXPECT_EQ(second.downs, 0);
  e->close(down_reason::admin);
  time_.advance(60 * ns_per_s);
  e = both_->connect("server");
  recorder third;
  e->start(third);
  run();
  EXPECT_EQ(third.ups, 1);
  verbs_->cut_all();
  run();
  EXPECT_EQ(third.downs, 1);
}

TEST_F(Fabric, AnEndpointClosedWhileItChangesOverSaysSoOnce) {
  const auto a = serve(*tcp_);
  for (std::uint64_t after_us = 0; after_us < 600; after_us += 5) {
    recorder r;
    auto e = both_->connect("server" + std::to_string(after_us));
    e->start(r);
    time_.advance(after_us * ns_per_us);
    e->close(down_reason::admin);
    run();
    EXPECT_EQ(r.downs, 1) << after_us;
    EXPECT_EQ(r.flushes, 1) << after_us;
  }
}

TEST_F(Fabric, NamesAreThoseOfTheOptions) {
  EXPECT_EQ(fabric_named("auto"), fabric_choice::automatic);
  EXPECT_EQ(fabric_named("verbs"), fabric_choice::verbs);
  EXPECT_EQ(fabric_named("tcp"), fabric_choice::tcp);
  EXPECT_EQ(fabric_named("rdma"), std::nullopt);
}

}  // namespace
}  // namespace tangelo
