// What tests of a provider need: one of each kind, two ends that note everything, and bytes.
#pragma once

#include <gtest/gtest.h>

#include <cstdlib>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/loop.h"
#include "base/prng.h"
#include "rdma/channel.h"
#include "rdma/fabric.h"
#include "rdma/loop/loop_network.h"
#include "rdma/tcp/tcp_provider.h"

namespace tangelo::test {

using bytes = std::vector<std::byte>;

inline bytes make_bytes(std::size_t size, std::uint64_t seed) {
  bytes out(size);
  prng random(seed);
  for (std::byte& b : out) b = static_cast<std::byte>(random.next() & 0xff);
  return out;
}

inline bytes make_message(std::uint64_t xid, std::size_t body_size,
                          std::vector<chunk> chunks = {}) {
  wire_header h;
  h.type = message_type::call;
  h.xid = xid;
  call_extension e;
  e.body_size = static_cast<std::uint32_t>(body_size);
  const bytes body = make_bytes(body_size, xid);
  bytes out(wire_message_size_max);
  out.resize(build_message(h, encode_extension(e), chunks, body, {}, out));
  return out;
}

inline chunk make_chunk(chunk_kind kind, std::uint64_t tag, std::size_t size, bool eager = false) {
  chunk c;
  c.kind = kind;
  c.transfer_tag = tag;
  c.size = static_cast<std::uint32_t>(size);
  c.flags = eager ? chunk_flag::eager : 0;
  return c;
}

// One end, noting everything that happens to it.
class recorder final : public endpoint_events {
 public:
  void own(std::unique_ptr<endpoint> e) {
    wire = std::move(e);
    wire->start(*this);
  }
  void on_up() noexcept override {
    ++ups;
    quiet();
  }
  void on_message(byte_span message) noexcept override {
    quiet();
    messages.emplace_back(message.begin(), message.end());
    if (on_call) on_call(message);
  }
  void on_done(std::uint64_t cookie, bool ok) noexcept override {
    quiet();
    EXPECT_TRUE(ok);
    done.push_back(cookie);
  }
  void on_sendable() noexcept override {
    quiet();
    ++sendables;
  }
  void on_down(down_reason r) noexcept override {
    quiet();
    ++downs;
    reason = r;
  }
  void on_flushed() noexcept override {
    EXPECT_EQ(downs, 1);
    ++flushes;
  }
  void quiet() const { EXPECT_EQ(flushes, 0) << "an event after on_flushed"; }

  std::unique_ptr<endpoint> wire;
  std::vector<bytes> messages;
  std::vector<std::uint64_t> done;
  std::function<void(byte_span)> on_call;
  down_reason reason = down_reason::none;
  int ups = 0;
  int sendables = 0;
  int downs = 0;
  int flushes = 0;
};

enum class fabric_kind { loop_fabric, tcp_fabric, tcp_busy, verbs_fabric, verbs_busy };

// The address of an RDMA device of this machine, "10.9.0.1"; empty: there is none to test with.
inline std::string verbs_address() {
  const char* address = std::getenv("TANGELO_VERBS_ADDRESS");
  return address == nullptr ? "" : address;
}

class Provider : public testing::TestWithParam<fabric_kind> {
 protected:
  void SetUp() override {
    if (GetParam() == fabric_kind::loop_fabric) {
      network_ = std::make_unique<loop_network>(time_);
      fabric_ = network_.get();
      where_ = "here";
    } else {
      auto made = loop::make(64);
      ASSERT_TRUE(made.has_value());
      loop_ = std::move(*made);
      if (GetParam() == fabric_kind::tcp_busy || GetParam() == fabric_kind::verbs_busy)
        loop_->set_busy_poll(ns_per_ms);
      if (GetParam() == fabric_kind::tcp_fabric || GetParam() == fabric_kind::tcp_busy) {
        wire_ = std::make_unique<tcp_provider>(*loop_);
        where_ = "127.0.0.1:0";
      } else {
        if (verbs_address().empty()) GTEST_SKIP() << "TANGELO_VERBS_ADDRESS names no RDMA device";
        outcome<std::unique_ptr<provider>> verbs = make_verbs(*loop_, rdma_needed::now);
        ASSERT_TRUE(verbs.has_value()) << verbs.error().text;
        wire_ = std::move(*verbs);
        where_ = verbs_address() + ":0";
      }
      fabric_ = wire_.get();
    }
    auto l = fabric_->listen(where_, [this](std::unique_ptr<endpoint> e) {
      server.own(std::move(e));
    });
    ASSERT_TRUE(l.has_value());
    listening_ = std::move(*l);
    where_ = listening_->address();
  }
  void TearDown() override {
    for (recorder* r : {&client, &server}) {
      if (r->wire == nullptr) continue;
      r->wire->close(down_reason::admin);
      EXPECT_TRUE(until([r] { return r->flushes == 1; }));
      EXPECT_EQ(r->downs, 1);
      r->wire.reset();
    }
    listening_.reset();
    settle();
  }
  // What the kernel has a part in may take its time.
  template <class Done>
  bool until(Done condition) {
    const std::uint64_t end_ns = loop_ == nullptr ? 0 : loop_->now_ns() + 30 * ns_per_s;
    for (int i = 0; !condition(); ++i) {
      if (loop_ == nullptr ? i == 200'000 : loop_->now_ns() > end_ns) return false;
      turn();
    }
    return true;
  }
  void turn() {
    if (loop_ == nullptr) {
      (void)time_.run_one();
    } else {
      loop_->post([] {});
      loop_->run_once();
    }
  }
  void settle() {
    for (int i = 0; i < 300; ++i) turn();
  }
  void connect() {
    client.own(fabric_->connect(where_));
    ASSERT_TRUE(until([&] { return client.ups == 1 && server.ups == 1; }));
  }

  virtual_scheduler time_;
  std::unique_ptr<loop_network> network_;
  std::unique_ptr<loop> loop_;
  std::unique_ptr<provider> wire_;
  provider* fabric_ = nullptr;
  std::string where_;
  std::unique_ptr<listener> listening_;
  recorder client;
  recorder server;
};

}  // namespace tangelo::test
