#include "rdma/export.h"

#include <algorithm>

#include "base/check.h"
#include "base/log.h"
#include "rdma/export_core.h"

namespace tangelo {

std::unique_ptr<export_host> export_host::make(export_options options, scheduler& time) {
  return std::make_unique<export_core>(options, time);
}

void peer_link::on_channel_up() noexcept {}
void peer_link::on_channel_message(const message_view& message) noexcept {
  host_.link_message(*this, message);
}
void peer_link::on_channel_done(std::uint64_t cookie, bool) noexcept {
  host_.link_done(*this, cookie);
}
void peer_link::on_channel_down(down_reason) noexcept { host_.link_down(*this); }
void peer_link::on_channel_flushed() noexcept { host_.link_flushed(*this); }

export_core::export_core(export_options options, scheduler& time)
    : options_(options), time_(time), buffers_(options.buffer_count_max, options.fabric) {}

export_core::~export_core() {
  for (const timer_id timer : {trim_timer_, look_timer_, deadline_timer_}) time_.cancel(timer);
  for (const auto& v : volumes_)
    for (const timer_id timer : {v->window_timer, v->note_timer, v->callback_timer})
      time_.cancel(timer);
  for (const auto& l : links_) time_.cancel(l->handshake_timer);
}

void export_core::accept(std::unique_ptr<endpoint> peer) {
  links_.push_back(std::make_unique<peer_link>(*this, std::move(peer)));
  peer_link& link = *links_.back();
  link.wire.start();
  if (stopping_) return close_link(link, down_reason::admin);
  link.handshake_timer = time_.call_after(handshake_ns, [this, &link] {
    link.handshake_timer = 0;
    close_link(link, down_reason::timeout);
  });
}

void export_core::stop(std::function<void()> done) {
  stopping_ = true;
  stop_done_ = std::move(done);
  time_.cancel(std::exchange(look_timer_, 0));
  for (const auto& link : links_) {
    if (link->where == peer_link::stage::closing) continue;
    close_body body;
    body.resume_ok = 1;
    body.text = "the server is stopping";
    std::array<std::byte, 128> bytes;
    const std::size_t size = encode(body, bytes).value_or(0);
    send_control(*link, message_type::goodbye, {bytes.data(), size}, 0);
    close_link(*link, down_reason::admin);
  }
  check_stopped();
}

void export_core::check_stopped() {
  if (!stopping_ || stop_done_ == nullptr || running_ != 0 || !links_.empty()) return;
  time_.post(std::exchange(stop_done_, nullptr));
}

// What goes into every message of the server, and is noted.
std::uint64_t export_core::tell_committed(peer_link& link) {
  if (link.volume == nullptr || link.volume->fs == nullptr) return 0;
  link.told_committed = link.volume->fs->last_committed();
  return link.told_committed;
}

void export_core::send_control(peer_link& link, message_type type, byte_span body,
                               std::uint64_t xid) {
  wire_header h;
  h.type = type;
  h.epoch = link.epoch;
  h.xid = xid;
  h.credits = options_.credits;
  h.ack = tell_committed(link);
  reply_extension e;
  if (link.client != nullptr) h.cookie = link.client->cookie;
  if (link.volume != nullptr && link.volume->fs != nullptr)
    e.boot_generation = link.volume->fs->boot_generation();
  e.body_size = static_cast<std::uint32_t>(body.size());
  link.wire.send(h, encode_extension(e), body);
}

void export_core::send_status(peer_link& link, message_type type, error_code status) {
  wire_header h;
  h.type = type;
  h.epoch = link.epoch;
  h.cookie = link.client->cookie;
  h.ack = tell_committed(link);
  h.credits = options_.credits;
  reply_extension e;
  e.status = static_cast<std::uint32_t>(status);
  e.boot_generation = link.volume->fs->boot_generation();
  link.wire.send(h, encode_extension(e), {});
}

void export_core::link_message(peer_link& link, const message_view& message) {
  using stage = peer_link::stage;
  if (link.where == stage::closing) return;
  heard(link);
  switch (message.header.type) {
    using enum message_type;
    case hello:
      if (link.where == stage::hello) return take_hello(link, message);
      break;
    case connect:
      if (link.where == stage::connect) return take_connect(link, message);
      break;
    case call:
      if (link.where == stage::active) return take_call(link, message);
      break;
    case ping: return take_ping(link, message);
    case pong: link.challenged_ns = 0; return;
    case replay_done:
      if (link.where == stage::active) return take_replay_done(link);
      break;
    case goodbye: return take_goodbye(link, message);
    case error: return close_link(link, down_reason::peer_closed);
    case callback_ack:
      if (link.where == stage::active) return take_callback_ack(link, message);
      break;
    case credit:
    case early_reply:
    case commit_note:
    case advice: return;  // of a newer client, or not used yet
    case auth:
      if (link.where == stage::auth) return take_auth(link, message);
      break;
    case hello_ack:
    case auth_ack:
    case connect_ack:
    case reply:
    case pull_request:
    case data:
    case replay_done_ack:
    case callback: break;
  }
  breach(link, error_code::protocol, "this message does not belong here");
}

void export_core::breach(peer_link& link, error_code code, std::string_view text,
                         down_reason reason) {
  log_warning("connection from {} closed: {}", link.wire.peer_name(), text);
  if (link.where == peer_link::stage::closing) return;
  link.wire.close_with_error(reason, code, text);
  close_link(link, reason);
}

// Ends a connection: nothing more is taken from it, its calls in execution go on without it.
void export_core::close_link(peer_link& link, down_reason reason) {
  time_.cancel(std::exchange(link.handshake_timer, 0));
  link.where = peer_link::stage::closing;
  link.wire.close(reason);
  if (link.client != nullptr && link.client->link == &link) link.client->link = nullptr;
  drop_jobs(link);
}

void export_core::drop_jobs(peer_link& link) {
  // First those that a freed buffer could otherwise set going.
  std::vector<call_job*> jobs = link.jobs;
  const auto rest = std::stable_partition(jobs.begin(), jobs.end(), [](const call_job* job) {
    return job->where == call_job::phase::starved;
  });
  for (auto it = jobs.begin(); it != rest; ++it) {
    std::erase(starved_, *it);
    release(**it);
  }
  jobs.erase(jobs.begin(), rest);
  for (call_job* job : jobs) {
    switch (job->where) {
      using enum call_job::phase;
      case running: detach(*job); break;
      case reading: leave_line(*job); break;  // until flushed
      case writing: break;
      case starved: break;  // gone already
      case held: std::erase(link.volume->held, job); release(*job); break;
      case unmarked: std::erase(job->owner->unmarked, job); release(*job); break;
      case replaying: release(*job); break;
    }
  }
}

void export_core::link_down(peer_link& link) {
  if (link.where == peer_link::stage::auth)
    log_warning("connection from {} ended before it proved to know the secret: is it another one "
                "there?", link.wire.peer_name());
  if (link.where != peer_link::stage::closing) close_link(link, down_reason::peer_closed);
}

void export_core::link_done(peer_link& link, std::uint64_t cookie) {
  if (ping_moved(link, cookie)) return;
  const auto it = std::find_if(link.jobs.begin(), link.jobs.end(), [cookie](const call_job* j) {
    return reinterpret_cast<std::uintptr_t>(j) == cookie;
  });
  CHECK(it != link.jobs.end());
  call_job& job = **it;
  if (job.where == call_job::phase::writing) return release(job);
  CHECK(job.where == call_job::phase::reading);
  if (link.where == peer_link::stage::closing) return release(job);
  heard(link);
  if ((job.pull.flags & chunk_flag::eager) == 0) --link.pulls;
  ready(job);
}

void export_core::link_flushed(peer_link& link) {
  const std::vector<call_job*> jobs = link.jobs;
  for (call_job* job : jobs) release(*job);
  forget_pings(link);
  time_.post([this, alive = std::weak_ptr<int>(alive_)] {
    if (!alive.expired()) reap();
  });
}

void export_core::reap() {
  std::erase_if(links_, [](const std::unique_ptr<peer_link>& l) { return l->wire.flushed(); });
  check_stopped();
}

void export_core::schedule_trim() {
  if (trim_timer_ != 0) return;
  trim_timer_ = time_.call_after(trim_ns, [this] {
    trim_timer_ = 0;
    if (buffers_.trim()) schedule_trim();
  });
}

}  // namespace tangelo
