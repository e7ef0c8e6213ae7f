// request: every FUSE request the kernel can send, from its bytes; and any shorter one.
#include "fs/request.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <memory>
#include <string>

#include "protocol/ops.h"
#include "tests/unit/fuse_requests.h"

namespace tangelo {
namespace {

struct decoded {
  request_kind kind{};
  std::unique_ptr<op_draft> draft = std::make_unique<op_draft>();
  template <class Body>
  Body body() const {
    const auto b = decode<Body>({draft->cell.body, draft->cell.body_size});
    EXPECT_TRUE(b.has_value());
    return b.value_or(Body{});
  }
  const op_cell& cell() const { return draft->cell; }
};

// From a buffer of exactly the request's size, so that a sanitizer sees any overrun.
decoded decode_bytes(byte_span bytes) {
  const std::vector<std::byte> exact(bytes.begin(), bytes.end());
  decoded d;
  d.kind = decode_request(exact, *d.draft);
  d.draft->payload = {};
  return d;
}
decoded decode_it(const fuse_request& r) { return decode_bytes(r.bytes()); }

constexpr std::uint64_t node = 77;
constexpr std::uint64_t unique = 1002;

TEST(Request, CarriesTheCallerAndTheKernelsNumbers) {
  const decoded d = decode_it(fuse_request::getattr(node, unique));
  EXPECT_EQ(d.kind, request_kind::op);
  EXPECT_EQ(d.cell().kernel_id, unique);
  EXPECT_EQ(d.cell().inode, node);
  EXPECT_EQ(d.cell().pid, 4321u);
  EXPECT_EQ(d.cell().kernel_opcode, static_cast<std::uint32_t>(FUSE_GETATTR));
  const auto body = d.body<inode_call>();
  EXPECT_EQ(body.who.uid, 1000u);
  EXPECT_EQ(body.who.gid, 1001u);
  EXPECT_EQ(body.inode, node);
  EXPECT_EQ(body.handle, 0u);
}

TEST(Request, GetattrUsesTheHandleOnlyWhenTheKernelSaysSo) {
  fuse_getattr_in in{};
  in.fh = 9;
  EXPECT_EQ(decode_it(fuse_request(FUSE_GETATTR, node, unique).add(in)).body<inode_call>().handle,
            0u);
  in.getattr_flags = FUSE_GETATTR_FH;
  EXPECT_EQ(decode_it(fuse_request(FUSE_GETATTR, node, unique).add(in)).body<inode_call>().handle,
            9u);
}

TEST(Request, NamesGoUpWithTheirParentAndClaimThemselvesIfTheyChange) {
  const struct {
    std::uint32_t kernel;
    opcode op;
    std::size_t claims;
  } rows[] = {{FUSE_LOOKUP, opcode::lookup, 0},
              {FUSE_UNLINK, opcode::unlink, 1},
              {FUSE_RMDIR, opcode::rmdir, 1}};
  for (const auto& row : rows) {
    const decoded d = decode_it(fuse_request::named(row.kernel, node, unique, "file"));
    EXPECT_EQ(d.kind, row.op == opcode::lookup ? request_kind::op : request_kind::removing);
    EXPECT_EQ(d.cell().op, row.op);
    const op_cell& c = d.cell();
    const auto body = decode<name_call>({c.body, c.body_size});
    EXPECT_EQ(body->name, "file");
    EXPECT_EQ(body->parent, node);
    EXPECT_EQ(d.draft->claim_count, row.claims);
  }
}

TEST(Request, ANameOf255BytesGoesAndOneOf256IsTooLong) {
  for (const std::uint32_t op : {FUSE_LOOKUP, FUSE_UNLINK, FUSE_RMDIR}) {
    EXPECT_NE(decode_it(fuse_request::named(op, 1, 2, std::string(255, 'x'))).kind,
              request_kind::answer);
    const decoded d = decode_it(fuse_request::named(op, 1, 2, std::string(256, 'x')));
    EXPECT_EQ(d.kind, request_kind::answer);
    EXPECT_EQ(d.draft->error, error_code::name_too_long);
  }
}

TEST(Request, CreationCarriesModeAndNameAndTakesItsNumberLater) {
  const decoded d = decode_it(fuse_request::mkdir(node, unique, "dir", 0750));
  EXPECT_EQ(d.cell().op, opcode::mkdir);
  const auto body = d.body<make_call>();
  EXPECT_EQ(body.mode, static_cast<std::uint32_t>(S_IFDIR | 0750));
  EXPECT_EQ(body.name, "dir");
  EXPECT_EQ(body.umask, 0027u);
  EXPECT_EQ(body.inode, 0u);
  set_new_inode(d.draft->cell, 4711);
  EXPECT_EQ(d.body<make_call>().inode, 4711u);
  EXPECT_EQ(d.body<make_call>().name, "dir");

  fuse_mknod_in mk{};
  mk.mode = S_IFIFO | 0600;
  mk.rdev = 0x0102;
  const decoded m = decode_it(fuse_request(FUSE_MKNOD, node, unique).add(mk).name("p"));
  EXPECT_EQ(m.cell().op, opcode::mknod);
  EXPECT_EQ(m.body<make_call>().rdev, 0x0102u);

  const decoded c = decode_it(fuse_request::create(node, unique, "f", 0x8002));
  EXPECT_EQ(c.kind, request_kind::opening);
  EXPECT_EQ(c.body<make_call>().open_flags, 0x8002u);
  set_new_handle(c.draft->cell, 12);
  EXPECT_EQ(c.body<make_call>().handle, 12u);
  EXPECT_EQ(c.cell().handle, 12u);
  for (const decoded* x : {&d, &m, &c}) {
    EXPECT_EQ(x->draft->claim_count, 1u);
    EXPECT_TRUE(is_creating(x->cell().op));
  }
}

TEST(Request, SymlinkCarriesItsTargetAsPayload) {
  op_draft draft;
  const auto r = fuse_request(FUSE_SYMLINK, node, unique).name("link").name("to/where");
  ASSERT_EQ(decode_request(r.bytes(), draft), request_kind::op);
  EXPECT_EQ(text_of(draft.payload), "to/where");
  EXPECT_EQ(decode<make_call>({draft.cell.body, draft.cell.body_size})->name, "link");
  const auto longest = fuse_request(FUSE_SYMLINK, node, unique).name("l").name(
      std::string(4095, 't'));
  EXPECT_EQ(decode_it(longest).kind, request_kind::op);
  const auto longer = fuse_request(FUSE_SYMLINK, node, unique).name("l").name(
      std::string(4096, 't'));
  EXPECT_EQ(decode_it(longer).draft->error, error_code::name_too_long);
}

TEST(Request, RenameClaimsBothNames) {
  fuse_rename2_in in{};
  in.newdir = 88;
  in.flags = 2;
  op_draft draft;
  const auto r = fuse_request(FUSE_RENAME2, node, unique).add(in).name("old").name("new");
  ASSERT_EQ(decode_request(r.bytes(), draft), request_kind::op);
  const auto body = decode<rename_call>({draft.cell.body, draft.cell.body_size});
  EXPECT_EQ(body->name, "old");
  EXPECT_EQ(body->new_name, "new");
  EXPECT_EQ(body->new_parent, 88u);
  EXPECT_EQ(body->flags, 2u);
  EXPECT_EQ(draft.claim_count, 2u);
  fuse_rename_in plain{};
  plain.newdir = 5;
  const decoded d =
      decode_it(fuse_request(FUSE_RENAME, node, unique).add(plain).name("a").name("b"));
  EXPECT_EQ(d.body<rename_call>().new_parent, 5u);
}

TEST(Request, LinkNamesTheOldNodeAndTheNewPlace) {
  fuse_link_in in{};
  in.oldnodeid = 5;
  const decoded d = decode_it(fuse_request(FUSE_LINK, node, unique).add(in).name("l"));
  EXPECT_EQ(d.body<link_call>().inode, 5u);
  EXPECT_EQ(d.body<link_call>().parent, node);
}

TEST(Request, SetattrTranslatesEveryBit) {
  const struct {
    std::uint32_t kernel, ours;
  } bits[] = {{FATTR_MODE, set_attr::mode},           {FATTR_UID, set_attr::uid},
              {FATTR_GID, set_attr::gid},             {FATTR_SIZE, set_attr::size},
              {FATTR_ATIME, set_attr::atime},         {FATTR_MTIME, set_attr::mtime},
              {FATTR_ATIME_NOW, set_attr::atime_now}, {FATTR_MTIME_NOW, set_attr::mtime_now},
              {FATTR_CTIME, set_attr::ctime},         {FATTR_KILL_SUIDGID, set_attr::kill_setid}};
  for (const auto& b : bits) {
    fuse_setattr_in in{};
    in.valid = b.kernel;
    in.fh = 3;
    const decoded d = decode_it(fuse_request(FUSE_SETATTR, node, unique).add(in));
    EXPECT_EQ(d.body<setattr_call>().which, b.ours);
    EXPECT_EQ(d.body<setattr_call>().handle, 0u);
    EXPECT_EQ(d.draft->claim_count, 1u);
  }
}

fuse_setattr_in setattr_with_mtime(std::uint64_t seconds, std::uint32_t part) {
  fuse_setattr_in in{};
  in.valid = FATTR_MTIME;
  in.mtime = seconds;
  in.mtimensec = part;
  return in;
}

// The story: `touch -d 2300-01-01` overflowed 64 bits of nanoseconds, which is undefined and gave
// a time in the past. A time that cannot be said is the nearest that can.
TEST(Request, TimesBeyondOurRangeBecomeItsEnds) {
  const auto mtime_of = [](std::uint64_t seconds, std::uint32_t part) {
    const auto r =
        fuse_request(FUSE_SETATTR, node, unique).add(setattr_with_mtime(seconds, part));
    return decode_it(r).body<setattr_call>().mtime_ns;
  };
  EXPECT_EQ(mtime_of(1, 5), 1'000'000'005);
  EXPECT_EQ(mtime_of(static_cast<std::uint64_t>(-1), 5), -999'999'995);
  EXPECT_GT(mtime_of(10'413'792'000, 0), 9'000'000'000 * std::int64_t{1'000'000'000});
  EXPECT_GT(mtime_of(INT64_MAX, 999'999'999), 9'000'000'000 * std::int64_t{1'000'000'000});
  EXPECT_LT(mtime_of(static_cast<std::uint64_t>(INT64_MIN), 0),
            -9'000'000'000 * std::int64_t{1'000'000'000});
}

TEST(Request, OpenReleaseAndFsyncNameTheirFile) {
  const decoded o = decode_it(fuse_request::open(node, unique, 2));
  EXPECT_EQ(o.kind, request_kind::opening);
  set_new_handle(o.draft->cell, 31);
  EXPECT_EQ(o.body<open_call>().handle, 31u);
  EXPECT_EQ(o.body<open_call>().open_flags, 2u);
  const decoded r = decode_it(fuse_request::release(node, unique, 31));
  EXPECT_EQ(r.cell().op, opcode::release);
  EXPECT_EQ(r.cell().handle, 31u);
  fuse_fsync_in fs{};
  fs.fh = 31;
  fs.fsync_flags = FUSE_FSYNC_FDATASYNC;
  const decoded f = decode_it(fuse_request(FUSE_FSYNC, node, unique).add(fs));
  EXPECT_EQ(f.body<fsync_call>().data_only, 1);
  EXPECT_EQ(decode_it(fuse_request(FUSE_FSYNCDIR, node, unique).add(fs)).cell().op,
            opcode::fsync);
}

TEST(Request, DirectoriesAreOpenedAndClosedHere) {
  EXPECT_EQ(decode_it(fuse_request::open(node, unique, 0, FUSE_OPENDIR)).kind,
            request_kind::open_directory);
  const decoded d = decode_it(fuse_request::release(node, unique, 8, FUSE_RELEASEDIR));
  EXPECT_EQ(d.kind, request_kind::close_directory);
  EXPECT_EQ(d.cell().handle, 8u);
}

// The story: the server took the handle of a readdir for a file that is held open, and nobody ever
// released it: every directory ever listed stayed in its tables.
TEST(Request, DirectoryHandlesStayHere) {
  for (const std::uint32_t op : {FUSE_READDIR, FUSE_READDIRPLUS})
    EXPECT_EQ(decode_it(fuse_request::read(node, unique, 5, 0, 4096, op)).body<read_call>().handle,
              0u);
  fuse_fsync_in in{};
  in.fh = 5;
  EXPECT_EQ(decode_it(fuse_request(FUSE_FSYNCDIR, node, unique).add(in)).body<fsync_call>().handle,
            0u);
}

TEST(Request, ReadsAskForASlotThatHoldsThem) {
  const struct {
    std::uint32_t kernel, size;
    slot_class kind;
    std::uint32_t room;
  } rows[] = {
      {FUSE_READ, 1, slot_class::read_small, 1},
      {FUSE_READ, 65536, slot_class::read_small, 65536},
      {FUSE_READ, 65537, slot_class::read_large, 65537},
      {FUSE_READ, 1 << 20, slot_class::read_large, 1 << 20},
      {FUSE_READ, 1 << 30, slot_class::read_large, 1 << 20},
      {FUSE_READDIR, 4096, slot_class::directory, 4096},
      {FUSE_READDIRPLUS, 1 << 20, slot_class::directory, 128 << 10},
  };
  for (const auto& row : rows) {
    const decoded d = decode_it(fuse_request::read(node, unique, 5, 10, row.size, row.kernel));
    EXPECT_EQ(d.cell().payload_out.kind, row.kind);
    EXPECT_EQ(d.cell().payload_out.size, row.room);
    EXPECT_EQ(d.cell().room, row.size);
    const auto body = d.body<read_call>();
    EXPECT_EQ(body.size, row.room);
    EXPECT_EQ(body.offset, 10u);
    EXPECT_EQ(body.handle, row.kernel == FUSE_READ ? 5u : 0u);
    EXPECT_EQ(body.with_attributes, row.kernel == FUSE_READDIRPLUS ? 1 : 0);
  }
}

TEST(Request, OnMountsWithoutAccessTimesReadsLeaveNone) {
  const auto keeps = [](const fuse_request& r, const cache_policy& policy) {
    op_draft draft;
    EXPECT_EQ(decode_request(r.bytes(), draft, nullptr, policy), request_kind::op);
    return decode<read_call>({draft.cell.body, draft.cell.body_size}).value().keep_atime != 0;
  };
  cache_policy none, directories;
  none.noatime = directories.nodiratime = true;
  const fuse_request file = fuse_request::read(node, unique, 5, 0, 10);
  const fuse_request list = fuse_request::read(node, unique, 5, 0, 4096, FUSE_READDIR);
  const fuse_request target(FUSE_READLINK, node, unique);
  for (const fuse_request* r : {&file, &list, &target}) {
    EXPECT_FALSE(keeps(*r, {}));
    EXPECT_TRUE(keeps(*r, none));
    EXPECT_EQ(keeps(*r, directories), r == &list);
  }
}

TEST(Request, WritesAreDecodedFromTheirTwoHeaders) {
  const std::vector<std::byte> data(1000, std::byte{1});
  const auto r = fuse_request::write(node, unique, 6, 4096, data);
  const decoded d = decode_bytes(byte_span(r.bytes()).first(receive_head_size));
  EXPECT_EQ(d.kind, request_kind::op);
  EXPECT_EQ(d.draft->write_size, 1000u);
  EXPECT_EQ(d.body<write_call>().size, 1000u);
  EXPECT_EQ(d.draft->claim_count, 1u);
  EXPECT_EQ(d.draft->claims[0].from, 4096u);
  EXPECT_EQ(d.draft->claims[0].to, 5096u);
}

TEST(Request, AWriteWhoseSizesDisagreeIsRefused) {
  const std::vector<std::byte> data(100, std::byte{1});
  for (const std::uint32_t lie : {0u, 99u, 101u, 0xffffffffu}) {
    std::vector<std::byte> bytes = fuse_request::write(node, unique, 6, 0, data).bytes();
    bytes.resize(receive_head_size);
    std::memcpy(bytes.data() + sizeof(fuse_in_header) + offsetof(fuse_write_in, size), &lie, 4);
    const decoded d = decode_bytes(bytes);
    EXPECT_EQ(d.kind, request_kind::answer) << lie;
    EXPECT_EQ(d.draft->error, error_code::io);
  }
}

TEST(Request, AWriteBeyondTheLargestFileIsTooBig) {
  const std::vector<std::byte> data(100);
  for (const std::uint64_t offset : {std::uint64_t{INT64_MAX} - 99, UINT64_MAX}) {
    const auto r = fuse_request::write(node, unique, 6, offset, data);
    EXPECT_EQ(decode_bytes(byte_span(r.bytes()).first(80)).draft->error, error_code::file_too_big);
  }
  const auto last = fuse_request::write(node, unique, 6, std::uint64_t{INT64_MAX} - 100, data);
  EXPECT_EQ(decode_bytes(byte_span(last.bytes()).first(80)).kind, request_kind::op);
}

fuse_request setxattr(std::string_view name, std::size_t value_size) {
  const std::uint32_t in[2] = {static_cast<std::uint32_t>(value_size), 1};
  const std::vector<std::byte> value(value_size, std::byte{'v'});
  return fuse_request(FUSE_SETXATTR, node, unique).add(in).name(name).raw(value);
}

TEST(Request, XattrsCarryNamesValuesAndRoom) {
  op_draft draft;
  const auto r = setxattr("user.a", 10);
  ASSERT_EQ(decode_request(r.bytes(), draft), request_kind::op);
  EXPECT_EQ(draft.payload.size(), 10u);
  const auto body = decode<xattr_call>({draft.cell.body, draft.cell.body_size});
  EXPECT_EQ(body->name, "user.a");
  EXPECT_EQ(body->flags, 1u);
  EXPECT_EQ(decode_it(setxattr("user.a", 65536)).kind, request_kind::op);
  EXPECT_EQ(decode_it(setxattr("user.a", 65537)).kind, request_kind::answer);
  fuse_getxattr_in get{};
  get.size = 100;
  const decoded g = decode_it(fuse_request(FUSE_GETXATTR, node, unique).add(get).name("user.a"));
  EXPECT_EQ(g.cell().payload_out.size, 100u);
  EXPECT_EQ(g.cell().room, 100u);
  get.size = 0;
  const decoded l = decode_it(fuse_request(FUSE_LISTXATTR, node, unique).add(get));
  EXPECT_EQ(l.cell().op, opcode::listxattr);
  EXPECT_EQ(l.cell().payload_out.kind, slot_class::none);
  EXPECT_EQ(decode_it(fuse_request::named(FUSE_REMOVEXATTR, node, unique, "user.a")).cell().op,
            opcode::removexattr);
}

TEST(Request, WhatNeedsNoServerIsAnsweredHereOrNotAtAll) {
  EXPECT_EQ(decode_it(fuse_request(FUSE_FORGET, node, unique).add(fuse_forget_in{})).kind,
            request_kind::no_answer);
  EXPECT_EQ(decode_it(fuse_request(FUSE_BATCH_FORGET, 0, unique)).kind, request_kind::no_answer);
  fuse_flush_in in{};
  in.fh = 77;
  const decoded flush = decode_it(fuse_request(FUSE_FLUSH, node, unique).add(in));
  EXPECT_EQ(flush.kind, request_kind::flush);
  EXPECT_EQ(flush.draft->cell.handle, 77u);
  const decoded i = decode_it(fuse_request::interrupt(44));
  EXPECT_EQ(i.kind, request_kind::interrupt);
  EXPECT_EQ(i.draft->interrupted, 44u);
}

TEST(Request, OfAnUnknownKindIsNotImplemented) {
  for (const std::uint32_t op : {0u, 7u, 54u, 100u, 4096u, 0xffffffffu}) {
    const decoded d = decode_it(fuse_request(op, node, unique).name("x"));
    EXPECT_EQ(d.kind, request_kind::answer) << op;
    EXPECT_EQ(d.draft->error, error_code::not_implemented) << op;
  }
}

// Every opcode, from well-formed bytes cut at every length, out of a buffer of just that size.
TEST(Request, CutAnywhereIsRefusedOrAnsweredAndNeverReadBeyondItsEnd) {
  for (std::uint32_t op = 0; op <= 60; ++op) {
    fuse_request whole(op, node, unique);
    whole.raw(std::vector<std::byte>(24, std::byte{1})).name("a").name("b");
    whole.raw(std::vector<std::byte>(90, std::byte{'x'})).name("");
    for (std::size_t n = 0; n <= whole.bytes().size(); ++n) {
      const decoded d = decode_bytes(byte_span(whole.bytes()).first(n));
      if (n < sizeof(fuse_in_header)) {
        EXPECT_EQ(d.kind, request_kind::answer) << op << " with " << n;
      }
      EXPECT_LE(d.cell().body_size, op_body_size_max);
      EXPECT_LE(d.draft->claim_count, claim_count_max);
    }
  }
}

TEST(Request, WithoutItsArgumentsIsAnEio) {
  for (const std::uint32_t op : {FUSE_LOOKUP, FUSE_GETATTR, FUSE_SETATTR, FUSE_MKNOD, FUSE_MKDIR,
                                 FUSE_UNLINK, FUSE_RMDIR, FUSE_RENAME, FUSE_LINK, FUSE_OPEN,
                                 FUSE_READ, FUSE_WRITE, FUSE_RELEASE, FUSE_FSYNC, FUSE_SETXATTR,
                                 FUSE_GETXATTR, FUSE_LISTXATTR, FUSE_REMOVEXATTR, FUSE_READDIR,
                                 FUSE_FSYNCDIR, FUSE_CREATE, FUSE_READDIRPLUS, FUSE_RENAME2}) {
    const decoded d = decode_it(fuse_request(op, node, unique));
    EXPECT_EQ(d.kind, request_kind::answer) << op;
    EXPECT_EQ(d.draft->error, error_code::io) << op;
  }
}

}  // namespace
}  // namespace tangelo
