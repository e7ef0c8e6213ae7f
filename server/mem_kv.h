// mem_kv: kv_store in memory, with a power switch, for tests and the simulator.
//
// It outlives the server that uses it: power_cut() throws away what was not synced, and a new
// volume can be opened on what is left. One thread only.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "server/flush_log.h"
#include "server/kv.h"

namespace tangelo {

class mem_kv final : public kv_store {
 public:
  explicit mem_kv(flush_log* log = nullptr) : log_(log) {}

  kv_status get(column where, std::string_view key, std::string& value, read_mode mode) override;
  kv_status scan(column where, std::string_view from, std::string_view until, read_mode mode,
                 const visitor& visit) override;
  error_code write(const kv_batch& batch) override;
  error_code sync() override;

  // Back to what was durable, and `extra` of the batches behind it: any prefix may survive.
  void power_cut(std::size_t extra = 0);
  std::size_t unsynced() const { return pending_.size(); }
  std::uint64_t written() const { return written_; }

  void set_flush(bool on) { flush_ = on; }           // off: sync() does nothing and says ok
  void set_cold(bool on) { cold_ = on, warm_.clear(); }  // on: a first cached read would block
  void fail_writes(error_code e) { write_error_ = e; }

 private:
  using table = std::map<std::string, std::string, std::less<>>;
  using tables = std::array<table, column_count>;
  static void apply(tables& to, const kv_batch& batch);
  bool is_cold(column where, std::string_view key, read_mode mode);

  flush_log* log_;
  tables now_;
  tables durable_;
  std::vector<kv_batch> pending_;  // written and not synced
  std::uint64_t written_ = 0;
  bool flush_ = true;
  bool cold_ = false;
  std::set<std::string> warm_;
  error_code write_error_ = error_code::ok;
};

}  // namespace tangelo
