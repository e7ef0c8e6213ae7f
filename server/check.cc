#include "server/check.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <iterator>

#include "base/fd.h"
#include "server/check_pass.h"

namespace tangelo {

namespace {

constexpr int round_count_max = 8;

std::string quoted(std::string_view text) {
  std::string out = "\"";
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\')
      out += fmt::format("\\{}", c);
    else if (byte < 0x20 || byte >= 0x7f)
      out += fmt::format("\\u{:04x}", byte);
    else
      out += c;
  }
  return out + '"';
}

std::string printable(std::string_view text) {
  std::string out(text);
  for (char& c : out)
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) c = '?';
  return out;
}

std::string_view name_of(finding_level l) noexcept {
  switch (l) {
    case finding_level::damage: return "damage";
    case finding_level::leftover: return "leftover";
  }
  return {};
}

}  // namespace

std::string_view name_of(finding_kind k) noexcept {
  switch (k) {
    using enum finding_kind;
    case meta: return "meta";
    case inode: return "inode";
    case link_count: return "link_count";
    case parent: return "parent";
    case unreachable: return "unreachable";
    case entry: return "entry";
    case listing: return "listing";
    case xattr: return "xattr";
    case small_data: return "small_data";
    case redo: return "redo";
    case orphan: return "orphan";
    case client: return "client";
    case reply: return "reply";
    case data_missing: return "data_missing";
    case blocks: return "blocks";
    case stray_object: return "stray_object";
    case stranger: return "stranger";
    case log: return "log";
    case guard: return "guard";
    case quota: return "quota";
  }
  return {};
}

void check_report::add(finding f) {
  if (f.level == finding_level::leftover)
    ++leftovers;
  else
    ++damages, not_mended += f.mended ? 0 : 1;
  if (findings.size() < kept_max) findings.push_back(std::move(f));
}

outcome<check_report> check_store(kv_store& kv, const check_options& options) {
  check_report all;
  for (int round = 0;; ++round) {
    check_pass pass(kv, options);
    if (const outcome<bool> looked = pass.look(); !looked) return failure{looked.error()};
    const bool mends = options.repair && pass.has_repairs() && round < round_count_max;
    check_report& now = pass.report;
    // What is reported: all that was ever mended, and what there is in the end.
    for (finding& f : now.findings) {
      f.mended = mends && !f.repair.empty();
      if (!mends || f.mended) all.add(std::move(f));
    }
    if (mends) {
      if (const outcome<bool> applied = pass.apply(); !applied) return failure{applied.error()};
      continue;
    }
    all.inodes = now.inodes, all.directories = now.directories, all.entries = now.entries;
    all.objects = now.objects, all.object_bytes = now.object_bytes;
    return all;
  }
}

std::string check_text(const std::string& directory, const check_report& r, bool repaired) {
  std::string out;
  for (const finding& f : r.findings) {
    out += fmt::format("{}: {}: {}: {}", name_of(f.level), name_of(f.kind), printable(f.where),
                       printable(f.what));
    if (f.repair.empty())
      out += "; nothing mends it\n";
    else
      out += fmt::format("; {}: {}\n", f.mended ? "mended" : "--repair", printable(f.repair));
  }
  const std::uint64_t listed = r.findings.size();
  if (r.damages + r.leftovers > listed)
    out += fmt::format("... and {} more\n", r.damages + r.leftovers - listed);
  out += fmt::format("{}: {} inodes ({} directories), {} names, {} objects with {} bytes\n",
                     directory, r.inodes, r.directories, r.entries, r.objects, r.object_bytes);
  const char* const verdict = r.damages == 0      ? "clean"
                              : r.not_mended == 0 ? "mended"
                                                  : "DAMAGED";
  out += fmt::format("{}: {}: {} damages, {} harmless leftovers{}\n", directory, verdict, r.damages,
                     r.leftovers, r.not_mended != 0 && !repaired ? "; --repair mends them" : "");
  return out;
}

std::string check_json(const std::string& directory, const check_report& r, bool repaired) {
  std::string out = fmt::format(
      "{{\"directory\":{},\"clean\":{},\"repair\":{},\"damages\":{},\"not_mended\":{},"
      "\"leftovers\":{},\"inodes\":{},\"directories\":{},\"names\":{},\"objects\":{},"
      "\"object_bytes\":{},\"findings\":[",
      quoted(directory), r.damages == 0, repaired, r.damages, r.not_mended, r.leftovers, r.inodes,
      r.directories, r.entries, r.objects, r.object_bytes);
  bool first = true;
  for (const finding& f : r.findings) {
    out += fmt::format(
        "{}{{\"level\":\"{}\",\"kind\":\"{}\",\"where\":{},\"what\":{},\"repair\":{},"
        "\"mended\":{}}}",
        first ? "" : ",", name_of(f.level), name_of(f.kind), quoted(f.where), quoted(f.what),
        quoted(f.repair), f.mended);
    first = false;
  }
  return out + "]}\n";
}

// ---- one round ----------------------------------------------------------------------------------

std::string hex_number(std::uint64_t n) { return fmt::format("{:#x}", n); }

check_pass::node* check_pass::find(std::uint64_t inode) {
  const auto at = nodes_.find(inode);
  return at == nodes_.end() ? nullptr : &at->second;
}

outcome<bool> check_pass::unreadable_store(std::string_view what) const {
  return failure{problem{exit_code::store, fmt::format("{}: {} cannot be read",
                                                        options_.metadata, what),
                         "the metadata is damaged below what can be mended here, or its disk "
                         "fails: look at the kernel's log, and restore from a backup"}};
}

outcome<bool> check_pass::scan(column where, const kv_store::visitor& visit) {
  const kv_status s = kv_.scan(where, {}, {}, read_mode::blocking,
                               [&](std::string_view key, std::string_view value) {
                                 tick(name_of(where));
                                 return visit(key, value);
                               });
  if (s != kv_status::found) return unreadable_store(name_of(where));
  return true;
}

void check_pass::found(finding_kind kind, std::string where, std::string what, std::string repair,
                       finding_level level) {
  report.add({kind, level, std::move(where), std::move(what), std::move(repair), false});
}

void check_pass::tick(std::string_view what) {
  constexpr std::uint64_t often = 1024;
  if (++ticks_ % often == 0) show(what);
}

void check_pass::show(std::string_view what) {
  if (options_.progress)
    options_.progress({parts_done_, part_count, fmt::format("{}, {} records", what, ticks_)});
}

outcome<bool> check_pass::look() {
  constexpr outcome<bool> (check_pass::*parts[])() = {
      &check_pass::read_meta,    &check_pass::read_inodes,     &check_pass::read_redo,
      &check_pass::read_orphans, &check_pass::read_entries,    &check_pass::read_cookies,
      &check_pass::read_xattrs,  &check_pass::read_small_data, &check_pass::read_objects,
      &check_pass::read_clients, &check_pass::read_replies,    &check_pass::read_quotas,
      &check_pass::read_guards};
  static_assert(std::size(parts) + 1 == part_count);  // the last one is what follows
  for (const auto part : parts) {
    if (const outcome<bool> read = (this->*part)(); !read) return failure{read.error()};
    ++parts_done_;
  }
  show("names and links");
  if (!check_boot()) return true;
  check_numbers();
  check_tree();
  for (const auto& [inode, record] : changed_)
    batch_.put(column::inodes, key_of(inode), packed(record));
  return true;
}

outcome<bool> check_pass::apply() {
  const auto failed = [this](std::string_view what, std::string_view why) {
    return failure{problem{exit_code::store, fmt::format("{}: {}: {}", options_.metadata,
                                                        what, why),
                           "is the disk full?"}};
  };
  // As a start of the volume: numbers that repairs gave out are never given out again.
  if (!batch_.empty()) batch_.put(column::meta, std::string(meta_boot), key_of(boot_ + 1));
  error_code e = kv_.write(batch_);
  if (e == error_code::ok) e = kv_.sync();
  if (e != error_code::ok) return failed("repairs", row_of(e).text);
  for (const std::string& path : remove_objects_)
    if (::unlink(path.c_str()) != 0 && errno != ENOENT) return failed(path, std::strerror(errno));
  const unique_fd fd(::open(options_.objects.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd || ::syncfs(fd.get()) != 0) return failed(options_.objects, std::strerror(errno));
  return true;
}

}  // namespace tangelo
