#include "server/wal_log.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <filesystem>
#include <optional>

#include "base/bytes.h"
#include "base/crc32c.h"
#include "base/fd.h"
#include "server/kv.h"
#include "server/records.h"

namespace tangelo {

namespace {

constexpr std::size_t block_size = 32'768;
constexpr std::size_t header_size = 7;
constexpr std::size_t batch_header_size = 12;
constexpr std::size_t inodes_kept_max = 100;
constexpr std::string_view mark_magic = "TNGFLUSH";

// Of a fragment, and of a change in a batch. Never renumber: RocksDB's.
enum fragment : unsigned { zero = 0, full = 1, first = 2, middle = 3, last = 4 };
enum tag : unsigned { removal = 0, value = 1, log_data = 3, column_removal = 4, column_value = 5 };

std::uint64_t little(std::string_view bytes, std::size_t at, std::size_t size) {
  std::uint64_t n = 0;
  for (std::size_t i = size; i-- > 0;) n = (n << 8) | static_cast<unsigned char>(bytes[at + i]);
  return n;
}

std::uint32_t masked(std::uint32_t crc) { return ((crc >> 15) | (crc << 17)) + 0xa282ead8u; }

// The fragment at the front of `bytes`, which end with their block; nothing when it is none.
struct piece {
  unsigned type = zero;
  std::string_view bytes;
};
std::optional<piece> piece_at(std::string_view bytes) {
  if (bytes.size() < header_size) return std::nullopt;
  const auto size = static_cast<std::size_t>(little(bytes, 4, 2));
  const auto type = static_cast<unsigned>(little(bytes, 6, 1));
  if (type == zero || type > last || header_size + size > bytes.size()) return std::nullopt;
  const std::string_view covered = bytes.substr(header_size - 1, size + 1);
  if (masked(crc32c(bytes_of(covered))) != little(bytes, 0, 4)) return std::nullopt;
  return piece{type, covered.substr(1)};
}

struct batch_head {
  std::uint64_t sequence = 0;
  std::uint64_t count = 0;
  std::optional<std::uint64_t> flushed;
};
std::optional<batch_head> head_of(std::string_view batch) {
  if (batch.size() < batch_header_size) return std::nullopt;
  batch_head h{little(batch, 0, 8), little(batch, 8, 4), std::nullopt};
  const std::size_t mark_size = mark_magic.size() + 8;
  const std::string_view rest = batch.substr(batch_header_size);
  if (rest.size() >= 2 + mark_size && static_cast<unsigned char>(rest[0]) == log_data &&
      static_cast<unsigned char>(rest[1]) == mark_size && rest.substr(2).starts_with(mark_magic))
    h.flushed = little(rest, 2 + mark_magic.size(), 8);
  return h;
}

std::optional<std::uint64_t> take_number(std::string_view& from) {
  std::uint64_t n = 0;
  for (unsigned shift = 0; shift < 35 && !from.empty(); shift += 7) {
    const auto byte = static_cast<unsigned char>(from.front());
    from.remove_prefix(1);
    n |= std::uint64_t{byte & 0x7fu} << shift;
    if (byte < 0x80) return n;
  }
  return std::nullopt;
}
std::optional<std::string_view> take_text(std::string_view& from) {
  const std::optional<std::uint64_t> size = take_number(from);
  if (!size || *size > from.size()) return std::nullopt;
  const std::string_view text = from.substr(0, static_cast<std::size_t>(*size));
  from.remove_prefix(text.size());
  return text;
}

// The inodes whose records a batch writes or removes, as far as it can be read.
void note_inodes(std::string_view batch, std::vector<std::uint64_t>& to) {
  constexpr std::uint64_t inodes = static_cast<std::uint64_t>(column::inodes) + 1;  // 0: default
  batch.remove_prefix(std::min(batch.size(), batch_header_size));
  while (!batch.empty() && to.size() < inodes_kept_max) {
    const auto kind = static_cast<unsigned char>(batch.front());
    batch.remove_prefix(1);
    std::optional<std::uint64_t> where = 0;
    if (kind == column_value || kind == column_removal) where = take_number(batch);
    const bool known = kind == removal || kind == value || kind == log_data ||
                       kind == column_value || kind == column_removal;
    const std::optional<std::string_view> key = known ? take_text(batch) : std::nullopt;
    if (!where || !key) return;
    if ((kind == value || kind == column_value) && !take_text(batch)) return;
    if (*where != inodes || key->size() != sizeof(std::uint64_t)) continue;
    const std::uint64_t inode = number_at(*key, 0);
    if (std::find(to.begin(), to.end(), inode) == to.end()) to.push_back(inode);
  }
}

bool is_zero(std::string_view bytes) {
  return bytes.empty() ||
         (bytes[0] == 0 && std::memcmp(bytes.data(), bytes.data() + 1, bytes.size() - 1) == 0);
}

// Reads the logs one after the other and comes to a verdict.
class log_reader {
 public:
  void read(const std::string& file, std::string_view bytes) {
    file_ = file;
    in_record_ = false;
    if (is_broken_) verdict.later_files.push_back(file);
    for (std::size_t block = 0; block < bytes.size(); block += block_size)
      read_block(bytes.substr(block, block_size), block);
    if (in_record_) broken(record_at_);
  }
  log_verdict verdict;

 private:
  void read_block(std::string_view block, std::size_t start) {
    std::size_t at = 0;
    while (at + header_size <= block.size()) {
      const std::string_view rest = block.substr(at);
      const std::optional<piece> p = piece_at(rest);
      if (p) {
        take(*p, start + at);
        at += header_size + p->bytes.size();
      } else if (is_zero(rest)) {
        if (in_record_) broken(record_at_);
        return;  // the end, or a hole: what comes behind it tells by its sequence number
      } else {
        broken(in_record_ ? record_at_ : start + at);
        ++at;  // the next one may begin anywhere
      }
    }
  }

  void take(const piece& p, std::size_t offset) {
    const bool begins = p.type == full || p.type == first;
    if (begins == in_record_) {  // the rest of a record, or its beginning, is missing
      broken(in_record_ ? record_at_ : offset);
      if (!begins) return;
    }
    if (begins) {
      record_.clear();
      record_at_ = offset;
    }
    record_.append(p.bytes);
    in_record_ = p.type == first || p.type == middle;
    if (!in_record_) take_record();
  }

  void take_record() {
    const std::optional<batch_head> h = head_of(record_);
    if (!h) return broken(record_at_);
    if (!is_broken_ && next_ != 0 && h->sequence != next_) broken(record_at_);
    if (!is_broken_) {
      next_ = h->sequence + h->count;
      return;
    }
    if (h->sequence < next_) return;  // not of this log: bytes that only look like a record
    // Where nothing readable stands before the break, the last record of the gap is what counts.
    const std::uint64_t lost = next_ != 0 ? next_ : h->sequence - 1;
    if (verdict.state == log_state::whole) verdict.state = log_state::torn;
    if (h->flushed && *h->flushed >= lost) verdict.state = log_state::damaged;
    ++verdict.records_behind;
    note_inodes(record_, verdict.inodes_behind);
  }

  void broken(std::size_t offset) {
    in_record_ = false;
    if (std::exchange(is_broken_, true)) return;
    verdict.file = file_;
    verdict.offset = offset;
    verdict.next_sequence = next_;
  }

  std::string file_;
  std::string record_;  // as much of one as has been read
  std::size_t record_at_ = 0;
  bool in_record_ = false;
  bool is_broken_ = false;
  std::uint64_t next_ = 0;
};

failure<problem> trouble(const std::string& path) {
  return failure{problem{exit_code::store, path + ": " + std::strerror(errno),
                         "run the server as the user who owns the volume"}};
}

outcome<std::string> bytes_of_file(const std::string& path) {
  const unique_fd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd) return trouble(path);
  std::string bytes;
  std::string room(1 << 20, '\0');
  for (;;) {
    const ssize_t n = ::read(fd.get(), room.data(), room.size());
    if (n < 0) return trouble(path);
    if (n == 0) return bytes;
    bytes.append(room.data(), static_cast<std::size_t>(n));
  }
}

outcome<bool> cut(const std::string& path, std::uint64_t size) {
  const unique_fd fd(::open(path.c_str(), O_RDWR | O_CLOEXEC));
  if (!fd || ::ftruncate(fd.get(), static_cast<off_t>(size)) != 0 || ::fsync(fd.get()) != 0)
    return trouble(path);
  return true;
}

}  // namespace

std::string flushed_mark(std::uint64_t flushed) {
  std::string mark(mark_magic);
  for (unsigned shift = 0; shift < 64; shift += 8)
    mark.push_back(static_cast<char>((flushed >> shift) & 0xff));
  return mark;
}

outcome<log_verdict> inspect_logs(const std::string& directory) {
  std::vector<std::pair<std::uint64_t, std::string>> logs;  // by number
  std::error_code e;
  for (std::filesystem::directory_iterator at(directory, e);
       !e && at != std::filesystem::directory_iterator(); at.increment(e)) {
    const std::string name = at->path().filename().string();
    std::uint64_t number = 0;
    const auto [end, wrong] = std::from_chars(name.data(), name.data() + name.size(), number);
    if (wrong == std::errc{} && std::string_view(end) == ".log")
      logs.emplace_back(number, at->path().string());
  }
  if (e)
    return failure{problem{exit_code::store, directory + ": " + e.message(),
                           "the volume's metadata is missing, or another user's"}};
  std::sort(logs.begin(), logs.end());
  log_reader reader;
  for (const auto& [number, path] : logs) {
    const outcome<std::string> bytes = bytes_of_file(path);
    if (!bytes) return failure{bytes.error()};
    reader.read(path, *bytes);
  }
  return reader.verdict;
}

outcome<bool> cut_logs(const std::string& directory, const log_verdict& verdict) {
  // The last ones first: a crash in between leaves a log that ends earlier, not one with a gap.
  for (std::size_t i = verdict.later_files.size(); i-- > 0;)
    if (const outcome<bool> done = cut(verdict.later_files[i], 0); !done)
      return failure{done.error()};
  if (const outcome<bool> done = cut(verdict.file, verdict.offset); !done)
    return failure{done.error()};
  const unique_fd fd(::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd || ::fsync(fd.get()) != 0) return trouble(directory);
  return true;
}

std::string text_of_loss(const log_verdict& v) {
  std::string inodes;
  for (const std::uint64_t inode : v.inodes_behind)
    inodes += fmt::format("{}{:#x}", inodes.empty() ? "" : ", ", inode);
  return fmt::format("everything from byte {} on: what cannot be read, and {} later changes{}{}",
                     v.offset, v.records_behind, inodes.empty() ? "" : " (of inodes ", inodes) +
         (inodes.empty() ? "" : v.inodes_behind.size() < inodes_kept_max ? ")" : ", ...)");
}

}  // namespace tangelo
