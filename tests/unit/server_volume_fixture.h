// volume_fixture: a volume over stores in memory, in virtual time, and calls to it that read like
// system calls. One client ("alice") is known; others may be remembered.
#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "server/mem_kv.h"
#include "server/mem_objects.h"
#include "server/virtual_workers.h"
#include "server/volume.h"

namespace tangelo::testing_volume {

// A call that owns its memory and remembers its answer.
class test_call final : public inbound_call {
 public:
  std::vector<std::byte> body_bytes, in, out;
  bool completed = false;
  error_code status = error_code::ok;
  std::uint64_t answered_transno = 0;
  std::vector<std::byte> answer;
  std::size_t payload = 0;
  std::optional<protection_trailer> trailer;
  flush_log* log = nullptr;

  void complete(const call_result& r) override {
    EXPECT_FALSE(completed) << "a call is completed once";
    completed = true;
    status = r.status;
    answered_transno = r.transno;
    answer.assign(r.body.begin(), r.body.end());
    payload = r.payload_size;
    if (r.protection != nullptr) trailer = *r.protection;
    if (log != nullptr) log->push_back({flush_event::kind::answer, r.transno});
  }
  template <class Answer>
  Answer answered() const {
    const std::optional<Answer> a = decode<Answer>(byte_span(answer));
    EXPECT_TRUE(a.has_value());
    return a.value_or(Answer{});
  }
  std::string text() const { return std::string(text_of(byte_span(out).first(payload))); }
};
using call_ptr = std::shared_ptr<test_call>;

inline client_key client_named(std::uint8_t name, std::uint64_t incarnation = 1) {
  client_key k;
  k.client_id.fill(std::byte{name});
  k.incarnation = incarnation;
  return k;
}

class volume_fixture : public ::testing::Test {
 protected:
  volume_fixture() {
    EXPECT_EQ(volume::format(kv_, 0, 0, 1), error_code::ok);
    start();
    remember(alice_);
    range(alice_);
  }

  void start() {
    pool_ = std::make_unique<virtual_workers>(time_);
    committer_ = std::make_unique<virtual_workers>(time_);
    outcome<std::unique_ptr<volume>> v =
        volume::open(options_, {time_, kv_, objects_, *pool_, *committer_});
    ASSERT_TRUE(v.has_value()) << v.error().text;
    volume_ = std::move(*v);
  }
  void crash() {
    volume_.reset();
    pool_.reset();
    committer_.reset();
    while (time_.run_one()) {
    }
    calls_.clear();
  }
  // The machine loses power and comes back; `extra` batches behind the last flush survive.
  void power_cut(std::size_t extra = 0, bool keep_unflushed = false) {
    crash();
    kv_.power_cut(extra);
    objects_.power_cut(keep_unflushed);
    start();
  }
  // Runs what is due, without letting the checkpoint's timer come.
  void settle() { time_.advance(100 * ns_per_ms); }

  void remember(const client_key& c) {
    std::optional<error_code> done;
    volume_->remember_client(c, [&done](error_code e) { done = e; });
    settle();
    EXPECT_EQ(done, error_code::ok);
  }
  void forget(const client_key& c, bool tombstone = false) {
    std::optional<error_code> done;
    volume_->forget_client(c, tombstone, [&done](error_code e) { done = e; });
    settle();
    EXPECT_EQ(done, error_code::ok);
  }

  // What a client does after a crash with a change that was answered: the same call again, under
  // its transno, with its time, and an append where it was put.
  call_ptr replay(const test_call& old) {
    const call_ptr c = std::make_shared<test_call>();
    c->client = old.client;
    c->op = old.op;
    c->slot = old.slot;
    c->slot_seq = old.slot_seq;
    c->xid = old.xid;
    c->flags = message_flag::replay;
    c->transno = old.answered_transno;
    c->replay_time_ns = time_of_answer(old.answer);
    c->early_answer = true;
    c->body_bytes = old.body_bytes;
    c->body = byte_span(c->body_bytes).first(old.body.size());
    if (c->op == opcode::write) {
      write_call w = decode<write_call>(c->body).value_or(write_call{});
      w.offset = old.answered<write_answer>().offset;
      w.flags &= ~write_flag::append;
      EXPECT_EQ(encode(w, c->body_bytes), old.body.size());
    }
    c->in = old.in;
    c->payload_in = c->in;
    c->protection = old.protection;
    calls_.push_back(c);
    volume_->execute(*c);
    time_.advance(ns_per_ms);
    EXPECT_TRUE(c->completed) << name_of(c->op);
    return c;
  }
  client_record record_of(const client_key& k) {
    for (const client_record& r : volume_->load_clients())
      if (r.key == k) return r;
    return {};
  }

  // A call that is not executed.
  template <class Body>
  call_ptr prepare(const client_key& who, opcode op, const Body& body, std::string_view in = {},
                   std::size_t room = 0, std::uint16_t slot = 0) {
    auto c = std::make_shared<test_call>();
    c->client = who;
    c->op = op;
    c->slot = slot;
    c->slot_seq = ++sequence_;
    c->xid = 1000 + sequence_;
    c->body_bytes.resize(op_body_size_max + 300);
    const auto size = encode(body, c->body_bytes);
    EXPECT_TRUE(size.has_value());
    c->body = byte_span(c->body_bytes).first(size.value_or(0));
    c->in.assign(bytes_of(in).begin(), bytes_of(in).end());
    c->payload_in = c->in;
    c->out.resize(room);
    c->payload_out = c->out;
    c->log = log_;
    c->early_answer = early_;
    c->wants_protection = op == opcode::read;
    if constexpr (std::is_same_v<Body, write_call>) {
      const bool appends = (body.flags & write_flag::append) != 0;
      if (in.size() <= wire_payload_size_max)
        protect(body.inode, appends ? 0 : body.offset, bytes_of(in), c->protection.emplace());
    }
    calls_.push_back(c);
    return c;
  }
  template <class Body>
  call_ptr begin(const client_key& who, opcode op, const Body& body, std::string_view in = {},
                 std::size_t room = 0, std::uint16_t slot = 0) {
    const call_ptr c = prepare(who, op, body, in, room, slot);
    volume_->execute(*c);
    return c;
  }
  template <class Body>
  call_ptr call(opcode op, const Body& body, std::string_view in = {}, std::size_t room = 0) {
    const call_ptr c = begin(alice_, op, body, in, room);
    settle();
    EXPECT_TRUE(c->completed) << name_of(op);
    return c;
  }

  void range(const client_key& c) {
    const call_ptr a = begin(c, opcode::inode_range, inode_range_call{{}, 10'000});
    settle();
    ASSERT_EQ(a->status, error_code::ok);
    next_inode_ = a->answered<inode_range_answer>().first;
  }
  make_call made(std::uint64_t parent, std::string_view name, std::uint32_t mode) {
    make_call c;
    c.parent = parent;
    c.inode = next_inode_++;
    c.name = name;
    c.mode = mode;
    return c;
  }
  std::uint64_t mkdir(std::uint64_t parent, std::string_view name) {
    const call_ptr c = call(opcode::mkdir, made(parent, name, 0755));
    EXPECT_EQ(c->status, error_code::ok) << name;
    return c->answered<entry_answer>().attr.inode;
  }
  std::uint64_t create(std::uint64_t parent, std::string_view name, std::uint64_t handle = 0) {
    make_call m = made(parent, name, 0644);
    m.handle = handle;
    if (handle == 0) {
      const call_ptr c = call(opcode::mknod, m);
      EXPECT_EQ(c->status, error_code::ok) << name;
      return c->answered<entry_answer>().attr.inode;
    }
    const call_ptr c = call(opcode::create, m);
    EXPECT_EQ(c->status, error_code::ok) << name;
    return c->answered<entry_answer>().attr.inode;
  }
  call_ptr lookup(std::uint64_t parent, std::string_view name) {
    return call(opcode::lookup, name_call{{}, parent, name});
  }
  std::uint64_t find(std::uint64_t parent, std::string_view name) {
    const call_ptr c = lookup(parent, name);
    return c->status == error_code::ok ? c->answered<entry_answer>().attr.inode : 0;
  }
  error_code unlink(std::uint64_t parent, std::string_view name, opcode op = opcode::unlink) {
    return call(op, name_call{{}, parent, name})->status;
  }
  error_code rename(std::uint64_t a, std::string_view from, std::uint64_t b, std::string_view to,
                    std::uint32_t flags = 0) {
    return call(opcode::rename, rename_call{{}, a, b, flags, from, to})->status;
  }
  call_ptr write(std::uint64_t inode, std::uint64_t offset, std::string_view data,
                 std::uint32_t flags = 0) {
    return call(opcode::write,
                write_call{{}, inode, 0, offset, static_cast<std::uint32_t>(data.size()), flags},
                data);
  }
  std::string read(std::uint64_t inode, std::uint64_t offset, std::uint32_t size) {
    const call_ptr c = call(opcode::read, read_call{{}, inode, 0, offset, size, 0}, {}, size);
    EXPECT_EQ(c->status, error_code::ok);
    return c->text();
  }
  error_code truncate(std::uint64_t inode, std::uint64_t size) {
    setattr_call s;
    s.inode = inode;
    s.which = set_attr::size;
    s.size = size;
    return call(opcode::setattr, s)->status;
  }
  attributes stat(std::uint64_t inode) {
    const call_ptr c = call(opcode::getattr, inode_call{{}, inode, 0, 0});
    EXPECT_EQ(c->status, error_code::ok);
    return c->answered<attr_answer>().attr;
  }
  error_code open(const client_key& who, std::uint64_t inode, std::uint64_t handle,
                  opcode op = opcode::open) {
    const call_ptr c = begin(who, op, open_call{{}, inode, handle, O_RDWR});
    settle();
    return c->status;
  }

  virtual_scheduler time_;
  flush_log flushes_;
  flush_log* log_ = nullptr;
  bool early_ = false;  // calls may be answered before they are durable
  mem_kv kv_{&flushes_};
  mem_objects objects_{time_, &flushes_};
  volume_options options_;
  const client_key alice_ = client_named(1);
  const client_key bob_ = client_named(2);
  std::vector<call_ptr> calls_;  // outlive the volume's use of them
  std::unique_ptr<virtual_workers> pool_, committer_;
  std::unique_ptr<volume> volume_;
  std::uint64_t next_inode_ = 0;
  std::uint32_t sequence_ = 0;
};

}  // namespace tangelo::testing_volume
