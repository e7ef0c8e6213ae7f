// What a power failure leaves of a recorded directory: see power_disk.h.
#include <fcntl.h>
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <random>

#include "base/fd.h"
#include "tests/unit/power_disk.h"
#include "tests/unit/power_record.h"

namespace tangelo::power {

namespace {

constexpr std::uint64_t page_size = 4096;
constexpr std::uint64_t sector_size = 512;

bool is_object(const std::string& path) { return path.find("/objects/") != std::string::npos; }
bool is_object_directory(const std::string& path) {
  const std::size_t name = path.rfind('/') + 1;
  return path.ends_with("/objects") || (is_object(path) && path.size() - name == 2);
}
bool is_metadata(const std::string& path) { return path.find("/metadata/") != std::string::npos; }
bool is_log(const std::string& path) { return path.ends_with(".log"); }

bool is_name_change(event_kind k) {
  return k == event_kind::create || k == event_kind::mkdir || k == event_kind::rename ||
         k == event_kind::unlink;
}
std::string parent_of(const std::string& path) { return path.substr(0, path.rfind('/')); }

// Does the lying disk leave out the sync of this file or directory?
bool is_left_out(lie l, const std::string& path) {
  switch (l) {
    case lie::none: return false;
    case lie::object_syncs: return is_object(path);
    case lie::log_syncs: return is_log(path);
    case lie::table_syncs: return is_metadata(path) && !is_log(path);
    // The names of objects are synced, too, and with them all that came before.
    case lie::table_names: return path.ends_with("/metadata") || is_object_directory(path);
    case lie::object_names: return is_object(path) || path.ends_with("/objects");
  }
  return false;
}

class image {
 public:
  image(std::size_t cut, fate f, std::uint64_t seed, lie l)
      : cut_(std::min(cut, events().size())), fate_(f), lie_(l), random_(seed), synced_(cut_) {}

  void make(const std::string& directory) {
    find_synced();
    replay_names(directory);
    const std::size_t prefix = recorded_root().size();
    for (const auto& [path, file] : names_)
      put(directory + path.substr(prefix), content_of(file));
  }

 private:
  // Which bytes and names a sync has made safe.
  void find_synced() {
    for (std::size_t i = 0; i < cut_; ++i) {
      const event& e = events()[i];
      switch (e.what) {
        case event_kind::sync_file:
          if (!is_left_out(lie_, path_of(e.file))) sync_before(e.upto, e.file);
          break;
        case event_kind::sync_write:
          if (!is_left_out(lie_, path_of(events()[e.upto].file))) synced_[e.upto] = true;
          break;
        case event_kind::sync_names:
          if (!is_left_out(lie_, e.path)) sync_names_before(e.upto, &e.path);
          break;
        case event_kind::sync_all:
          sync_before(e.upto, -1);
          sync_names_before(e.upto, nullptr);
          break;
        case event_kind::create:
        case event_kind::mkdir:
        case event_kind::rename:
        case event_kind::unlink:
        case event_kind::write:
        case event_kind::truncate: break;
      }
    }
  }
  static const std::string& path_of(int file) {
    return file_paths()[static_cast<std::size_t>(file)];
  }
  void sync_before(std::size_t end, int file) {
    for (std::size_t i = 0; i < end; ++i) {
      const event& e = events()[i];
      if (e.file >= 0 && (file < 0 || e.file == file)) synced_[i] = true;
    }
  }
  void sync_names_before(std::size_t end, const std::string* directory) {
    for (std::size_t i = end; i > names_end_; --i) {
      const event& e = events()[i - 1];
      if (!is_name_change(e.what)) continue;
      if (directory != nullptr && parent_of(e.path) != *directory &&
          (e.what != event_kind::rename || parent_of(e.to) != *directory))
        continue;
      names_end_ = i;
      return;
    }
  }

  void replay_names(const std::string& directory) {
    std::size_t end = cut_;
    if (fate_ == fate::lost) end = names_end_;
    if (fate_ == fate::mixed)
      end = names_end_ + static_cast<std::size_t>(random_() % (cut_ - names_end_ + 1));
    const std::size_t prefix = recorded_root().size();
    for (std::size_t i = 0; i < end; ++i) {
      const event& e = events()[i];
      if (e.what == event_kind::create) names_[e.path] = e.file;
      if (e.what == event_kind::unlink) names_.erase(e.path);
      if (e.what == event_kind::mkdir)
        std::filesystem::create_directory(directory + e.path.substr(prefix));
      if (e.what == event_kind::rename) {
        names_[e.to] = names_.at(e.path);
        names_.erase(e.path);
      }
    }
  }

  std::string content_of(int file) {
    std::string content;
    bool cut_short = false;  // by a truncate that is not there
    for (std::size_t i = 0; i < cut_; ++i) {
      const event& e = events()[i];
      if (e.file != file) continue;
      if (!synced_[i] && (fate_ == fate::lost || cut_short)) continue;
      if (e.what == event_kind::truncate) {
        if (synced_[i] || fate_ == fate::kept || random_() % 2 == 0)
          content.resize(e.size);
        else
          cut_short = true;
      }
      if (e.what == event_kind::write) apply(e, synced_[i] || fate_ == fate::kept, content);
    }
    return content;
  }
  void apply(const event& e, bool whole, std::string& content) {
    for (std::uint64_t done = 0; done < e.size;) {
      const std::uint64_t at = e.offset + done;
      std::uint64_t size = std::min(e.size - done, page_size - at % page_size);
      const std::uint64_t next = done + size;
      if (!whole) {
        const std::uint64_t dice = random_() % 4;
        if (dice < 2) size = 0;
        if (dice == 2) size = std::min(size, sector_size * (random_() % 8));
      }
      if (size != 0) {
        if (content.size() < at + size) content.resize(at + size);
        if (e.bytes.empty())
          std::fill_n(content.begin() + static_cast<std::ptrdiff_t>(at), size, '\0');
        else
          e.bytes.copy(content.data() + at, size, done);
      }
      done = next;
    }
  }

  // Blocks of zeros stay holes.
  static void put(const std::string& path, const std::string& content) {
    const unique_fd fd(::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
    ASSERT_TRUE(static_cast<bool>(fd)) << path;
    ASSERT_EQ(::ftruncate(fd.get(), static_cast<off_t>(content.size())), 0);
    constexpr std::size_t piece = 64 << 10;
    static const std::string zeros(piece, '\0');
    for (std::size_t at = 0; at < content.size(); at += piece) {
      const std::size_t size = std::min(piece, content.size() - at);
      if (zeros.compare(0, size, content, at, size) == 0) continue;
      ASSERT_EQ(::pwrite(fd.get(), content.data() + at, size, static_cast<off_t>(at)),
                static_cast<ssize_t>(size));
    }
  }

  const std::size_t cut_;
  const fate fate_;
  const lie lie_;
  std::mt19937_64 random_;
  std::vector<bool> synced_;      // per event: its bytes are on the disk
  std::size_t names_end_ = 0;     // the names are right at least up to this event
  std::map<std::string, int> names_;
};

}  // namespace

std::string describe(std::size_t index) {
  if (index >= events().size()) return "the end";
  static constexpr const char* names[] = {"create",   "mkdir",     "rename",     "unlink",
                                          "write",    "truncate",  "sync_file",  "sync_write",
                                          "sync_names", "sync_all"};
  const event& e = events()[index];
  const std::string path =
      e.file >= 0 ? file_paths()[static_cast<std::size_t>(e.file)] : e.path;
  return fmt::format("{} {} {}+{}", names[static_cast<std::size_t>(e.what)], path, e.offset,
                     e.size);
}

void make_image(std::size_t cut, fate f, std::uint64_t seed, lie l, const std::string& directory) {
  image(cut, f, seed, l).make(directory);
}

}  // namespace tangelo::power
