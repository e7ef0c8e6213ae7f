#include "tests/sim/dump.h"

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <algorithm>
#include <map>
#include <set>

#include "base/crc32c.h"
#include "server/quotas.h"
#include "server/records.h"

namespace tangelo::sim {

namespace {

struct reader {
  mem_kv& kv;
  const mem_objects& objects;
  std::map<std::uint64_t, std::uint32_t> names;  // inode -> how many entries name it
  std::vector<std::string> lines;
  std::vector<std::string> faults;

  std::optional<inode_record> inode(std::uint64_t number) {
    std::string value;
    if (kv.get(column::inodes, key_of(number), value, read_mode::blocking) != kv_status::found)
      return std::nullopt;
    return unpacked<inode_record>(value);
  }
  std::string contents(std::uint64_t number, const inode_record& r) {
    std::string bytes;
    if ((r.flags & inode_flag::object) != 0) {
      const std::vector<std::byte>* o = objects.bytes_of_object(number);
      if (o != nullptr) bytes = text_of(*o);
    } else {
      (void)kv.get(column::inline_data, key_of(number), bytes, read_mode::blocking);
    }
    if (bytes.size() > r.size) bytes.resize(r.size);
    // Behind the end of the object, or of the inline bytes, are zeros.
    bytes.resize(std::max<std::size_t>(bytes.size(), std::min<std::uint64_t>(r.size, 4 << 20)));
    return fmt::format("{:08x}", crc32c(bytes_of(bytes)));
  }
  std::string xattrs(std::uint64_t number) {
    std::string all;
    const std::string from = key_of(number);
    (void)kv.scan(column::xattrs, from, end_of(from), read_mode::blocking,
                  [&all](std::string_view key, std::string_view value) {
                    all += fmt::format(" {}={:08x}", key.substr(8), crc32c(bytes_of(value)));
                    return true;
                  });
    return all;
  }
  std::string describe(std::uint64_t number, const inode_record& r) {
    const bool is_directory = S_ISDIR(r.mode);
    std::string text = fmt::format("mode {:o} uid {} gid {} links {} rdev {}", r.mode, r.uid, r.gid,
                                   r.link_count, r.rdev);
    if (!is_directory) text += fmt::format(" size {} bytes {}", r.size, contents(number, r));
    return text + xattrs(number);
  }
  void walk(std::uint64_t number, const std::string& path) {
    const std::optional<inode_record> r = inode(number);
    if (!r) {
      faults.push_back("FAULT: " + path + " names an inode that is not there");
      return;
    }
    lines.push_back((path.empty() ? "/" : path) + " " + describe(number, *r));
    if (!S_ISDIR(r->mode)) return;
    std::vector<std::pair<std::string, std::uint64_t>> entries;
    const std::string from = key_of(number);
    (void)kv.scan(column::dirents, from, end_of(from), read_mode::blocking,
                  [&](std::string_view key, std::string_view value) {
                    const std::optional<dirent_record> d = unpacked<dirent_record>(value);
                    entries.emplace_back(std::string(key.substr(8)), d ? d->inode : 0);
                    return true;
                  });
    for (const auto& [name, child] : entries) {
      ++names[child];
      walk(child, path + "/" + name);
    }
  }
  void look_at_all_inodes() {
    std::set<std::uint64_t> orphans;
    (void)kv.scan(column::orphans, "", "", read_mode::blocking,
                  [&](std::string_view key, std::string_view) {
                    orphans.insert(number_at(key, 0));
                    return true;
                  });
    (void)kv.scan(column::inodes, "", "", read_mode::blocking,
                  [&](std::string_view key, std::string_view value) {
                    look_at(number_at(key, 0), unpacked<inode_record>(value), orphans);
                    return true;
                  });
  }
  void look_at(std::uint64_t number, const std::optional<inode_record>& r,
               const std::set<std::uint64_t>& orphans) {
    if (!r) return faults.push_back("FAULT: an inode record that makes no sense");
    if (number == root_inode) return;
    if (orphans.contains(number)) {
      lines.push_back("orphan " + describe(number, *r));
      return;
    }
    if (!names.contains(number)) {
      faults.push_back("FAULT: an inode without a name: " + describe(number, *r));
    } else if (!S_ISDIR(r->mode) && names[number] != r->link_count) {
      faults.push_back(fmt::format("FAULT: {} links, {} names", r->link_count, names[number]));
    }
  }
};

}  // namespace

std::vector<std::string> usage_faults(mem_kv& kv) {
  quota_table now;
  EXPECT_TRUE(now.load(kv));
  std::optional<quota_table::rows> right = counted_usage(kv, now);
  EXPECT_TRUE(right.has_value());
  for (const auto& [key, q] : now.all()) (*right)[key];
  std::vector<std::string> faults;
  for (const auto& [key, q] : *right) {
    const saved_quota* had = now.find(key);
    const saved_quota is = had == nullptr ? saved_quota{} : *had;
    if (is.making != 0) faults.push_back("FAULT: a tree that is never made");
    if (is.blocks != q.blocks || is.inodes != q.inodes)
      faults.push_back(fmt::format("FAULT: {} {}: {} blocks, {} inodes counted, not {}, {}",
                                   name_of(key.kind), key.id, is.blocks, is.inodes, q.blocks,
                                   q.inodes));
  }
  return faults;
}

std::vector<std::string> dump_of(mem_kv& kv, const mem_objects& objects) {
  reader r{kv, objects, {}, {}, {}};
  r.walk(root_inode, "");
  r.look_at_all_inodes();
  for (std::string& fault : usage_faults(kv)) r.faults.push_back(std::move(fault));
  std::sort(r.lines.begin(), r.lines.end());
  r.lines.insert(r.lines.end(), r.faults.begin(), r.faults.end());
  return r.lines;
}

std::string first_difference(const std::vector<std::string>& want,
                             const std::vector<std::string>& got) {
  for (std::size_t i = 0; i < std::max(want.size(), got.size()); ++i) {
    const std::string w = i < want.size() ? want[i] : "(nothing)";
    const std::string g = i < got.size() ? got[i] : "(nothing)";
    if (w != g) return "in the store \"" + g + "\" instead of \"" + w + "\"";
  }
  return {};
}

std::size_t audited_effects(mem_kv& kv) {
  std::size_t count = 0;
  (void)kv.scan(column::audit, "", "", read_mode::blocking,
                [&count](std::string_view, std::string_view) {
                  ++count;
                  return true;
                });
  return count;
}

}  // namespace tangelo::sim
