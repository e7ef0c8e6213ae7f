// The part of a round that compares the object files with the records.
#include <dirent.h>
#include <fmt/format.h>
#include <sys/stat.h>

#include <charconv>
#include <filesystem>

#include "server/check_pass.h"
#include "server/dirty_regions.h"
#include "server/object_files.h"

namespace tangelo {

namespace {

constexpr std::uint64_t block_size = 512;
// Filesystems reserve ahead and give back later; and a shrunk sparse file keeps its old count.
constexpr std::uint64_t slack_blocks = 256;

std::optional<std::uint64_t> inode_of(std::string_view name) {
  std::uint64_t inode = 0;
  const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), inode, 16);
  if (name.size() != 16 || error != std::errc{} || end != name.data() + name.size())
    return std::nullopt;
  return inode;
}

}  // namespace

outcome<bool> check_pass::read_objects() {
  std::error_code e;
  std::filesystem::recursive_directory_iterator at(options_.objects, e);
  for (; !e && at != std::filesystem::recursive_directory_iterator(); at.increment(e)) {
    tick("objects");
    std::error_code type_error;
    if (at->is_directory(type_error) && at.depth() < 2) continue;
    const std::string path = at->path().string();
    see_object(path, std::string_view(path).substr(options_.objects.size() + 1),
               std::string_view(path).substr(path.rfind('/') + 1));
  }
  if (e)
    return failure{problem{exit_code::store, fmt::format("{}: {}", options_.objects, e.message()),
                           "become the volume's owner, or root"}};
  for (auto& [inode, n] : nodes_) check_data(inode, n);
  return true;
}

void check_pass::see_object(const std::string& path, std::string_view place,
                            std::string_view name) {
  const std::optional<std::uint64_t> inode = inode_of(name);
  struct stat st{};
  if (::lstat(path.c_str(), &st) != 0) return;
  if (inode == no_inode) return;  // the marks of dirty regions
  if (!inode || !S_ISREG(st.st_mode) || place != object_files::path_of(*inode))
    return found(finding_kind::stranger, path, "is not an object", {}, finding_level::leftover);
  ++report.objects;
  report.object_bytes += static_cast<std::uint64_t>(st.st_blocks) * block_size;
  node* n = find(*inode);
  const bool wanted = n != nullptr && (n->unreadable || (n->flags & inode_flag::object) != 0);
  if (wanted) {
    n->has_object = true;
    n->object_size = static_cast<std::uint64_t>(st.st_size);
    if (n->unreadable || n->has_redo) return;
    const auto blocks = static_cast<std::uint64_t>(st.st_blocks);
    const std::uint64_t slack = slack_blocks + n->blocks / 8;
    if (blocks <= n->blocks + slack && n->blocks <= blocks + slack) return;
    found(finding_kind::blocks, "inode " + hex_number(*inode),
          fmt::format("its record says {} blocks, its object has {}", n->blocks, blocks),
          "the record is corrected", finding_level::leftover);
    changed(*inode).blocks = blocks;
    return;
  }
  // Redo will remove it, or write it anew.
  if (removed_.contains(*inode) || (n != nullptr && n->has_redo)) return;
  found(finding_kind::stray_object, path,
        fmt::format("{} bytes of no file: a change that a crash cut short", st.st_size), "removed",
        finding_level::leftover);
  remove_objects_.push_back(path);
}

// The small data was read before: what a file has is known now.
void check_pass::check_data(std::uint64_t inode, node& n) {
  if (n.unreadable || n.has_redo) return;
  const std::string where = "inode " + hex_number(inode);
  if (is_link(n) && !n.has_inline && n.link_count != 0) {
    found(finding_kind::small_data, where, "a link without its target", "leads to \"lost\" now");
    batch_.put(column::inline_data, key_of(inode), "lost");
    changed(inode).size = 4;
  } else if (is_link(n) && n.has_inline && n.size != n.inline_size) {
    found(finding_kind::small_data, where, "a link whose size is not its target's", "corrected");
    changed(inode).size = n.inline_size;
  }
  if (!is_file(n) || (n.flags & inode_flag::object) == 0 || n.size == 0 || n.blocks == 0) return;
  if (n.has_object && n.object_size != 0) return;
  found(finding_kind::data_missing, where,
        fmt::format("{} bytes, and {}", n.size, n.has_object ? "an empty object" : "no object"),
        "its data is lost: it reads as zeros");
  batch_.remove_range(column::protection, key_of(inode), key_of(inode + 1));
  changed(inode).blocks = 0;
}

}  // namespace tangelo
