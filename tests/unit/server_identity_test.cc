// Who may do what on the server: by mode, ACL, stickiness, ownership and powers; what new files
// inherit; squashed callers; access times.
#include <sys/xattr.h>

#include "tests/unit/server_volume_fixture.h"

namespace tangelo {
namespace {

using namespace testing_volume;

std::string acl_value(std::uint16_t owner, std::uint16_t group, std::uint16_t other,
                      std::uint32_t uid = 0, std::uint16_t named = 0, std::uint16_t mask = 0) {
  std::string value;
  const auto put = [&value](std::uint64_t n, int size) {
    for (int i = 0; i < size; ++i) value.push_back(static_cast<char>(n >> (8 * i)));
  };
  const auto entry = [&put](std::uint16_t tag, std::uint16_t permission, std::uint32_t id) {
    put(tag, 2), put(permission, 2), put(id, 4);
  };
  put(2, 4);
  entry(1, owner, UINT32_MAX);
  if (uid != 0) entry(2, named, uid);
  entry(4, group, UINT32_MAX);
  if (uid != 0) entry(16, mask, UINT32_MAX);
  entry(32, other, UINT32_MAX);
  return value;
}

class Identity : public volume_fixture {
 protected:
  static credential user(std::uint32_t uid, std::uint32_t gid, std::uint32_t more = 0,
                         std::uint8_t powers = 0) {
    credential c{uid, gid, static_cast<std::uint8_t>(more != 0 ? 1 : 0), powers, {}};
    c.groups[0] = more;
    return c;
  }
  // A file or directory of user 10, group 20.
  std::uint64_t thing(std::uint64_t parent, std::string_view name, std::uint32_t mode,
                      bool is_directory = false, std::uint32_t uid = 10, std::uint32_t gid = 20) {
    const std::uint64_t inode = is_directory ? mkdir(parent, name) : create(parent, name);
    setattr_call s;
    s.inode = inode;
    s.which = set_attr::uid | set_attr::gid | set_attr::mode;
    s.uid = uid, s.gid = gid, s.mode = mode;
    EXPECT_EQ(call(opcode::setattr, s)->status, error_code::ok);
    return inode;
  }
  error_code set_acl(std::uint64_t inode, const std::string& value,
                     std::string_view name = access_acl_name, credential who = {}) {
    return call(opcode::setxattr, xattr_call{who, inode, 0, 0, name}, value)->status;
  }
  std::string xattr(std::uint64_t inode, std::string_view name) {
    const call_ptr c = call(opcode::getxattr, xattr_call{{}, inode, 0, 200, name}, {}, 200);
    return c->status == error_code::ok ? c->text() : std::string(name_of_error(c->status));
  }
  error_code open_as(const credential& who, std::uint64_t inode, std::uint32_t flags) {
    const std::uint64_t handle = ++handle_;
    const error_code e = call(opcode::open, open_call{who, inode, handle, flags})->status;
    if (e == error_code::ok) call(opcode::release, open_call{who, inode, handle, 0});
    return e;
  }
  error_code setattr_as(const credential& who, std::uint64_t inode, std::uint32_t which,
                        std::uint32_t value = 0, std::uint64_t handle = 0) {
    setattr_call s;
    s.who = who, s.inode = inode, s.which = which, s.handle = handle;
    s.mode = s.uid = s.gid = value;
    return call(opcode::setattr, s)->status;
  }
  // What each kind of caller may do with `inode`: r, w, x.
  std::string rights(const credential& who, std::uint64_t inode) {
    std::string all;
    for (const auto& [flags, letter] :
         {std::pair{O_RDONLY, 'r'}, {O_WRONLY, 'w'}, {O_RDONLY | 0x20, 'x'}}) {
      const error_code e = open_as(who, inode, static_cast<std::uint32_t>(flags));
      EXPECT_TRUE(e == error_code::ok || e == error_code::access_denied);
      all.push_back(e == error_code::ok ? letter : '-');
    }
    return all;
  }
  void restart() {
    crash();
    start();
    volume_->recovery_ended();
    settle();
  }

  const credential owner_ = user(10, 21);
  const credential member_ = user(11, 21, 20);
  const credential primary_ = user(11, 20);
  const credential other_ = user(12, 22, 23);
  std::uint64_t handle_ = 100;
};

TEST_F(Identity, OpensAreAllowedByTheModesClassOfTheCaller) {
  const std::uint64_t f = thing(root_inode, "f", 0754);
  EXPECT_EQ(rights(owner_, f), "rwx");
  EXPECT_EQ(rights(member_, f), "r-x");
  EXPECT_EQ(rights(primary_, f), "r-x");
  EXPECT_EQ(rights(other_, f), "r--");
  EXPECT_EQ(rights({}, f), "rwx");
  const std::uint64_t g = thing(root_inode, "g", 0067);
  EXPECT_EQ(rights(owner_, g), "---") << "the owner's class counts for the owner, if it has less";
  EXPECT_EQ(rights(member_, g), "rw-");
  EXPECT_EQ(rights(other_, g), "rwx");
  const std::uint64_t h = thing(root_inode, "h", 0600);
  EXPECT_EQ(rights({}, h), "rw-") << "nobody runs what nobody may run";
  EXPECT_EQ(rights(user(12, 22, 0, power::dac_override), h), "rw-");
  EXPECT_EQ(rights(user(12, 22, 0, power::dac_read_search), h), "r--");
  EXPECT_EQ(rights(user(12, 22, 0, power::unknown_groups), h), "---");
  EXPECT_EQ(rights(user(12, 22, 0, power::unknown_groups), g), "rwx") << "its kernel has decided";
}

TEST_F(Identity, OpensAreAllowedByTheAcl) {
  const std::uint64_t f = thing(root_inode, "f", 0600);
  ASSERT_EQ(set_acl(f, acl_value(6, 4, 0, 12, 7, 5)), error_code::ok);
  EXPECT_EQ(rights(other_, f), "r-x");
  EXPECT_EQ(rights(member_, f), "r--");
  EXPECT_EQ(rights(user(13, 22), f), "---");
  EXPECT_EQ(rights(owner_, f), "rw-");
  EXPECT_EQ(stat(f).mode & 0777, 0650u) << "the mask is the mode's group class";
  EXPECT_EQ(setattr_as(owner_, f, set_attr::mode, 0620), error_code::ok);
  EXPECT_EQ(rights(other_, f), "-w-") << "chmod moves the mask";
  EXPECT_EQ(xattr(f, access_acl_name), acl_value(6, 4, 0, 12, 7, 2));
  EXPECT_EQ(set_acl(f, acl_value(6, 4, 4)), error_code::ok);
  EXPECT_EQ(xattr(f, access_acl_name), "no_data") << "the mode says it all";
  EXPECT_EQ(stat(f).mode & 0777, 0644u);
}

TEST_F(Identity, NamesAreLookedUpAndChangedOnlyByWhoMay) {
  struct row {
    std::uint32_t mode;
    std::string_view rights;  // of the owner, a member, somebody else: x search, w change
  };
  for (const row& r : {row{0731, "xw xw x"}, {0750, "xw x -"}, {0644, "- - -"}, {0333, "xw xw xw"},
                       {0222, "- - -"}}) {
    const std::uint64_t d = thing(root_inode, "d", r.mode, true);
    const std::uint64_t f = thing(d, "f", 0666);
    std::string seen;
    for (const credential& who : {owner_, member_, other_}) {
      const error_code search = call(opcode::lookup, name_call{who, d, "f"})->status;
      std::string one = search == error_code::ok ? "x" : "";
      make_call m = made(d, "new", 0666);
      m.who = who;
      std::vector<error_code> all;
      for (const opcode op : {opcode::mknod, opcode::mkdir}) all.push_back(call(op, m)->status);
      const bool writes = all[0] == error_code::ok;
      EXPECT_EQ(all[1], writes ? error_code::exists : all[0]);
      EXPECT_EQ(call(opcode::link, link_call{who, f, d, "l"})->status == error_code::ok, writes);
      EXPECT_EQ(call(opcode::rename, rename_call{who, d, d, 0, "f", "g"})->status ==
                    error_code::ok, writes);
      const error_code without_a_name = writes                     ? error_code::ok
                                        : search == error_code::ok ? error_code::no_entry
                                                                   : search;
      EXPECT_EQ(call(opcode::rename, rename_call{who, d, d, 0, "g", "f"})->status,
                without_a_name);
      for (const std::string_view name : {"l", "new"})
        EXPECT_EQ(call(opcode::unlink, name_call{who, d, name})->status, without_a_name);
      if (writes) one += "w";
      if (one.empty()) one = "-";
      EXPECT_TRUE(search == error_code::ok || search == error_code::access_denied);
      seen += (seen.empty() ? "" : " ") + one;
    }
    EXPECT_EQ(seen, r.rights) << std::oct << r.mode;
    EXPECT_EQ(unlink(d, "f"), error_code::ok);
    EXPECT_EQ(unlink(root_inode, "d", opcode::rmdir), error_code::ok);
  }
}

TEST_F(Identity, FromAStickyDirectoryOnlyOwnersRemove) {
  const std::uint64_t d = thing(root_inode, "d", 01777, true);
  thing(d, "f", 0666, false, 12, 22);
  thing(d, "g", 0666, false, 11, 22);
  const auto rename = [&](const credential& who, std::string_view from, std::string_view to) {
    return call(opcode::rename, rename_call{who, d, d, 0, from, to})->status;
  };
  EXPECT_EQ(rename(member_, "f", "h"), error_code::not_permitted);
  EXPECT_EQ(rename(other_, "f", "g"), error_code::not_permitted) << "the one it would replace";
  EXPECT_EQ(call(opcode::unlink, name_call{member_, d, "f"})->status, error_code::not_permitted);
  EXPECT_EQ(rename(other_, "f", "h"), error_code::ok);
  EXPECT_EQ(rename(owner_, "h", "f"), error_code::ok) << "the directory's owner";
  EXPECT_EQ(rename(user(12 + 1, 22, 0, power::fowner), "f", "h"), error_code::ok);
}

TEST_F(Identity, ADirectoryThatMovesIsWrittenToItself) {
  const std::uint64_t a = thing(root_inode, "a", 0777, true);
  const std::uint64_t b = thing(root_inode, "b", 0777, true);
  thing(a, "d", 0755, true);
  EXPECT_EQ(call(opcode::rename, rename_call{other_, a, a, 0, "d", "e"})->status, error_code::ok);
  EXPECT_EQ(call(opcode::rename, rename_call{other_, a, b, 0, "e", "d"})->status,
            error_code::access_denied);
  EXPECT_EQ(call(opcode::rename, rename_call{owner_, a, b, 0, "e", "d"})->status, error_code::ok);
}

TEST_F(Identity, AttributesAreSetByWhoMay) {
  const std::uint64_t f = thing(root_inode, "f", 0664);
  struct row {
    std::uint32_t which, value;
    error_code owner, member, other;
  };
  using enum error_code;
  using namespace set_attr;
  const row rows[] = {
      {mode, 0664, ok, not_permitted, not_permitted},
      {uid, 10, ok, not_permitted, not_permitted},
      {uid, 11, not_permitted, not_permitted, not_permitted},
      {gid, 20, ok, not_permitted, not_permitted},
      {gid, 23, not_permitted, not_permitted, not_permitted},
      {atime | mtime, 0, ok, not_permitted, not_permitted},
      {atime | mtime | atime_now | mtime_now, 0, ok, ok, access_denied},
      {set_attr::size, 0, ok, ok, access_denied},
      {set_attr::size | mtime | mtime_now, 0, ok, ok, access_denied},
      {mtime | ctime, 0, ok, ok, ok},
  };
  for (const row& r : rows) {
    EXPECT_EQ(setattr_as(owner_, f, r.which, r.value), r.owner) << r.which << " " << r.value;
    EXPECT_EQ(setattr_as(member_, f, r.which, r.value), r.member) << r.which << " " << r.value;
    EXPECT_EQ(setattr_as(other_, f, r.which, r.value), r.other) << r.which << " " << r.value;
    EXPECT_EQ(setattr_as({}, f, r.which & ~(uid | gid), r.value), ok);
  }
  EXPECT_EQ(setattr_as(other_, f, set_attr::size, 0, 77), ok) << "it was opened for writing";
  EXPECT_EQ(setattr_as(user(12, 22, 0, power::chown), f, uid, 13), ok);
  EXPECT_EQ(setattr_as(user(12, 22, 0, power::fowner), f, mode, 0600), ok);
}

TEST_F(Identity, SetidBitsGo) {
  const std::uint64_t f = thing(root_inode, "f", 06755);
  EXPECT_EQ(setattr_as({}, f, set_attr::uid, 10), error_code::ok);
  EXPECT_EQ(stat(f).mode & 07777, 0755u) << "by any chown";
  EXPECT_EQ(setattr_as(owner_, f, set_attr::mode, 06755), error_code::ok);
  EXPECT_EQ(stat(f).mode & 07777, 04755u) << "the owner is not in the group";
  EXPECT_EQ(setattr_as(user(10, 20), f, set_attr::mode, 02644), error_code::ok);
  EXPECT_EQ(setattr_as({}, f, set_attr::gid, 20), error_code::ok);
  EXPECT_EQ(stat(f).mode & 07777, 02644u) << "not meant for execution";
  const call_ptr p = call(opcode::mknod, made(root_inode, "p", S_IFIFO | 04755));
  const std::uint64_t fifo = p->answered<entry_answer>().attr.inode;
  EXPECT_EQ(setattr_as(owner_, fifo, 0), error_code::ok) << "nothing of its";
  EXPECT_EQ(stat(fifo).mode & 07777, 04755u);
  EXPECT_EQ(setattr_as({}, fifo, 0), error_code::ok) << "a chown that names no ids";
  EXPECT_EQ(stat(fifo).mode & 07777, 0755u);
  EXPECT_EQ(setattr_as(owner_, fifo, 0), error_code::ok);
  EXPECT_EQ(set_acl(f, acl_value(7, 7, 5), access_acl_name, owner_), error_code::ok);
  EXPECT_EQ(stat(f).mode & 07777, 0775u) << "setting an ACL is a chmod";
}

TEST_F(Identity, CapabilitiesOfAProgramGoWithItsBytesAndItsOwner) {
  const std::uint64_t f = thing(root_inode, "f", 0755);
  const auto grant = [&] {
    EXPECT_EQ(set_acl(f, "caps", "security.capability"), error_code::ok);
  };
  grant();
  write(f, 0, "x");
  EXPECT_EQ(xattr(f, "security.capability"), "no_data");
  grant();
  EXPECT_EQ(truncate(f, 0), error_code::ok);
  EXPECT_EQ(xattr(f, "security.capability"), "no_data");
  grant();
  EXPECT_EQ(setattr_as({}, f, set_attr::gid, 20), error_code::ok);
  EXPECT_EQ(xattr(f, "security.capability"), "no_data");
  grant();
  EXPECT_EQ(call(opcode::removexattr, xattr_call{other_, f, 0, 0, "security.capability"})->status,
            error_code::ok) << "as the kernel does when others write";
  grant();
  EXPECT_EQ(setattr_as({}, f, set_attr::mode, 0700), error_code::ok);
  EXPECT_EQ(xattr(f, "security.capability"), "caps");
}

TEST_F(Identity, WhatIsMadeInheritsTheDefaultAclInsteadOfTheUmask) {
  const std::uint64_t d = thing(root_inode, "d", 02777, true);
  const auto born = [&](opcode op, std::string_view name, std::uint32_t mode) {
    make_call m = made(d, name, mode);
    m.who = owner_, m.umask = 027;
    const call_ptr c = call(op, m);
    EXPECT_EQ(c->status, error_code::ok);
    return c->answered<entry_answer>().attr;
  };
  const attributes plain = born(opcode::mknod, "plain", 0666);
  EXPECT_EQ(plain.mode & 07777, 0640u);
  EXPECT_EQ(plain.gid, 20u) << "of a setgid directory";
  EXPECT_EQ(born(opcode::mkdir, "dir", 0777).mode & 07777, 02750u);

  ASSERT_EQ(set_acl(d, acl_value(7, 5, 4, 12, 6, 7), default_acl_name), error_code::ok);
  const attributes f = born(opcode::mknod, "f", 0662);
  EXPECT_EQ(f.mode & 0777, 0660u);
  EXPECT_EQ(xattr(f.inode, access_acl_name), acl_value(6, 5, 0, 12, 6, 6));
  EXPECT_EQ(xattr(f.inode, default_acl_name), "no_data");
  const attributes e = born(opcode::mkdir, "e", 0777);
  EXPECT_EQ(e.mode & 07777, 02774u);
  EXPECT_EQ(xattr(e.inode, default_acl_name), acl_value(7, 5, 4, 12, 6, 7));
  make_call link = made(d, "link", 0777);
  const call_ptr l = call(opcode::symlink, link, "target");
  EXPECT_EQ(xattr(l->answered<entry_answer>().attr.inode, access_acl_name), "not_supported");

  ASSERT_EQ(set_acl(d, acl_value(7, 5, 1), default_acl_name), error_code::ok);
  const attributes g = born(opcode::mknod, "g", 0666);
  EXPECT_EQ(g.mode & 0777, 0640u);
  EXPECT_EQ(xattr(g.inode, access_acl_name), "no_data") << "the mode says it all";
}

TEST_F(Identity, AReplayInheritsAsTheFirstTimeAndIsNotAskedAgain) {
  const std::uint64_t d = thing(root_inode, "d", 0777, true);
  ASSERT_EQ(set_acl(d, acl_value(7, 5, 4, 12, 6, 7), default_acl_name), error_code::ok);
  make_call m = made(d, "f", 0666);
  m.who = owner_, m.umask = 077;
  early_ = true;
  const call_ptr first = begin(alice_, opcode::mknod, m);
  const call_ptr close =
      begin(alice_, opcode::setattr, [&] {
        setattr_call s;
        s.inode = d, s.which = set_attr::mode, s.mode = 0700;
        return s;
      }());
  ASSERT_TRUE(first->completed && close->completed);
  power_cut();
  early_ = false;
  EXPECT_EQ(find(d, "f"), 0u) << "it was not durable";
  EXPECT_EQ(replay(*close)->status, error_code::ok);
  const call_ptr again = replay(*first);
  EXPECT_EQ(again->status, error_code::ok);
  EXPECT_EQ(again->answered<entry_answer>().attr.mode, first->answered<entry_answer>().attr.mode);
  EXPECT_EQ(xattr(m.inode, access_acl_name), acl_value(6, 5, 4, 12, 6, 6));
}

TEST_F(Identity, XattrsFollowTheRulesOfTheirNamespaces) {
  const std::uint64_t f = thing(root_inode, "f", 0664);
  const std::uint64_t d = thing(root_inode, "d", 01777, true);
  const call_ptr l = call(opcode::symlink, made(root_inode, "l", 0777), "target");
  const std::uint64_t link = l->answered<entry_answer>().attr.inode;
  using enum error_code;
  EXPECT_EQ(set_acl(f, "1", "user.a", member_), ok);
  EXPECT_EQ(set_acl(f, "1", "user.a", other_), access_denied);
  EXPECT_EQ(set_acl(link, "1", "user.a"), not_permitted);
  EXPECT_EQ(xattr(link, "user.a"), "no_data");
  EXPECT_EQ(set_acl(d, "1", "user.a", other_), not_permitted) << "a sticky directory's";
  EXPECT_EQ(set_acl(f, "1", "trusted.a", owner_), not_permitted);
  EXPECT_EQ(set_acl(f, "1", "trusted.a"), ok);
  EXPECT_EQ(set_acl(link, "1", "trusted.a"), ok);
  EXPECT_EQ(set_acl(f, "1", "security.a", owner_), not_permitted);
  EXPECT_EQ(set_acl(f, "1", "security.capability", user(12, 22, 0, power::setfcap)), ok);
  EXPECT_EQ(set_acl(f, acl_value(6, 4, 0), access_acl_name, member_), not_permitted);
  EXPECT_EQ(set_acl(f, acl_value(6, 4, 0), default_acl_name, owner_), access_denied);
  EXPECT_EQ(set_acl(f, "nonsense", access_acl_name, owner_), invalid);
  for (const auto& [name, want] : {std::pair<std::string_view, error_code>{"user.", invalid},
                                   {"user", not_supported}, {"system.a", not_supported},
                                   {"other.a", not_supported}, {"", range}})
    EXPECT_EQ(set_acl(f, "1", name), want) << name;
  const auto list = [&](const credential& who) {
    return call(opcode::listxattr, inode_call{who, f, 0, 200}, {}, 200)->text();
  };
  EXPECT_EQ(list({}), std::string("security.capability\0trusted.a\0user.a\0", 37));
  EXPECT_EQ(list(owner_), std::string("security.capability\0user.a\0", 27));
  EXPECT_EQ(call(opcode::getxattr, xattr_call{owner_, f, 0, 9, "trusted.a"}, {}, 9)->status,
            no_data);
  EXPECT_EQ(call(opcode::removexattr, xattr_call{{}, f, 0, 0, access_acl_name})->status, ok);
}

TEST_F(Identity, AsManyXattrsAreTakenAsCanBeListed) {
  const std::uint64_t f = create(root_inode, "f");
  error_code e = error_code::ok;
  int count = 0;
  for (; e == error_code::ok && count < 300; ++count)
    e = set_acl(f, "", "user." + std::string(240, 'n') + std::to_string(1000 + count));
  EXPECT_EQ(e, error_code::no_space);
  const call_ptr l = call(opcode::listxattr, inode_call{{}, f, 0, 65536}, {}, 65536);
  EXPECT_EQ(l->status, error_code::ok);
  EXPECT_EQ(count, 65536 / 250 + 1);
}

TEST_F(Identity, RootIsNobodyWhereItIsSquashed) {
  const std::uint64_t d = thing(root_inode, "d", 0700, true);
  const std::uint64_t open = thing(root_inode, "open", 0777, true);
  options_.rules.squash = {squash_mode::root, 77, 78};
  restart();
  EXPECT_EQ(call(opcode::lookup, name_call{{}, d, "f"})->status, error_code::access_denied);
  const auto list = [&](const credential& who) {
    return call(opcode::readdir, read_call{who, d, 0, 0, 500, 0, 0}, {}, 500)->status;
  };
  EXPECT_EQ(list({}), error_code::access_denied);
  EXPECT_EQ(list(other_), error_code::access_denied);
  EXPECT_EQ(list(owner_), error_code::ok);
  const auto maker = [&](const credential& who, std::string_view name) {
    make_call m = made(open, name, 0644);
    m.who = who;
    return call(opcode::mknod, m)->answered<entry_answer>().attr;
  };
  EXPECT_EQ(maker({}, "a").uid, 77u);
  EXPECT_EQ(maker({}, "b").gid, 78u);
  EXPECT_EQ(maker(owner_, "c").uid, 10u);
  EXPECT_EQ(maker(user(10, 0), "d").gid, 78u);
  struct node {
    unsigned mode, rdev;
    error_code status;
  };
  for (const auto& [mode, rdev, status] :
       {node{S_IFBLK, 0x801, error_code::not_permitted},
        node{S_IFCHR, 0x103, error_code::not_permitted}, node{S_IFCHR, 0, error_code::ok},
        node{S_IFIFO, 0, error_code::ok}}) {
    const std::string name = "node " + std::to_string(mode) + " " + std::to_string(rdev);
    make_call m = made(open, name, mode);
    m.who = {};
    m.rdev = rdev;
    EXPECT_EQ(call(opcode::mknod, m)->status, status) << mode << " " << rdev;
  }
  EXPECT_EQ(call(opcode::lookup, name_call{user(12, 22, 0, power::dac_override), d, "f"})->status,
            error_code::access_denied) << "nor has anybody root's powers";
  options_.rules.squash.mode = squash_mode::all;
  restart();
  EXPECT_EQ(maker(owner_, "e").uid, 77u);
}

TEST_F(Identity, NothingIsChangedInAReadOnlyVolume) {
  const std::uint64_t f = create(root_inode, "f");
  write(f, 0, "text");
  options_.rules.read_only = true;
  restart();
  EXPECT_EQ(read(f, 0, 4), "text");
  EXPECT_EQ(open_as({}, f, O_RDONLY), error_code::ok);
  EXPECT_EQ(open_as({}, f, O_RDWR), error_code::read_only);
  EXPECT_EQ(write(f, 0, "x")->status, error_code::read_only);
  EXPECT_EQ(unlink(root_inode, "f"), error_code::read_only);
  EXPECT_EQ(truncate(f, 0), error_code::read_only);
  EXPECT_EQ(set_acl(f, "1", "user.a"), error_code::read_only);
  EXPECT_EQ(stat(f).size, 4u);
}

TEST_F(Identity, AccessTimesFollowRelatime) {
  const std::uint64_t f = create(root_inode, "f");
  write(f, 0, "text");
  const auto after_a_read = [&] {
    time_.advance(ns_per_s);
    (void)read(f, 0, 4);
    return stat(f);
  };
  const attributes before = stat(f);
  EXPECT_EQ(call(opcode::open, open_call{{}, f, 900, 0})->answered<attr_answer>().atime_due, 1);
  const attributes first = after_a_read();
  EXPECT_GT(first.atime_ns, before.mtime_ns);
  EXPECT_EQ(first.change, before.change) << "cached pages stay good";
  EXPECT_EQ(first.ctime_ns, before.ctime_ns);
  EXPECT_EQ(call(opcode::open, open_call{{}, f, 901, 0})->answered<attr_answer>().atime_due, 0);
  EXPECT_EQ(after_a_read().atime_ns, first.atime_ns);
  time_.advance(10 * ns_per_s);
  EXPECT_EQ(stat(f).change, before.change);
  restart();
  EXPECT_EQ(stat(f).atime_ns, first.atime_ns) << "it was saved";
  write(f, 0, "more");
  const attributes second = after_a_read();
  EXPECT_GT(second.atime_ns, first.atime_ns);
  EXPECT_EQ(setattr_as({}, f, set_attr::atime), error_code::ok);
  EXPECT_EQ(stat(f).atime_ns, 0) << "what is set counts";
  EXPECT_GT(after_a_read().atime_ns, 0);
  const attributes third = stat(f);
  time_.advance(86'400 * ns_per_s);
  EXPECT_GT(after_a_read().atime_ns, third.atime_ns);
  write(f, 0, "last");
  const std::int64_t kept = stat(f).atime_ns;
  EXPECT_EQ(call(opcode::read, read_call{{}, f, 0, 0, 4, 0, 1}, {}, 4)->status, error_code::ok);
  EXPECT_EQ(stat(f).atime_ns, kept) << "O_NOATIME";
  const std::int64_t of_root = stat(root_inode).atime_ns;
  EXPECT_EQ(call(opcode::readdir, read_call{{}, root_inode, 0, 0, 4096, 0, 1}, {}, 4096)->status,
            error_code::ok);
  EXPECT_EQ(stat(root_inode).atime_ns, of_root) << "nodiratime";
  EXPECT_EQ(call(opcode::readdir, read_call{{}, root_inode, 0, 0, 4096, 0, 0}, {}, 4096)->status,
            error_code::ok);
  EXPECT_GT(stat(root_inode).atime_ns, of_root);
  time_.advance(10 * ns_per_s);
  options_.rules.relatime = false;
  restart();
  (void)after_a_read();
  EXPECT_EQ(stat(f).atime_ns, kept);
}

}  // namespace
}  // namespace tangelo
