#include "tests/conformance/pair.h"

#include <fcntl.h>
#include <unistd.h>

#include <cstdio>

#include "tests/conformance/harness.h"

namespace conformance {

namespace {
constexpr std::size_t history_max = 60;
constexpr std::size_t open_files_max = 8;
}  // namespace

std::uint64_t prng::next() {
  state_ ^= state_ << 13;
  state_ ^= state_ >> 7;
  state_ ^= state_ << 17;
  return state_ * 0x2545f4914f6cdd1du >> 8;
}

pair::pair(const std::string& mounted, const std::string& local, std::uint64_t seed) : seed_(seed) {
  const std::string* dirs[2] = {&mounted, &local};
  for (int i = 0; i < 2; ++i) {
    sides_[i].dir = ::open(dirs[i]->c_str(), O_RDONLY | O_DIRECTORY);
    sides_[i].files.assign(open_files_max, -1);
    if (sides_[i].dir >= 0) continue;
    std::perror(dirs[i]->c_str());
    ::_exit(2);
  }
}

void pair::compare(const std::string& what, const std::function<std::string(side&)>& call) {
  ++count_;
  last_ = call(sides_[0]);
  const std::string expected = call(sides_[1]);
  history_.push_back(std::to_string(count_) + " " + what + " = " + expected.substr(0, 100));
  if (history_.size() > history_max) history_.pop_front();
  if (last_ == expected) return;
  std::string text;
  for (const std::string& line : history_) text += "  " + line + "\n";
  text += "DIFFERENT after " + std::to_string(count_) + " operations with seed " +
          std::to_string(seed_) + ": " + what + ": mount " + last_ + ", local " + expected + "\n";
  (void)!::write(STDOUT_FILENO, text.data(), text.size());
  ::_exit(1);
}

}  // namespace conformance
