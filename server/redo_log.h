// redo_log: the volume's memory of which redo records are in the store, by inode, so that they can
// be removed when the object they concern has been flushed. Loop thread only.
#pragma once

#include <cstdint>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

namespace tangelo {

class redo_log {
 public:
  struct of_inode {  // `keys` in the order written
    std::vector<std::string> keys;
    std::vector<std::size_t> sizes;
    std::size_t size = 0;
  };
  void note(std::uint64_t inode, std::string key, std::size_t size) {
    of_inode& o = inodes_[inode];
    o.keys.push_back(std::move(key));
    o.sizes.push_back(size);
    o.size += size;
    size_ += size;
  }
  // Drops all records of one inode: a later one says all that they said, or they were flushed.
  void drop(std::uint64_t inode) {
    const auto at = inodes_.find(inode);
    if (at == inodes_.end()) return;
    size_ -= at->second.size;
    inodes_.erase(at);
  }
  const std::vector<std::string>& keys_of(std::uint64_t inode) const {
    static const std::vector<std::string> none;
    const auto at = inodes_.find(inode);
    return at == inodes_.end() ? none : at->second.keys;
  }
  // Drops those of `keys`, which were flushed, that are still there: all, or none if drop() came
  // in between.
  void drop_flushed(std::uint64_t inode, const std::vector<std::string>& keys) {
    const auto at = inodes_.find(inode);
    if (at == inodes_.end()) return;
    of_inode& o = at->second;
    std::size_t n = 0;
    while (n < o.keys.size() && n < keys.size() && o.keys[n] == keys[n]) {
      o.size -= o.sizes[n];
      size_ -= o.sizes[n++];
    }
    if (n == o.keys.size()) {
      inodes_.erase(at);
      return;
    }
    const auto count = static_cast<std::ptrdiff_t>(n);
    o.keys.erase(o.keys.begin(), o.keys.begin() + count);
    o.sizes.erase(o.sizes.begin(), o.sizes.begin() + count);
  }
  bool has(std::uint64_t inode) const { return inodes_.contains(inode); }
  bool empty() const noexcept { return inodes_.empty(); }
  std::size_t size() const noexcept { return size_; }
  std::vector<std::uint64_t> inodes() const {
    std::vector<std::uint64_t> out;
    out.reserve(inodes_.size());
    for (const auto& [inode, records] : inodes_) out.push_back(inode);
    return out;
  }

 private:
  std::unordered_map<std::uint64_t, of_inode> inodes_;
  std::size_t size_ = 0;
};

}  // namespace tangelo
