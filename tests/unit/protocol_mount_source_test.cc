#include <gtest/gtest.h>

#include "protocol/mount_source.h"

namespace tangelo {
namespace {

TEST(MountSource, NamesAddressesWithPortsAndAVolume) {
  const auto one = parse_mount_source("127.0.0.1:/v");
  ASSERT_TRUE(one);
  EXPECT_EQ(one->addresses, std::vector<std::string>{"127.0.0.1:7471"});
  EXPECT_EQ(one->volume, "v");
  const auto many = parse_mount_source("a:1,b,[::1]:99,[fe80::2]:/home-2");
  ASSERT_TRUE(many);
  EXPECT_EQ(many->addresses,
            (std::vector<std::string>{"a:1", "b:7471", "[::1]:99", "[fe80::2]:7471"}));
  EXPECT_EQ(many->volume, "home-2");
}

TEST(MountSource, RefusesEverythingElse) {
  for (const char* text :
       {"", "host", "host:7471", ":/v", "host:/", "host:/a/b", "host:0:/v", "host:65536:/v",
        "host:x:/v", "a,,b:/v", "a:1:2:/v", "[::1:/v", "[]:/v", "ho st:/v", "host:/.v", "/dir"})
    EXPECT_FALSE(parse_mount_source(text)) << text;
}

}  // namespace
}  // namespace tangelo
