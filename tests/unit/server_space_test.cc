#include "base/prng.h"
#include "protocol/data_ops.h"
#include "tests/unit/server_volume_fixture.h"

namespace tangelo::testing_volume {
namespace {

using namespace space_mode;

class Space : public volume_fixture {
 protected:
  call_ptr fallocate(std::uint64_t f, std::uint64_t offset, std::uint64_t size,
                     std::uint32_t mode) {
    return call(opcode::fallocate, space_call{{}, f, 0, offset, size, mode});
  }
  // -1: there is none.
  std::int64_t seek(std::uint64_t f, std::uint64_t offset, bool hole) {
    const call_ptr c = call(
        opcode::seek, seek_call{{}, f, 0, offset, static_cast<std::uint8_t>(hole ? 1 : 0)});
    if (c->status == error_code::no_device_address) return -1;
    EXPECT_EQ(c->status, error_code::ok);
    return static_cast<std::int64_t>(c->answered<seek_answer>().offset);
  }
  std::uint64_t file_of(std::string_view name, std::string_view data) {
    const std::uint64_t f = create(root_inode, name);
    write(f, 0, data);
    return f;
  }
  // Of a disk of 4 GiB. 8000 blocks are in what is kept back, above what the store needs; with 100
  // it can do little more than remove.
  void leave(std::uint64_t blocks) {
    objects_.set_space({4096, 1 << 20, blocks + 1000, blocks, 100, 100});
    time_.advance(ns_per_s);
  }
  error_code put(std::uint64_t f, std::uint64_t offset, std::string_view data) {
    return write(f, offset, data)->status;
  }
  statfs_answer statfs() {
    return call(opcode::statfs, inode_call{{}, root_inode, 0, 0})->answered<statfs_answer>();
  }
  std::string bytes(std::size_t size, char first = 'a') {
    std::string s(size, first);
    for (std::size_t i = 0; i < size; ++i)
      s[i] = static_cast<char>('a' + (i + static_cast<std::size_t>(first)) % 26);
    return s;
  }
};

TEST_F(Space, ModesAndRangesAreChecked) {
  const std::uint64_t f = file_of("f", "x");
  EXPECT_EQ(fallocate(f, 0, 0, 0)->status, error_code::invalid);
  EXPECT_EQ(fallocate(f, 0, 1, punch_hole)->status, error_code::not_supported);
  EXPECT_EQ(fallocate(f, 0, 1, punch_hole | zero_range | keep_size)->status,
            error_code::not_supported);
  for (const std::uint32_t mode : {8u, 4u, 32u, 64u, 8u | keep_size})
    EXPECT_EQ(fallocate(f, 0, 4096, mode)->status, error_code::not_supported) << mode;
  EXPECT_EQ(fallocate(f, INT64_MAX, 1, 0)->status, error_code::file_too_big);
  EXPECT_EQ(fallocate(f, 1, UINT64_MAX, 0)->status, error_code::file_too_big);
  EXPECT_EQ(fallocate(root_inode, 0, 1, 0)->status, error_code::is_directory);
  EXPECT_EQ(stat(f).size, 1u);
}

TEST_F(Space, AllocatingGivesRoomAndGrowsUnlessTheSizeIsKept) {
  const std::uint64_t f = file_of("f", "small");
  EXPECT_EQ(fallocate(f, 0, 100'000, keep_size)->status, error_code::ok);
  EXPECT_EQ(stat(f).size, 5u);
  EXPECT_EQ(stat(f).blocks, 200u);
  EXPECT_EQ(read(f, 0, 100), "small");
  EXPECT_EQ(fallocate(f, 3, 10, 0)->status, error_code::ok);
  EXPECT_EQ(stat(f).size, 13u);
  EXPECT_EQ(read(f, 0, 100), std::string("small\0\0\0\0\0\0\0\0", 13));
  // A write into it needs no new room, and truncating gives it back.
  write(f, 50'000, "x");
  EXPECT_EQ(stat(f).blocks, 200u);
  EXPECT_EQ(truncate(f, 5), error_code::ok);
  EXPECT_EQ(stat(f).blocks, 8u);
  EXPECT_EQ(read(f, 0, 100), "small");
}

TEST_F(Space, RoomThatIsNotThereIsRefusedBeforeTheDiskIsFull) {
  const std::uint64_t f = file_of("f", "x");
  objects_.set_space({4096, 1 << 20, 20'000, 20'000, 100, 100});
  time_.advance(ns_per_s);
  EXPECT_EQ(fallocate(f, 0, 60 << 20, 0)->status, error_code::no_space);
  EXPECT_EQ(stat(f).size, 1u);
  EXPECT_EQ(fallocate(f, 0, 30 << 20, keep_size)->status, error_code::ok);
  objects_.set_space({4096, 1 << 20, 10, 10, 100, 100});
  time_.advance(ns_per_s);
  EXPECT_EQ(fallocate(f, 0, 30 << 20, 0)->status, error_code::ok) << "it has that already";
  EXPECT_EQ(fallocate(f, 0, 31 << 20, 0)->status, error_code::no_space);
  EXPECT_EQ(fallocate(f, 0, 1 << 20, keep_size | punch_hole)->status, error_code::ok);
}

// Found by a tester: a database's preallocated file could not be written when the disk was full.
TEST_F(Space, WhatWasAllocatedCanBeWrittenWhenTheDiskIsFull) {
  const std::uint64_t f = create(root_inode, "f");
  ASSERT_EQ(fallocate(f, 0, 400'000, 0)->status, error_code::ok);
  ASSERT_EQ(fallocate(f, 400'000, 400'000, keep_size)->status, error_code::ok);
  const std::uint64_t other = create(root_inode, "other");
  leave(8000);
  ASSERT_EQ(put(other, 0, "x"), error_code::no_space);
  const std::string data = bytes(200'000);
  EXPECT_EQ(put(f, 100'000, data), error_code::ok) << "larger than a redo record";
  EXPECT_EQ(put(f, 7, "small"), error_code::ok);
  EXPECT_EQ(put(f, 400'000, data), error_code::ok) << "behind the file's end";
  EXPECT_EQ(stat(f).size, 600'000u);
  EXPECT_EQ(read(f, 100'000, 200'000), data);
  EXPECT_EQ(put(f, 700'000, data), error_code::no_space) << "half of it has no room";
  EXPECT_EQ(stat(f).size, 600'000u);
  EXPECT_EQ(read(f, 100'000, 200'000), data);
}

TEST_F(Space, OldDataCanBeOverwrittenWhenTheDiskIsFullAndHolesCannotBeFilled) {
  const std::uint64_t f = file_of("f", bytes(20'000));
  ASSERT_EQ(put(f, 100'000, bytes(20'000)), error_code::ok);
  leave(8000);
  EXPECT_EQ(put(f, 4096, bytes(4096, 'q')), error_code::ok);
  EXPECT_EQ(put(f, 5, "y"), error_code::ok);
  EXPECT_EQ(put(f, 0, bytes(20'000, 'z')), error_code::ok);
  EXPECT_EQ(read(f, 0, 20'000), bytes(20'000, 'z'));
  for (const std::uint64_t at : {50'000u, 90'000u, 150'000u})
    EXPECT_EQ(put(f, at, bytes(12'000)), error_code::no_space) << at;
  EXPECT_EQ(read(f, 50'000, 4), std::string(4, '\0'));
  EXPECT_EQ(stat(f).size, 120'000u);
  // What was punched is a hole.
  EXPECT_EQ(fallocate(f, 0, 8192, keep_size | punch_hole)->status, error_code::ok);
  EXPECT_EQ(put(f, 0, "x"), error_code::no_space);
  EXPECT_EQ(put(f, 8192, "x"), error_code::ok);
}

TEST_F(Space, SmallFilesAreChangedInPlaceWhenTheDiskIsFull) {
  const std::uint64_t f = file_of("f", "0123456789");
  leave(8000);
  EXPECT_EQ(put(f, 3, "abc"), error_code::ok);
  EXPECT_EQ(put(f, 0, ""), error_code::ok);
  EXPECT_EQ(put(f, 9, "xy"), error_code::no_space) << "it would be longer";
  EXPECT_EQ(put(f, 0, bytes(5000)), error_code::no_space) << "it would need an object";
  EXPECT_EQ(read(f, 0, 100), "012abc6789");
  make_call m = made(root_inode, "f", 0644);
  m.handle = 7;
  EXPECT_EQ(call(opcode::create, m)->status, error_code::ok) << "opens what is there";
  EXPECT_EQ(call(opcode::mknod, made(root_inode, "g", 0644))->status, error_code::no_space);
}

TEST_F(Space, CopiesIntoOwnRoomAreMadeWhenTheDiskIsFull) {
  const std::uint64_t from = file_of("from", bytes(50'000));
  const std::uint64_t to = file_of("to", bytes(50'000, 'x'));
  leave(8000);
  EXPECT_EQ(call(opcode::copy_range, copy_call{{}, from, 0, 0, to, 0, 0, 50'000})->status,
            error_code::ok);
  EXPECT_EQ(read(to, 0, 50'000), bytes(50'000));
  EXPECT_EQ(call(opcode::copy_range, copy_call{{}, from, 0, 0, to, 0, 30'000, 50'000})->status,
            error_code::no_space);
}

// Its log and its tables must find room, whatever is overwritten.
TEST_F(Space, WhatTheStoreNeedsItselfIsNotForOverwriting) {
  const std::uint64_t f = file_of("f", bytes(20'000));
  const std::uint64_t s = file_of("s", "small");
  leave(100);
  EXPECT_EQ(put(f, 0, "x"), error_code::no_space);
  EXPECT_EQ(put(s, 0, "x"), error_code::no_space);
  EXPECT_EQ(read(f, 0, 2), bytes(2)) << "refused before a byte was written";
  EXPECT_EQ(truncate(f, 100), error_code::ok);
  EXPECT_EQ(unlink(root_inode, "s"), error_code::ok);
  EXPECT_EQ(unlink(root_inode, "f"), error_code::ok);
}

TEST_F(Space, StatfsSaysWhatFilesCanHave) {
  leave(100'000);
  const statfs_answer before = statfs();
  EXPECT_EQ(before.blocks, 1u << 20);
  EXPECT_LT(before.blocks_available, 100'000u);
  EXPECT_EQ(before.blocks_free, before.blocks_available + 1000);
  const std::uint64_t f = create(root_inode, "f");
  const std::uint64_t other = create(root_inode, "other");
  const std::uint64_t available = statfs().blocks_available;
  EXPECT_EQ(fallocate(f, 0, (available + 1) * 4096, 0)->status, error_code::no_space);
  EXPECT_EQ(fallocate(f, 0, available * 4096, 0)->status, error_code::ok);
  leave(100'000 - before.blocks_available);
  EXPECT_EQ(put(other, 0, "x"), error_code::no_space);
  EXPECT_EQ(statfs().blocks_available, 0u);
  EXPECT_EQ(statfs().blocks_free, 1000u);
  EXPECT_EQ(statfs().blocks, 1u << 20);
}

// What running writes may take is not there for others, and what they did not take is, at once.
TEST_F(Space, OverwritingDoesNotUseUpWhatIsLeft) {
  const std::uint64_t f = file_of("f", bytes(500'000));
  leave(100'000);
  const std::uint64_t available = statfs().blocks_available;
  leave(100'000 - available + 20);
  for (int i = 0; i < 3; ++i) {
    begin(alice_, opcode::write, write_call{{}, f, 0, 0, 500'000, 0}, bytes(500'000));
    time_.advance(ns_per_ms);
  }
  EXPECT_EQ(put(create(root_inode, "g"), 0, bytes(40'000)), error_code::ok);
}

// Redo records are in the log until a checkpoint: of a full disk they get no more than a little.
TEST_F(Space, EndlessOverwritingOfAFullDiskIsNotRefused) {
  const std::uint64_t f = create(root_inode, "f");
  for (std::uint64_t at = 0; at < 4 << 20; at += 1 << 20)
    ASSERT_EQ(put(f, at, bytes(1 << 20)), error_code::ok);
  leave(8000);
  std::size_t most = 0;
  for (std::uint64_t i = 0; i < 3000; ++i) {
    const call_ptr c = begin(alice_, opcode::write,
                             write_call{{}, f, 0, i % 60 * 65'536, 60'000, 0}, bytes(60'000));
    time_.advance(5 * ns_per_ms);
    ASSERT_TRUE(c->completed) << i;
    ASSERT_EQ(c->status, error_code::ok) << i;
    most = std::max(most, volume_->status().redo_size);
    calls_.clear();
  }
  EXPECT_LT(most, 2u << 20);
}

// Answered before it was durable: made again it is not refused, whatever the disk says by then.
TEST_F(Space, AnOverwriteOfAFullDiskIsMadeAgainAfterACrash) {
  const std::uint64_t f = file_of("f", bytes(100'000));
  ASSERT_EQ(fallocate(f, 100'000, 100'000, 0)->status, error_code::ok);
  leave(8000);
  early_ = true;
  committer_->set_delay_ns(20 * ns_per_ms);
  std::vector<call_ptr> told;
  for (const std::uint64_t at : {0u, 4096u, 150'000u}) {
    told.push_back(
        begin(alice_, opcode::write, write_call{{}, f, 0, at, 3000, 0}, bytes(3000, 'q')));
    time_.advance(ns_per_ms);
    ASSERT_TRUE(told.back()->completed);
    ASSERT_EQ(told.back()->status, error_code::ok);
  }
  power_cut();
  leave(0);
  for (const call_ptr& c : told) EXPECT_EQ(replay(*c)->status, error_code::ok);
  settle();
  std::string want = bytes(100'000) + std::string(100'000, '\0');
  for (const std::uint64_t at : {0u, 4096u, 150'000u}) want.replace(at, 3000, bytes(3000, 'q'));
  EXPECT_EQ(read(f, 0, 200'000), want);
}

TEST_F(Space, PunchingGivesRoomBackAndReadsAsZeros) {
  const std::string data = bytes(100'000);
  const std::uint64_t f = file_of("f", data);
  const attributes before = stat(f);
  EXPECT_EQ(before.blocks, 200u);
  time_.advance(ns_per_s);
  EXPECT_EQ(fallocate(f, 5000, 50'000, keep_size | punch_hole)->status, error_code::ok);
  std::string want = data;
  want.replace(5000, 50'000, 50'000, '\0');
  EXPECT_EQ(read(f, 0, 200'000), want);
  EXPECT_EQ(stat(f).blocks, 200u - 11 * 8);
  EXPECT_GT(stat(f).mtime_ns, before.mtime_ns);
  EXPECT_GT(stat(f).ctime_ns, before.ctime_ns);
  EXPECT_EQ(fallocate(f, 1 << 20, 10, keep_size | punch_hole)->status, error_code::ok);
  EXPECT_EQ(stat(f).size, 100'000u);
  const std::uint64_t s = file_of("s", "0123456789");
  EXPECT_EQ(fallocate(s, 8, 100, keep_size | punch_hole)->status, error_code::ok);
  EXPECT_EQ(read(s, 0, 100), std::string("01234567\0\0", 10));
  EXPECT_EQ(objects_.bytes_of_object(s), nullptr);
}

TEST_F(Space, ZeroingKeepsTheRoomAndMayGrow) {
  const std::string data = bytes(10'000);
  const std::uint64_t f = file_of("f", data);
  EXPECT_EQ(fallocate(f, 1000, 8000, keep_size | zero_range)->status, error_code::ok);
  std::string want = data;
  want.replace(1000, 8000, 8000, '\0');
  EXPECT_EQ(read(f, 0, 20'000), want);
  EXPECT_EQ(stat(f).blocks, 24u);
  EXPECT_EQ(fallocate(f, 9000, 11'000, zero_range)->status, error_code::ok);
  want.resize(9000);
  want.resize(20'000, '\0');
  EXPECT_EQ(read(f, 0, 40'000), want);
  EXPECT_EQ(stat(f).blocks, 40u);
  const std::uint64_t s = file_of("s", "0123456789");
  EXPECT_EQ(fallocate(s, 2, 3, zero_range)->status, error_code::ok);
  EXPECT_EQ(read(s, 0, 100), std::string("01\0\0\00056789", 10));
}

// Until the punch is durable the object has its bytes; nobody may see them.
TEST_F(Space, WhatIsPunchedIsZeroBeforeItIsDurable) {
  early_ = true;
  const std::uint64_t f = file_of("f", bytes(100'000));
  committer_->set_delay_ns(20 * ns_per_ms);
  const call_ptr c = begin(alice_, opcode::fallocate,
                           space_call{{}, f, 0, 0, 50'000, keep_size | punch_hole});
  time_.advance(100'000);
  ASSERT_TRUE(c->completed);
  ASSERT_EQ((*objects_.bytes_of_object(f))[10], std::byte{'d'}) << "it is not durable yet";
  objects_.set_cached(false);
  const call_ptr r = begin(alice_, opcode::read, read_call{{}, f, 0, 10, 60'000, 0}, {}, 60'000);
  time_.advance(100'000);
  ASSERT_TRUE(r->completed);
  EXPECT_EQ(r->text(), std::string(49'990, '\0') + bytes(100'000).substr(50'000, 10'010));
  const call_ptr s = begin(alice_, opcode::seek, seek_call{{}, f, 0, 0, 1});
  time_.advance(100'000);
  ASSERT_TRUE(s->completed);
  EXPECT_EQ(s->answered<seek_answer>().offset, 100'000u) << "still data, for all it knows";
  // Lost with the power: then it was not there, and the client makes it again.
  power_cut();
  EXPECT_EQ(read(f, 10, 10), bytes(100'000).substr(10, 10));
  replay(*c);
  settle();
  EXPECT_EQ(read(f, 10, 10), std::string(10, '\0'));
}

TEST_F(Space, HolesAreFoundAndDataIsNeverCalledOne) {
  const std::uint64_t f = create(root_inode, "f");
  EXPECT_EQ(seek(f, 0, false), -1);
  EXPECT_EQ(seek(f, 0, true), -1);
  EXPECT_EQ(truncate(f, 3000), error_code::ok);
  EXPECT_EQ(seek(f, 0, false), -1);
  EXPECT_EQ(seek(f, 5, true), 5);
  write(f, 100, "data");
  EXPECT_EQ(seek(f, 50, false), 50);
  EXPECT_EQ(seek(f, 0, true), 104);
  EXPECT_EQ(seek(f, 104, false), -1);
  EXPECT_EQ(seek(f, 2999, true), 2999);
  EXPECT_EQ(seek(f, 3000, true), -1);
  write(f, 40'960, "more");
  EXPECT_EQ(truncate(f, 1'000'000), error_code::ok);
  EXPECT_EQ(seek(f, 0, false), 0);
  EXPECT_EQ(seek(f, 0, true), 4096);
  EXPECT_EQ(seek(f, 4096, false), 40'960);
  EXPECT_EQ(seek(f, 40'961, true), 40'964);
  EXPECT_EQ(seek(f, 40'970, true), 40'970);
  EXPECT_EQ(seek(f, 50'000, false), -1);
  EXPECT_EQ(seek(f, 999'999, true), 999'999);
  EXPECT_EQ(seek(f, 1'000'000, false), -1);
  EXPECT_EQ(call(opcode::seek, seek_call{{}, root_inode, 0, 0, 0})->status, error_code::invalid);
}

// A random walk over one file, with crashes in between, against a model in a string.
TEST_F(Space, RandomChangesMatchAModel) {
  for (std::uint64_t seed = 1; seed <= 6; ++seed) {
    prng random(seed);
    const std::uint64_t f = create(root_inode, "walk" + std::to_string(seed));
    std::string model;
    for (int step = 0; step < 120; ++step) {
      const std::size_t offset = random.below(model.size() + random.below(20'000) + 1);
      const std::size_t size = 1 + (random.below(4) == 0 ? random.below(200'000)
                                                         : random.below(6000));
      const std::size_t end = offset + size;
      const std::uint64_t what = random.below(9);
      std::uint32_t mode = 0;
      if (what < 4) {
        mode = std::array<std::uint32_t, 4>{0, keep_size, zero_range, punch_hole}[what];
        if (what == 3 || random.below(2) == 0) mode |= keep_size;
        ASSERT_EQ(fallocate(f, offset, size, mode)->status, error_code::ok);
        if ((mode & keep_size) == 0 && model.size() < end) model.resize(end, '\0');
        if (what >= 2 && offset < model.size())
          model.replace(offset, std::min(size, model.size() - offset),
                        std::min(size, model.size() - offset), '\0');
      } else if (what == 4) {
        ASSERT_EQ(truncate(f, offset), error_code::ok);
        model.resize(offset, '\0');
      } else if (what == 5) {
        power_cut(random.below(3), random.below(2) == 0);
      } else if (what == 6) {
        time_.advance(6 * ns_per_s);
      } else {
        const std::string data = bytes(size, static_cast<char>('a' + random.below(26)));
        ASSERT_EQ(write(f, offset, data)->status, error_code::ok);
        if (model.size() < end) model.resize(end, '\0');
        model.replace(offset, size, data);
      }
      ASSERT_EQ(stat(f).size, model.size()) << "seed " << seed << " step " << step;
      ASSERT_TRUE(read(f, 0, static_cast<std::uint32_t>(model.size())) == model)
          << "seed " << seed << " step " << step << " what " << what << " mode " << mode;
      for (std::size_t at = 0; at < model.size();) {
        const std::int64_t hole = seek(f, at, true);
        const std::int64_t data = seek(f, static_cast<std::size_t>(hole), false);
        const std::size_t to = data < 0 ? model.size() : static_cast<std::size_t>(data);
        for (auto i = static_cast<std::size_t>(hole); i < to; ++i)
          ASSERT_EQ(model[i], '\0') << "seed " << seed << " step " << step << " at " << i;
        at = std::max(to, at + 1);
      }
    }
  }
}

}  // namespace
}  // namespace tangelo::testing_volume
