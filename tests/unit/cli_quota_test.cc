#include <gtest/gtest.h>

#include "cli/arguments.h"
#include "cli/quota_text.h"

namespace tangelo {
namespace {

TEST(QuotaText, SizesAreRead) {
  EXPECT_EQ(parse_size("4096"), 4096u);
  EXPECT_EQ(parse_size("10K"), 10'240u);
  EXPECT_EQ(parse_size("10g"), std::uint64_t{10} << 30);
  EXPECT_EQ(parse_size("1.5T"), std::uint64_t{3} << 39);
  EXPECT_EQ(parse_size("2MiB"), std::uint64_t{2} << 20);
  EXPECT_EQ(parse_size("none"), 0u);
  EXPECT_EQ(parse_size("0"), 0u);
  for (const char* bad : {"", "G", "x", "-1", "1.G", "1.5", "1,5G", "10 G", "16E",
                          "99999999999999999999", "1.2345G"})
    EXPECT_EQ(parse_size(bad), std::nullopt) << bad;
}

TEST(QuotaText, SizesAreShown) {
  EXPECT_EQ(size_text(0), "0");
  EXPECT_EQ(size_text(1023), "1023");
  EXPECT_EQ(size_text(4096), "4K");
  EXPECT_EQ(size_text(10'000), "9.8K");
  EXPECT_EQ(size_text(std::uint64_t{10} << 30), "10G");
  EXPECT_EQ(size_text((std::uint64_t{500} << 30) + 1), "500G");
  EXPECT_EQ(size_text(UINT64_MAX), "16.0E");
}

TEST(QuotaText, AnswersAreReadAndShown) {
  std::optional<quota_view> q =
      parse_quota("bytes=10240 inodes=0 used_bytes=4096 used_inodes=3 root=7 state=counting");
  ASSERT_TRUE(q.has_value());
  q->kind = "tree";
  EXPECT_EQ(quota_line(*q),
            "tree inode 7: 4K of 10K, 3 (no limit) inodes; what is in it is still being counted, "
            "no limit holds yet\n");
  EXPECT_EQ(quota_json(*q),
            "{\"kind\":\"tree\",\"id\":0,\"name\":\"\",\"bytes\":10240,\"inodes\":0,\"used_bytes\":"
            "4096,\"used_inodes\":3,\"root\":7,\"counting\":true}\n");
  EXPECT_FALSE(parse_quota("").has_value());
  EXPECT_FALSE(parse_quota("bytes").has_value());
  EXPECT_FALSE(parse_quota("bytes=x").has_value());
  EXPECT_TRUE(parse_quota("bytes=1 later=2").has_value()) << "what a newer server adds";
  const auto all = parse_quota_list("user 5 bytes=1 inodes=2\ngroup 6 bytes=0 inodes=0\n");
  ASSERT_TRUE(all.has_value());
  ASSERT_EQ(all->size(), 2u);
  EXPECT_EQ((*all)[0].kind, "user");
  EXPECT_EQ((*all)[1].id, 6u);
  EXPECT_EQ(parse_quota_list("user x bytes=1\n"), std::nullopt);
}

outcome<arguments> parse(std::vector<const char*> words) {
  words.insert(words.begin(), "tangelo");
  return parse_arguments(static_cast<int>(words.size()), const_cast<char**>(words.data()));
}

TEST(QuotaArguments, AreParsed) {
  const auto a = parse({"quota", "set", "/mnt/d", "--bytes", "10G", "--user", "ann"});
  ASSERT_TRUE(a.has_value());
  const auto& q = std::get<quota_arguments>(*a);
  EXPECT_EQ(q.what, quota_arguments::verb::set);
  EXPECT_EQ(q.path, "/mnt/d");
  EXPECT_EQ(q.bytes, "10G");
  EXPECT_EQ(q.user, "ann");
  EXPECT_FALSE(parse({"quota"}).has_value());
  EXPECT_FALSE(parse({"quota", "show"}).has_value());
  EXPECT_FALSE(parse({"quota", "show", "/mnt", "--user", "a", "--group", "b"}).has_value());
  EXPECT_TRUE(parse({"quota", "list", "/mnt", "--json"}).has_value());
}

}  // namespace
}  // namespace tangelo
