// Trailers as the client's session sends, checks and answers for them.
#include "base/crc32c.h"
#include "tests/unit/session_fixture.h"

namespace tangelo::test {
namespace {

constexpr std::uint64_t inode = 42;
constexpr std::uint64_t offset = 3 * protected_block_size + 100;

std::vector<std::byte> encoded(const protection_trailer& t) {
  std::vector<std::byte> out(trailer_size_max);
  out.resize(encode_trailer(t, out));
  return out;
}

std::vector<std::byte> encoded(const protection_fault& fault) {
  std::vector<std::byte> out(64);
  out.resize(encode(fault, out).value_or(0));
  return out;
}

protection_trailer trailer_of_bytes(byte_span bytes, std::uint64_t i = inode,
                                    std::uint64_t at = offset) {
  protection_trailer t;
  protect(i, at, bytes, t);
  return t;
}

struct protected_world : session_world {
  void begin(std::uint64_t features = feature::known) {
    server.features = features;
    start();
    ASSERT_TRUE(reach(import_state::full));
  }
  outbound_call write_call_of_data() {
    data.assign(2000, std::byte{7});
    trailer = encoded(trailer_of_bytes(data));
    write_body.resize(256);
    write_call body;
    body.inode = inode;
    body.offset = offset;
    body.size = 2000;
    write_body.resize(encode(body, write_body).value_or(0));
    outbound_call c;
    c.slot = 1;
    c.slot_seq = 9;
    c.xid = 1234;
    c.op = opcode::write;
    c.body = write_body;
    c.payload_in = data;
    c.protection = trailer;
    return c;
  }
  void write() { session->submit(write_call_of_data()); }
  void read(bool check = true) {
    data.assign(3000, std::byte{0});
    outbound_call c;
    c.slot = 2;
    c.slot_seq = 5;
    c.xid = 4321;
    c.op = opcode::read;
    c.body = owner.body;
    c.payload_out = data;
    if (check) c.check = {inode, offset};
    session->submit(c);
  }
  // Answers a read with `bytes` and a trailer, behind an answer of one byte.
  void give(const heard_message& call, byte_span bytes, const protection_trailer& t) {
    wire_header h = server.reply_header(call);
    h.flags |= message_flag::protection;
    std::vector<std::byte> body = {std::byte{0xaa}};
    const std::vector<std::byte> tail = encoded(t);
    body.insert(body.end(), tail.begin(), tail.end());
    server.link().send(h, server.extension(), body, bytes);
  }
  void refuse(const heard_message& call, protection_hop hop) {
    protection_fault fault;
    fault.kind = protection_kind::guard;
    fault.hop = hop;
    fault.block = 3;
    fault.expected = 1;
    fault.found = 2;
    server.answer(call, error_code::integrity, 0, encoded(fault));
  }
  bool answered() {
    return until([this] { return !owner.replies.empty(); });
  }

  std::vector<std::byte> write_body;
  std::vector<std::byte> data;
  std::vector<std::byte> trailer;
};

TEST(SessionProtection, AWriteTakesItsTrailerBehindItsBody) {
  protected_world w;
  w.begin();
  w.server.on_call = [&w](const heard_message& call) { w.server.answer(call); };
  w.write();
  ASSERT_TRUE(w.answered());
  const heard_message& call = w.server.calls.at(0);
  EXPECT_EQ(call.extension.protection_type, protection_crc32c);
  byte_span body = call.body;
  protection_trailer t;
  ASSERT_TRUE(take_trailer(body, t));
  EXPECT_EQ(std::vector<std::byte>(body.begin(), body.end()), w.write_body);
  EXPECT_EQ(call.payload, w.data);
  EXPECT_FALSE(check_guards(t, call.payload));
  EXPECT_FALSE(check_tags(t, inode, offset));
}

TEST(SessionProtection, AServerThatDoesNotKnowItIsSentNone) {
  protected_world w;
  w.begin(feature::known & ~feature::protection);
  w.server.on_call = [&w](const heard_message& call) { w.server.answer(call); };
  w.write();
  ASSERT_TRUE(w.answered());
  EXPECT_EQ(w.server.calls.at(0).extension.protection_type, protection_none);
  EXPECT_EQ(w.server.calls.at(0).body, w.write_body);
  w.server.on_call = [&w](const heard_message& call) {
    w.server.link().send(w.server.reply_header(call), w.server.extension(), {}, w.data);
  };
  w.read();
  ASSERT_TRUE(w.until([&w] { return w.owner.replies.size() == 2; }));
  EXPECT_EQ(w.server.calls.at(1).extension.protection_type, protection_none);
  EXPECT_EQ(w.owner.replies.at(1).status, error_code::ok);
  EXPECT_EQ(w.owner.replies.at(1).payload_size, 3000u);
}

TEST(SessionProtection, AReadThatFitsIsAnsweredWithoutItsTrailer) {
  protected_world w;
  w.begin();
  const std::vector<std::byte> bytes(3000, std::byte{5});
  w.server.on_call = [&](const heard_message& call) {
    EXPECT_EQ(call.extension.protection_type, protection_crc32c);
    w.give(call, bytes, trailer_of_bytes(bytes));
  };
  w.read();
  ASSERT_TRUE(w.answered());
  EXPECT_EQ(w.owner.replies.at(0).status, error_code::ok);
  EXPECT_FALSE(w.owner.replies.at(0).fault);
  EXPECT_EQ(w.owner.bodies.at(0), std::vector<std::byte>{std::byte{0xaa}});
  EXPECT_EQ(w.data, bytes);
  EXPECT_EQ(w.session->status().mismatches_healed, 0u);
}

TEST(SessionProtection, AReadThatIsNotToBeCheckedAsksForNothing) {
  protected_world w;
  w.begin();
  std::vector<std::byte> bytes(3000, std::byte{5});
  w.server.on_call = [&](const heard_message& call) {
    EXPECT_EQ(call.extension.protection_type, protection_none);
    w.server.link().send(w.server.reply_header(call), w.server.extension(), {}, bytes);
  };
  w.read(false);
  ASSERT_TRUE(w.answered());
  EXPECT_EQ(w.owner.replies.at(0).status, error_code::ok);
}

// Once or twice it does not fit: the same call is made again, and its caller does not notice.
TEST(SessionProtection, AReadIsMovedAgainAndHeals) {
  for (const std::size_t bad : {1u, 2u}) {
    SCOPED_TRACE(bad);
    protected_world w;
    w.begin();
    const std::vector<std::byte> bytes(3000, std::byte{5});
    w.server.on_call = [&](const heard_message& call) {
      std::vector<std::byte> sent = bytes;
      if (w.server.calls.size() <= bad) sent[2999] ^= std::byte{1};
      w.give(call, sent, trailer_of_bytes(bytes));
    };
    w.read();
    ASSERT_TRUE(w.answered());
    ASSERT_EQ(w.server.calls.size(), bad + 1);
    for (const heard_message& call : w.server.calls) {
      EXPECT_EQ(call.header.xid, 4321u);
      EXPECT_EQ(call.header.slot_seq, 5u);
      EXPECT_EQ(call.extension.protection_type, protection_crc32c);
    }
    EXPECT_EQ(w.owner.replies.at(0).status, error_code::ok);
    EXPECT_EQ(w.data, bytes);
    const session_status s = w.session->status();
    EXPECT_EQ(s.mismatches_healed, 1u);
    EXPECT_EQ(s.mismatches_reported, 0u);
    EXPECT_EQ(s.last_mismatch.hop, protection_hop::received);
    EXPECT_EQ(s.connection_count, 1u);
  }
}

TEST(SessionProtection, AReadThatNeverFitsFailsAndIsNamed) {
  protected_world w;
  w.begin();
  const std::vector<std::byte> bytes(3000, std::byte{5});
  w.server.on_call = [&](const heard_message& call) {
    std::vector<std::byte> sent = bytes;
    sent[0] ^= std::byte{1};
    w.give(call, sent, trailer_of_bytes(bytes));
  };
  w.read();
  ASSERT_TRUE(w.answered());
  EXPECT_EQ(w.server.calls.size(), protection_attempts);
  const inbound_reply& reply = w.owner.replies.at(0);
  EXPECT_EQ(reply.status, error_code::integrity);
  EXPECT_EQ(reply.payload_size, 0u);
  ASSERT_TRUE(reply.fault);
  EXPECT_EQ(reply.fault->kind, protection_kind::guard);
  EXPECT_EQ(reply.fault->hop, protection_hop::received);
  EXPECT_EQ(reply.fault->inode, inode);
  EXPECT_EQ(reply.fault->block, 3u);
  const protection_trailer right = trailer_of_bytes(bytes);
  EXPECT_EQ(reply.fault->expected, right.guards[0]);
  EXPECT_NE(reply.fault->found, right.guards[0]);
  EXPECT_EQ(w.session->status().mismatches_healed, 0u);
  EXPECT_EQ(w.session->status().mismatches_reported, 1u);
}

TEST(SessionProtection, BytesOfAnotherPlaceDoNotFit) {
  struct wrong {
    std::uint64_t inode, offset;
    protection_kind kind;
  };
  for (const wrong& x : {wrong{inode + 1, offset, protection_kind::application},
                         wrong{inode, offset + protected_block_size, protection_kind::reference},
                         wrong{inode, offset + 1, protection_kind::reference}}) {
    protected_world w;
    w.begin();
    const std::vector<std::byte> bytes(3000, std::byte{5});
    w.server.on_call = [&](const heard_message& call) {
      w.give(call, bytes, trailer_of_bytes(bytes, x.inode, x.offset));
    };
    w.read();
    ASSERT_TRUE(w.answered());
    EXPECT_EQ(w.owner.replies.at(0).status, error_code::integrity);
    EXPECT_EQ(w.owner.replies.at(0).fault->kind, x.kind);
  }
}

TEST(SessionProtection, BytesWithoutATrailerDoNotFitAndNoneNeedNone) {
  protected_world w;
  w.begin();
  std::vector<std::byte> bytes(100, std::byte{5});
  w.server.on_call = [&](const heard_message& call) {
    w.server.link().send(w.server.reply_header(call), w.server.extension(), {}, bytes);
  };
  w.read();
  ASSERT_TRUE(w.answered());
  EXPECT_EQ(w.owner.replies.at(0).status, error_code::integrity);
  EXPECT_EQ(w.owner.replies.at(0).fault->kind, protection_kind::shape);
  EXPECT_EQ(w.owner.replies.at(0).fault->inode, inode);
  bytes.clear();
  w.read();
  ASSERT_TRUE(w.until([&w] { return w.owner.replies.size() == 2; }));
  EXPECT_EQ(w.owner.replies.at(1).status, error_code::ok);
}

TEST(SessionProtection, AWriteThatTheServerCouldNotTakeIsSentAgain) {
  for (const std::size_t bad : {1u, 2u, 3u}) {
    SCOPED_TRACE(bad);
    protected_world w;
    w.begin();
    w.server.on_call = [&](const heard_message& call) {
      if (w.server.calls.size() <= bad) return w.refuse(call, protection_hop::sent);
      w.server.answer(call, error_code::ok, 5ull << 32 | 1);
    };
    w.write();
    ASSERT_TRUE(w.answered());
    ASSERT_EQ(w.server.calls.size(), bad < 3 ? bad + 1 : 3);
    for (const heard_message& call : w.server.calls) {
      EXPECT_EQ(call.header.slot_seq, 9u);
      EXPECT_EQ(call.body, w.server.calls.front().body);
      EXPECT_EQ(call.payload, w.data);
    }
    const bool heals = bad < 3;
    const inbound_reply& reply = w.owner.replies.at(0);
    EXPECT_EQ(reply.status, heals ? error_code::ok : error_code::integrity);
    EXPECT_EQ(reply.fault.has_value(), !heals);
    const session_status s = w.session->status();
    EXPECT_EQ(s.mismatches_healed, heals ? 1u : 0u);
    EXPECT_EQ(s.mismatches_reported, heals ? 0u : 1u);
    EXPECT_EQ(s.last_mismatch.inode, inode) << "of the call: the server does not know it";
  }
}

// The server has read it again itself.
TEST(SessionProtection, WhatTheStoreHasWrongIsNotAskedForAgain) {
  protected_world w;
  w.begin();
  w.server.on_call = [&](const heard_message& call) { w.refuse(call, protection_hop::stored); };
  w.read();
  ASSERT_TRUE(w.answered());
  EXPECT_EQ(w.server.calls.size(), 1u);
  EXPECT_EQ(w.owner.replies.at(0).status, error_code::integrity);
  EXPECT_EQ(w.owner.replies.at(0).fault->hop, protection_hop::stored);
}

// A fault that makes no sense is one all the same.
TEST(SessionProtection, AnUnknownFaultEndsToo) {
  protected_world w;
  w.begin();
  w.server.on_call = [&](const heard_message& call) {
    w.server.answer(call, error_code::integrity, 0, w.owner.body);
  };
  w.write();
  ASSERT_TRUE(w.answered());
  EXPECT_EQ(w.server.calls.size(), protection_attempts);
  EXPECT_EQ(w.owner.replies.at(0).fault->kind, protection_kind::shape);
}

// The connection that ends between two attempts does not make them begin anew.
TEST(SessionProtection, AttemptsAreCountedOverConnections) {
  protected_world w;
  w.begin();
  w.server.ack.verdict = connect_verdict::resumed;
  w.server.on_call = [&](const heard_message& call) {
    if (w.server.calls.size() == 2) return w.server.link().close();
    w.refuse(call, protection_hop::sent);
  };
  w.write();
  ASSERT_TRUE(w.answered());
  EXPECT_EQ(w.server.calls.size(), 1 + protection_attempts);
  EXPECT_EQ(w.owner.replies.at(0).status, error_code::integrity);
}

struct replay_world : protected_world {
  // A session that has answered changes to make again, one of them `write`.
  void begin_replay() {
    owner.keep(10);
    owner.keep(20, opcode::write);
    owner.keep(30);
    const outbound_call call = write_call_of_data();
    outbound_call& kept = owner.replays.at(1).call;
    kept.body = call.body;
    kept.payload_in = call.payload_in;
    kept.protection = call.protection;
    server.ack.verdict = connect_verdict::recovering_new_boot;
    server.ack.window_left_ms = 10'000;
    start_known(4);
  }
  std::vector<heard_message> replays_of(std::uint64_t transno) const {
    std::vector<heard_message> out;
    for (const heard_message& call : server.calls)
      if (call.header.transno == transno) out.push_back(call);
    return out;
  }
};

// The server counts: for the first ones it ends the connection.
TEST(SessionProtection, AReplayTakesTheGuardsOfItsArrivalOnEveryConnection) {
  replay_world w;
  w.server.on_call = [&w](const heard_message& call) {
    if (call.header.transno == 20 && w.replays_of(20).size() < 3) return w.server.link().close();
    w.server.answer(call, error_code::ok, call.header.transno);
  };
  w.begin_replay();
  ASSERT_TRUE(w.until([&w] { return w.server.replays_done != 0; }));
  const std::vector<heard_message> sent = w.replays_of(20);
  ASSERT_EQ(sent.size(), 3u);
  for (const heard_message& call : sent) {
    EXPECT_EQ(call.extension.protection_type, protection_crc32c);
    EXPECT_EQ(call.payload, w.data);
    byte_span body = call.body;
    protection_trailer t;
    ASSERT_TRUE(take_trailer(body, t));
    EXPECT_FALSE(check_guards(t, call.payload));
  }
  EXPECT_TRUE(w.owner.failed.empty());
}

TEST(SessionProtection, AReplayThatIsRefusedForItsPayloadIsALossAndNamed) {
  replay_world w;
  w.server.on_call = [&w](const heard_message& call) {
    if (call.header.transno == 20) return w.refuse(call, protection_hop::sent);
    w.server.answer(call, error_code::ok, call.header.transno);
  };
  w.begin_replay();
  ASSERT_TRUE(w.until([&w] { return w.server.replays_done != 0; }));
  EXPECT_EQ(w.replays_of(20).size(), 1u);
  EXPECT_EQ(w.owner.failed, (std::vector<std::uint64_t>{20}));
  EXPECT_EQ(w.session->status().mismatches_reported, 1u);
  EXPECT_EQ(w.session->status().last_mismatch.inode, inode);
}

}  // namespace
}  // namespace tangelo::test
