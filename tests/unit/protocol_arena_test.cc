// arena: what is not exactly our arena is refused, and a read-only copy stays read-only.
#include "protocol/arena.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "tests/unit/arena_fixture.h"

namespace tangelo {
namespace {

constexpr int all_seals = F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL;

unique_fd copy_of(const unique_fd& fd) { return unique_fd(::fcntl(fd.get(), F_DUPFD_CLOEXEC, 0)); }

// A memfd like the front end's arena, changed by `change` before it is sealed.
template <class F>
unique_fd forged(std::size_t size, int seals, F change) {
  outcome<arena_fds> real = make_arenas();
  arena_header h;
  EXPECT_EQ(::pread(real->fs.get(), &h, sizeof h, 0), static_cast<ssize_t>(sizeof h));
  change(h);
  unique_fd fd(::memfd_create("forged", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  EXPECT_EQ(::ftruncate(fd.get(), static_cast<off_t>(size)), 0);
  if (size >= sizeof h) {
    EXPECT_EQ(::pwrite(fd.get(), &h, sizeof h, 0), static_cast<ssize_t>(sizeof h));
  }
  if (seals != 0) {
    EXPECT_EQ(::fcntl(fd.get(), F_ADD_SEALS, seals), 0);
  }
  return fd;
}

bool is_refused(unique_fd fd) {
  const outcome<fs_arena_map> m = fs_arena_map::map(std::move(fd), arena_access::read_only);
  if (!m) {
    EXPECT_FALSE(m.error().text.empty());
  }
  return !m;
}

TEST(Arena, IsMadeSealedPrivateAndMappableByBothAccesses) {
  outcome<arena_fds> fds = make_arenas();
  ASSERT_TRUE(fds);
  for (const unique_fd* fd : {&fds->fs, &fds->shared}) {
    struct stat st {};
    ASSERT_EQ(::fstat(fd->get(), &st), 0);
    EXPECT_EQ(st.st_mode & 0777u, 0600u);
    EXPECT_EQ(::fcntl(fd->get(), F_GET_SEALS), all_seals);
    EXPECT_NE(::ftruncate(fd->get(), 4096), 0);
    EXPECT_LT(st.st_blocks * 512, 1 << 20) << "an idle arena is sparse";
  }
  EXPECT_TRUE(fs_arena_map::map(copy_of(fds->fs), arena_access::read_only));
  EXPECT_TRUE(fs_arena_map::map(copy_of(fds->fs), arena_access::read_write));
  EXPECT_TRUE(shared_arena_map::map(copy_of(fds->shared), arena_access::read_write));
}

TEST(Arena, RefusesTheOtherArena) {
  outcome<arena_fds> fds = make_arenas();
  ASSERT_TRUE(fds);
  EXPECT_TRUE(is_refused(copy_of(fds->shared)));
  EXPECT_FALSE(shared_arena_map::map(copy_of(fds->fs), arena_access::read_only));
}

TEST(Arena, RefusesWrongSizeMagicVersionAndOffsets) {
  const auto same = [](arena_header&) {};
  EXPECT_FALSE(is_refused(forged(sizeof(fs_arena), all_seals, same)));
  EXPECT_TRUE(is_refused(forged(sizeof(fs_arena) - 4096, all_seals, same)));
  EXPECT_TRUE(is_refused(forged(sizeof(fs_arena) + 4096, all_seals, same)));
  EXPECT_TRUE(is_refused(forged(0, all_seals, same)));
  EXPECT_TRUE(is_refused(forged(10, all_seals, same)));
  const auto with = [](auto change) { return forged(sizeof(fs_arena), all_seals, change); };
  EXPECT_TRUE(is_refused(with([](arena_header& h) { h.magic ^= 1; })));
  EXPECT_TRUE(is_refused(with([](arena_header& h) { h.layout_version += 1; })));
  EXPECT_TRUE(is_refused(with([](arena_header& h) { h.total_size -= 1; })));
  EXPECT_TRUE(is_refused(with([](arena_header& h) { h.ops_offset += 64; })));
  EXPECT_TRUE(is_refused(with([](arena_header& h) { h.op_count *= 2; })));
}

TEST(Arena, NamesBothVersionsWhenTheyDiffer) {
  const outcome<fs_arena_map> m = fs_arena_map::map(
      forged(sizeof(fs_arena), all_seals, [](arena_header& h) { h.layout_version = 7; }),
      arena_access::read_only);
  ASSERT_FALSE(m);
  EXPECT_EQ(m.error().code, exit_code::version);
  EXPECT_NE(m.error().text.find('7'), std::string::npos);
}

TEST(Arena, RefusesWhatCouldStillBeShrunkUnderIt) {
  const auto same = [](arena_header&) {};
  for (const int seals : {0, F_SEAL_GROW, F_SEAL_SHRINK, F_SEAL_GROW | F_SEAL_SEAL})
    EXPECT_TRUE(is_refused(forged(sizeof(fs_arena), seals, same))) << seals;
}

TEST(Arena, RefusesDescriptorsThatAreNoMemfd) {
  EXPECT_TRUE(is_refused(unique_fd(::open("/dev/null", O_RDWR | O_CLOEXEC))));
  EXPECT_TRUE(is_refused(unique_fd(::open("/proc/self/exe", O_RDONLY | O_CLOEXEC))));
  EXPECT_TRUE(is_refused(unique_fd()));
}

TEST(Arena, AReadOnlyCopyCannotBeWrittenNorMappedForWriting) {
  outcome<arena_fds> fds = make_arenas();
  ASSERT_TRUE(fds);
  outcome<unique_fd> copy = read_only_copy(fds->fs.get());
  ASSERT_TRUE(copy);
  char byte = 0;
  EXPECT_LT(::pwrite(copy->get(), &byte, 1, 0), 0);
  EXPECT_EQ(::mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, copy->get(), 0), MAP_FAILED);
  void* p = ::mmap(nullptr, 4096, PROT_READ, MAP_SHARED, copy->get(), 0);
  ASSERT_NE(p, MAP_FAILED);
  EXPECT_NE(::mprotect(p, 4096, PROT_READ | PROT_WRITE), 0);
  ::munmap(p, 4096);
  EXPECT_FALSE(fs_arena_map::map(copy_of(*copy), arena_access::read_write));
  EXPECT_TRUE(fs_arena_map::map(copy_of(*copy), arena_access::read_only));
}

TEST(Arena, WhatOneMappingWritesTheOtherReads) {
  outcome<arena_fds> fds = make_arenas();
  ASSERT_TRUE(fds);
  outcome<unique_fd> reader = read_only_copy(fds->fs.get());
  outcome<fs_arena_map> out = fs_arena_map::map(copy_of(fds->fs), arena_access::read_write);
  outcome<fs_arena_map> in = fs_arena_map::map(*std::move(reader), arena_access::read_only);
  ASSERT_TRUE(out && in);
  (*out)->next_xid.store(42);
  EXPECT_EQ((*in)->next_xid.load(), 42u);
}

}  // namespace
}  // namespace tangelo
