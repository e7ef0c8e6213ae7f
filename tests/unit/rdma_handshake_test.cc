// The secret: its file, its proofs, and what happens to a side that does not know it.
#include <fcntl.h>
#include <sys/stat.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "base/secret.h"
#include "rdma/handshake.h"
#include "tests/unit/rdma_raw_peer.h"

namespace tangelo::test {
namespace {

const secret known(bytes_of("a secret of the tests"));
const secret other(bytes_of("another secret of the tests"));

// ---- signing ------------------------------------------------------------------------------------

TEST(Secret, SignsAsRfc4231Says) {
  const secret s(bytes_of("Jefe"));
  const mac256 mac = s.sign({bytes_of("what do ya want "), bytes_of("for nothing?")});
  std::string hex;
  for (const std::byte b : mac) {
    char two[3];
    std::snprintf(two, sizeof two, "%02x", static_cast<unsigned>(b));
    hex += two;
  }
  EXPECT_EQ(hex, "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
}

TEST(Handshake, EverythingThatWasSaidIsSigned) {
  hello_ack_body ack;
  ack.auth_kind = auth_hmac_sha256;
  ack.nonce = new_nonce();
  bytes hello(100, std::byte{7});
  const mac256 proof = server_proof(known, hello, ack);
  ack.proof = proof;
  EXPECT_TRUE(same_mac(server_proof(known, hello, ack), proof)) << "its own proof is not in it";
  EXPECT_FALSE(same_mac(client_proof(known, hello, ack), proof));
  EXPECT_FALSE(same_mac(server_proof(other, hello, ack), proof));
  for (std::byte& b : hello) {
    b ^= std::byte{1};
    EXPECT_FALSE(same_mac(server_proof(known, hello, ack), proof));
    b ^= std::byte{1};
  }
  const auto changed = [&](auto change) {
    hello_ack_body a = ack;
    change(a);
    return !same_mac(server_proof(known, hello, a), proof);
  };
  EXPECT_TRUE(changed([](hello_ack_body& a) { a.version = 2; }));
  EXPECT_TRUE(changed([](hello_ack_body& a) { a.auth_kind = 0; }));
  EXPECT_TRUE(changed([](hello_ack_body& a) { a.features ^= 1; }));
  EXPECT_TRUE(changed([](hello_ack_body& a) { a.target_id[3] ^= std::byte{1}; }));
  EXPECT_TRUE(changed([](hello_ack_body& a) { a.nonce[31] ^= std::byte{1}; }));
  EXPECT_TRUE(changed([](hello_ack_body& a) { a.credits = 1; }));
  EXPECT_TRUE(changed([](hello_ack_body& a) { a.eager_payload_max = 1; }));
  EXPECT_NE(new_nonce(), new_nonce());
}

// ---- a client session and a server ------------------------------------------------------------

struct world {
  explicit world(const secret& of_server, const secret& of_client)
      : client(options_with(of_client)) {
    host_options.shared_secret = of_server;
    server = std::make_unique<test_server>(network, time, store, host_options);
    client.start(network, time);
    client.submit(opcode::mkdir, 0, 0, 0);
  }
  ~world() {
    client.session.reset();
    server.reset();
  }
  static session_options options_with(const secret& s) {
    session_options o;
    o.shared_secret = s;
    return o;
  }
  bool finish() {
    return run_until(time, [this] { return client.all_answered(); }, 20 * ns_per_s);
  }
  virtual_scheduler time;
  loop_network network{time, {}};
  counter_store store;
  export_options host_options;
  std::unique_ptr<test_server> server;
  test_client client;
};

TEST(Handshake, BothKnowIt) {
  world w(known, known);
  ASSERT_TRUE(w.finish());
  // And again on every connection.
  w.server.reset();
  w.server = std::make_unique<test_server>(w.network, w.time, w.store, w.host_options);
  w.client.submit(opcode::mkdir, 1, 0, 0);
  ASSERT_TRUE(w.finish());
}

TEST(Handshake, WhoDoesNotKnowItGetsNowhereAndIsToldWhy) {
  struct row {
    const secret& of_server;
    const secret& of_client;
    std::string_view said;
  };
  const secret none;
  for (const row& r : {row{known, other, "the server does not know the secret of this mount"},
                       row{known, none, "this server wants a secret: mount with secret_file=FILE"},
                       row{none, known, "this server has no secret: mount without secret_file, or "
                                        "give it one"}}) {
    world w(r.of_server, r.of_client);
    EXPECT_FALSE(w.finish());
    EXPECT_EQ(w.server->fs->remembered, 0);
    EXPECT_EQ(w.client.session->status().last_text, r.said);
    EXPECT_EQ(w.client.session->status().last_reason, down_reason::auth);
  }
}

// ---- a server that pretends ---------------------------------------------------------------------

class pretender final : public endpoint_events {
 public:
  pretender(loop_network& network, bool says_hello) : says_hello_(says_hello) {
    listener_ = *network.listen("pretender", [this](std::unique_ptr<endpoint> e) {
      wire_.push_back(std::move(e));
      wire_.back()->start(*this);
    });
  }
  void on_up() noexcept override {}
  void on_message(byte_span raw) noexcept override {
    message_view view;
    ASSERT_EQ(parse_message(raw, view), parse_fault::none);
    if (view.header.type == message_type::hello) {
      hello_ack_body ack;
      ack.auth_kind = auth_hmac_sha256;
      if (says_hello_) say(view.header.epoch, message_type::hello_ack, ack);
      connect_ack_body verdict;
      verdict.verdict = connect_verdict::fresh;
      verdict.boot_generation = 1;
      say(view.header.epoch, message_type::connect_ack, verdict);
    }
    others += view.header.type != message_type::hello;
  }
  void on_done(std::uint64_t, bool) noexcept override {}
  void on_sendable() noexcept override {}
  void on_down(down_reason) noexcept override {}
  void on_flushed() noexcept override {}
  int others = 0;

 private:
  template <class Body>
  void say(std::uint64_t epoch, message_type type, const Body& body) {
    bytes encoded(1024);
    encoded.resize(encode(body, encoded).value_or(0));
    wire_header h;
    h.type = type;
    h.epoch = epoch;
    call_extension e;
    e.body_size = static_cast<std::uint32_t>(encoded.size());
    bytes out(wire_message_size_max);
    out.resize(build_message(h, encode_extension(e), {}, encoded, {}, out));
    (void)wire_.back()->send(out);
  }
  bool says_hello_;
  std::vector<std::unique_ptr<endpoint>> wire_;
  std::unique_ptr<listener> listener_;
};

TEST(Handshake, AServerThatProvesNothingIsToldNothing) {
  for (const bool says_hello : {true, false}) {
    virtual_scheduler time;
    loop_network network(time, {});
    pretender liar(network, says_hello);
    session_options o = world::options_with(known);
    o.addresses = {"pretender"};
    test_client client(o);
    client.start(network, time);
    client.submit(opcode::mkdir, 0, 0, 0);
    EXPECT_FALSE(run_until(time, [&] { return client.all_answered(); }, 10 * ns_per_s));
    EXPECT_EQ(client.session->status().last_reason, down_reason::auth);
    EXPECT_EQ(liar.others, 0) << "neither AUTH nor CONNECT";
    client.session.reset();
  }
}

// ---- a client that pretends ---------------------------------------------------------------------

struct guarded : raw_world {
  guarded() {
    options.shared_secret = known;
    restart();
  }
};

bytes signed_hello(const raw_peer& p) {
  hello_body b;
  b.volume = "home";
  b.auth_kind = auth_hmac_sha256;
  return p.make(message_type::hello, b);
}

// What a client that knows the secret says to the server's HELLO_ACK, the last message heard.
auth_body right_answer(const raw_peer& p, const bytes& hello) {
  message_view view;
  EXPECT_EQ(parse_message(hello, view), parse_fault::none);
  const auto ack = decode<hello_ack_body>(p.heard.back().body);
  return {client_proof(known, view.body, ack.value_or(hello_ack_body{}))};
}

TEST(Handshake, OnlyAProofOpensTheDoor) {
  guarded w;
  auth_body recorded;
  {
    raw_peer& p = w.peer();
    const bytes hello = signed_hello(p);
    p.send(hello);
    p.settle();
    recorded = right_answer(p, hello);
    p.say(message_type::auth, recorded);
    p.send(p.connect_message());
    p.settle();
    EXPECT_EQ(p.verdict, connect_verdict::fresh);
  }
  const auto refused = [&](const auto& says) {
    raw_peer& p = w.peer(7);
    const bytes hello = signed_hello(p);
    p.send(hello);
    p.settle();
    says(p, hello);
    p.send(p.connect_message());
    p.settle();
    EXPECT_TRUE(p.flushed);
    EXPECT_EQ(p.verdict, connect_verdict{});
    return p.error_text;
  };
  const std::string unknown = "the client does not know the secret";
  EXPECT_EQ(refused([&](raw_peer& p, const bytes&) { p.say(message_type::auth, recorded); }),
            unknown)
      << "said before on another connection";
  EXPECT_EQ(refused([&](raw_peer& p, const bytes&) { p.say(message_type::auth, auth_body{}); }),
            unknown);
  EXPECT_EQ(refused([&](raw_peer& p, const bytes& hello) {
              auth_body echo;
              echo.proof = decode<hello_ack_body>(p.heard.back().body)->proof;
              EXPECT_NE(echo.proof, right_answer(p, hello).proof);
              p.say(message_type::auth, echo);
            }),
            unknown)
      << "the server's own proof";
  EXPECT_EQ(refused([](raw_peer&, const bytes&) {}), "this message does not belong here")
      << "CONNECT without AUTH";
  EXPECT_EQ(w.fs().remembered, 1);
}

// ---- the file -----------------------------------------------------------------------------------

class SecretFile : public ::testing::Test {
 protected:
  SecretFile() {
    char name[] = "/tmp/tangelo-secret-XXXXXX";
    EXPECT_NE(::mkdtemp(name), nullptr);
    directory_ = name;
    path_ = directory_ + "/secret";
  }
  ~SecretFile() override { std::filesystem::remove_all(directory_); }
  void write(std::string_view text, mode_t mode = 0600) {
    std::filesystem::remove(path_);
    std::ofstream(path_) << text;
    EXPECT_EQ(::chmod(path_.c_str(), mode), 0);
  }
  std::string problem_of() const {
    const outcome<secret> s = read_secret(path_);
    return s ? "" : s.error().text;
  }
  std::string directory_, path_;
};

TEST_F(SecretFile, LineEndsAtItsEndAreNotOfIt) {
  for (const char* end : {"", "\n", "\r\n", "\n\n"}) {
    write(std::string("0123456789abcdef") + end);
    const outcome<secret> s = read_secret(path_);
    ASSERT_TRUE(s.has_value());
    EXPECT_EQ(s->sign({}), secret(bytes_of("0123456789abcdef")).sign({}));
  }
}

TEST_F(SecretFile, WhatIsWrongWithItIsSaid) {
  const auto contains = [&](std::string_view what) {
    const std::string text = problem_of();
    EXPECT_NE(text.find(what), text.npos) << text;
    EXPECT_NE(text.find(path_), text.npos) << text;
  };
  contains("No such file");
  write("too short\n");
  contains("has 16 to 4096 bytes, not 9");
  write(std::string(5000, 'x'));
  contains("larger than 4096");
  for (const mode_t mode : {0640u, 0604u, 0620u, 0601u}) {
    write("0123456789abcdef", mode);
    contains("open to others");
  }
  std::filesystem::remove(path_);
  ASSERT_EQ(::mkfifo(path_.c_str(), 0600), 0);
  contains("not a regular file");
  if (::geteuid() != 0) return;
  write("0123456789abcdef");
  ASSERT_EQ(::chown(path_.c_str(), 12345, 0), 0);
  EXPECT_EQ(problem_of(), "") << "root takes anybody's";
  ASSERT_EQ(::chmod(directory_.c_str(), 0755), 0);
  ASSERT_EQ(::chown(path_.c_str(), 54321, 0), 0);
  ASSERT_EQ(::seteuid(12345), 0);
  contains("Permission denied");
  ASSERT_EQ(::seteuid(0), 0);
}

}  // namespace
}  // namespace tangelo::test
