// answer: byte for byte what the kernel's ABI wants, and EIO for whatever does not decode.
#include "fs/answer.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <cerrno>
#include <memory>
#include <string>

#include "protocol/ops.h"
#include "protocol/records.h"

namespace tangelo {
namespace {

using bytes = std::vector<std::byte>;

attributes some_attributes() {
  attributes a;
  a.inode = 77;
  a.size = 12345;
  a.blocks = 32;
  a.atime_ns = 1'700'000'000'000'000'001;
  a.mtime_ns = -1;
  a.ctime_ns = 1'700'000'002'000'000'003;
  a.btime_ns = 5;
  a.mode = S_IFREG | 0640;
  a.link_count = 2;
  a.uid = 1000;
  a.gid = 1001;
  a.rdev = (0x1fu << 8) | 0x03u | (0x45u << 20);
  a.generation = 9;
  a.change = 100;
  return a;
}

fuse_attr expected_attr() {
  fuse_attr e{};
  e.ino = 77;
  e.size = 12345;
  e.blocks = 32;
  e.atime = 1'700'000'000;
  e.atimensec = 1;
  e.mtime = static_cast<std::uint64_t>(-1);
  e.mtimensec = 999'999'999;
  e.ctime = 1'700'000'002;
  e.ctimensec = 3;
  e.mode = S_IFREG | 0640;
  e.nlink = 2;
  e.uid = 1000;
  e.gid = 1001;
  e.rdev = (0x1fu << 8) | 0x03u | (0x45u << 20);
  e.blksize = 128 << 10;
  return e;
}

class Answer : public testing::Test {
 protected:
  Answer() {
    std::memset(static_cast<void*>(op_.get()), 0, sizeof(op_cell));
    op_->kernel_id = 555;
    op_->inode = 77;
    op_->handle = 31;
  }
  template <class Body>
  void answer_with(const Body& body) {
    down_->body_size = static_cast<std::uint16_t>(encode(body, down_->body).value());
  }
  answer_facts build(byte_span payload = {}) {
    const answer_facts facts = builder_.build(*op_, *down_, payload, *hints_);
    out_.clear();
    for (int i = 0; i < builder_.part_count(); ++i) {
      const auto* p = static_cast<const std::byte*>(builder_.parts()[i].iov_base);
      out_.insert(out_.end(), p, p + builder_.parts()[i].iov_len);
    }
    return facts;
  }
  int error() const {
    fuse_out_header h;
    std::memcpy(&h, out_.data(), sizeof h);
    EXPECT_EQ(h.len, out_.size());
    EXPECT_EQ(h.unique, 555u);
    return -h.error;
  }
  template <class... Parts>
  static bytes expected(const Parts&... parts) {
    bytes all(sizeof(fuse_out_header));
    (all.insert(all.end(), object_bytes(parts).begin(), object_bytes(parts).end()), ...);
    fuse_out_header h{};
    h.unique = 555;
    h.len = static_cast<std::uint32_t>(all.size());
    std::memcpy(all.data(), &h, sizeof h);
    return all;
  }
  // Every prefix of the answer's body is EIO or complete, and never more than its bytes.
  void cut_everywhere(byte_span payload = {}) {
    const std::uint16_t whole = down_->body_size;
    for (std::uint16_t n = 0; n < whole; ++n) {
      down_->body_size = n;
      (void)build(payload);
      EXPECT_TRUE(error() == 0 || error() == EIO || error() == ERANGE) << n;
    }
    down_->body_size = whole;
  }

  std::unique_ptr<op_cell> op_ = std::make_unique<op_cell>();
  std::unique_ptr<downcall_cell> down_ = std::make_unique<downcall_cell>();
  std::unique_ptr<cache_hints> hints_ = std::make_unique<cache_hints>();
  answer_builder builder_;
  bytes out_;
};

TEST_F(Answer, OfAnErrorIsAHeaderAlone) {
  op_->op = opcode::getattr;
  for (const error_code e : {error_code::no_entry, error_code::no_space, error_code::evicted}) {
    down_->status = static_cast<std::uint16_t>(e);
    (void)build();
    EXPECT_EQ(out_.size(), sizeof(fuse_out_header));
    EXPECT_EQ(error(), errno_of(e));
  }
  down_->status = 0x7777;  // no such code
  (void)build();
  EXPECT_EQ(error(), EIO);
}

TEST_F(Answer, OfGetattrAndSetattrIsFuseAttrOut) {
  for (const opcode op : {opcode::getattr, opcode::setattr}) {
    op_->op = op;
    answer_with(attr_answer{some_attributes(), 1500});
    (void)build();
    fuse_attr_out want{};
    want.attr_valid = 1;
    want.attr_valid_nsec = 500'000'000;
    want.attr = expected_attr();
    EXPECT_EQ(out_, expected(want));
    cut_everywhere();
  }
}

TEST_F(Answer, AboutAnotherInodeThanAskedIsEio) {
  op_->op = opcode::getattr;
  op_->inode = 78;
  answer_with(attr_answer{some_attributes(), 1000});
  (void)build();
  EXPECT_EQ(error(), EIO);
}

TEST_F(Answer, NeverLastsLongerThanThirtySeconds) {
  op_->op = opcode::getattr;
  answer_with(attr_answer{some_attributes(), 0xffffffff});
  (void)build();
  fuse_attr_out got;
  std::memcpy(&got, out_.data() + sizeof(fuse_out_header), sizeof got);
  EXPECT_EQ(got.attr_valid, 30u);
}

TEST_F(Answer, OfEachNamingOpIsFuseEntryOut) {
  fuse_entry_out want{};
  want.nodeid = 77;
  want.generation = 9;
  want.entry_valid = 2;
  want.attr_valid = 3;
  want.attr_valid_nsec = 1'000'000;
  want.attr = expected_attr();
  for (const opcode op : {opcode::lookup, opcode::symlink, opcode::mknod, opcode::mkdir,
                          opcode::link}) {
    op_->op = op;
    answer_with(entry_answer{some_attributes(), 2000, 3001});
    EXPECT_EQ(build().inode, 77u);
    EXPECT_EQ(out_, expected(want)) << name_of(op);
    cut_everywhere();
  }
}

TEST_F(Answer, WithNodeZeroIsEioBecauseTheKernelWouldTakeItForNothing) {
  op_->op = opcode::lookup;
  answer_with(entry_answer{});
  (void)build();
  EXPECT_EQ(error(), EIO);
}

TEST_F(Answer, OfCreateIsEntryAndOpenTogether) {
  op_->op = opcode::create;
  answer_with(entry_answer{some_attributes(), 0, 0});
  (void)build();
  fuse_entry_out entry{};
  entry.nodeid = 77;
  entry.generation = 9;
  entry.attr = expected_attr();
  fuse_open_out open{};
  open.fh = 31;
  EXPECT_EQ(out_, expected(entry, open));
}

TEST_F(Answer, OfOpenKeepsTheCacheOnlyWhenNothingChanged) {
  op_->op = opcode::open;
  answer_with(attr_answer{some_attributes(), 0});
  (void)build();
  fuse_open_out want{};
  want.fh = 31;
  EXPECT_EQ(out_, expected(want));
  (void)build();
  want.open_flags = FOPEN_KEEP_CACHE;
  EXPECT_EQ(out_, expected(want));
}

TEST_F(Answer, OfOpenSaysWhenTheKernelMayHaveOlderAttributes) {
  const auto open = [this](std::uint64_t change) {
    op_->op = opcode::open;
    attributes a = some_attributes();
    a.change = change;
    answer_with(attr_answer{a, 0});
    return build().stale_attributes;
  };
  EXPECT_EQ(open(100), 77u) << "it may have any";
  op_->op = opcode::getattr;
  answer_with(attr_answer{some_attributes(), 0});
  EXPECT_EQ(build().stale_attributes, 0u);
  EXPECT_EQ(open(100), 0u) << "it has just been told";
  EXPECT_EQ(open(101), 77u) << "another has changed it";
}

TEST_F(Answer, FollowsWhatTheMountSaysOfCaches) {
  cache_policy caching;
  caching.ac = 7;
  builder_.set_caching(caching);
  op_->op = opcode::getattr;
  answer_with(attr_answer{some_attributes(), 1000});
  (void)build();
  fuse_attr_out attr{};
  attr.attr_valid = 7;
  attr.attr = expected_attr();
  EXPECT_EQ(out_, expected(attr));
  builder_.limit_validity(2 * ns_per_s);
  (void)build();
  attr.attr_valid = 2;
  EXPECT_EQ(out_, expected(attr)) << "the lease is shorter";
  caching = {};
  caching.direct_io = true;
  builder_.set_caching(caching);
  op_->op = opcode::open;
  answer_with(attr_answer{some_attributes(), 0});
  for (int i = 0; i < 2; ++i) {
    (void)build();
    fuse_open_out open{};
    open.fh = 31;
    open.open_flags = FOPEN_DIRECT_IO;
    EXPECT_EQ(out_, expected(open));
  }
}

TEST_F(Answer, OfWriteNeverClaimsMoreThanWasWritten) {
  op_->op = opcode::write;
  op_->payload_in = {slot_class::write_small, 0, 0, 1000};
  write_answer body;
  body.written = 1000;
  answer_with(body);
  (void)build();
  fuse_write_out want{};
  want.size = 1000;
  EXPECT_EQ(out_, expected(want));
  cut_everywhere();
  body.written = 1001;
  answer_with(body);
  (void)build();
  EXPECT_EQ(error(), EIO);
}

TEST_F(Answer, OfReadIsThePayloadItself) {
  op_->op = opcode::read;
  const bytes data(5000, std::byte{7});
  (void)build(data);
  EXPECT_EQ(out_.size(), sizeof(fuse_out_header) + data.size());
  EXPECT_TRUE(std::equal(data.begin(), data.end(), out_.begin() + sizeof(fuse_out_header)));
  EXPECT_EQ(builder_.parts()[builder_.part_count() - 1].iov_base, data.data()) << "not copied";
  (void)build();
  EXPECT_EQ(error(), 0);
  EXPECT_EQ(out_.size(), sizeof(fuse_out_header));
}

TEST_F(Answer, OfStatfsIsKstatfs) {
  op_->op = opcode::statfs;
  answer_with(statfs_answer{4096, 100, 50, 40, 30, 20, 255});
  (void)build();
  fuse_statfs_out want{};
  want.st.blocks = 100;
  want.st.bfree = 50;
  want.st.bavail = 40;
  want.st.files = 30;
  want.st.ffree = 20;
  want.st.bsize = 4096;
  want.st.frsize = 4096;
  want.st.namelen = 255;
  EXPECT_EQ(out_, expected(want));
}

TEST_F(Answer, OfStatxHasTheBirthTimeAndSplitsTheDevice) {
  op_->op = opcode::getattr;
  op_->kernel_opcode = fuse_opcode_statx;
  answer_with(attr_answer{some_attributes(), 1000});
  (void)build();
  fuse_statx_reply want{};
  want.attr_valid = 1;
  want.mask = 0xfff;
  want.blksize = 128 << 10;
  want.nlink = 2;
  want.uid = 1000;
  want.gid = 1001;
  want.mode = S_IFREG | 0640;
  want.ino = 77;
  want.size = 12345;
  want.blocks = 32;
  want.atime = {1'700'000'000, 1, 0};
  want.mtime = {-1, 999'999'999, 0};
  want.ctime = {1'700'000'002, 3, 0};
  want.btime = {0, 5, 0};
  want.rdev_major = 0x1f;
  want.rdev_minor = 0x4503;  // the low byte, and bits 20.. above it
  EXPECT_EQ(out_, expected(want));
}

TEST_F(Answer, OfGetxattrIsTheSizeWithoutRoomAndTheValueWithIt) {
  op_->op = opcode::getxattr;
  answer_with(size_answer{10});
  (void)build();
  fuse_getxattr_out want{};
  want.size = 10;
  EXPECT_EQ(out_, expected(want));
  const bytes value(10, std::byte{'v'});
  op_->room = 10;
  (void)build(value);
  EXPECT_EQ(out_.size(), sizeof(fuse_out_header) + 10);
  op_->room = 9;
  (void)build(value);
  EXPECT_EQ(error(), ERANGE);
  op_->room = 100;
  (void)build(byte_span(value).first(9));  // it claims more than it delivers
  EXPECT_EQ(error(), EIO);
}

TEST_F(Answer, OfTheOpsWithoutBodyIsAHeaderAlone) {
  for (const opcode op : {opcode::unlink, opcode::rmdir, opcode::rename, opcode::release,
                          opcode::fsync, opcode::setxattr, opcode::removexattr}) {
    op_->op = op;
    (void)build();
    EXPECT_EQ(out_, expected()) << name_of(op);
  }
}

bytes directory_payload() {
  std::byte room[1024];
  wire_writer w(room);
  directory_entry e;
  e.cookie = 1;
  e.inode = 70;
  e.type = 4;
  e.name = ".";
  w(e);
  e.cookie = 5;
  e.inode = 77;
  e.type = 8;
  e.has_attributes = 1;
  e.attr = some_attributes();
  e.entry_valid_ms = 1000;
  e.name = "seven";
  w(e);
  return bytes(room, room + w.size());
}

TEST_F(Answer, OfReaddirIsAlignedFuseDirents) {
  op_->op = opcode::readdir;
  op_->kernel_opcode = FUSE_READDIR;
  op_->room = 4096;
  (void)build(directory_payload());
  bytes want;
  const auto add = [&want](std::uint64_t ino, std::uint64_t off, std::uint32_t type,
                           std::string_view name) {
    fuse_dirent d{};
    d.ino = ino;
    d.off = off;
    d.type = type;
    d.namelen = static_cast<std::uint32_t>(name.size());
    const auto* p = reinterpret_cast<const std::byte*>(&d);
    want.insert(want.end(), p, p + FUSE_NAME_OFFSET);
    want.insert(want.end(), bytes_of(name).begin(), bytes_of(name).end());
    want.resize((want.size() + 7) / 8 * 8);
  };
  add(70, 1, 4, ".");
  add(77, 5, 8, "seven");
  EXPECT_EQ(bytes(out_.begin() + sizeof(fuse_out_header), out_.end()), want);
  EXPECT_EQ(error(), 0);
}

TEST_F(Answer, OfReaddirplusLooksUpEverythingButDots) {
  op_->op = opcode::readdir;
  op_->kernel_opcode = FUSE_READDIRPLUS;
  op_->room = 4096;
  (void)build(directory_payload());
  const std::byte* p = out_.data() + sizeof(fuse_out_header);
  fuse_direntplus d;
  std::memcpy(&d, p, FUSE_NAME_OFFSET_DIRENTPLUS);
  EXPECT_EQ(d.entry_out.nodeid, 0u);
  EXPECT_EQ(d.dirent.ino, 70u);
  p += FUSE_DIRENT_ALIGN(FUSE_NAME_OFFSET_DIRENTPLUS + 1);
  std::memcpy(&d, p, FUSE_NAME_OFFSET_DIRENTPLUS);
  EXPECT_EQ(d.entry_out.nodeid, 77u);
  EXPECT_EQ(d.entry_out.entry_valid, 1u);
  EXPECT_EQ(std::memcmp(&d.entry_out.attr, std::make_unique<fuse_attr>(expected_attr()).get(),
                        sizeof(fuse_attr)), 0);
  EXPECT_EQ(d.dirent.off, 5u);
  EXPECT_EQ(std::memcmp(p + FUSE_NAME_OFFSET_DIRENTPLUS, "seven", 5), 0);
}

TEST_F(Answer, OfReaddirStopsWhereTheKernelsRoomEnds) {
  op_->op = opcode::readdir;
  op_->kernel_opcode = FUSE_READDIR;
  for (std::uint32_t room = 0; room < 80; ++room) {
    op_->room = room;
    (void)build(directory_payload());
    EXPECT_EQ(error(), 0);
    EXPECT_LE(out_.size() - sizeof(fuse_out_header), room);
  }
}

TEST_F(Answer, OfADamagedDirectoryIsEioAndStaysWithinItsBytes) {
  op_->op = opcode::readdir;
  const bytes whole = directory_payload();
  for (const std::uint32_t kernel : {FUSE_READDIR, FUSE_READDIRPLUS}) {
    op_->kernel_opcode = kernel;
    op_->room = 4096;
    for (std::size_t n = 0; n < whole.size(); ++n) {
      (void)build(bytes(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(n)));
      EXPECT_TRUE(error() == 0 || error() == EIO);
      EXPECT_EQ(error() == 0, n == 0 || n == 21) << n;
    }
    for (std::size_t bit = 0; bit < whole.size() * 8; ++bit) {
      bytes bad = whole;
      bad[bit / 8] ^= static_cast<std::byte>(1u << (bit % 8));
      (void)build(bad);
      EXPECT_TRUE(error() == 0 || error() == EIO);
    }
  }
}

TEST_F(Answer, OfAnInodeRangeTellsTheRange) {
  op_->op = opcode::inode_range;
  answer_with(inode_range_answer{1000, 64});
  const answer_facts facts = build();
  EXPECT_EQ(facts.range_first, 1000u);
  EXPECT_EQ(facts.range_count, 64u);
}

}  // namespace
}  // namespace tangelo
