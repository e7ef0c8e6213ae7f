// front_end: the guards of a write are made when it arrives and stay with its bytes.
#include <fcntl.h>

#include "protocol/kept_trailers.h"
#include "protocol/policy.h"
#include "tests/unit/async_fixture.h"

namespace tangelo {
namespace {

class protection_test : public async_test {
 protected:
  std::vector<std::byte> trailer_at(const slot_ref& slot) const {
    const byte_span kept = trailer_of(arenas.fs->trailers, slot);
    return {kept.begin(), kept.end()};
  }
  std::vector<std::byte> trailer_of_record(const replay_cell& r) const {
    if (r.payload.slot.kind != slot_class::none) return trailer_at(r.payload.slot);
    const byte_span kept = bytes_of(arenas.fs->trailers.replays[r.index]);
    return {kept.begin(), kept.end()};
  }
  static std::vector<std::byte> made(std::uint64_t inode, std::uint64_t offset, byte_span bytes) {
    protection_trailer t;
    protect(inode, offset, bytes, t);
    std::vector<std::byte> out(trailer_size_max);
    out.resize(encode_trailer(t, out));
    return out;
  }
  static std::vector<std::byte> bytes_like(std::size_t size, int seed) {
    std::vector<std::byte> out(size);
    for (std::size_t i = 0; i < size; ++i)
      out[i] = static_cast<std::byte>(i * 7 + i / 4096 + static_cast<std::size_t>(seed));
    return out;
  }
};
using Protection = protection_test;

TEST_F(Protection, AWriteHasItsGuardsBeforeItIsOffered) {
  std::uint64_t id = 2;
  for (const std::size_t size : {std::size_t{1}, std::size_t{4096}, std::size_t{64} << 10,
                                 (std::size_t{64} << 10) + 1, std::size_t{1} << 20})
    for (const std::uint64_t offset : {std::uint64_t{0}, std::uint64_t{3} << 40,
                                       std::uint64_t{4095}}) {
      SCOPED_TRACE(testing::Message() << size << " bytes at " << offset);
      const std::vector<std::byte> data = bytes_like(size, static_cast<int>(id));
      const std::uint32_t i = offered(fuse_request::write(5, id, 9, offset, data));
      EXPECT_EQ(trailer_at(core->op(i).payload_in), made(5, offset, data));
      core->fail(i, error_code::no_space);
      run();
      id += 2;
    }
}

TEST_F(Protection, WhereAnAppendGoesIsNotKnown) {
  const std::vector<std::byte> data = bytes_like(5000, 1);
  const std::uint32_t i = offered(fuse_request::write(5, 2, 9, 12345, data, O_APPEND));
  const std::vector<std::byte> guards = made(5, 0, data);
  EXPECT_EQ(trailer_at(core->op(i).payload_in), guards);
  write_answer a;
  a.written = 5000;
  a.offset = 4242;
  a.attr.inode = 5;
  answer_early(i, a, 10);
  run();
  ASSERT_EQ(records().size(), 1u);
  EXPECT_EQ(trailer_of_record(records()[0]), guards) << "though its offset is known now";
}

// The bytes in the shared memory may change; what the next core sends is of what arrived.
TEST_F(Protection, AReplayRecordKeepsTheGuardsOfTheArrival) {
  const std::vector<std::byte> small = bytes_like(5000, 1);
  const std::vector<std::byte> large = bytes_like(1 << 20, 2);
  write_file(5, 2, 9, small, 10);
  const std::uint32_t i = offered(fuse_request::write(6, 4, 9, 0, large));
  slot_bytes(*arenas.shared, core->op(i).payload_in)[77] ^= std::byte{1};
  write_answer a;
  a.written = 1 << 20;
  a.attr.inode = 6;
  answer_early(i, a, 11);
  run();
  for (int life = 0; life < 2; ++life) {
    ASSERT_EQ(records().size(), 2u);
    EXPECT_EQ(trailer_of_record(records()[0]), made(5, 0, small));
    EXPECT_EQ(trailer_of_record(records()[1]), made(6, 0, large));
    // Other writes in between, also of the data slot that the small one had.
    for (std::uint64_t n = 0; n < 4; ++n)
      write_file(7, 100 + 10 * n + static_cast<std::uint64_t>(life) * 1000, 9,
                 bytes_like(5000, 9), 0);
    restart();
    attach_settled();
  }
}

TEST_F(Protection, AnOpKeepsItsGuardsWhenEverybodyDies) {
  const std::vector<std::byte> data = bytes_like(70'000, 3);
  std::uint32_t i = offered(fuse_request::write(5, 2, 9, 100, data));
  restart();
  attach();
  run();
  i = core->take_kernel_op().value();
  EXPECT_EQ(trailer_at(core->op(i).payload_in), made(5, 100, data));
}

TEST_F(Protection, AWriteThatWasCutHasNoneInItsRecord) {
  for (const std::size_t size : {std::size_t{5000}, std::size_t{70'000}}) {
    const std::uint64_t id = size;
    const std::uint32_t i = offered(fuse_request::write(5, id * 2, 9, 0, bytes_like(size, 1)));
    write_answer a;
    a.written = size == 5000 ? 4000 : 69'000;
    a.attr.inode = 5;
    answer_early(i, a, size);
    run();
    EXPECT_TRUE(trailer_of_record(records().back()).empty());
  }
}

// What a slot or a record had before is not taken for what it has now.
TEST_F(Protection, OtherPayloadsHaveNoneAndAMountWithoutItMakesNone) {
  const std::vector<std::byte> data = bytes_like(100, 1);
  const std::uint32_t write = offered(fuse_request::write(5, 2, 9, 0, data));
  const slot_ref slot = core->op(write).payload_in;
  ASSERT_FALSE(trailer_at(slot).empty());
  core->fail(write, error_code::no_space);
  run();
  const std::uint32_t link = offered(fuse_request(FUSE_SYMLINK, 1, 4).name("l").name("target"));
  ASSERT_EQ(core->op(link).payload_in.index, slot.index);
  EXPECT_TRUE(trailer_at(slot).empty());
  core->fail(link, error_code::no_space);
  run();
  cache_policy policy;
  policy.protection = false;
  write_cache_policy(arenas.fs->watchdog.policy, policy);
  restart();
  attach_settled();
  const std::uint32_t bare = offered(fuse_request::write(5, 6, 9, 0, data));
  EXPECT_TRUE(trailer_at(core->op(bare).payload_in).empty());
}

}  // namespace
}  // namespace tangelo
