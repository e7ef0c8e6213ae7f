// What mount(8) asks for, and what becomes of it.
#include <gtest/gtest.h>
#include <sys/mount.h>

#include "cli/mount_helper.h"
#include "cli/mounts.h"
#include "cli/service_mount.h"

namespace tangelo {

namespace {

using words = std::vector<std::string>;

helper_call call_of(const words& given) {
  outcome<helper_call> call = parse_helper_call(given);
  EXPECT_TRUE(call.has_value());
  return call ? *call : helper_call{};
}

TEST(Mounts, AreListedOnceHoweverManyBindMountsThereAre) {
  const std::string type(mount_type);
  const std::vector<mount_entry> table{{"/", "ext4", "/dev/x", "8:1"},
                                       {"/bind", type, "s:/v", "0:40"},
                                       {"/a", type, "s:/v", "0:40"},
                                       {"/b/sub", type, "s:/w", "0:41"},
                                       {"/a/again", type, "s:/v", "0:40"}};
  const auto only_a = [](const mount_ref& m) { return m.name == "a"; };
  const std::vector<mount_ref> mounts = mounts_in(table, only_a);
  ASSERT_EQ(mounts.size(), 2u);
  EXPECT_EQ(mounts[0].mount_point, "/a") << "that one has its processes' directory";
  EXPECT_EQ(mounts[1].mount_point, "/b/sub");
  // Nothing is known of any: each filesystem is told once, by its oldest mount.
  const std::vector<mount_ref> unknown = mounts_in(table, [](const auto&) { return false; });
  ASSERT_EQ(unknown.size(), 2u);
  EXPECT_EQ(unknown[0].mount_point, "/bind");
}

TEST(MountHelper, TakesTheWordsOfMount8InEveryOrder) {
  for (const words& given : {words{"s:/v", "/d", "-nsv", "-o", "ro,ac=3", "-t", "tangelo"},
                             words{"-nvoro,ac=3", "s:/v", "-t", "tangelo", "/d"},
                             words{"-o", "ro", "s:/v", "-v", "/d", "-o", "ac=3"}}) {
    const helper_call call = call_of(given);
    EXPECT_EQ(call.mount.source, "s:/v");
    EXPECT_EQ(call.mount.directory, "/d");
    EXPECT_EQ(call.mount.options, (words{"ro", "ac=3"}));
    EXPECT_FALSE(call.mount.quiet);
    EXPECT_FALSE(call.fake);
  }
  EXPECT_TRUE(call_of({"s:/v", "/d"}).mount.quiet);
  EXPECT_TRUE(call_of({"s:/v", "/d", "-f"}).fake);
  EXPECT_EQ(call_of({"s:/v", "/d", "-N", "17"}).mount_namespace, "17");
}

TEST(MountHelper, RefusesWhatItDoesNotUnderstandWithTheExitCodeOfUsage) {
  for (const words& given : {words{"s:/v"}, words{"s:/v", "/d", "/e"}, words{"s:/v", "/d", "-x"},
                             words{"s:/v", "/d", "-o"}}) {
    const outcome<helper_call> call = parse_helper_call(given);
    ASSERT_FALSE(call.has_value());
    EXPECT_EQ(mount_exit_code(call.error()), 1);
  }
  EXPECT_EQ(mount_exit_code({exit_code::unreachable, "", ""}), 32);
}

TEST(MountHelper, LeavesOutWhatIsForOthers) {
  const helper_call call = call_of(
      {"s:/v", "/d", "-o",
       "defaults,_netdev,nofail,noauto,x-systemd.automount,X-a=b,comment=c,user_id=0,rw,nolock"});
  EXPECT_EQ(call.mount.options, (words{"rw", "nolock"}));
}

TEST(MountHelper, WhoeverMayMountBringsNoRights) {
  EXPECT_EQ(call_of({"s:/v", "/d", "-o", "user,exec"}).mount.options,
            (words{"noexec", "nosuid", "nodev", "exec"}));
  EXPECT_EQ(call_of({"s:/v", "/d", "-o", "owner"}).mount.options, (words{"nosuid", "nodev"}));
}

TEST(Remount, ChangesWhatCanChangeAndRefusesTheRest) {
  const helper_call call = call_of({"s:/v", "/d", "-o",
                                    "remount,rw,ro,nosuid,exec,suid,relatime,user_id=0,nolock,"
                                    "dev_loss_tmo=77,commit=sync"});
  EXPECT_TRUE(call.remount);
  const outcome<remount_change> change = remount_of(call.mount.options, {"nolock"});
  ASSERT_TRUE(change.has_value());
  EXPECT_EQ(change->flags, static_cast<unsigned long>(MS_RDONLY | MS_NODEV | MS_RELATIME));
  EXPECT_EQ(change->policy, (words{"dev_loss_tmo=77", "commit=sync"}));
  EXPECT_FALSE(remount_of(call.mount.options, {}).has_value()) << "nolock would be new";
}

TEST(Remount, ReadsWhatAMountWasMadeWith) {
  EXPECT_EQ(words_in_mount_file("version = 1\nsource = \"a\"\noptions = [\"ro\", \"x=\\\"]\"]\n"),
            (words{"ro", "x=\"]"}));
  EXPECT_EQ(words_in_mount_file("version = 1\noptions = []\n"), words{});
  EXPECT_EQ(words_in_mount_file("nothing\noptions = [\"cut"), words{});
}

TEST(ServiceMount, DescribesTheMountInToml) {
  EXPECT_EQ(asked_text({"n", "/mnt/a \"b\"", "s:/v"}, {"ro", "a=\\"}, "/proc/1/fd/2"),
            "source = \"s:/v\"\nmount_point = \"/mnt/a \\\"b\\\"\"\n"
            "options = [\"ro\", \"a=\\\\\"]\nthrough = \"/proc/1/fd/2\"\n");
}

}  // namespace

}  // namespace tangelo
