#include "server/mem_kv.h"

#include <algorithm>

namespace tangelo {

bool mem_kv::is_cold(column where, std::string_view key, read_mode mode) {
  if (!cold_) return false;
  std::string name(1, static_cast<char>(where));
  name.append(key);
  if (mode == read_mode::blocking) warm_.insert(name);
  return !warm_.contains(name);
}

kv_status mem_kv::get(column where, std::string_view key, std::string& value, read_mode mode) {
  if (is_cold(where, key, mode)) return kv_status::would_block;
  const table& t = now_[static_cast<std::size_t>(where)];
  const auto at = t.find(key);
  if (at == t.end()) return kv_status::absent;
  value = at->second;
  return kv_status::found;
}

kv_status mem_kv::scan(column where, std::string_view from, std::string_view until,
                       read_mode mode, const visitor& visit) {
  if (is_cold(where, from, mode)) return kv_status::would_block;
  const table& t = now_[static_cast<std::size_t>(where)];
  for (auto at = t.lower_bound(from); at != t.end(); ++at) {
    if (!until.empty() && at->first >= until) break;
    if (!visit(at->first, at->second)) break;
  }
  return kv_status::found;
}

void mem_kv::apply(tables& to, const kv_batch& batch) {
  for (const kv_batch::change& c : batch.changes()) {
    table& t = to[static_cast<std::size_t>(c.where)];
    if (!c.until.empty())
      t.erase(t.lower_bound(c.key), t.lower_bound(c.until));
    else if (c.removes)
      t.erase(c.key);
    else
      t[c.key] = c.value;
  }
}

error_code mem_kv::write(const kv_batch& batch) {
  if (write_error_ != error_code::ok) return write_error_;
  apply(now_, batch);
  pending_.push_back(batch);
  ++written_;
  return error_code::ok;
}

error_code mem_kv::sync() {
  if (!flush_) return error_code::ok;
  for (const kv_batch& b : pending_) apply(durable_, b);
  pending_.clear();
  if (log_ != nullptr) log_->push_back({flush_event::kind::metadata, written_});
  return error_code::ok;
}

void mem_kv::power_cut(std::size_t extra) {
  const std::size_t n = std::min(extra, pending_.size());
  for (std::size_t i = 0; i < n; ++i) apply(durable_, pending_[i]);
  pending_.clear();
  warm_.clear();
  now_ = durable_;
}

}  // namespace tangelo
