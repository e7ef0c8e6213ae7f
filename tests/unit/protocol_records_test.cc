// records: a kill between any two stores leaves the old record or the new one, and damage shows.
#include "protocol/records.h"

#include <gtest/gtest.h>

#include <memory>

namespace tangelo {
namespace {

op_cell some_op(std::uint64_t xid, std::size_t body_size) {
  op_cell c;
  std::memset(static_cast<void*>(&c), 0, sizeof c);
  c.index = 5;
  c.xid = xid;
  c.op = opcode::write;
  c.inode = 100 + xid;
  c.body_size = static_cast<std::uint16_t>(body_size);
  for (std::size_t i = 0; i < body_size; ++i) c.body[i] = static_cast<std::byte>(xid + i);
  return c;
}

TEST(ControlWord, KeepsEachOfItsFieldsApart) {
  for (const control_word w : {control_word{0, 0, 0, 0}, control_word{1, 0, 0, 0},
                               control_word{0, 0x7f, 0, 0}, control_word{0, 0, 0xffffff, 0},
                               control_word{0, 0, 0, 0xffffffff}, control_word{1, 5, 6, 7}}) {
    const control_word back = control_word::unpack(w.pack());
    EXPECT_EQ(back.cell, w.cell);
    EXPECT_EQ(back.state, w.state);
    EXPECT_EQ(back.generation, w.generation);
    EXPECT_EQ(back.sequence, w.sequence);
  }
  // Only the low 24 bits of a generation are there, and nothing spills over.
  EXPECT_EQ(control_word::unpack(control_word{0, 1, 0xff000001, 2}.pack()).generation, 1u);
  EXPECT_EQ(control_word::unpack(control_word{0, 1, 0xff000001, 2}.pack()).state, 1);
}

TEST(Records, ComeBackWithStateGenerationAndSequence) {
  auto slot = std::make_unique<op_slot>();
  op_cell in = some_op(1, 50);
  publish(*slot, in, 3, 9, 77);
  control_word w;
  op_cell out;
  ASSERT_TRUE(copy_record(*slot, w, out));
  EXPECT_EQ(w.state, 3);
  EXPECT_EQ(w.generation, 9u);
  EXPECT_EQ(w.sequence, 77u);
  EXPECT_EQ(out.xid, 1u);
  EXPECT_EQ(std::memcmp(out.body, in.body, 50), 0);
}

TEST(Records, AChangeOfStateLeavesCellAndSequence) {
  auto slot = std::make_unique<op_slot>();
  op_cell in = some_op(1, 50);
  publish(*slot, in, 1, 0, 77);
  const std::uint8_t cell = control_of(*slot).cell;
  set_state(*slot, 2, 4);
  const control_word w = control_of(*slot);
  EXPECT_EQ(w.cell, cell);
  EXPECT_EQ(w.state, 2);
  EXPECT_EQ(w.generation, 4u);
  EXPECT_EQ(w.sequence, 77u);
}

// publish() taken apart by hand: the spare cell filled byte by byte, then the one store. The
// writer is "killed" after every byte.
template <class Slot, class Cell>
void kill_anywhere(Slot& slot, Cell& first, Cell& second, std::uint64_t& key_of_first,
                   std::uint64_t& key_of_second, std::uint64_t Cell::*key) {
  publish(slot, first, 1, 1, 1);
  const control_word old_word = control_of(slot);
  const auto spare = static_cast<std::uint8_t>(old_word.cell ^ 1);
  second.crc = crc32c(covered_bytes(second));
  const byte_span bytes = object_bytes(second).first(used_size(second));
  control_word w;
  auto out = std::make_unique<Cell>();
  for (std::size_t n = 0; n <= bytes.size(); ++n) {
    if (n != 0)
      writable_bytes(slot.cells[spare])[n - 1] = bytes[n - 1];
    ASSERT_TRUE(copy_record(slot, w, *out)) << n;
    ASSERT_EQ((*out).*key, key_of_first);
    ASSERT_EQ(w.sequence, 1u);
  }
  slot.control.store(control_word{spare, 1, 1, 2}.pack(), std::memory_order_release);
  ASSERT_TRUE(copy_record(slot, w, *out));
  EXPECT_EQ((*out).*key, key_of_second);
  EXPECT_EQ(w.sequence, 2u);
}

TEST(Records, AKillAtAnyByteOfPublishLeavesTheOldOrTheNewOp) {
  auto slot = std::make_unique<op_slot>();
  op_cell first = some_op(1, 200), second = some_op(2, 400);
  kill_anywhere(*slot, first, second, first.xid, second.xid, &op_cell::xid);
}

TEST(Records, AKillAtAnyByteOfPublishLeavesTheOldOrTheNewHandle) {
  auto slot = std::make_unique<handle_slot>();
  handle_cell first, second;
  first.handle = 10;
  second.handle = 20;
  kill_anywhere(*slot, first, second, first.handle, second.handle, &handle_cell::handle);
}

TEST(Records, AKillAtAnyByteOfPublishLeavesTheOldOrTheNewDowncall) {
  auto slot = std::make_unique<downcall_slot>();
  downcall_cell first{}, second{};
  first.transno = 10;
  first.body_size = 384;
  second.transno = 20;
  second.body_size = 100;
  kill_anywhere(*slot, first, second, first.transno, second.transno, &downcall_cell::transno);
}

TEST(Records, EverySingleBitOfDamageInAUsedCellShows) {
  auto slot = std::make_unique<downcall_slot>();
  downcall_cell in{};
  in.transno = 3;
  in.body_size = 40;
  publish(*slot, in, 1, 1, 1);
  const std::size_t used = used_size(in);
  auto bytes = writable_bytes(slot->cells[control_of(*slot).cell]);
  for (std::size_t bit = 0; bit < used * 8; ++bit) {
    bytes[bit / 8] ^= static_cast<std::byte>(1u << (bit % 8));
    control_word w;
    downcall_cell out;
    EXPECT_FALSE(copy_record(*slot, w, out)) << "bit " << bit;
    bytes[bit / 8] ^= static_cast<std::byte>(1u << (bit % 8));
  }
}

TEST(Records, AClaimedBodyLongerThanACellIsRefusedWithoutReadingIt) {
  auto slot = std::make_unique<downcall_slot>();
  downcall_cell in{};
  publish(*slot, in, 1, 1, 1);
  downcall_cell& cell = slot->cells[control_of(*slot).cell];
  for (const std::size_t size : {answer_size_max + 1, std::size_t{0xffff}}) {
    cell.body_size = static_cast<std::uint16_t>(size);
    control_word w;
    downcall_cell out;
    EXPECT_FALSE(copy_record(*slot, w, out));
  }
}

TEST(Records, ASlotThatWasNeverWrittenHoldsNoRecord) {
  auto slot = std::make_unique<op_slot>();
  std::memset(static_cast<void*>(slot->cells), 0, sizeof slot->cells);
  control_word w;
  op_cell out;
  EXPECT_FALSE(copy_record(*slot, w, out));
  EXPECT_EQ(w.state, 0);
}

TEST(SlotRefs, AreValidOnlyWhenTheyNameAnExistingSlotAndItsRoom) {
  for (std::size_t k = 0; k < 256; ++k) {
    const auto kind = static_cast<slot_class>(k);
    const bool known = k > 0 && k < slot_class_count;
    EXPECT_EQ(is_valid(slot_ref{kind, 0, 0, 1}), known) << k;
    if (!known) continue;
    const slot_class_shape& s = slot_shapes[k];
    const auto last = static_cast<std::uint16_t>(s.count - 1);
    EXPECT_TRUE(is_valid(slot_ref{kind, 0, last, s.size}));
    EXPECT_FALSE(is_valid(slot_ref{kind, 0, last, s.size + 1}));
    EXPECT_FALSE(is_valid(slot_ref{kind, 0, static_cast<std::uint16_t>(s.count), 1}));
    EXPECT_LE(slot_offset(kind, last) + s.stride, data_slots_size);
    EXPECT_EQ(slot_offset(kind, last) % 4096, 0u);
  }
  EXPECT_TRUE(is_valid(slot_ref{}));
}

}  // namespace
}  // namespace tangelo
