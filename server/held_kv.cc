#include "server/held_kv.h"

#include <utility>

namespace tangelo {

namespace {

class held_kv final : public kv_store {
 public:
  held_kv(std::unique_ptr<kv_store> inner, std::function<bool()> still_held,
          std::function<void()> lost)
      : inner_(std::move(inner)), still_held_(std::move(still_held)), lost_(std::move(lost)) {}

  kv_status get(column where, std::string_view key, std::string& value,
                read_mode mode) override {
    return inner_->get(where, key, value, mode);
  }
  kv_status scan(column where, std::string_view from, std::string_view until, read_mode mode,
                 const visitor& visit) override {
    return inner_->scan(where, from, until, mode, visit);
  }
  error_code write(const kv_batch& batch) override { return inner_->write(batch); }
  error_code sync() override {
    if (still_held_()) return inner_->sync();
    lost_();
    return error_code::io;
  }

 private:
  const std::unique_ptr<kv_store> inner_;
  const std::function<bool()> still_held_;
  const std::function<void()> lost_;
};

}  // namespace

std::unique_ptr<kv_store> make_held_kv(std::unique_ptr<kv_store> inner,
                                       std::function<bool()> still_held,
                                       std::function<void()> lost) {
  return std::make_unique<held_kv>(std::move(inner), std::move(still_held), std::move(lost));
}

}  // namespace tangelo
