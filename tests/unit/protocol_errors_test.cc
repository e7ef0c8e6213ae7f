// errors: one table, each code once, and the application sees the errno that the store saw.
#include "protocol/errors.h"

#include <gtest/gtest.h>

#include <cerrno>
#include <set>
#include <string>

namespace tangelo {
namespace {

template <class F>
void for_each_code(F f) {
  for (std::uint32_t n = 0; n <= 0xffff; ++n) {
    const error_code code = error_of_wire(static_cast<std::uint16_t>(n));
    if (static_cast<std::uint32_t>(code) == n) f(code);
  }
}

TEST(Errors, EachCodeHasOneRowWithANameOfItsOwn) {
  std::set<std::string> names;
  std::size_t count = 0;
  for_each_code([&](error_code code) {
    ++count;
    EXPECT_EQ(row_of(code).code, code);
    EXPECT_FALSE(row_of(code).text.empty());
    EXPECT_TRUE(names.insert(std::string(name_of_error(code))).second) << name_of_error(code);
  });
  EXPECT_EQ(count, 46u);
}

TEST(Errors, FilesystemCodesComeBackFromTheirErrno) {
  for_each_code([](error_code code) {
    if (static_cast<unsigned>(code) >= 100) return;
    EXPECT_EQ(error_of_errno(errno_of(code)), code) << name_of_error(code);
  });
}

TEST(Errors, OnlySuccessHasErrnoZero) {
  for_each_code([](error_code code) {
    EXPECT_EQ(errno_of(code) == 0, code == error_code::ok) << name_of_error(code);
    EXPECT_GE(errno_of(code), 0);
    EXPECT_LT(errno_of(code), 512);  // the kernel refuses larger ones
  });
}

TEST(Errors, UnknownNumbersAndErrnosBecomeIo) {
  EXPECT_EQ(error_of_wire(0xffff), error_code::io);
  EXPECT_EQ(error_of_wire(99), error_code::io);
  EXPECT_EQ(error_of_errno(511), error_code::io);
  EXPECT_EQ(row_of(static_cast<error_code>(0x7777)).code, error_code::io);
}

TEST(Errors, FilesystemAnswersAreNeverSentAgainByTheSession) {
  for_each_code([](error_code code) {
    if (static_cast<unsigned>(code) < 100) {
      EXPECT_FALSE(row_of(code).retryable) << name_of_error(code);
    }
  });
}

}  // namespace
}  // namespace tangelo
