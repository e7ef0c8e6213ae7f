// pair: the same system call in two directories, on a mount and on a local filesystem, with the
// results compared. The local filesystem is the model.
//
// A pair belongs to one process. The first difference ends it: it prints the seed, the operations
// that led to it, and what either side said.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <string>
#include <vector>

namespace conformance {

class prng {
 public:
  explicit prng(std::uint64_t seed) : state_(seed * 0x9e3779b97f4a7c15u + 1) {}
  std::uint64_t next();
  std::uint64_t below(std::uint64_t n) { return next() % n; }
  bool one_in(std::uint64_t n) { return below(n) == 0; }

 private:
  std::uint64_t state_;
};

// One side of a pair: a directory, and the files that are open below it.
struct side {
  int dir = -1;
  std::vector<int> files;  // -1: not open
};

class pair {
 public:
  pair(const std::string& mounted, const std::string& local, std::uint64_t seed);
  // `call` returns what there is to compare, as text.
  void compare(const std::string& what, const std::function<std::string(side&)>& call);
  // The same, and what either said is told: the mount first.
  std::string agreed() const { return last_; }
  side& mounted() { return sides_[0]; }
  side& local() { return sides_[1]; }
  std::uint64_t count() const { return count_; }

 private:
  side sides_[2];
  std::uint64_t seed_;
  std::uint64_t count_ = 0;
  std::deque<std::string> history_;
  std::string last_;
};

}  // namespace conformance
