// tag_map: a small open-addressed table from transfer tag to a value, without an allocation per
// entry. Tag 0 is never stored. Pointers into it are valid until the next insert or erase.
#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

namespace tangelo {

template <class Value>
class tag_map {
 public:
  Value* find(std::uint64_t tag) noexcept {
    if (count_ == 0 || tag == 0) return nullptr;
    for (std::size_t i = home(tag); cells_[i].tag != 0; i = next(i))
      if (cells_[i].tag == tag) return &cells_[i].value;
    return nullptr;
  }
  // The value of a tag that is not in the table yet.
  Value& insert(std::uint64_t tag, Value value) {
    if ((count_ + 1) * 2 > cells_.size()) grow();
    ++count_;
    return place(tag, std::move(value));
  }
  bool erase(std::uint64_t tag) noexcept {
    if (count_ == 0 || tag == 0) return false;
    std::size_t hole = home(tag);
    while (cells_[hole].tag != tag) {
      if (cells_[hole].tag == 0) return false;
      hole = next(hole);
    }
    for (std::size_t i = next(hole); cells_[i].tag != 0; i = next(i)) {
      const std::size_t wanted = home(cells_[i].tag);
      const bool after = hole < wanted;
      const bool before = wanted <= i;
      const bool stays = hole <= i ? after && before : after || before;
      if (stays) continue;
      cells_[hole] = std::move(cells_[i]);
      hole = i;
    }
    cells_[hole] = cell{};
    --count_;
    return true;
  }
  std::size_t size() const noexcept { return count_; }

 private:
  struct cell {
    std::uint64_t tag = 0;
    Value value{};
  };

  std::size_t home(std::uint64_t tag) const noexcept {
    return static_cast<std::size_t>((tag * 0x9e3779b97f4a7c15u) >> 32) & (cells_.size() - 1);
  }
  std::size_t next(std::size_t i) const noexcept { return (i + 1) & (cells_.size() - 1); }
  Value& place(std::uint64_t tag, Value value) {
    std::size_t i = home(tag);
    while (cells_[i].tag != 0) i = next(i);
    cells_[i].tag = tag;
    cells_[i].value = std::move(value);
    return cells_[i].value;
  }
  void grow() {
    std::vector<cell> old(cells_.empty() ? 16 : cells_.size() * 2);
    old.swap(cells_);
    for (cell& c : old)
      if (c.tag != 0) (void)place(c.tag, std::move(c.value));
  }

  std::vector<cell> cells_;
  std::size_t count_ = 0;
};

}  // namespace tangelo
