// The configuration file of one mount, and the words of a mount.toml.
#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>

#include "watchdog/config.h"
#include "watchdog/mount_file.h"

namespace tangelo {
namespace {

class ConfigTest : public ::testing::Test {
 protected:
  void SetUp() override {
    char root[] = "/tmp/tangelo-unit-XXXXXX";
    ASSERT_NE(::mkdtemp(root), nullptr);
    root_ = root;
    path_ = root_ + "/mnt.toml";
  }
  void TearDown() override { EXPECT_EQ(std::system(("rm -r " + root_).c_str()), 0); }
  outcome<mount_config> read(const std::string& text) {
    std::ofstream(path_) << text;
    return read_mount_config(path_);
  }
  std::string root_;
  std::string path_;
};

TEST_F(ConfigTest, NamesSourceMountPointAndOptions) {
  const auto c =
      read("source = \"h:/v\"\nmount_point = \"/mnt\"\noptions = [\"ro\", \"noatime\"]\n");
  ASSERT_TRUE(c);
  EXPECT_EQ(c->source, "h:/v");
  EXPECT_EQ(c->mount_point, "/mnt");
  EXPECT_EQ(c->options, (std::vector<std::string>{"ro", "noatime"}));
}

TEST_F(ConfigTest, RefusesWhatItDoesNotKnowAndSaysWhere) {
  const std::string good = "source = \"h:/v\"\nmount_point = \"/mnt\"\n";
  for (const char* bad : {"bogus = 1\n", "options = \"ro\"\n", "options = [1]\n", "x = [\n"}) {
    const auto c = read(good + bad);
    ASSERT_FALSE(c) << bad;
    EXPECT_EQ(c.error().code, exit_code::usage);
    EXPECT_TRUE(c.error().text.starts_with(path_ + ":3:")) << c.error().text;
  }
  EXPECT_FALSE(read("source = \"h:/v\"\n"));
  EXPECT_FALSE(read_mount_config(root_ + "/not-there"));
}

TEST_F(ConfigTest, PointsAtTheWordThatIsWrong) {
  const std::string good = "source = \"h:/v\"\nmount_point = \"/mnt\"\n";
  EXPECT_EQ(read(good + "options = [\"ro\",\n  \"red\"]\n").error().text,
            path_ + ":4:3: mount option 'red' is unknown");
  const auto pair = read(good + "options = [\"fast_io_fail_tmo=9\", \"dev_loss_tmo=5\"]\n");
  EXPECT_TRUE(pair.error().text.starts_with(path_ + ":3:11: ")) << pair.error().text;
  EXPECT_TRUE(read("source = \"v\"\n").error().text.starts_with(path_ + ":1:10: source 'v'"));
}

TEST(MountFileOptions, AreReadAsTheyWereWrittenAndNeverMatter) {
  watchdog_settings s;
  s.options = *parse_mount_options({"ro", "x-odd=\"a\\b\""});
  EXPECT_EQ(options_in(mount_file_text(s, {})), s.options.words);
  for (const char* text : {"", "options = 3", "options = [", "other = 1"})
    EXPECT_TRUE(options_in(text).empty()) << text;
}

}  // namespace
}  // namespace tangelo
