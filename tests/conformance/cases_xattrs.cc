// Extended attributes, and POSIX ACLs in their form as extended attributes.
#include <linux/capability.h>
#include <sys/stat.h>
#include <sys/xattr.h>

#include <algorithm>

#include "tests/conformance/harness.h"

namespace conformance {
namespace {

std::string value_of(const char* path, const char* name) {
  char room[70000];
  const ssize_t n = ::lgetxattr(path, name, room, sizeof room);
  if (n < 0) return errno_name(errno);
  return n <= 200 ? hex(std::string(room, static_cast<std::size_t>(n)))
                  : std::to_string(n) + " bytes";
}

std::string names_of(const char* path) {
  std::string room(70000, '\0');
  const ssize_t n = ::llistxattr(path, room.data(), room.size());
  if (n < 0) return errno_name(errno);
  std::vector<std::string> names;
  for (std::size_t at = 0; at < static_cast<std::size_t>(n);) {
    names.emplace_back(room.c_str() + at);
    at += names.back().size() + 1;
  }
  std::sort(names.begin(), names.end());
  std::string text;
  for (const std::string& name : names) text += name + " ";
  return text;
}

void on_every_kind() {
  for (const std::string& kind : kinds)
    for (const user& who : {root, alice, bob})
      for (const char* name :
           {"user.a", "trusted.a", "security.a", "system.a", "other.a", "user.", "user", ""}) {
        if (kind == "none" || kind == "loop") continue;
        const context c(kind + " '" + name + "'");
        make_kind(kind, "x");
        (void)!::lchown("x", alice.uid, alice.gid);
        as(who, [name] {
          OK(::lsetxattr("x", name, "value", 5, 0));
          note("value", value_of("x", name));
          OK(::setxattr("x", name, "value", 5, 0));
          NUM(::getxattr("x", name, room_of_100(), 100));
          NUM(::lgetxattr("x", name, nullptr, 0));
          NUM(::lgetxattr("x", name, room_of_100(), 3));
          note("names", names_of("x"));
          OK(::lremovexattr("x", name));
          OK(::lremovexattr("x", name));
          OK(::removexattr("x", name));
        });
        empty_here();
      }
}

void values_and_flags() {
  make_file("f");
  make_dir("d");
  for (const char* path : {"f", "d"}) {
    const context c(path);
    OK(::setxattr(path, "user.a", "1", 1, XATTR_REPLACE));
    OK(::setxattr(path, "user.a", "1", 1, XATTR_CREATE));
    OK(::setxattr(path, "user.a", "2", 1, XATTR_CREATE));
    OK(::setxattr(path, "user.a", "3", 1, XATTR_REPLACE));
    OK(::setxattr(path, "user.a", "4", 1, XATTR_REPLACE | XATTR_CREATE));
    OK(::setxattr(path, "user.a", "4", 1, 4));
    OK(::setxattr(path, "user.none", "4", 1, XATTR_REPLACE | XATTR_CREATE));
    note("a", value_of(path, "user.a"));
    OK(::setxattr(path, "user.empty", "", 0, 0));
    NUM(::getxattr(path, "user.empty", nullptr, 0));
    NUM(::getxattr(path, "user.empty", room_of_100(), 10));
    OK(::setxattr(path, "user.zero", "\0\1\0", 3, 0));
    note("zero", value_of(path, "user.zero"));
    for (const std::size_t size : {1, 100, 1000, 2000, 3000}) {
      const std::string value(size, 'v');
      OK(::setxattr(path, "user.size", value.data(), size, 0));
      note("size", value_of(path, "user.size"));
    }
    const std::string large(65537, 'v');
    OK(::setxattr(path, "user.size", large.data(), 65537, 0));
    note("size", value_of(path, "user.size"));
    OK(::removexattr(path, "user.size"));
    for (const std::size_t size : {248, 249, 250, 251, 252, 300}) {
      const std::string name = "user." + std::string(size, 'n');
      NUM(static_cast<long>(name.size()));
      OK(::setxattr(path, name.c_str(), "v", 1, 0));
      NUM(::getxattr(path, name.c_str(), room_of_100(), 10));
      OK(::removexattr(path, name.c_str()));
    }
    note("names", names_of(path));
    NUM(::listxattr(path, nullptr, 0));
    NUM(::listxattr(path, room_of_100(), 3));
    NUM(::listxattr("none", room_of_100(), 3));
    NUM(::getxattr("none", "user.a", room_of_100(), 3));
    NUM(::getxattr(path, "user.unknown", room_of_100(), 3));
  }
  TIMES("f", ::setxattr("f", "user.a", "5", 1, 0));
  TIMES("f", ::removexattr("f", "user.a"));
  TIMES("f", ::removexattr("f", "user.a"));
  TIMES("f", ::getxattr("f", "user.zero", room_of_100(), 100));
  const int fd = ::open("f", O_RDONLY), path = ::open("f", O_PATH);
  OK(::fsetxattr(fd, "user.fd", "v", 1, 0));
  NUM(::fgetxattr(fd, "user.fd", room_of_100(), 100));
  NUM(::flistxattr(fd, nullptr, 0));
  OK(::fremovexattr(fd, "user.fd"));
  OK(::fsetxattr(path, "user.fd", "v", 1, 0));
  NUM(::fgetxattr(path, "user.fd", room_of_100(), 100));
  OK(::unlink("f"));
  OK(::fsetxattr(fd, "user.unlinked", "v", 1, 0));
  NUM(::fgetxattr(fd, "user.unlinked", room_of_100(), 100));
  ::close(fd);
  ::close(path);
  // They go along, and are gone.
  OK(::setxattr("d", "user.moves", "v", 1, 0));
  OK(::rename("d", "e"));
  note("moved", names_of("e"));
  OK(::rmdir("e"));
  make_dir("d");
  note("new", names_of("d"));
  set_mode("d", 01777);
  as(bob, [] { OK(::setxattr("d", "user.sticky", "v", 1, 0)); });
  set_mode("d", 0777);
  as(bob, [] { OK(::setxattr("d", "user.sticky", "v", 1, 0)); });
  note("d", names_of("d"));
}

// ---- ACLs ---------------------------------------------------------------------------------------

struct acl_entry {
  std::uint16_t tag, rights;
  std::uint32_t id;
};
constexpr std::uint16_t of_owner = 1, of_user = 2, of_group_owner = 4, of_group = 8, mask = 16,
                        of_others = 32;
constexpr std::uint32_t nobody_in_particular = ~0u;

std::string acl_value(const std::vector<acl_entry>& entries, std::uint32_t version = 2) {
  std::string text(reinterpret_cast<const char*>(&version), 4);
  for (const acl_entry& e : entries) {
    text.append(reinterpret_cast<const char*>(&e.tag), 2);
    text.append(reinterpret_cast<const char*>(&e.rights), 2);
    text.append(reinterpret_cast<const char*>(&e.id), 4);
  }
  return text;
}

constexpr const char* access_acl = "system.posix_acl_access";
constexpr const char* default_acl = "system.posix_acl_default";

int set_acl(const char* path, const char* name, const std::string& value) {
  return ::setxattr(path, name, value.data(), value.size(), 0);
}

std::vector<std::pair<const char*, std::string>> acls() {
  const auto none = nobody_in_particular;
  return {{"minimal",
           acl_value({{of_owner, 6, none}, {of_group_owner, 4, none}, {of_others, 0, none}})},
          {"bob may", acl_value({{of_owner, 7, none},
                                 {of_user, 6, 73002},
                                 {of_group_owner, 4, none},
                                 {mask, 6, none},
                                 {of_others, 0, none}})},
          {"bob may, masked", acl_value({{of_owner, 7, none},
                                         {of_user, 7, 73002},
                                         {of_group_owner, 7, none},
                                         {mask, 4, none},
                                         {of_others, 7, none}})},
          {"bob may not", acl_value({{of_owner, 7, none},
                                     {of_user, 0, 73002},
                                     {of_group_owner, 4, none},
                                     {mask, 7, none},
                                     {of_others, 7, none}})},
          {"group 73050", acl_value({{of_owner, 6, none},
                                     {of_group_owner, 0, none},
                                     {of_group, 7, 73050},
                                     {mask, 7, none},
                                     {of_others, 0, none}})},
          {"many", acl_value({{of_owner, 6, none},
                              {of_user, 1, 73002},
                              {of_user, 2, 73003},
                              {of_group_owner, 5, none},
                              {of_group, 6, 73001},
                              {of_group, 3, 73051},
                              {mask, 7, none},
                              {of_others, 4, none}})},
          {"no mask", acl_value({{of_owner, 6, none},
                                 {of_user, 6, 73002},
                                 {of_group_owner, 4, none},
                                 {of_others, 0, none}})},
          {"twice", acl_value({{of_owner, 6, none},
                               {of_user, 6, 73002},
                               {of_user, 4, 73002},
                               {of_group_owner, 4, none},
                               {mask, 7, none},
                               {of_others, 0, none}})},
          {"out of order",
           acl_value({{of_others, 6, none}, {of_owner, 6, none}, {of_group_owner, 4, none}})},
          {"no others", acl_value({{of_owner, 6, none}, {of_group_owner, 4, none}})},
          {"rights of 8",
           acl_value({{of_owner, 8, none}, {of_group_owner, 4, none}, {of_others, 0, none}})},
          {"version 1",
           acl_value({{of_owner, 6, none}, {of_group_owner, 4, none}, {of_others, 0, none}}, 1)},
          {"empty", acl_value({})},
          {"short", "abc"},
          {"odd", acl_value({{of_owner, 6, none}}) + "xx"}};
}

void acl_set_and_get() {
  for (const std::string kind : {"file", "dir", "fifo", "to_file"})
    for (const auto& [text, value] : acls())
      for (const char* name : {access_acl, default_acl})
        for (const user& who : {root, alice, bob}) {
          const context c(kind + " " + text + " " + (name == access_acl ? "access" : "default"));
          make_kind(kind, "x");
          (void)!::chown("x", alice.uid, alice.gid);
          as(who, [&, name = name, &value = value] {
            OK(set_acl("x", name, value));
            NUM(::getxattr("x", name, room_of_100(), 100));
            note("value", value_of("x", name));
          });
          LSTAT("x");
          note("names", names_of("x"));
          OK(::removexattr("x", name));
          note("value", value_of("x", name));
          LSTAT("x");
          empty_here();
        }
}

void acl_rights() {
  set_mode(".", 0777);
  for (const auto& [text, value] : acls())
    for (const user& who : {alice, bob, member})
      for (const std::string kind : {"file", "full"}) {
        const context c(kind + " " + text);
        make_kind(kind, "x");
        (void)!::chown("x", alice.uid, alice.gid);
        OK(set_acl("x", access_acl, value));
        as(who, [] {
          FD(::open("x", O_RDONLY));
          FD(::open("x", O_RDWR));
          FD(::open("x", O_WRONLY));
          FD(::open("x/new", O_RDWR | O_CREAT, 0644));
          OK(::access("x", R_OK));
          OK(::access("x", W_OK));
          OK(::access("x", X_OK));
          OK(::access("x/inside", R_OK));
          OK(::unlink("x/inside"));
          OK(::truncate("x", 5));
        });
        empty_here();
      }
}

void acl_and_mode() {
  for (const auto& [text, value] : acls())
    for (const mode_t mode : {0777, 0700, 0070, 0007, 0000, 0640}) {
      const context c(std::string(text) + " chmod " + octal(mode));
      make_file("x");
      OK(set_acl("x", access_acl, value));
      LSTAT("x");
      OK(::chmod("x", mode));
      LSTAT("x");
      note("value", value_of("x", access_acl));
      OK(::chown("x", 5, 5));
      note("value", value_of("x", access_acl));
      empty_here();
    }
  make_file("f");
  give("f", alice, 73050);
  set_mode("f", 02755);
  as(alice, [] { OK(set_acl("f", access_acl, acls()[1].second)); });
  LSTAT("f");
  TIMES("f", set_acl("f", access_acl, acls()[2].second));
  TIMES("f", ::removexattr("f", access_acl));
}

void acl_inheritance() {
  for (const auto& [text, value] : acls())
    for (const int masked : {0, 022, 077, 0777}) {
      const context c(std::string(text) + " umask " + octal(static_cast<mode_t>(masked)));
      make_dir("d", 02777);
      OK(set_acl("d", default_acl, value));
      for (const user& who : {root, bob})
        as(who, [masked, &who] {
          ::umask(static_cast<mode_t>(masked));
          for (const mode_t mode : {0666, 0777, 0600, 0000, 02775}) {
            const std::string name = std::string("d/") + who.name + octal(mode);
            NUM(mode);
            FD(::open(name.c_str(), O_CREAT | O_WRONLY, mode));
            LSTAT(name);
            note("access", value_of(name.c_str(), access_acl));
            const std::string dir = name + "dir";
            OK(::mkdir(dir.c_str(), mode));
            LSTAT(dir);
            note("access", value_of(dir.c_str(), access_acl));
            note("default", value_of(dir.c_str(), default_acl));
            const std::string fifo = name + "fifo";
            OK(::mkfifo(fifo.c_str(), mode));
            LSTAT(fifo);
            note("access", value_of(fifo.c_str(), access_acl));
            const std::string link = name + "link";
            OK(::symlink("x", link.c_str()));
            LSTAT(link);
          }
        });
      const int fd = ::open("d", O_TMPFILE | O_RDWR, 0666);
      if (fd >= 0) note("unnamed", fstat_of(fd));
      ::close(fd);
      empty_here();
    }
}

}  // namespace

case_list cases_of_xattrs() {
  return {{"xattr_kinds", on_every_kind}, {"xattr_values", values_and_flags},
          {"acl_set", acl_set_and_get},   {"acl_rights", acl_rights},
          {"acl_mode", acl_and_mode},     {"acl_inherit", acl_inheritance}};
}

}  // namespace conformance
