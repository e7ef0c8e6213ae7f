#include "tests/sim/taps.h"

#include <deque>
#include <string>

namespace tangelo::sim {

class held_endpoint final : public endpoint, public endpoint_events {
 public:
  held_endpoint(std::unique_ptr<endpoint> inner, server_life& life)
      : inner_(std::move(inner)), life_(life) {
    life_.add(*this);
  }
  ~held_endpoint() override { life_.remove(*this); }

  void start(endpoint_events& events) override {
    events_ = &events;
    inner_->start(*this);
  }
  send_status send(byte_span message) override {
    if (life_.dead()) return send_status::sent;
    const fate f = ask(place::before_send, message);
    if (f == fate::lose || life_.dead()) return send_status::sent;
    const send_status s = inner_->send(message);
    if (s == send_status::sent) (void)ask(place::after_send, message);
    return s;
  }
  void expose(const chunk& c, mutable_byte_span memory, bool eager) override {
    inner_->expose(c, memory, eager);
  }
  void retract(std::uint64_t tag) override { inner_->retract(tag); }
  send_status read_remote(const chunk& c, mutable_byte_span into, std::uint64_t cookie) override {
    return life_.dead() ? send_status::sent : inner_->read_remote(c, into, cookie);
  }
  send_status write_remote(const chunk& c, byte_span from, std::uint64_t cookie) override {
    return life_.dead() ? send_status::sent : inner_->write_remote(c, from, cookie);
  }
  void close(down_reason reason) noexcept override { inner_->close(reason); }
  endpoint_stats stats() const noexcept override { return inner_->stats(); }
  std::string peer_name() const override { return inner_->peer_name(); }

  void on_up() noexcept override { events_->on_up(); }
  void on_message(byte_span message) noexcept override {
    if (life_.dead()) return;
    if (holding_) return keep(message);
    switch (ask(place::before_receive, message)) {
      case fate::die: return;
      case fate::lose: return drop_bulk(message);
      case fate::hold: holding_ = true; return keep(message);
      case fate::go_on: break;
    }
    events_->on_message(message);
    (void)ask(place::after_receive, message);
  }
  void on_done(std::uint64_t cookie, bool ok) noexcept override {
    if (life_.dead() || cookie == dropped_cookie) return;
    events_->on_done(cookie, ok);
  }
  void on_sendable() noexcept override {
    if (!life_.dead()) events_->on_sendable();
  }
  void on_down(down_reason reason) noexcept override {
    if (life_.dead()) return;
    if (holding_)
      held_down_ = reason;
    else
      events_->on_down(reason);
  }
  void on_flushed() noexcept override {
    if (life_.dead()) return;
    if (holding_)
      held_flushed_ = true;
    else
      events_->on_flushed();  // the owner may destroy us
  }

  void release() {
    holding_ = false;
    while (!held_.empty() && !life_.dead()) {
      const std::vector<std::byte> message = std::move(held_.front());
      held_.pop_front();
      events_->on_message(message);
    }
    if (life_.dead()) return;
    if (held_down_ != down_reason::none) events_->on_down(held_down_);
    if (held_flushed_) events_->on_flushed();
  }

 private:
  static constexpr std::uint64_t dropped_cookie = ~std::uint64_t{0};

  fate ask(place at, byte_span message) {
    if (!life_.is_judged()) return fate::go_on;
    message_view view;
    if (parse_message(message, view) != parse_fault::none) return fate::go_on;
    return life_.ask({at, &view});
  }
  void keep(byte_span message) { held_.emplace_back(message.begin(), message.end()); }
  // The bytes that go with a message that is lost are lost too.
  void drop_bulk(byte_span message) {
    message_view view;
    if (parse_message(message, view) != parse_fault::none) return;
    for (std::size_t i = 0; i < view.chunk_count; ++i)
      if (view.chunks[i].kind == chunk_kind::pull)
        (void)inner_->read_remote(view.chunks[i], {}, dropped_cookie);  // it may be down
  }

  std::unique_ptr<endpoint> inner_;
  server_life& life_;
  endpoint_events* events_ = nullptr;
  bool holding_ = false;
  std::deque<std::vector<std::byte>> held_;
  down_reason held_down_ = down_reason::none;
  bool held_flushed_ = false;
};

void server_life::release() {
  const std::vector<held_endpoint*> all = endpoints_;
  for (held_endpoint* e : all) e->release();
}

std::unique_ptr<endpoint> tapped(std::unique_ptr<endpoint> peer, server_life& life) {
  return std::make_unique<held_endpoint>(std::move(peer), life);
}

}  // namespace tangelo::sim
