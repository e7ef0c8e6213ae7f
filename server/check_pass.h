// check_pass: one round of check.h: reads the whole store once, collects findings and repairs.
// Its parts stand in check_records.cc, check_names.cc, check_objects.cc, check_quotas.cc and
// check_tree.cc.
//
// The order matters: inodes first, since everything is of one; names and objects before the tree,
// which is judged by what they add up to.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "server/block_guards.h"
#include "server/check.h"
#include "server/quotas.h"
#include "server/records.h"

namespace tangelo {

class check_pass {
 public:
  check_pass(kv_store& kv, const check_options& options) : kv_(kv), options_(options) {}

  outcome<bool> look();
  bool has_repairs() const { return !batch_.empty() || !remove_objects_.empty(); }
  outcome<bool> apply();
  // Counts; its findings are this round's.
  check_report report;

 private:
  // What is known about an inode, by its record and by all that mentions it.
  struct node {
    std::uint32_t mode = 0;  // 0: its record cannot be read, and no name says its type
    std::uint32_t flags = 0;
    std::uint32_t link_count = 0;
    std::uint32_t names = 0;
    std::uint32_t subdirectories = 0;
    std::uint64_t size = 0;
    std::uint64_t blocks = 0;
    std::uint64_t parent = 0;
    std::uint64_t owner = 0;  // of a directory: the one whose entry leads there
    std::uint32_t inline_size = 0;
    bool unreadable = false;
    bool has_xattrs = false;
    bool has_inline = false;
    bool has_object = false;
    bool has_redo = false;
    bool is_orphan = false;
    bool is_cut = false;  // its object ends before bytes that it had
    std::uint64_t object_size = 0;
  };
  bool is_directory(const node& n) const { return (n.mode & 0170000) == 0040000; }
  bool is_file(const node& n) const { return (n.mode & 0170000) == 0100000; }
  bool is_link(const node& n) const { return (n.mode & 0170000) == 0120000; }
  static bool is_known_type(std::uint32_t mode);
  node* find(std::uint64_t inode);

  outcome<bool> scan(column where, const kv_store::visitor& visit);
  outcome<bool> unreadable_store(std::string_view what) const;
  void found(finding_kind kind, std::string where, std::string what, std::string repair,
             finding_level level = finding_level::damage);
  void tick(std::string_view what);
  void show(std::string_view what);

  // check_records.cc
  outcome<bool> read_meta();
  outcome<bool> read_inodes();
  outcome<bool> read_xattrs();
  outcome<bool> read_small_data();
  outcome<bool> read_redo();
  outcome<bool> read_orphans();
  outcome<bool> read_clients();
  outcome<bool> read_replies();
  void see_client(std::string_view key, std::string_view value);
  void see_range(std::string_view key, std::string_view value);
  std::string reply_trouble(std::string_view key, std::string_view value);
  void check_numbers();
  bool check_boot();  // false: nothing else may be looked at in this round
  void see_transno(std::uint64_t transno);

  // check_quotas.cc
  outcome<bool> read_quotas();
  outcome<bool> read_guards();
  void check_cut(std::uint64_t inode, node& n, const guard_group& g, std::uint64_t group);
  outcome<bool> check_usage(const quota_table& now);

  // check_names.cc
  outcome<bool> read_entries();
  outcome<bool> read_cookies();
  void see_entry(std::uint64_t parent, std::string_view name, std::string_view value);
  void count_entry(std::uint64_t parent, std::string_view name, const dirent_record& e);
  void see_cookie(std::uint64_t parent, std::uint64_t cookie, std::string_view value);
  void check_listing(std::uint64_t parent, std::string_view name, const dirent_record& e);
  void restore_entry(std::uint64_t parent, std::string_view name);
  void drop_entry(std::uint64_t parent, std::string_view name,
                  const std::optional<dirent_record>& e);
  std::string place(std::uint64_t parent, std::string_view name) const;

  // check_objects.cc
  outcome<bool> read_objects();
  void see_object(const std::string& path, std::string_view place, std::string_view name);
  void check_data(std::uint64_t inode, node& n);

  // check_tree.cc
  void check_tree();
  void make_anew(std::uint64_t inode, node& n);
  void check_file_links(std::uint64_t inode, node& n);
  void check_directory_links(std::uint64_t inode, node& n);
  void check_root();
  void find_cycles();
  void attach(std::uint64_t inode, node& n);
  std::uint64_t lost_and_found();
  inode_record& changed(std::uint64_t inode);
  std::uint64_t fresh_number() { return ((boot_ + 1) << 32) | ++fresh_; }

  kv_store& kv_;
  const check_options& options_;
  std::unordered_map<std::uint64_t, node> nodes_;
  std::set<std::uint64_t> removed_;  // inodes that redo records remove
  std::map<id128, std::uint64_t> clients_;  // and their incarnations
  std::uint64_t boot_ = 0;
  std::uint64_t transno_ = 0;
  std::uint64_t next_inode_ = 0;
  std::uint64_t highest_inode_ = 0;
  std::uint64_t highest_transno_ = 0;
  std::uint64_t range_end_ = 0;
  bool transno_missing_ = false;
  std::map<std::uint64_t, std::pair<std::uint64_t, std::string>> ranges_;  // first -> end, key
  static constexpr std::uint64_t part_count = 14;
  std::uint64_t ticks_ = 0;
  std::uint64_t parts_done_ = 0;

  // Repairs.
  kv_batch batch_;
  std::map<std::uint64_t, inode_record> changed_;
  std::vector<std::string> remove_objects_;
  std::uint64_t fresh_ = 0;
  std::uint64_t lost_and_found_ = 0;
};

std::string hex_number(std::uint64_t n);

}  // namespace tangelo
