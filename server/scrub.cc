#include "server/scrub.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <set>

#include "base/fd.h"
#include "server/block_guards.h"
#include "server/dirty_regions.h"
#include "server/object_files.h"

namespace tangelo {

namespace {

constexpr std::uint64_t step_size = wire_payload_size_max;

class scrub_pass {
 public:
  scrub_pass(kv_store& kv, const scrub_options& options, unique_fd directory)
      : kv_(kv), options_(options), files_(std::move(directory)), bytes_(step_size) {}

  outcome<bool> run();
  scrub_report report;

 private:
  outcome<bool> read_left_out();
  outcome<bool> scan(column where, std::string_view from, std::string_view until,
                     const kv_store::visitor& visit);
  void look_at(std::uint64_t inode, const inode_record& r);
  void look_at_small(std::uint64_t inode, std::uint64_t size);
  void compare(std::uint64_t inode, std::uint64_t offset, byte_span bytes);
  bool load_group(std::uint64_t inode, std::uint64_t group, guard_group& g);
  void no_guard(std::uint64_t inode, const dirty_region& region);
  void found(const protection_fault& fault);
  void cannot_read(std::uint64_t inode, std::string_view what);
  std::uint64_t next_step(int fd, std::uint64_t inode, std::uint64_t offset);
  outcome<bool> measure();
  void show(std::uint64_t done) const;

  kv_store& kv_;
  const scrub_options& options_;
  const object_files files_;
  std::vector<std::byte> bytes_;
  std::set<std::uint64_t> with_redo_;
  std::set<dirty_region> marked_;
  kv_batch batch_;
  std::uint64_t size_ = 0;  // of all files, holes included
  std::uint64_t done_ = 0;  // of those behind us
};

outcome<bool> scrub_pass::scan(column where, std::string_view from, std::string_view until,
                               const kv_store::visitor& visit) {
  if (kv_.scan(where, from, until, read_mode::blocking, visit) == kv_status::found) return true;
  return failure{problem{exit_code::store,
                         fmt::format("{}: {} cannot be read", options_.metadata, name_of(where)),
                         "look at it with: tangelo-server check"}};
}

outcome<bool> scrub_pass::read_left_out() {
  const outcome<bool> redo =
      scan(column::redo, {}, {}, [this](std::string_view, std::string_view value) {
        if (const std::optional<redo_record> r = unpacked<redo_record>(value))
          with_redo_.insert(r->inode);
        return true;
      });
  if (!redo) return redo;
  const mutable_byte_span image = mutable_byte_span(bytes_).first(dirty_regions::image_size);
  const op_result<std::uint64_t> n = files_.read(no_inode, 0, image);
  if (!n)
    return failure{problem{exit_code::store,
                           fmt::format("{}: {}: {}", options_.objects,
                                       object_files::path_of(no_inode), row_of(n.error()).text),
                           "its disk fails: look at the kernel's log"}};
  for (const dirty_region& r : dirty_regions::parse(image.first(*n)))
    marked_.insert(r);
  return true;
}

outcome<bool> scrub_pass::measure() {
  return scan(column::inodes, {}, {}, [this](std::string_view, std::string_view value) {
    const std::optional<inode_record> r = unpacked<inode_record>(value);
    if (r && S_ISREG(r->mode)) size_ += r->size;
    return true;
  });
}

void scrub_pass::show(std::uint64_t done) const {
  if (options_.progress)
    options_.progress({done, size_, fmt::format("{} MiB compared", report.bytes >> 20)});
}

outcome<bool> scrub_pass::run() {
  if (const outcome<bool> known = read_left_out(); !known) return known;
  if (const outcome<bool> measured = measure(); !measured) return measured;
  const outcome<bool> all =
      scan(column::inodes, {}, {}, [this](std::string_view key, std::string_view value) {
        const std::optional<inode_record> r = unpacked<inode_record>(value);
        if (!r) cannot_read(number_at(key, 0), "its record");
        if (!r || !S_ISREG(r->mode)) return true;
        look_at(number_at(key, 0), *r);
        done_ += r->size;
        show(done_);
        return true;
      });
  if (!all) return all;
  if (batch_.empty()) return true;
  error_code e = kv_.write(batch_);
  if (e == error_code::ok) e = kv_.sync();
  if (e == error_code::ok) return true;
  return failure{problem{exit_code::store,
                         fmt::format("{}: {}", options_.metadata, row_of(e).text),
                         "is the disk full?"}};
}

// Where the next data or guards begin: a hole may be large.
std::uint64_t scrub_pass::next_step(int fd, std::uint64_t inode, std::uint64_t offset) {
  constexpr std::uint64_t group_size = guard_group_blocks * protected_block_size;
  std::uint64_t next = UINT64_MAX;
  const kv_status s =
      kv_.scan(column::protection, key_of(inode, offset / group_size), key_of(inode + 1),
               read_mode::blocking, [&next](std::string_view key, std::string_view) {
                 next = number_at(key, 8) * group_size;
                 return false;
               });
  if (s == kv_status::failed) cannot_read(inode, "its guards");
  const off_t data = ::lseek(fd, static_cast<off_t>(offset), SEEK_DATA);
  if (data >= 0) next = std::min(next, static_cast<std::uint64_t>(data));
  return next == UINT64_MAX ? next : std::max(offset, next / step_size * step_size);
}

void scrub_pass::look_at(std::uint64_t inode, const inode_record& r) {
  if (with_redo_.contains(inode)) {
    ++report.left_out;
    return;
  }
  ++report.files;
  if ((r.flags & inode_flag::object) == 0) return look_at_small(inode, r.size);
  const op_result<int> opened = files_.open(inode, false);
  if (!opened && opened.error() != error_code::no_entry) return cannot_read(inode, "its object");
  const unique_fd fd(opened ? *opened : -1);  // without an object it is all zeros
  // From the disk, not from memory; what cannot be dropped from there is read from there.
  (void)::posix_fadvise(fd.get(), 0, 0, POSIX_FADV_DONTNEED);
  for (std::uint64_t at = next_step(fd.get(), inode, 0); at < r.size;
       at = next_step(fd.get(), inode, at + step_size)) {
    const std::size_t size = std::min(step_size, r.size - at);
    const mutable_byte_span part = mutable_byte_span(bytes_).first(size);
    const op_result<std::uint64_t> n = fd ? read_all(fd.get(), at, part) : std::uint64_t{0};
    if (!n) return cannot_read(inode, "its object");
    // Behind the object's end no block has a guard, or it is one of zeros.
    std::fill(part.begin() + static_cast<std::ptrdiff_t>(*n), part.end(), std::byte{0});
    compare(inode, at, part);
    show(done_ + at + size);
  }
}

void scrub_pass::look_at_small(std::uint64_t inode, std::uint64_t size) {
  std::string data;
  const kv_status s = kv_.get(column::inline_data, key_of(inode), data, read_mode::blocking);
  if (s == kv_status::failed) return cannot_read(inode, "its data");
  // Without any it is all zeros.
  if (s == kv_status::absent) data.assign(std::min<std::uint64_t>(size, protected_block_size), 0);
  if (!data.empty()) compare(inode, 0, bytes_of(data));
}

void scrub_pass::compare(std::uint64_t inode, std::uint64_t offset, byte_span bytes) {
  static const std::uint32_t guard_of_zeros = guard_of({});
  protection_trailer now;
  protect(inode, offset, bytes, now);
  report.bytes += bytes.size();
  const std::uint64_t first = block_of(offset);
  std::optional<std::uint64_t> loaded;
  guard_group g;
  for (std::size_t i = 0; i < now.count; ++i) {
    const std::uint64_t block = first + i, group = block / guard_group_blocks;
    const dirty_region region{inode, block / region_blocks};
    if (marked_.contains(region)) {
      if (block % region_blocks == 0) ++report.left_out;
      continue;
    }
    if (loaded != group) {
      loaded = group;
      if (!load_group(inode, group, g)) return;
    }
    const std::uint64_t in_group = block % guard_group_blocks;
    if ((g.present >> in_group & 1) == 0) {
      if (now.guards[i] != guard_of_zeros) no_guard(inode, region);
    } else if (g.guards[in_group] != now.guards[i]) {
      found({protection_kind::guard, protection_hop::stored, inode, block, g.guards[in_group],
             now.guards[i]});
    }
  }
}

// False: it cannot be read. One that is another's has no guards, and is a fault.
bool scrub_pass::load_group(std::uint64_t inode, std::uint64_t group, guard_group& g) {
  std::string raw;
  const kv_status s = kv_.get(column::protection, key_of(inode, group), raw, read_mode::blocking);
  g = {};
  if (s == kv_status::absent) return true;
  const std::optional<guard_group> known =
      s == kv_status::found ? unpacked<guard_group>(raw) : std::nullopt;
  if (!known) {
    cannot_read(inode, "its guards");
    return false;
  }
  g = *known;
  if (const std::optional<protection_fault> fault = check_group(g, inode, group)) {
    found(*fault);
    g.present = 0;
  }
  return true;
}

void scrub_pass::no_guard(std::uint64_t inode, const dirty_region& region) {
  ++report.unguarded_blocks;
  if (report.unguarded.size() < scrub_report::kept_max &&
      (report.unguarded.empty() || report.unguarded.back() != inode))
    report.unguarded.push_back(inode);
  if (options_.protect)
    batch_.put(column::unguarded, key_of(inode, region.region),
               key_of(region.region * region_blocks));
}

void scrub_pass::cannot_read(std::uint64_t inode, std::string_view what) {
  const unreadable_part part{inode, what};
  if (!report.unreadable.empty() && report.unreadable.back() == part) return;
  ++report.unreadable_parts;
  if (report.unreadable.size() < scrub_report::kept_max) report.unreadable.push_back(part);
}

void scrub_pass::found(const protection_fault& fault) {
  ++report.bad_blocks;
  if (report.faults.size() < scrub_report::kept_max) report.faults.push_back(fault);
}

}  // namespace

outcome<scrub_report> scrub_store(kv_store& kv, const scrub_options& options) {
  unique_fd directory(::open(options.objects.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!directory)
    return failure{problem{exit_code::store,
                           fmt::format("{}: {}", options.objects, std::strerror(errno)),
                           "become the volume's owner, or root"}};
  scrub_pass pass(kv, options, std::move(directory));
  if (const outcome<bool> done = pass.run(); !done) return failure{done.error()};
  return std::move(pass.report);
}

std::string scrub_text(const std::string& directory, const scrub_report& r, bool protects) {
  std::string text;
  for (const protection_fault& f : r.faults) text += fmt::format("BAD {}\n", text_of(f));
  if (r.bad_blocks > r.faults.size())
    text += fmt::format("... and {} more\n", r.bad_blocks - r.faults.size());
  for (const unreadable_part& p : r.unreadable)
    text += fmt::format("BAD inode {}: {} cannot be read\n", p.inode, p.what);
  if (r.unreadable_parts > r.unreadable.size())
    text += fmt::format("... and {} more\n", r.unreadable_parts - r.unreadable.size());
  if (r.left_out != 0)
    text += fmt::format("{} files or regions were being written in a crash and are looked at by "
                        "the next start of the server\n", r.left_out);
  if (r.unguarded_blocks != 0)
    text += fmt::format("{} blocks with data have no guard, in inodes {}{}\n", r.unguarded_blocks,
                        fmt::join(r.unguarded, ", "),
                        protects ? ": they get one, as they are, when the server runs" : "");
  text += fmt::format("{}: {} files, {} MiB: {}\n", directory, r.files, r.bytes >> 20,
                      !r.clean()       ? "DAMAGED: restore these files from a backup"
                      : r.left_out != 0 ? "clean, but for what was left out"
                                        : "clean");
  return text;
}

std::string scrub_json(const std::string& directory, const scrub_report& r) {
  std::string faults;
  for (const protection_fault& f : r.faults)
    faults += fmt::format("{}{{\"inode\":{},\"block\":{},\"kind\":\"{}\",\"expected\":{},"
                          "\"found\":{}}}",
                          faults.empty() ? "" : ",", f.inode, f.block, name_of(f.kind), f.expected,
                          f.found);
  std::string quoted;
  for (const char c : directory) {
    if (c == '"' || c == '\\') quoted.push_back('\\');
    quoted.push_back(c);
  }
  return fmt::format("{{\"volume\":\"{}\",\"clean\":{},\"files\":{},\"bytes\":{},"
                     "\"bad_blocks\":{},\"unreadable_parts\":{},\"unguarded_blocks\":{},"
                     "\"left_out\":{},\"faults\":[{}]}}\n",
                     quoted, r.clean(), r.files, r.bytes, r.bad_blocks, r.unreadable_parts,
                     r.unguarded_blocks, r.left_out, faults);
}

}  // namespace tangelo
