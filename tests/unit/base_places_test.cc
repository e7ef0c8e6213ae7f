#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <string>

#include "base/fusermount.h"
#include "base/mount_name.h"
#include "base/mount_table.h"
#include "base/private_directory.h"

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

// The file of a name has to have room for it, and its own endings.
TEST(MountName, OfALongPathIsCutAndTellsPathsApart) {
  const std::string long_path = "/" + std::string(199, 'x');
  EXPECT_EQ(mount_name_of(long_path + "x"), long_path.substr(1) + "x");
  std::string cyrillic = "/mnt";
  for (int i = 0; i < 100; ++i) cyrillic += "/\xd1\x8f";
  for (const std::string& path : {long_path + "xx", cyrillic}) {
    const std::string name = mount_name_of(path);
    EXPECT_GT(name.size(), 200u);
    EXPECT_LT(name.size(), 210u);
    EXPECT_NE(name, mount_name_of(path + "y"));
    EXPECT_EQ(name, mount_name_of(path + "//"));
    EXPECT_EQ(mount_point_of(name), "");
  }
  // No half of an escape, and the same for ever.
  EXPECT_EQ(mount_name_of("/" + std::string(188, 'x') + "-" + std::string(20, 'y')),
            std::string(188, 'x') + "_83353a9def883d43");
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
    "43 22 0:40 / /mnt/x rw shared:7 master:3 - fuse.tangelo h:/w rw,user_id=1000,group_id=5\n"
    "garbage\n"
    "44 22 0:41 / /mnt/x rw - tmpfs tmpfs rw\n"
    "45 22 0:42 / /cut rw - \n";

TEST(MountTable, KnowsWhichMountAPathIsIn) {
  const auto table = parse_mount_table(table_text);
  EXPECT_EQ(mount_around(table, "/mnt/a b/c/d")->mount_point, "/mnt/a b");
  EXPECT_EQ(mount_around(table, "/mnt/x")->type, "tmpfs");
  EXPECT_EQ(mount_around(table, "/mnt/xy")->mount_point, "/");
  EXPECT_EQ(mount_around({}, "/mnt"), nullptr);
}

TEST(MountTable, IsReadWithItsEscapesAndOptionalFields) {
  const auto table = parse_mount_table(table_text);
  ASSERT_EQ(table.size(), 4u);
  EXPECT_EQ(table[1].mount_point, "/mnt/a b");
  EXPECT_EQ(table[1].type, mount_type);
  EXPECT_EQ(table[1].source, "127.0.0.1:7471:/v");
  EXPECT_EQ(table[1].device, "0:39");
  EXPECT_EQ(table[2].source, "h:/w");
  EXPECT_EQ(table[0].user, 0u);
  EXPECT_EQ(table[1].user, 0u);
  EXPECT_EQ(table[2].user, 1000u);
}

TEST(MountTable, FindsTheTopmostMount) {
  const auto table = parse_mount_table(table_text);
  ASSERT_NE(find_mount(table, "/mnt/x"), nullptr);
  EXPECT_EQ(find_mount(table, "/mnt/x")->type, "tmpfs");
  EXPECT_EQ(find_mount(table, "/mnt"), nullptr);
}

// A directory of its own, with one place in it where things may already be.
class PrivateDirectory : public testing::Test {
 protected:
  PrivateDirectory() { place_ = std::string(::mkdtemp(base_.data())) + "/x"; }
  ~PrivateDirectory() override {
    if (::rmdir(place_.c_str()) != 0) ::unlink(place_.c_str());
    ::rmdir(base_.c_str());
  }
  std::string base_ = "/tmp/tangelo-private-test.XXXXXX";
  std::string place_;
};

TEST_F(PrivateDirectory, IsMadeAndFoundAgain) {
  EXPECT_FALSE(is_private_directory(place_, ::geteuid()));
  EXPECT_TRUE(make_private_directory(place_));
  EXPECT_TRUE(make_private_directory(place_));
  EXPECT_TRUE(is_private_directory(place_, ::geteuid()));
  EXPECT_FALSE(is_private_directory(place_, ::geteuid() + 1));
}

TEST_F(PrivateDirectory, IsNotOneThatOthersGetInto) {
  ASSERT_EQ(::mkdir(place_.c_str(), 0700), 0);
  for (const mode_t mode : {0710u, 0701u, 0720u}) {
    ::chmod(place_.c_str(), mode);
    EXPECT_FALSE(make_private_directory(place_)) << std::oct << mode;
  }
}

TEST_F(PrivateDirectory, IsNeitherALinkNorAFile) {
  ASSERT_EQ(::symlink(base_.c_str(), place_.c_str()), 0);
  EXPECT_FALSE(make_private_directory(place_));
  ::unlink(place_.c_str());
  ::close(::open(place_.c_str(), O_CREAT | O_WRONLY, 0600));
  EXPECT_FALSE(make_private_directory(place_));
}

TEST(Fusermount, GetsCommasInAValueAsPartOfIt) {
  EXPECT_EQ(fusermount_value("a:1,b:/v"), "a:1\\,b:/v");
  EXPECT_EQ(fusermount_value("a\\b"), "a\\\\b");
}

}  // namespace
}  // namespace tangelo
