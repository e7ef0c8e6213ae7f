// codec: the four rules of codec.h, held by every body that is on the wire or in the arena.
#include "protocol/codec.h"

#include <gtest/gtest.h>

#include <set>
#include <string>
#include <vector>

#include "protocol/ops.h"
#include "protocol/session.h"
#include "protocol/wire.h"

namespace tangelo {
namespace {

// Gives every field a value of its own, never zero.
class filler {
 public:
  template <class T>
  void operator()(T& value) {
    if constexpr (std::is_same_v<T, credential>) {
      value.uid = 1000;
      value.gid = 1001;
      value.group_count = 3;
      value.powers = power::fowner;
      value.groups = {7, 8, 9};
    } else if constexpr (std::is_enum_v<T> || std::is_integral_v<T>) {
      value = static_cast<T>((++count_ * 0x0101010101010101u) | 1);
    } else if constexpr (requires(T& t, filler& f) { T::fields(t, f); }) {
      T::fields(value, *this);
    } else {
      for (std::byte& b : value) b = static_cast<std::byte>(++count_ | 1);
    }
  }
  void refuse() {}
  void text(std::string_view& t) { t = ++texts_ == 1 ? "a-name" : "another name"; }

 private:
  std::uint64_t count_ = 0x10;
  int texts_ = 0;
};

// The offsets at which a field ends.
class boundary_finder {
 public:
  explicit boundary_finder(mutable_byte_span room) : writer_(room) {}
  template <class T>
  void operator()(const T& value) {
    if constexpr (requires(const T& t, boundary_finder& f) { T::fields(t, f); }) {
      T::fields(value, *this);
    } else {
      writer_(value);
      ends.insert(writer_.size());
    }
  }
  void refuse() { writer_.refuse(); }
  void text(std::string_view t) {
    writer_.text(t);
    ends.insert(writer_.size());
  }
  std::set<std::size_t> ends{0};

 private:
  wire_writer writer_;
};

template <class Body>
class Bodies : public testing::Test {
 protected:
  Bodies() {
    filler f;
    f(body_);
    std::byte room[2048];
    const std::optional<std::size_t> size = encode(body_, room);
    EXPECT_TRUE(size.has_value());
    bytes_.assign(room, room + size.value_or(0));
  }
  static std::vector<std::byte> encoded(const Body& b) {
    std::byte room[2048];
    const std::optional<std::size_t> size = encode(b, room);
    EXPECT_TRUE(size.has_value());
    return {room, room + size.value_or(0)};
  }
  Body body_{};
  std::vector<std::byte> bytes_;
};

using every_body =
    testing::Types<credential, attributes, entry_answer, attr_answer, empty_answer, name_call,
                   inode_call, setattr_call, make_call, link_call, rename_call, open_call,
                   read_call, write_call, write_answer, fsync_call, statfs_answer, xattr_call,
                   size_answer, inode_range_call, inode_range_answer, directory_entry, hello_body,
                   hello_ack_body, connect_body, connect_ack_body, close_body, wire_header,
                   call_extension, reply_extension, chunk>;
TYPED_TEST_SUITE(Bodies, every_body);

TYPED_TEST(Bodies, ComeBackAsTheyWentOut) {
  const std::optional<TypeParam> back = decode<TypeParam>(this->bytes_);
  ASSERT_TRUE(back.has_value());
  EXPECT_EQ(this->encoded(*back), this->bytes_);
}

TYPED_TEST(Bodies, EndBetweenTwoFieldsWithTheRestZeroAndNowhereElse) {
  std::byte room[2048];
  boundary_finder finder(room);
  finder(this->body_);
  for (std::size_t n = 0; n <= this->bytes_.size(); ++n) {
    const std::vector<std::byte> cut(this->bytes_.begin(),
                                     this->bytes_.begin() + static_cast<std::ptrdiff_t>(n));
    const std::optional<TypeParam> back = decode<TypeParam>(cut);
    EXPECT_EQ(back.has_value(), finder.ends.contains(n)) << n << " bytes";
    if (!back) continue;
    const std::vector<std::byte> again = this->encoded(*back);
    ASSERT_GE(again.size(), n);
    for (std::size_t i = 0; i < again.size(); ++i)
      EXPECT_EQ(again[i], i < n ? cut[i] : std::byte{0}) << "byte " << i << " of " << n;
  }
}

TYPED_TEST(Bodies, IgnoreBytesBehindTheLastField) {
  std::vector<std::byte> longer = this->bytes_;
  longer.insert(longer.end(), 9, std::byte{0xee});
  const std::optional<TypeParam> back = decode<TypeParam>(longer);
  ASSERT_TRUE(back.has_value());
  EXPECT_EQ(this->encoded(*back), this->bytes_);
}

TYPED_TEST(Bodies, AreNotWrittenInToTooLittleRoom) {
  for (std::size_t n = 0; n < this->bytes_.size(); ++n) {
    std::vector<std::byte> room(n);
    EXPECT_FALSE(encode(this->body_, room).has_value()) << n;
  }
}

TEST(Codec, TextsAreViewsIntoTheMessage) {
  const name_call call{{}, 5, "some-name"};
  std::byte room[256];
  const std::size_t size = encode(call, room).value();
  const std::optional<name_call> back = decode<name_call>({room, size});
  ASSERT_TRUE(back.has_value());
  EXPECT_EQ(back->name, "some-name");
  EXPECT_GE(reinterpret_cast<const std::byte*>(back->name.data()), room);
  EXPECT_LT(reinterpret_cast<const std::byte*>(back->name.data()), room + size);
}

TEST(Codec, ATextLongerThanItsLengthFieldIsNotWritten) {
  const std::string big(0x10000, 'x');
  std::vector<std::byte> room(0x20000);
  wire_writer w(room);
  w.text(big);
  EXPECT_FALSE(w.ok());
}

TEST(Codec, SignedNumbersKeepTheirSign) {
  std::byte room[8];
  wire_writer w(room);
  w(std::int64_t{-2});
  std::int64_t back = 0;
  wire_reader r(room);
  r(back);
  EXPECT_EQ(back, -2);
  EXPECT_EQ(room[0], std::byte{0xfe});
}

// Found by this test: a count above group_count_max was accepted, and what followed was read from
// the middle of the groups.
TEST(Credential, WithMoreGroupsThanAllowedIsRefused) {
  credential who;
  who.group_count = group_count_max;
  std::byte room[1024];
  const std::size_t size = encode(who, room).value();
  ASSERT_TRUE(decode<credential>({room, size}).has_value());
  room[8] = static_cast<std::byte>(group_count_max + 1);
  EXPECT_FALSE(decode<credential>({room, sizeof room}).has_value());
  who.group_count = group_count_max + 1;
  EXPECT_FALSE(encode(who, room).has_value());
}

TEST(OpBodies, WithTheLongestNamesAndAllGroupsFitIntoAnOpRecord) {
  const std::string name(name_size_max, 'n');
  credential who;
  who.group_count = group_count_max;
  std::byte room[op_body_size_max];
  EXPECT_TRUE(encode(rename_call{who, 1, 2, 0, name, name}, room).has_value());
  EXPECT_TRUE(encode(make_call{who, 1, 2, 3, 4, 5, 6, name, 7}, room).has_value());
  EXPECT_TRUE(encode(xattr_call{who, 1, 2, 3, name}, room).has_value());
  std::byte answer[answer_size_max];
  EXPECT_TRUE(encode(write_answer{}, answer).has_value());
  EXPECT_TRUE(encode(entry_answer{}, answer).has_value());
}

TEST(DirectoryEntries, AreTakenOffAPayloadOneByOneAndNeverBeyondItsEnd) {
  std::byte room[1024];
  wire_writer w(room);
  directory_entry e;
  e.cookie = 3;
  e.inode = 9;
  e.name = "plain";
  w(e);
  e.has_attributes = 1;
  e.name = "with attributes";
  w(e);
  const std::size_t first_size = 8 + 8 + 1 + 1 + 2 + 5;
  for (std::size_t n = 0; n <= w.size(); ++n) {
    const std::vector<std::byte> cut(room, room + n);
    byte_span rest(cut);
    std::size_t count = 0;
    while (next_entry(rest)) ++count;
    EXPECT_EQ(count, n == w.size() ? 2u : n >= first_size ? 1u : 0u) << n;
  }
}

TEST(DirectoryEntries, WithoutANameEndThePayload) {
  std::byte room[256];
  wire_writer w(room);
  w(directory_entry{});
  byte_span rest(room, w.size());
  EXPECT_FALSE(next_entry(rest).has_value());
}

}  // namespace
}  // namespace tangelo
