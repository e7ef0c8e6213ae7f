// tangelo ping: is a server there, and how far away? PING and PONG of the protocol over each
// fabric: a server answers them before it knows who asks, and keeps nothing of it. With --size a
// payload is moved with them as those of reads and writes are, by the server.
#include <fmt/format.h>
#include <poll.h>

#include <algorithm>
#include <array>
#include <csignal>
#include <cstdio>
#include <map>
#include <memory>
#include <optional>

#include "base/loop.h"
#include "cli/commands.h"
#include "cli/json.h"
#include "cli/quota_text.h"
#include "cli/top_text.h"
#include "protocol/mount_source.h"
#include "rdma/channel.h"
#include "rdma/fabric.h"

namespace tangelo {

namespace {

constexpr std::uint64_t patience_ns = 2 * ns_per_s;  // for each answer
constexpr int pause_ms = 1000;                       // between two pings
constexpr std::size_t under_way_max = 8;             // payloads; a server moves no more at once
constexpr unsigned loop_entries = 64;

volatile std::sig_atomic_t asked_to_end = 0;
void on_signal(int) { asked_to_end = 1; }

struct ping_result {
  std::string failure;  // empty: it answered
  std::uint64_t connect_ns = 0;
  std::uint64_t round_trip_ns = 0;
  std::uint64_t to_server_ns = 0;  // --size bytes
  std::uint64_t from_server_ns = 0;
};

// One connection: it comes up, an empty PING, the payload there and back, and the end. Loop thread
// only; run() runs the loop meanwhile.
class pinger final : private channel_events {
 public:
  pinger(loop& l, provider& fabric, const std::string& address, mutable_byte_span memory,
         std::uint64_t size)
      : loop_(l),
        memory_(memory),
        size_(size),
        began_ns_(l.now_ns()),
        wire_(fabric.connect(address), *this, 1) {}
  ping_result run() {
    wait_again();
    wire_.start();
    while (!wire_.flushed()) loop_.run_once();
    loop_.cancel(patience_);
    return result_;
  }

 private:
  enum class step : std::uint8_t { connecting, answering, to_server, from_server, over };

  void on_channel_up() noexcept override {
    result_.connect_ns = since_last_step();
    where_ = step::answering;
    (void)wire_.send_ping(++last_xid_, {}, {});
    wait_again();
  }
  void on_channel_message(const message_view& message) noexcept override {
    if (message.header.type != message_type::pong) return fail("it is no Tangelo server");
    wait_again();
    if (where_ == step::answering) {
      result_.round_trip_ns = since_last_step();
      return begin(size_ == 0 ? step::over : step::to_server);
    }
    const auto it = moving_.find(message.header.xid);
    if (it == moving_.end()) return fail("it answers what was not asked");
    wire_.retract(it->second);
    moving_.erase(it);
    move_more();
    if (!moving_.empty()) return;
    const bool was_first = where_ == step::to_server;
    (was_first ? result_.to_server_ns : result_.from_server_ns) = since_last_step();
    begin(was_first ? step::from_server : step::over);
  }
  void on_channel_done(std::uint64_t, bool) noexcept override {}
  void on_channel_down(down_reason reason) noexcept override {
    if (where_ != step::over) fail(why(reason));
  }
  void on_channel_flushed() noexcept override {}

  std::string why(down_reason reason) const {
    if (where_ != step::connecting) return "the connection broke off on the way";
    return reason == down_reason::refused ? "connection refused" : std::string(name_of(reason));
  }
  void begin(step next) {
    where_ = next;
    left_ = size_;
    next == step::over ? wire_.close(down_reason::admin) : move_more();
  }
  void move_more() {
    for (; left_ != 0 && moving_.size() < under_way_max; ++last_xid_) {
      const mutable_byte_span part = memory_.first(std::min<std::uint64_t>(left_, memory_.size()));
      left_ -= part.size();
      const bool there = where_ == step::to_server;
      moving_[last_xid_ + 1] = wire_.send_ping(last_xid_ + 1, there ? part : mutable_byte_span(),
                                               there ? mutable_byte_span() : part);
    }
  }
  std::uint64_t since_last_step() noexcept {
    const std::uint64_t now = loop_.now_ns();
    return std::max<std::uint64_t>(now - std::exchange(began_ns_, now), 1);
  }
  void wait_again() {
    loop_.cancel(patience_);
    patience_ = loop_.call_after(patience_ns, [this] {
      fail(where_ == step::connecting ? "no connection" : "no answer");
    });
  }
  void fail(std::string why) {
    if (where_ == step::over) return;
    where_ = step::over;
    result_.failure = std::move(why);
    wire_.close(down_reason::timeout);
  }

  loop& loop_;
  mutable_byte_span memory_;  // all payloads at once come from here and go there
  std::uint64_t size_;
  std::uint64_t left_ = 0;
  std::uint64_t last_xid_ = 0;
  std::uint64_t began_ns_;
  std::map<std::uint64_t, call_tags> moving_;
  step where_ = step::connecting;
  timer_id patience_ = 0;
  ping_result result_;
  channel wire_;
};

std::uint64_t bytes_per_second(std::uint64_t size, std::uint64_t ns) {
  return static_cast<std::uint64_t>(static_cast<double>(size) * ns_per_s /
                                    static_cast<double>(ns));
}

// What a ping is about.
struct subject {
  std::string server;
  std::string_view fabric;
  unsigned number = 0;
  std::uint64_t size = 0;
};

std::string line_of(const subject& s, const ping_result& r) {
  std::string out = fmt::format("{} over {}: {} ", s.server, s.fabric, s.number);
  if (!r.failure.empty()) return out + "failed: " + r.failure + "\n";
  out += fmt::format("connected in {}, answered in {}", short_time(r.connect_ns),
                     short_time(r.round_trip_ns));
  if (s.size != 0)
    out += fmt::format(", took {} in {} ({}/s), gave them in {} ({}/s)", size_text(s.size),
                       short_time(r.to_server_ns),
                       size_text(bytes_per_second(s.size, r.to_server_ns)),
                       short_time(r.from_server_ns),
                       size_text(bytes_per_second(s.size, r.from_server_ns)));
  return out + "\n";
}

std::string json_of(const subject& s, const ping_result& r) {
  json_text j;
  j.open_object().key("server").text(s.server).key("fabric").text(s.fabric);
  j.key("number").number(s.number).key("answered").boolean(r.failure.empty());
  if (!r.failure.empty()) return j.key("why").text(r.failure).close_object().str() + "\n";
  j.key("connect_us").number(r.connect_ns / 1000).key("answer_us").number(r.round_trip_ns / 1000);
  if (s.size != 0)
    j.key("to_server_bytes_per_s").number(bytes_per_second(s.size, r.to_server_ns))
        .key("from_server_bytes_per_s").number(bytes_per_second(s.size, r.from_server_ns));
  return j.close_object().str() + "\n";
}

struct named_fabric {
  std::string_view name;
  std::unique_ptr<provider> made;
};

// Those asked for; without a word, tcp, and verbs where there is RDMA.
outcome<std::vector<named_fabric>> fabrics_for(loop& l, const std::string& word) {
  std::vector<named_fabric> out;
  for (const fabric_choice f : {fabric_choice::tcp, fabric_choice::verbs}) {
    if (!word.empty() && word != name_of(f)) continue;
    outcome<std::unique_ptr<provider>> made = make_fabric(l, f, rdma_needed::now);
    if (made) {
      out.push_back({name_of(f), std::move(*made)});
    } else if (!word.empty()) {
      return failure{made.error()};
    }
  }
  if (out.empty())
    return failure{problem{exit_code::usage, "--fabric " + word + ": there is none of that name",
                           "write tcp or verbs"}};
  return out;
}

outcome<std::uint64_t> payload_size(const std::string& word) {
  // A server ends a connection that does not become a client's within ten seconds.
  constexpr std::uint64_t size_max = std::uint64_t{64} << 20;
  if (word.empty()) return std::uint64_t{0};
  const std::optional<std::uint64_t> given = parse_size(word);
  if (given && *given <= size_max) return *given;
  return failure{problem{exit_code::usage, "--size " + word + ": no size up to 64M",
                         "for example 64K, 10M"}};
}

}  // namespace

outcome<void> run_ping(const ping_arguments& words) {
  const outcome<std::uint64_t> size = payload_size(words.size);
  if (!size) return failure{size.error()};
  // A volume is of no interest, and may be there.
  const bool has_volume = words.server.find(":/") != std::string::npos;
  const outcome<mount_source> source =
      parse_mount_source(has_volume ? words.server : words.server + ":/none");
  if (!source) return failure{source.error()};
  outcome<std::unique_ptr<loop>> made = loop::make(loop_entries);
  if (!made) return failure{made.error()};
  loop& l = **made;
  outcome<std::vector<named_fabric>> fabrics = fabrics_for(l, words.fabric);
  if (!fabrics) return failure{fabrics.error()};
  std::vector<std::byte> memory(std::min<std::uint64_t>(*size, wire_payload_size_max));
  if (!memory.empty())
    for (const named_fabric& f : *fabrics) f.made->register_memory(memory, memory_use::exposed);
  struct sigaction action {};
  action.sa_handler = on_signal;
  (void)::sigaction(SIGINT, &action, nullptr);
  unsigned answered = 0;
  for (unsigned n = 1; n <= words.count && asked_to_end == 0; ++n) {
    for (const std::string& server : source->addresses) {
      for (const named_fabric& f : *fabrics) {
        const subject s{server, f.name, n, *size};
        const ping_result r = pinger(l, *f.made, server, memory, *size).run();
        answered += r.failure.empty() ? 1u : 0u;
        std::fputs((words.json ? json_of(s, r) : line_of(s, r)).c_str(), stdout);
        (void)std::fflush(stdout);
      }
    }
    if (n < words.count && asked_to_end == 0) (void)::poll(nullptr, 0, pause_ms);
  }
  if (answered != 0) return {};
  return failure{problem{exit_code::unreachable, words.server + ": no answer",
                         "is tangelo-server running there, and does it listen on that address?"}};
}

}  // namespace tangelo
