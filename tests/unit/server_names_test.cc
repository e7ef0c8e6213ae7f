#include "tests/unit/server_volume_fixture.h"

namespace tangelo::testing_volume {
namespace {

class Names : public volume_fixture {
 protected:
  std::vector<std::string> list(std::uint64_t dir, std::uint32_t room, bool with_attributes) {
    std::vector<std::string> names;
    std::uint64_t offset = 0;
    for (;;) {
      const call_ptr c = call(opcode::readdir,
                              read_call{{}, dir, 0, offset, room, with_attributes}, {}, 65536);
      EXPECT_EQ(c->status, error_code::ok);
      EXPECT_LE(c->payload, room);
      if (c->payload == 0 || c->status != error_code::ok) return names;
      byte_span left = byte_span(c->out).first(c->payload);
      while (const auto e = next_entry(left)) {
        names.emplace_back(e->name);
        offset = e->cookie;
        if (with_attributes && e->cookie > 2) {
          EXPECT_EQ(e->attr.inode, e->inode);
          EXPECT_EQ(e->type, (e->attr.mode >> 12) & 15);
        }
      }
    }
  }
};

// generic/736: a directory is read while all that is read in it gets another name.
TEST_F(Names, ARenamedEntryKeepsItsPlaceInItsDirectory) {
  const std::uint64_t d = mkdir(root_inode, "d");
  for (const char* name : {"a", "b", "c"}) create(d, name);
  create(root_inode, "new");
  const auto rename = [&](std::uint64_t from, std::string_view name, std::string_view to) {
    EXPECT_EQ(call(opcode::rename, rename_call{{}, from, d, 0, name, to})->status,
              error_code::ok);
  };
  rename(d, "a", "z");
  EXPECT_EQ(list(d, 4096, false), (std::vector<std::string>{".", "..", "z", "b", "c"}));
  rename(root_inode, "new", "b");
  EXPECT_EQ(list(d, 4096, false), (std::vector<std::string>{".", "..", "z", "b", "c"}));
  rename(d, "c", "z");
  EXPECT_EQ(list(d, 4096, false), (std::vector<std::string>{".", "..", "z", "b"}));
}

TEST_F(Names, AreFoundAfterMakingAndNotBefore) {
  EXPECT_EQ(lookup(root_inode, "a")->status, error_code::no_entry);
  const std::uint64_t d = mkdir(root_inode, "a");
  EXPECT_EQ(find(root_inode, "a"), d);
  EXPECT_EQ(find(d, ".."), root_inode);
  EXPECT_EQ(find(d, "."), d);
  EXPECT_EQ(stat(root_inode).link_count, 3u);
  EXPECT_EQ(stat(d).link_count, 2u);
  EXPECT_EQ(call(opcode::mkdir, made(root_inode, "a", 0755))->status, error_code::exists);
  const std::uint64_t f = create(d, "f");
  EXPECT_EQ(call(opcode::mkdir, made(f, "x", 0755))->status, error_code::not_directory);
  EXPECT_EQ(lookup(f, "x")->status, error_code::not_directory);
  EXPECT_EQ(lookup(777'777, "x")->status, error_code::stale);
}

TEST_F(Names, ThatAreNoNamesAreRefused) {
  const std::string long_name(256, 'n');
  EXPECT_EQ(lookup(root_inode, long_name)->status, error_code::name_too_long);
  EXPECT_EQ(call(opcode::mknod, made(root_inode, long_name, S_IFREG))->status,
            error_code::name_too_long);
  EXPECT_EQ(call(opcode::mknod, made(root_inode, "a/b", S_IFREG))->status, error_code::invalid);
  EXPECT_EQ(call(opcode::mknod, made(root_inode, std::string_view("a\0b", 3), S_IFREG))->status,
            error_code::invalid);
  EXPECT_EQ(call(opcode::mknod, made(root_inode, "", S_IFREG))->status, error_code::no_entry);
  EXPECT_EQ(call(opcode::mknod, made(root_inode, "..", S_IFREG))->status, error_code::exists);
  EXPECT_EQ(call(opcode::mknod, made(root_inode, std::string(255, 'n'), S_IFREG))->status,
            error_code::ok);
}

TEST_F(Names, NumbersMustComeFromTheClientsOwnRange) {
  make_call m = made(root_inode, "a", 0644);
  m.inode = 5'000'000;
  EXPECT_EQ(call(opcode::mknod, m)->status, error_code::not_reserved);
  remember(bob_);
  m.inode = next_inode_;
  const call_ptr c = begin(bob_, opcode::mknod, m);
  settle();
  EXPECT_EQ(c->status, error_code::not_reserved);
  EXPECT_EQ(c->answered_transno, 0u);
  m.inode = mkdir(root_inode, "used");
  EXPECT_EQ(call(opcode::mknod, m)->status, error_code::invalid);
}

TEST_F(Names, GoWithUnlinkAndRmdir) {
  const std::uint64_t d = mkdir(root_inode, "d");
  const std::uint64_t f = create(d, "f");
  EXPECT_EQ(unlink(root_inode, "d"), error_code::is_directory);
  EXPECT_EQ(unlink(d, "f", opcode::rmdir), error_code::not_directory);
  EXPECT_EQ(unlink(root_inode, "d", opcode::rmdir), error_code::not_empty);
  EXPECT_EQ(unlink(d, "f"), error_code::ok);
  EXPECT_EQ(unlink(d, "f"), error_code::no_entry);
  EXPECT_EQ(call(opcode::getattr, inode_call{{}, f, 0, 0})->status, error_code::stale);
  EXPECT_EQ(unlink(root_inode, "d", opcode::rmdir), error_code::ok);
  EXPECT_EQ(stat(root_inode).link_count, 2u);
  EXPECT_EQ(unlink(root_inode, ".", opcode::rmdir), error_code::invalid);
  EXPECT_EQ(unlink(root_inode, "..", opcode::rmdir), error_code::not_empty);
}

TEST_F(Names, LinksCountAndHaveLimits) {
  const std::uint64_t f = create(root_inode, "f");
  const std::uint64_t d = mkdir(root_inode, "d");
  EXPECT_EQ(call(opcode::link, link_call{{}, f, d, "g"})->status, error_code::ok);
  EXPECT_EQ(stat(f).link_count, 2u);
  EXPECT_EQ(call(opcode::link, link_call{{}, f, d, "g"})->status, error_code::exists);
  EXPECT_EQ(call(opcode::link, link_call{{}, d, root_inode, "e"})->status,
            error_code::not_permitted);
  EXPECT_EQ(unlink(root_inode, "f"), error_code::ok);
  EXPECT_EQ(stat(f).link_count, 1u);
  EXPECT_EQ(find(d, "g"), f);
}

TEST_F(Names, DirectoriesPassTheirGroupOn) {
  const std::uint64_t d = mkdir(root_inode, "d");
  setattr_call s;
  s.inode = d;
  s.which = set_attr::mode | set_attr::gid;
  s.mode = 02775;
  s.gid = 42;
  EXPECT_EQ(call(opcode::setattr, s)->status, error_code::ok);
  const std::uint64_t e = mkdir(d, "e");
  EXPECT_EQ(stat(e).gid, 42u);
  EXPECT_EQ(stat(e).mode, static_cast<unsigned>(S_IFDIR | 02755));
  EXPECT_EQ(stat(create(d, "f")).gid, 42u);
}

TEST_F(Names, CreateOpensWhatExistsUnlessExclusive) {
  const std::uint64_t f = create(root_inode, "f", 7);
  make_call m = made(root_inode, "f", 0600);
  m.handle = 8;
  const call_ptr c = call(opcode::create, m);
  EXPECT_EQ(c->status, error_code::ok);
  EXPECT_EQ(c->answered<entry_answer>().attr.inode, f);
  EXPECT_EQ(volume_->status().open_handles, 2u);
  m.open_flags = O_EXCL;
  EXPECT_EQ(call(opcode::create, m)->status, error_code::exists);
  EXPECT_EQ(write(f, 0, "text")->status, error_code::ok);
  m.open_flags = O_TRUNC;
  EXPECT_EQ(call(opcode::create, m)->answered<entry_answer>().attr.size, 0u);
  mkdir(root_inode, "d");
  EXPECT_EQ(call(opcode::create, made(root_inode, "d", 0600))->status, error_code::is_directory);
}

TEST_F(Names, RenameMovesReplacesAndRefuses) {
  const std::uint64_t a = mkdir(root_inode, "a"), b = mkdir(root_inode, "b");
  const std::uint64_t f = create(a, "f"), g = create(b, "g");
  EXPECT_EQ(rename(a, "none", b, "x"), error_code::no_entry);
  EXPECT_EQ(rename(a, "f", b, "g", 1), error_code::exists);
  EXPECT_EQ(rename(a, "f", b, "none", 2), error_code::no_entry);
  EXPECT_EQ(rename(a, "f", b, "g", 3), error_code::invalid);
  EXPECT_EQ(rename(a, "f", b, "g", 2), error_code::ok);
  EXPECT_EQ(find(a, "f"), g);
  EXPECT_EQ(find(b, "g"), f);
  EXPECT_EQ(rename(a, "f", b, "g"), error_code::ok);
  EXPECT_EQ(find(a, "f"), 0u);
  EXPECT_EQ(find(b, "g"), g);
  EXPECT_EQ(call(opcode::getattr, inode_call{{}, f, 0, 0})->status, error_code::stale);
  EXPECT_EQ(rename(root_inode, "a", b, "a"), error_code::ok);
  EXPECT_EQ(find(a, ".."), b);
  EXPECT_EQ(stat(root_inode).link_count, 3u);
  EXPECT_EQ(stat(b).link_count, 3u);
  EXPECT_EQ(rename(root_inode, "b", a, "b"), error_code::invalid);
  EXPECT_EQ(rename(root_inode, "b", b, "b"), error_code::invalid);
  EXPECT_EQ(rename(b, "g", b, "a"), error_code::is_directory);
  EXPECT_EQ(rename(b, "g", root_inode, "b"), error_code::not_empty);
  EXPECT_EQ(rename(b, "a", b, "g"), error_code::not_directory);
  const std::uint64_t e = mkdir(root_inode, "e");
  create(e, "full");
  EXPECT_EQ(rename(b, "a", root_inode, "e"), error_code::not_empty);
  EXPECT_EQ(unlink(e, "full"), error_code::ok);
  EXPECT_EQ(rename(b, "a", root_inode, "e"), error_code::ok);
  EXPECT_EQ(find(root_inode, "e"), a);
  EXPECT_EQ(stat(b).link_count, 2u);
  EXPECT_EQ(stat(root_inode).link_count, 4u);
}

TEST_F(Names, RenamingOneInodeOntoItselfDoesNothing) {
  const std::uint64_t f = create(root_inode, "f");
  EXPECT_EQ(call(opcode::link, link_call{{}, f, root_inode, "g"})->status, error_code::ok);
  EXPECT_EQ(rename(root_inode, "f", root_inode, "g"), error_code::ok);
  EXPECT_EQ(find(root_inode, "f"), f);
  EXPECT_EQ(find(root_inode, "g"), f);
  EXPECT_EQ(stat(f).link_count, 2u);
}

TEST_F(Names, ExchangedDirectoriesSwapParents) {
  const std::uint64_t a = mkdir(root_inode, "a"), b = mkdir(a, "b");
  const std::uint64_t f = create(root_inode, "f");
  EXPECT_EQ(rename(root_inode, "a", a, "b", 2), error_code::invalid);
  EXPECT_EQ(rename(a, "b", root_inode, "f", 2), error_code::ok);
  EXPECT_EQ(find(root_inode, "f"), b);
  EXPECT_EQ(find(a, "b"), f);
  EXPECT_EQ(find(b, ".."), root_inode);
  EXPECT_EQ(stat(a).link_count, 2u);
  EXPECT_EQ(stat(root_inode).link_count, 4u);
}

TEST_F(Names, AreListedOnceInAnyPageSize) {
  const std::uint64_t d = mkdir(root_inode, "d");
  std::vector<std::string> want = {".", ".."};
  for (int i = 0; i < 40; ++i) {
    want.push_back("file-" + std::to_string(i));
    create(d, want.back());
  }
  EXPECT_EQ(list(d, 65536, false), want);
  EXPECT_EQ(list(d, 200, false), want);
  EXPECT_EQ(list(d, 300, true), want);
  kv_.set_cold(true);
  EXPECT_EQ(list(d, 4096, true), want);
  const call_ptr c = call(opcode::readdir, read_call{{}, d, 0, 0, 8, 0}, {}, 8);
  EXPECT_EQ(c->status, error_code::invalid);
}

TEST_F(Names, ListingGoesOnWhereItWasWhileTheDirectoryChanges) {
  const std::uint64_t d = mkdir(root_inode, "d");
  create(d, "a"), create(d, "b"), create(d, "c");
  const call_ptr c = call(opcode::readdir, read_call{{}, d, 0, 2, 45, 0}, {}, 4096);
  byte_span left = byte_span(c->out).first(c->payload);
  const auto first = next_entry(left);
  ASSERT_TRUE(first && first->name == "a");
  EXPECT_EQ(unlink(d, "a"), error_code::ok);
  EXPECT_EQ(unlink(d, "b"), error_code::ok);
  const call_ptr e = call(opcode::readdir, read_call{{}, d, 0, first->cookie, 4096, 0}, {}, 4096);
  left = byte_span(e->out).first(e->payload);
  const auto next = next_entry(left);
  ASSERT_TRUE(next.has_value());
  EXPECT_EQ(next->name, "c");
}

TEST_F(Names, ANameThatCannotBeReadIsNotLeftOutWithoutAWord) {
  const std::uint64_t d = mkdir(root_inode, "d");
  create(d, "a"), create(d, "b");
  std::string key;
  EXPECT_EQ(kv_.scan(column::cookies, key_of(d), key_of(d + 1), read_mode::blocking,
                     [&key](std::string_view k, std::string_view) {
                       key = k;
                       return false;
                     }),
            kv_status::found);
  kv_batch b;
  b.put(column::cookies, key, "damage");
  EXPECT_EQ(kv_.write(b), error_code::ok);
  for (const std::uint8_t plus : {std::uint8_t{0}, std::uint8_t{1}}) {
    const read_call all{{}, d, 0, 2, 4096, plus};
    EXPECT_EQ(call(opcode::readdir, all, {}, 4096)->status, error_code::io);
  }
}

TEST_F(Names, ColdReadsAreWarmedAndTheCallRunAgain) {
  const std::uint64_t a = mkdir(root_inode, "a"), b = mkdir(a, "b");
  kv_.set_cold(true);
  EXPECT_EQ(find(a, "b"), b);
  EXPECT_GT(volume_->status().warmed, 0u);
  EXPECT_EQ(rename(a, "b", root_inode, "c"), error_code::ok);
  EXPECT_EQ(find(root_inode, "c"), b);
}

TEST_F(Names, SymlinksKeepTheirTargets) {
  const std::string target(4095, 't');
  const call_ptr c = call(opcode::symlink, made(root_inode, "s", 0), target);
  EXPECT_EQ(c->status, error_code::ok);
  const std::uint64_t s = c->answered<entry_answer>().attr.inode;
  EXPECT_EQ(stat(s).size, 4095u);
  EXPECT_EQ(call(opcode::readlink, read_call{{}, s}, {}, 8192)->text(), target);
  EXPECT_EQ(open(alice_, s, 3), error_code::loop_of_links);
  EXPECT_EQ(call(opcode::symlink, made(root_inode, "t", 0), target + "x")->status,
            error_code::name_too_long);
  EXPECT_EQ(call(opcode::symlink, made(root_inode, "t", 0), "")->status, error_code::no_entry);
  EXPECT_EQ(call(opcode::readlink, read_call{{}, root_inode}, {}, 8192)->status,
            error_code::invalid);
  EXPECT_EQ(unlink(root_inode, "s"), error_code::ok);
}

TEST_F(Names, NodesHaveTypes) {
  for (const std::uint32_t type : std::initializer_list<std::uint32_t>{S_IFREG, S_IFIFO, S_IFSOCK,
                                                                       S_IFCHR, S_IFBLK}) {
    make_call m = made(root_inode, "n" + std::to_string(type), type | 0600);
    const std::string name = "n" + std::to_string(type);
    m.name = name;
    m.rdev = 0x103;
    const call_ptr c = call(opcode::mknod, m);
    ASSERT_EQ(c->status, error_code::ok);
    const attributes a = c->answered<entry_answer>().attr;
    EXPECT_EQ(a.mode, type | 0600);
    EXPECT_EQ(a.rdev, type == S_IFCHR || type == S_IFBLK ? 0x103u : 0u);
  }
  EXPECT_EQ(call(opcode::mknod, made(root_inode, "d", S_IFDIR))->status,
            error_code::not_permitted);
}

}  // namespace
}  // namespace tangelo::testing_volume
