#include <gtest/gtest.h>

#include <string>

#include "base/mount_name.h"
#include "base/mount_table.h"

namespace tangelo {
namespace {

// The right-hand sides are what `systemd-escape --path` 252 prints.
TEST(MountName, IsWhatSystemdEscapePrints) {
  EXPECT_EQ(mount_name_of("/"), "-");
  EXPECT_EQ(mount_name_of("/mnt"), "mnt");
  EXPECT_EQ(mount_name_of("/mnt/data"), "mnt-data");
  EXPECT_EQ(mount_name_of("//mnt//data//"), "mnt-data");
  EXPECT_EQ(mount_name_of("/mnt/./data"), "mnt-data");
  EXPECT_EQ(mount_name_of("/mnt/a-b"), "mnt-a\\x2db");
  EXPECT_EQ(mount_name_of("/a b/c_d:e.f"), "a\\x20b-c_d:e.f");
  EXPECT_EQ(mount_name_of("/.hidden/.x"), "\\x2ehidden-.x");
  EXPECT_EQ(mount_name_of("/\xc3\xa4"), "\\xc3\\xa4");
}

TEST(MountName, IsEmptyForWhatIsNoAbsolutePath) {
  for (const char* path : {"", "mnt", "./mnt", "/mnt/../etc"}) EXPECT_EQ(mount_name_of(path), "");
}

TEST(MountName, LeadsBackToThePath) {
  for (const char* path : {"/", "/mnt", "/a b/c-d/.e", "/\xc3\xa4/x"})
    EXPECT_EQ(mount_point_of(mount_name_of(path)), path);
  for (const char* name : {"", "a/b", "a\\x2", "a\\xzz", "a\\x00"})
    EXPECT_EQ(mount_point_of(name), "");
}

TEST(AbsolutePath, IsMadeFromLettersAlone) {
  EXPECT_EQ(absolute_path("x", "/a/b"), "/a/b/x");
  EXPECT_EQ(absolute_path("../x/./y//", "/a/b"), "/a/x/y");
  EXPECT_EQ(absolute_path("/../..", "/a"), "/");
  EXPECT_EQ(absolute_path("", "/a"), "/a");
}

constexpr const char* table_text =
    "22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/root rw\n"
    "42 22 0:39 / /mnt/a\\040b rw,nosuid - fuse.tangelo 127.0.0.1:7471:/v rw,user_id=0\n"
    "43 22 0:40 / /mnt/x rw shared:7 master:3 - fuse.tangelo h:/w rw\n"
    "garbage\n"
    "44 22 0:41 / /mnt/x rw - tmpfs tmpfs rw\n"
    "45 22 0:42 / /cut rw - \n";

TEST(MountTable, IsReadWithItsEscapesAndOptionalFields) {
  const auto table = parse_mount_table(table_text);
  ASSERT_EQ(table.size(), 4u);
  EXPECT_EQ(table[1].mount_point, "/mnt/a b");
  EXPECT_EQ(table[1].type, mount_type);
  EXPECT_EQ(table[1].source, "127.0.0.1:7471:/v");
  EXPECT_EQ(table[1].device, "0:39");
  EXPECT_EQ(table[2].source, "h:/w");
}

TEST(MountTable, FindsTheTopmostMount) {
  const auto table = parse_mount_table(table_text);
  ASSERT_NE(find_mount(table, "/mnt/x"), nullptr);
  EXPECT_EQ(find_mount(table, "/mnt/x")->type, "tmpfs");
  EXPECT_EQ(find_mount(table, "/mnt"), nullptr);
}

}  // namespace
}  // namespace tangelo
