#include "server/rocks_kv.h"

#include <rocksdb/cache.h>
#include <rocksdb/db.h>
#include <rocksdb/env.h>
#include <rocksdb/filter_policy.h>
#include <rocksdb/options.h>
#include <rocksdb/slice_transform.h>
#include <rocksdb/table.h>
#include <rocksdb/write_batch.h>

#include <array>

#include "base/log.h"
#include "server/wal_files.h"

namespace tangelo {

namespace {

constexpr std::size_t block_cache_size = 32 << 20;
constexpr std::size_t write_buffer_size = 16 << 20;
constexpr std::size_t write_buffers_size_max = 48 << 20;  // of all columns
constexpr std::uint64_t log_size_max = 256 << 20;

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
  o.db_write_buffer_size = write_buffers_size_max;
  o.max_total_wal_size = log_size_max;
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
  rocks_kv(std::unique_ptr<rocksdb::Env> env, rocksdb::DB* db,
           const std::vector<rocksdb::ColumnFamilyHandle*>& handles)
      : env_(std::move(env)), db_(db), default_(handles[0]) {
    for (std::size_t i = 0; i < column_count; ++i) columns_[i] = handles[i + 1];
  }
  ~rocks_kv() override {
    for (rocksdb::ColumnFamilyHandle* c : columns_) closed(db_->DestroyColumnFamilyHandle(c));
    closed(db_->DestroyColumnFamilyHandle(default_));
    closed(db_->FlushWAL(true));
    closed(db_->Close());
  }
  rocks_kv(const rocks_kv&) = delete;
  rocks_kv& operator=(const rocks_kv&) = delete;

  kv_status get(column where, std::string_view key, std::string& value,
                read_mode mode) override {
    return status_of(db_->Get(options_of(mode), at(where), slice(key), &value));
  }

  kv_status scan(column where, std::string_view from, std::string_view until, read_mode mode,
                 const visitor& visit) override {
    rocksdb::ReadOptions options = options_of(mode);
    const rocksdb::Slice bound = slice(until);
    if (!until.empty()) options.iterate_upper_bound = &bound;
    const std::unique_ptr<rocksdb::Iterator> i(db_->NewIterator(options, at(where)));
    for (i->Seek(slice(from)); i->Valid(); i->Next())
      if (!visit(view(i->key()), view(i->value()))) return kv_status::found;
    return status_of(i->status());
  }

  error_code write(const kv_batch& changes) override {
    rocksdb::WriteBatch batch;
    rocksdb::Status s;
    for (const kv_batch::change& c : changes.changes()) {
      s = c.removes ? batch.Delete(at(c.where), slice(c.key))
                    : batch.Put(at(c.where), slice(c.key), slice(c.value));
      if (!s.ok()) return error_of(s);
    }
    return error_of(db_->Write(rocksdb::WriteOptions(), &batch));
  }

  error_code sync() override { return error_of(db_->FlushWAL(true)); }

 private:
  static void closed(const rocksdb::Status& s) {
    if (!s.ok()) log_error("metadata store: closing: {}", s.ToString());
  }
  rocksdb::ColumnFamilyHandle* at(column c) const {
    return columns_[static_cast<std::size_t>(c)];
  }

  std::unique_ptr<rocksdb::Env> env_;  // outlives db_
  std::unique_ptr<rocksdb::DB> db_;
  rocksdb::ColumnFamilyHandle* default_;
  std::array<rocksdb::ColumnFamilyHandle*, column_count> columns_{};
};

}  // namespace

outcome<std::unique_ptr<kv_store>> open_rocks_kv(const std::string& directory, bool create) {
  const auto cache = rocksdb::NewLRUCache(block_cache_size, 2, false);
  const rocksdb::ColumnFamilyOptions options = column_options(cache);
  std::vector<rocksdb::ColumnFamilyDescriptor> columns;
  columns.emplace_back(rocksdb::kDefaultColumnFamilyName, options);
  for (std::size_t i = 0; i < column_count; ++i)
    columns.emplace_back(std::string(name_of(static_cast<column>(i))), options);
  std::vector<rocksdb::ColumnFamilyHandle*> handles;
  std::unique_ptr<rocksdb::Env> env = make_wal_env();
  rocksdb::DB* db = nullptr;
  try {
    const rocksdb::Status s =
        rocksdb::DB::Open(database_options(create, *env), directory, columns, &handles, &db);
    if (!s.ok())
      return failure{problem{exit_code::store, directory + ": " + s.ToString(),
                             "the metadata of the volume cannot be opened; is the disk full, or "
                             "are these files another user's?"}};
  } catch (const std::exception& e) {
    return failure{problem{exit_code::store, directory + ": " + e.what(), {}}};
  }
  return std::unique_ptr<kv_store>(new rocks_kv(std::move(env), db, handles));
}

}  // namespace tangelo
