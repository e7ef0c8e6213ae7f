// What only verbs has: registered memory. TANGELO_VERBS_ADDRESS names an RDMA device (rdma.sh).
#include "rdma/verbs/verbs_provider.h"
#include "tests/unit/rdma_provider_fixture.h"

namespace tangelo::test {
namespace {

class VerbsProvider : public Provider {
 protected:
  const verbs_counts& counts() const {
    return static_cast<const verbs_provider&>(*wire_).registrations();
  }
  // Both ends are cut while messages, reads and writes are under way.
  void connect_and_cut(std::uint64_t round, const bytes& memory) {
    server.on_call = [&](byte_span message) {
      message_view view;
      ASSERT_EQ(parse_message(message, view), parse_fault::none);
      for (std::size_t i = 0; i < view.chunk_count; ++i) {
        const chunk& c = view.chunks[i];
        if (c.kind == chunk_kind::pull) {
          (void)server.wire->read_remote(c, into_, 1);
        } else {
          (void)server.wire->write_remote(c, into_, 2);
        }
      }
    };
    connect();
    for (std::uint64_t tag = 1; tag <= 6; ++tag) {
      const chunk c = make_chunk(tag % 2 == 0 ? chunk_kind::pull : chunk_kind::push, tag, 100'000);
      bytes& own = copies_[tag - 1] = memory;
      client.wire->expose(c, own, false);
      EXPECT_EQ(client.wire->send(make_message(tag, 10, {c})), send_status::sent);
    }
    for (std::uint64_t i = 0; i < round % 50; ++i) turn();
    recorder& first = round % 2 == 0 ? client : server;
    first.wire->close(down_reason::admin);
    ASSERT_TRUE(until([&] { return client.flushes == 1 && server.flushes == 1; }));
    client = recorder();
    server = recorder();
  }

  bytes into_ = bytes(100'000);
  std::array<bytes, 6> copies_;
};

TEST_P(VerbsProvider, AThousandConnectionsLeaveNoRegistrationBehind) {
  const bytes memory = make_bytes(100'000, 1);
  connect_and_cut(0, memory);
  const std::uint64_t open = counts().open;
  for (std::uint64_t round = 1; round <= 1000; ++round) {
    ASSERT_NO_FATAL_FAILURE(connect_and_cut(round, memory)) << "round " << round;
    ASSERT_EQ(counts().open, open) << "round " << round;
  }
  EXPECT_GE(counts().connections, 2002u);
  RecordProperty("registered", static_cast<int>(counts().connections + counts().single));
}

INSTANTIATE_TEST_SUITE_P(Fabrics, VerbsProvider, testing::Values(fabric_kind::verbs_fabric));

}  // namespace
}  // namespace tangelo::test
