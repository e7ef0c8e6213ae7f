// Arenas of older layouts, as images in tests/unit/images: the first bytes of both memfds as the
// processes of that time wrote them (a mount with one op under way), to be made sparse to their
// whole size. Each is refused, and left as it is for processes that know it.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <cstdio>
#include <string>
#include <vector>

#include "protocol/arena.h"

namespace tangelo {
namespace {

std::vector<char> bytes_of_file(const std::string& name) {
  std::vector<char> bytes(1 << 20);
  const std::string path = std::string(TANGELO_TEST_IMAGES) + "/" + name;
  FILE* f = std::fopen(path.c_str(), "rb");
  EXPECT_NE(f, nullptr) << path;
  if (f == nullptr) return {};
  bytes.resize(std::fread(bytes.data(), 1, bytes.size(), f));
  (void)std::fclose(f);
  return bytes;
}

// What the image was cut from.
unique_fd memfd_of(const std::vector<char>& image, std::uint64_t size) {
  unique_fd fd(::memfd_create("old", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  EXPECT_EQ(::ftruncate(fd.get(), static_cast<off_t>(size)), 0);
  EXPECT_EQ(::pwrite(fd.get(), image.data(), image.size(), 0),
            static_cast<ssize_t>(image.size()));
  EXPECT_EQ(::fcntl(fd.get(), F_ADD_SEALS, F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL), 0);
  return fd;
}

template <class Map>
void expect_refused(const std::string& name, std::uint32_t version) {
  SCOPED_TRACE(name);
  const std::vector<char> image = bytes_of_file(name);
  arena_header header;
  ASSERT_GE(image.size(), sizeof header);
  std::memcpy(static_cast<void*>(&header), image.data(), sizeof header);
  ASSERT_EQ(header.magic, arena_magic);
  ASSERT_EQ(header.layout_version, version);
  const unique_fd memfd = memfd_of(image, header.total_size);
  for (const arena_access access : {arena_access::read_only, arena_access::read_write}) {
    const outcome<Map> map =
        Map::map(unique_fd(::fcntl(memfd.get(), F_DUPFD_CLOEXEC, 0)), access);
    ASSERT_FALSE(map);
    EXPECT_EQ(map.error().code, exit_code::version);
    EXPECT_NE(map.error().text.find("layout version " + std::to_string(version)),
              std::string::npos)
        << map.error().text;
  }
  std::vector<char> after(image.size());
  EXPECT_EQ(::pread(memfd.get(), after.data(), after.size(), 0),
            static_cast<ssize_t>(after.size()));
  EXPECT_EQ(after, image);
  struct stat st {};
  ASSERT_EQ(::fstat(memfd.get(), &st), 0);
  EXPECT_EQ(static_cast<std::uint64_t>(st.st_size), header.total_size);
}

// Before a front end could have a successor.
TEST(Layouts, TheFirstIsRefusedAndLeftAsItIs) {
  expect_refused<fs_arena_map>("layout1_front_end.bin", 1);
  expect_refused<shared_arena_map>("layout1_shared.bin", 1);
}

// Before changes were answered ahead of their commit: it has no replay log.
TEST(Layouts, TheSecondIsRefusedAndLeftAsItIs) {
  expect_refused<fs_arena_map>("layout2_front_end.bin", 2);
  expect_refused<shared_arena_map>("layout2_shared.bin", 2);
}

// Before locks were the server's.
TEST(Layouts, TheThirdIsRefusedAndLeftAsItIs) {
  expect_refused<fs_arena_map>("layout3_front_end.bin", 3);
  expect_refused<shared_arena_map>("layout3_shared.bin", 3);
}

// Before file data had guards: it has no trailers.
TEST(Layouts, TheFourthIsRefusedAndLeftAsItIs) {
  expect_refused<fs_arena_map>("layout4_front_end.bin", 4);
  expect_refused<shared_arena_map>("layout4_shared.bin", 4);
}

TEST(Layouts, EveryOlderOneHasAnImage) {
  for (std::uint32_t version = 1; version < arena_layout_version; ++version)
    EXPECT_FALSE(bytes_of_file("layout" + std::to_string(version) + "_front_end.bin").empty());
}

}  // namespace
}  // namespace tangelo
