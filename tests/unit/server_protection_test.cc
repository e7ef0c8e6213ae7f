// Guards in the store: that they fit the bytes whatever is done to a file, through power cuts and
// writes that fail half way; and that a byte which changes behind the server's back is found.
#include <bit>

#include "base/prng.h"
#include "server/block_guards.h"
#include "server/dirty_regions.h"
#include "tests/unit/server_volume_fixture.h"

namespace tangelo::testing_volume {
namespace {

class Protection : public volume_fixture {
 protected:
  static std::string pattern(std::size_t size, std::uint64_t seed) {
    prng random(seed);
    std::string s(size, '\0');
    for (char& c : s) c = static_cast<char>(random.next());
    return s;
  }
  call_ptr get(std::uint64_t inode, std::uint64_t offset, std::uint32_t size) {
    return call(opcode::read, read_call{{}, inode, 0, offset, size, 0}, {}, size);
  }
  error_code space(std::uint64_t inode, std::uint64_t offset, std::uint64_t size,
                   std::uint32_t mode) {
    return call(opcode::fallocate, space_call{{}, inode, 0, offset, size, mode})->status;
  }
  // Of the blocks of a file, how many have a guard.
  std::size_t guarded(std::uint64_t inode) {
    std::size_t n = 0;
    (void)kv_.scan(column::protection, key_of(inode), key_of(inode + 1), read_mode::blocking,
                   [&n](std::string_view, std::string_view value) {
                     const auto g = unpacked<guard_group>(value);
                     n += static_cast<std::size_t>(std::popcount(g ? g->present : 0));
                     return true;
                   });
    return n;
  }
  // Reads all of it in one go, and in small odd pieces: both fit, and say the same.
  std::string read_all(std::uint64_t inode, std::uint64_t size) {
    std::string whole;
    for (std::uint64_t at = 0; at < size; at += 1 << 20) {
      const call_ptr c = get(inode, at, 1 << 20);
      EXPECT_EQ(c->status, error_code::ok) << "at " << at;
      if (c->status != error_code::ok) return whole;
      EXPECT_TRUE(c->trailer.has_value());
      if (c->trailer) {
        EXPECT_FALSE(check_guards(*c->trailer, bytes_of(c->text())));
        EXPECT_FALSE(check_tags(*c->trailer, inode, at));
      }
      whole += c->text();
    }
    return whole;
  }
};

TEST_F(Protection, AByteThatChangesOnTheDiskIsFound) {
  const std::uint64_t f = create(root_inode, "f");
  const std::string data = pattern(3 * 4096 + 100, 1);
  write(f, 0, data);
  EXPECT_EQ(guarded(f), 4u);
  ASSERT_TRUE(objects_.flip(f, 4096 + 7));
  const call_ptr bad = get(f, 0, 20'000);
  EXPECT_EQ(bad->status, error_code::integrity);
  const auto fault = bad->answered<protection_fault>();
  EXPECT_EQ(fault.kind, protection_kind::guard);
  EXPECT_EQ(fault.hop, protection_hop::stored);
  EXPECT_EQ(fault.inode, f);
  EXPECT_EQ(fault.block, 1u);
  EXPECT_EQ(fault.expected, guard_of(bytes_of(data.substr(4096, 4096))));
  EXPECT_NE(fault.found, fault.expected);
  EXPECT_EQ(get(f, 5000, 10)->status, error_code::integrity) << "a part of the block";
  EXPECT_EQ(get(f, 0, 4096)->text(), data.substr(0, 4096)) << "the others are well";
  EXPECT_EQ(get(f, 8192, 5000)->text(), data.substr(8192));
  // It does not become good by writing next to the bad byte, but by writing all of it.
  EXPECT_EQ(write(f, 6000, "x")->status, error_code::integrity);
  EXPECT_EQ(truncate(f, 6000), error_code::integrity);
  EXPECT_EQ(write(f, 4096, data.substr(4096, 4096))->status, error_code::ok);
  EXPECT_EQ(read_all(f, data.size()), data);
}

TEST_F(Protection, WithoutAskingItIsNotLookedAt) {
  const std::uint64_t f = create(root_inode, "f");
  const std::string data = pattern(8192, 2);
  write(f, 0, data);
  ASSERT_TRUE(objects_.flip(f, 10));
  const call_ptr c = prepare(alice_, opcode::read, read_call{{}, f, 0, 0, 8192, 0}, {}, 8192);
  c->wants_protection = false;
  volume_->execute(*c);
  settle();
  EXPECT_EQ(c->status, error_code::ok);
  EXPECT_NE(c->text(), data);
}

TEST_F(Protection, ASmallFileIsGuardedToo) {
  const std::uint64_t f = create(root_inode, "f");
  write(f, 0, "hello");
  kv_batch bad;
  bad.put(column::inline_data, key_of(f), "jello");
  EXPECT_EQ(kv_.write(bad), error_code::ok);
  EXPECT_EQ(get(f, 0, 100)->status, error_code::integrity);
  EXPECT_EQ(write(f, 2, "x")->status, error_code::integrity);
}

TEST_F(Protection, GuardsOfAnotherFileAreNotBelieved) {
  const std::uint64_t f = create(root_inode, "f"), g = create(root_inode, "g");
  write(f, 0, pattern(8192, 3));
  write(g, 0, pattern(8192, 4));
  std::string record;
  ASSERT_EQ(kv_.get(column::protection, key_of(f, 0), record, read_mode::blocking),
            kv_status::found);
  kv_batch bad;
  bad.put(column::protection, key_of(g, 0), record);
  EXPECT_EQ(kv_.write(bad), error_code::ok);
  const call_ptr c = get(g, 0, 8192);
  EXPECT_EQ(c->status, error_code::integrity);
  EXPECT_EQ(c->answered<protection_fault>().kind, protection_kind::application);
}

TEST_F(Protection, APayloadThatIsAnotherFilesIsRefused) {
  const std::uint64_t f = create(root_inode, "f");
  const std::string data = pattern(4096, 5);
  for (const auto& [inode, offset, kind] :
       {std::tuple{f + 1, 0u, protection_kind::application},
        {f, 4096u, protection_kind::reference}}) {
    const call_ptr c = prepare(alice_, opcode::write, write_call{{}, f, 0, 0, 4096, 0}, data);
    protect(inode, offset, bytes_of(data), *c->protection);
    volume_->execute(*c);
    settle();
    EXPECT_EQ(c->status, error_code::integrity);
    EXPECT_EQ(c->answered<protection_fault>().kind, kind);
  }
  EXPECT_EQ(stat(f).size, 0u);
}

TEST_F(Protection, AReadMayMeetAWrite) {
  const std::uint64_t f = create(root_inode, "f");
  const std::string before = pattern(8192, 6), after = pattern(8192, 7);
  write(f, 0, before);
  objects_.set_delay_ns(5 * ns_per_ms);
  const call_ptr w = begin(alice_, opcode::write, write_call{{}, f, 0, 0, 8192, 0}, after);
  for (int i = 0; i < 20; ++i) {
    time_.advance(ns_per_ms);
    const call_ptr r = begin(alice_, opcode::read, read_call{{}, f, 0, 0, 8192, 0}, {}, 8192);
    time_.advance(100 * ns_per_us);
    if (r->completed) {
      EXPECT_EQ(r->status, error_code::ok);
    }
  }
  time_.advance(ns_per_s);
  for (const call_ptr& c : calls_) EXPECT_EQ(c->status, error_code::ok) << name_of(c->op);
  EXPECT_EQ(read_all(f, 8192), after);
}

// New bytes are on the disk, the batch with their guard is not.
TEST_F(Protection, ACrashBetweenBytesAndGuardsIsNoFault) {
  for (const bool keep : {true, false}) {
    const std::uint64_t f = create(root_inode, keep ? "k" : "l");
    const std::string before = pattern(200'000, 8), after = pattern(100'000, 9);
    write(f, 0, before);
    early_ = true;
    begin(alice_, opcode::write, write_call{{}, f, 0, 5000, 100'000, 0}, after);
    time_.advance(10 * ns_per_ms);
    early_ = false;
    power_cut(0, keep);
    const std::string now = read_all(f, before.size());
    const std::string mixed = before.substr(0, 5000) + after + before.substr(105'000);
    EXPECT_EQ(now, keep ? mixed : before);
    volume_->recovery_ended();
    time_.advance(ns_per_s);
    EXPECT_EQ(volume_->status().mended_regions, 1u);
    EXPECT_EQ(guarded(f), 49u) << "they are made anew";
    EXPECT_EQ(read_all(f, before.size()), now);
    ASSERT_TRUE(objects_.flip(f, 5000));
    EXPECT_EQ(get(f, 4096, 4096)->status, error_code::integrity) << "and are guards";
  }
}

// What changes while nobody serves it is not taken for what a crash has left.
TEST_F(Protection, AfterAnOrderlyStopAllGuardsAreBelieved) {
  const std::uint64_t f = create(root_inode, "f");
  write(f, 0, pattern(100'000, 14));
  write(f, 5000, pattern(5000, 15));
  bool stopped = false;
  volume_->stop([&stopped] { stopped = true; });
  time_.advance(ns_per_s);
  ASSERT_TRUE(stopped);
  crash();
  ASSERT_TRUE(objects_.flip(f, 5000));
  start();
  EXPECT_EQ(get(f, 4096, 4096)->status, error_code::integrity);
}

TEST_F(Protection, AWriteThatFailsHalfWayIsNoFault) {
  const std::uint64_t f = create(root_inode, "f");
  const std::string before = pattern(100'000, 10), after = pattern(50'000, 11);
  write(f, 0, before);
  objects_.fail_writes(error_code::io, 1);
  // The marks of the region are written first.
  EXPECT_EQ(write(f, 1000, after)->status, error_code::io);
  EXPECT_EQ(write(f, 1000, after)->status, error_code::ok);
  objects_.fail_writes(error_code::io, 1);
  EXPECT_EQ(write(f, 2000, after)->status, error_code::io);
  EXPECT_EQ(read_all(f, before.size()).size(), before.size());
  time_.advance(ns_per_s);
  EXPECT_EQ(guarded(f), 25u);
}

TEST_F(Protection, WhatIsGoneHasNoGuards) {
  const std::uint64_t f = create(root_inode, "f");
  write(f, 0, pattern(1 << 20, 12));
  EXPECT_EQ(guarded(f), 256u);
  EXPECT_EQ(truncate(f, 5000), error_code::ok);
  EXPECT_EQ(guarded(f), 2u);
  write(f, 100 << 20, "far");
  EXPECT_EQ(guarded(f), 3u);
  EXPECT_EQ(space(f, 0, 50 << 20, space_mode::keep_size | space_mode::punch_hole),
            error_code::ok);
  EXPECT_EQ(guarded(f), 1u);
  EXPECT_EQ(unlink(root_inode, "f"), error_code::ok);
  EXPECT_EQ(guarded(f), 0u);
  // Of what keeps a part the guard is that of the part.
  for (const std::uint32_t mode : {space_mode::keep_size | space_mode::punch_hole,
                                   space_mode::zero_range}) {
    const std::uint64_t g = create(root_inode, "g" + std::to_string(mode));
    write(g, 0, pattern(4 * 4096, 13));
    EXPECT_EQ(space(g, 1000, 8000, mode), error_code::ok);
    EXPECT_EQ(guarded(g), 3u);
  }
}

// A range that covers whole records of guards, and keeps a part of the blocks at both ends.
TEST_F(Protection, ALargeHoleTakesTheGuardsOfItsBlocks) {
  const std::string data = pattern(1'000'000, 16);
  for (const std::uint32_t mode : {space_mode::keep_size | space_mode::punch_hole,
                                   space_mode::zero_range}) {
    const std::uint64_t f = create(root_inode, "h" + std::to_string(mode));
    write(f, 0, data);
    EXPECT_EQ(space(f, 1000, 500'000, mode), error_code::ok);
    EXPECT_EQ(read_all(f, data.size()),
              data.substr(0, 1000) + std::string(500'000, '\0') + data.substr(501'000));
    EXPECT_EQ(guarded(f), 245u - 121u);
  }
}

TEST_F(Protection, ABadBlockIsNotCopied) {
  for (const bool cached : {true, false}) {
    objects_.set_cached(cached);
    const std::uint64_t f = create(root_inode, cached ? "c" : "d");
    const std::uint64_t g = create(root_inode, cached ? "cc" : "dd");
    const std::string data = pattern(3 << 20, 17);
    for (std::uint64_t at = 0; at < data.size(); at += 1 << 20)
      write(f, at, data.substr(at, 1 << 20));
    const auto copy = [&](std::uint64_t offset, std::uint64_t size) {
      return call(opcode::copy_range, copy_call{{}, f, 0, offset, g, 0, 0, size});
    };
    EXPECT_EQ(copy(100, data.size())->answered<copy_answer>().copied, data.size() - 100);
    time_.advance(ns_per_s);
    EXPECT_EQ(read_all(g, data.size() - 100), data.substr(100));
    ASSERT_TRUE(objects_.flip(f, 2 << 20));
    EXPECT_EQ(copy(100, data.size())->status, error_code::integrity);
    EXPECT_EQ(copy((2 << 20) + 10, 20)->status, error_code::integrity) << "a part of the block";
    EXPECT_EQ(copy(100, 2 << 20)->status, error_code::integrity);
    EXPECT_EQ(copy(0, 2 << 20)->status, error_code::ok) << "what is before it";
    EXPECT_EQ(read_all(g, 2 << 20), data.substr(0, 2 << 20));
  }
}

// A region of a file of a lower number comes in front while another's bytes are being read.
TEST_F(Protection, MendingOneFileDoesNotMixItWithAnother) {
  const std::uint64_t low = create(root_inode, "low"), high = create(root_inode, "high");
  const std::string one = pattern(100'000, 18), other = pattern(100'000, 19);
  write(low, 0, one);
  write(high, 0, other);
  const auto unguard = [this](std::uint64_t inode) {
    kv_batch b;
    b.remove_range(column::protection, key_of(inode), key_of(inode + 1));
    b.put(column::unguarded, key_of(inode, std::uint64_t{0}), key_of(0));
    EXPECT_EQ(kv_.write(b), error_code::ok);
  };
  unguard(high);
  objects_.set_cached(false);
  objects_.set_delay_ns(5 * ns_per_ms);
  volume_->recovery_ended();
  time_.advance(2 * ns_per_ms);
  unguard(low);
  time_.advance(ns_per_s);
  EXPECT_EQ(guarded(low), 25u);
  EXPECT_EQ(guarded(high), 25u);
  EXPECT_EQ(read_all(low, one.size()), one);
  EXPECT_EQ(read_all(high, other.size()), other);
}

// Everything that can be done to a file, with power cuts in between.
TEST_F(Protection, NothingMakesGuardsWrong) {
  for (std::uint64_t seed = 1; seed <= 30; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    prng random(seed);
    const std::string name = "f" + std::to_string(seed);
    const std::uint64_t f = create(root_inode, name), g = create(root_inode, name + "g");
    std::string model;
    const std::string other = pattern(600'000, seed);
    write(g, 0, other);
    for (int step = 0; step < 40; ++step) {
      objects_.set_cached(random.below(4) != 0);
      const std::uint64_t offset = random.below(3) == 0 ? random.below(40) * 4096
                                                        : random.below(900'000);
      const std::size_t size = 1 + random.below(random.below(2) == 0 ? 100 : 700'000);
      const std::string data = pattern(size, seed * 1000 + static_cast<std::uint64_t>(step));
      const auto put = [&model](std::uint64_t at, std::string_view bytes) {
        if (model.size() < at + bytes.size()) model.resize(at + bytes.size());
        model.replace(at, bytes.size(), bytes);
      };
      switch (random.below(9)) {
        case 0:
          EXPECT_EQ(write(f, 0, data, write_flag::append)->status, error_code::ok);
          put(model.size(), data);
          break;
        case 1:
          EXPECT_EQ(truncate(f, offset), error_code::ok);
          model.resize(offset);
          break;
        case 2:
          EXPECT_EQ(space(f, offset, size, space_mode::keep_size | space_mode::punch_hole),
                    error_code::ok);
          if (offset < model.size())
            model.replace(offset, std::min(size, model.size() - offset),
                          std::string(std::min(size, model.size() - offset), '\0'));
          break;
        case 3:
          EXPECT_EQ(space(f, offset, size, space_mode::zero_range), error_code::ok);
          put(offset, std::string(size, '\0'));
          break;
        case 4:
          EXPECT_EQ(space(f, offset, size, 0), error_code::ok);
          if (model.size() < offset + size) model.resize(offset + size);
          break;
        case 5: {
          const std::size_t n = std::min(size, other.size());
          EXPECT_EQ(call(opcode::copy_range, copy_call{{}, g, 0, 0, f, 0, offset, n})->status,
                    error_code::ok);
          put(offset, std::string_view(other).substr(0, n));
          break;
        }
        case 6:
          if (random.below(3) != 0) break;
          power_cut(0, random.below(2) == 0);
          volume_->recovery_ended();
          break;
        default:
          EXPECT_EQ(write(f, offset, data)->status, error_code::ok);
          put(offset, data);
      }
      ASSERT_EQ(read_all(f, model.size()), model) << "step " << step;
      if (::testing::Test::HasFailure()) return;
    }
    time_.advance(ns_per_s);
    EXPECT_EQ(read_all(f, model.size()), model);
  }
}

}  // namespace
}  // namespace tangelo::testing_volume
