#include "server/rocks_kv.h"

#include <fcntl.h>
#include <rocksdb/cache.h>
#include <rocksdb/db.h>
#include <rocksdb/env.h>
#include <rocksdb/filter_policy.h>
#include <rocksdb/options.h>
#include <rocksdb/slice_transform.h>
#include <rocksdb/table.h>
#include <rocksdb/write_batch.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdarg>
#include <cstdio>
#include <cstring>

#include "base/check.h"
#include "base/fd.h"
#include "base/log.h"
#include "server/wal_files.h"
#include "server/wal_log.h"

namespace tangelo {

namespace {

constexpr std::size_t block_cache_size = 32 << 20;
// Never reached: RocksDB must not write tables by itself (rocks_kv.h).
constexpr std::size_t write_buffer_size = std::size_t{32} << 30;
constexpr std::uint64_t log_size_max = UINT64_MAX;
// Of all columns' changes that are in no table; of a small disk less: tables must find room when it
// is full (disk_space.h), and so must the log until then. So on any disk that is nearly full, less.
constexpr std::uint64_t memory_size_min = 1 << 20;
constexpr std::uint64_t memory_size_low = 2 << 20;
constexpr std::uint64_t memory_size_max = 24 << 20;
constexpr std::uint64_t low_space = 128 << 20;
// Each table that comes or goes adds to it; when it is as long it is begun anew.
constexpr std::uint64_t manifest_size_max = 1 << 20;

// Says in the server's log what RocksDB says only in its own: that a part of the write-ahead log
// was left out. After a power failure it is what nobody was told to be durable.
class watching_logger final : public rocksdb::LoggerWrapper {
 public:
  explicit watching_logger(std::shared_ptr<rocksdb::Logger> inner)
      : rocksdb::LoggerWrapper(inner.get()), inner_(std::move(inner)) {}

  using rocksdb::LoggerWrapper::Logv;
  void Logv(rocksdb::InfoLogLevel level, const char* format, va_list ap) override {
    if (std::strstr(format, "dropping %") != nullptr) {
      std::array<char, 512> text{};
      va_list copy;
      va_copy(copy, ap);
      (void)std::vsnprintf(text.data(), text.size(), format, copy);
      va_end(copy);
      log_warning(
          "metadata store: its log is damaged, a part is left out: {} (if there was no power "
          "failure, acknowledged changes are lost: check the disk)",
          text.data());
    }
    inner_->Logv(level, format, ap);
  }

 private:
  std::shared_ptr<rocksdb::Logger> inner_;
};

// RocksDB aborts the process when it finds no room while it opens: looked for before. It needs
// what a log file is filled ahead by, and a little for tables; more is left by full volumes.
bool has_room(const std::string& directory) {
  constexpr off_t least = 13 << 19;
  const unique_fd fd(::open(directory.c_str(), O_TMPFILE | O_WRONLY | O_CLOEXEC, 0600));
  return !fd || ::posix_fallocate(fd.get(), 0, least) != ENOSPC;
}

std::uint64_t disk_size_of(const std::string& directory) {
  struct statvfs st{};
  return ::statvfs(directory.c_str(), &st) == 0 ? st.f_blocks * st.f_frsize : UINT64_MAX;
}

bool is_nearly_full(const std::string& directory) {
  struct statvfs st{};
  return ::statvfs(directory.c_str(), &st) == 0 && st.f_bavail * st.f_frsize < low_space;
}

rocksdb::DBOptions database_options(bool create, rocksdb::Env& env) {
  rocksdb::DBOptions o;
  o.env = &env;
  o.create_if_missing = create;
  o.create_missing_column_families = true;
  o.error_if_exists = create;
  o.manual_wal_flush = true;
  o.wal_recovery_mode = rocksdb::WALRecoveryMode::kPointInTimeRecovery;
  o.atomic_flush = false;  // one log for all columns keeps them in step
  o.max_background_jobs = 2;
  o.max_open_files = 256;
  o.max_file_opening_threads = 1;
  o.db_write_buffer_size = 0;
  o.max_total_wal_size = log_size_max;
  o.max_manifest_file_size = manifest_size_max;
  o.max_bgerror_resume_count = 0;  // resuming by itself would write tables
  o.stats_dump_period_sec = 0;
  o.stats_persist_period_sec = 0;
  o.keep_log_file_num = 2;
  o.max_log_file_size = 1 << 20;
  o.info_log_level = rocksdb::InfoLogLevel::WARN_LEVEL;
  o.avoid_unnecessary_blocking_io = true;
  o.enable_thread_tracking = false;
  o.use_adaptive_mutex = true;
  return o;
}

rocksdb::ColumnFamilyOptions column_options(const std::shared_ptr<rocksdb::Cache>& cache) {
  rocksdb::ColumnFamilyOptions o;
  o.write_buffer_size = write_buffer_size;
  o.arena_block_size = 64 << 10;
  o.max_write_buffer_number = 8;
  o.level0_slowdown_writes_trigger = 40;
  o.level0_stop_writes_trigger = 80;
  o.level_compaction_dynamic_level_bytes = true;
  o.periodic_compaction_seconds = 0;
  o.ttl = 0;
  rocksdb::BlockBasedTableOptions table;
  table.block_cache = cache;
  table.cache_index_and_filter_blocks = true;
  table.filter_policy.reset(rocksdb::NewBloomFilterPolicy(10, false));
  table.format_version = 5;
  o.table_factory.reset(rocksdb::NewBlockBasedTableFactory(table));
  return o;
}

rocksdb::Slice slice(std::string_view s) { return rocksdb::Slice(s.data(), s.size()); }
std::string_view view(const rocksdb::Slice& s) { return {s.data(), s.size()}; }

kv_status status_of(const rocksdb::Status& s) {
  if (s.ok()) return kv_status::found;
  if (s.IsNotFound()) return kv_status::absent;
  if (s.IsIncomplete()) return kv_status::would_block;
  log_error("metadata store: {}", s.ToString());
  return kv_status::failed;
}

error_code error_of(const rocksdb::Status& s) {
  if (s.ok()) return error_code::ok;
  log_error("metadata store: {}", s.ToString());
  return s.IsNoSpace() ? error_code::no_space : error_code::io;
}

rocksdb::ReadOptions options_of(read_mode mode) {
  rocksdb::ReadOptions o;
  if (mode == read_mode::cached) o.read_tier = rocksdb::kBlockCacheTier;
  return o;
}

class rocks_kv final : public kv_store {
 public:
  // `disk_size`: of the filesystem that the store is on.
  rocks_kv(const std::string& directory, std::uint64_t disk_size,
           std::unique_ptr<rocksdb::Env> env, rocksdb::DB* db,
           const std::vector<rocksdb::ColumnFamilyHandle*>& handles)
      : directory_(directory),
        memory_size_max_(std::clamp(disk_size / 64, memory_size_min, memory_size_max)),
        env_(std::move(env)),
        db_(db),
        default_(handles[0]) {
    for (std::size_t i = 0; i < column_count; ++i) columns_[i] = handles[i + 1];
    flushed_ = db_->GetLatestSequenceNumber();  // opening has flushed what it found
  }
  ~rocks_kv() override {
    for (rocksdb::ColumnFamilyHandle* c : columns_) closed(db_->DestroyColumnFamilyHandle(c));
    closed(db_->DestroyColumnFamilyHandle(default_));
    closed(db_->Close());
  }
  rocks_kv(const rocks_kv&) = delete;
  rocks_kv& operator=(const rocks_kv&) = delete;

  kv_status get(column where, std::string_view key, std::string& value,
                read_mode mode) override {
    value.clear();
    const rocksdb::Status s = db_->Get(options_of(mode), at(where), slice(key), &value);
    if (mode == read_mode::cached && s.ok() && value.empty())
      return empty_or_unread(where, key, value);
    return status_of(s);
  }

  kv_status scan(column where, std::string_view from, std::string_view until, read_mode mode,
                 const visitor& visit) override {
    rocksdb::ReadOptions options = options_of(mode);
    options.ignore_range_deletions = true;  // rocks_kv.h
    const rocksdb::Slice bound = slice(until);
    if (!until.empty()) options.iterate_upper_bound = &bound;
    const std::unique_ptr<rocksdb::Iterator> i(db_->NewIterator(options, at(where)));
    std::string value;
    for (i->Seek(slice(from)); i->Valid(); i->Next()) {
      if (loses_ranges(where)) {
        const kv_status s = get(where, view(i->key()), value, mode);
        if (s == kv_status::absent) continue;
        if (s != kv_status::found) return s;
      }
      if (!visit(view(i->key()), view(i->value()))) return kv_status::found;
    }
    return status_of(i->status());
  }

  error_code write(const kv_batch& changes) override {
    rocksdb::WriteBatch batch;
    rocksdb::Status s = batch.PutLogData(flushed_mark(flushed_));
    if (!s.ok()) return error_of(s);
    for (const kv_batch::change& c : changes.changes()) {
      CHECK(c.until.empty() || loses_ranges(c.where));
      if (!c.until.empty())
        s = batch.DeleteRange(at(c.where), slice(c.key), slice(c.until));
      else
        s = c.removes ? batch.Delete(at(c.where), slice(c.key))
                      : batch.Put(at(c.where), slice(c.key), slice(c.value));
      if (!s.ok()) return error_of(s);
    }
    return error_of(db_->Write(rocksdb::WriteOptions(), &batch));
  }

  error_code sync() override {
    const std::uint64_t written = db_->GetLatestSequenceNumber();
    const rocksdb::Status s = db_->FlushWAL(true);
    if (!s.ok()) return error_of(s);
    flushed_ = written;
    return error_of(write_tables());
  }

 private:
  // Begins to write what is in memory to tables, if that is much; it goes on behind this call.
  rocksdb::Status write_tables() {
    std::uint64_t size = 0;
    for (rocksdb::ColumnFamilyHandle* c : columns_) {
      std::uint64_t of_column = 0;
      if (db_->GetIntProperty(c, rocksdb::DB::Properties::kCurSizeActiveMemTable, &of_column))
        size += of_column;
    }
    if (size < std::min(memory_size_low, memory_size_max_)) return {};
    if (size < memory_size_max_ && !is_nearly_full(directory_)) return {};
    rocksdb::FlushOptions o;
    o.wait = false;
    o.allow_write_stall = true;
    return db_->Flush(o, {columns_.begin(), columns_.end()});
  }
  // A cached read of a table file that is not open "finds" nothing of the value: it only says that
  // the key may be there. The other question tells this from a value that is empty.
  kv_status empty_or_unread(column where, std::string_view key, std::string& value) {
    bool was_read = false;
    const bool may_be = db_->KeyMayExist(options_of(read_mode::cached), at(where), slice(key),
                                         &value, &was_read);
    return may_be && was_read ? kv_status::found : kv_status::would_block;
  }
  static void closed(const rocksdb::Status& s) {
    if (!s.ok()) log_error("metadata store: closing: {}", s.ToString());
  }
  rocksdb::ColumnFamilyHandle* at(column c) const {
    return columns_[static_cast<std::size_t>(c)];
  }

  const std::string directory_;
  const std::uint64_t memory_size_max_;
  std::unique_ptr<rocksdb::Env> env_;  // outlives db_
  std::unique_ptr<rocksdb::DB> db_;
  rocksdb::ColumnFamilyHandle* default_;
  std::array<rocksdb::ColumnFamilyHandle*, column_count> columns_{};
  std::atomic<std::uint64_t> flushed_{0};  // all changes up to this one are durable (wal_log.h)
};

// Cuts a torn end off, so that a prefix is left; refuses a log that has lost what was flushed.
outcome<bool> prepare_logs(const std::string& directory) {
  const outcome<log_verdict> v = inspect_logs(directory);
  if (!v) return failure{v.error()};
  switch (v->state) {
    case log_state::whole: return true;
    case log_state::damaged:
      return failure{problem{
          exit_code::store,
          v->file + ": the log is damaged before its end: acknowledged changes are lost, " +
              text_of_loss(*v),
          "check the disk, and restore from a backup; or give that up: tangelo-server check DIR "
          "--repair"}};
    case log_state::torn: break;
  }
  log_notice("{}: torn by a power failure: what was not acknowledged is cut off, {}", v->file,
             text_of_loss(*v));
  return cut_logs(directory, *v);
}

}  // namespace

outcome<std::unique_ptr<kv_store>> open_rocks_kv(const std::string& directory, bool create) {
  const std::uint64_t disk_size = disk_size_of(directory);
  const auto cache = rocksdb::NewLRUCache(block_cache_size, 2, false);
  const rocksdb::ColumnFamilyOptions options = column_options(cache);
  std::vector<rocksdb::ColumnFamilyDescriptor> columns;
  columns.emplace_back(rocksdb::kDefaultColumnFamilyName, options);
  for (std::size_t i = 0; i < column_count; ++i)
    columns.emplace_back(std::string(name_of(static_cast<column>(i))), options);
  std::vector<rocksdb::ColumnFamilyHandle*> handles;
  std::unique_ptr<rocksdb::Env> env = make_wal_env(disk_size);
  rocksdb::DB* db = nullptr;
  if (!create && !has_room(directory))
    return failure{problem{exit_code::store, directory + ": no space left on the disk",
                           "free 8 MiB or more, not by removing files of the volume, and start "
                           "again"}};
  if (!create)
    if (const outcome<bool> prepared = prepare_logs(directory); !prepared)
      return failure{prepared.error()};
  try {
    rocksdb::DBOptions database = database_options(create, *env);
    std::shared_ptr<rocksdb::Logger> own_log;
    if (!create && rocksdb::CreateLoggerFromOptions(directory, database, &own_log).ok())
      database.info_log = std::make_shared<watching_logger>(std::move(own_log));
    const rocksdb::Status s = rocksdb::DB::Open(database, directory, columns, &handles, &db);
    if (s.IsCorruption())
      return failure{problem{exit_code::store, directory + ": damaged: " + s.ToString(),
                             "the metadata of the volume cannot be mended: check the disk, and "
                             "restore from a backup"}};
    if (!s.ok())
      return failure{problem{exit_code::store, directory + ": " + s.ToString(),
                             "the metadata of the volume cannot be opened; is the disk full, or "
                             "are these files another user's?"}};
  } catch (const std::exception& e) {
    return failure{problem{exit_code::store, directory + ": " + e.what(), {}}};
  }
  return std::unique_ptr<kv_store>(new rocks_kv(directory, disk_size, std::move(env), db, handles));
}

}  // namespace tangelo
