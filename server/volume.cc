#include "server/volume.h"

#include <algorithm>

#include "base/log.h"

namespace tangelo {

namespace {

constexpr unsigned warm_count_max = 16;
constexpr std::size_t warm_entry_count_max = 4096;

}  // namespace

volume::volume(volume_options options, volume_parts parts)
    : options_(std::move(options)),
      parts_(parts),
      marks_(parts.objects, parts.time),
      disk_(parts.objects, parts.time) {}

volume::~volume() {
  parts_.time.cancel(checkpoint_timer_);
  parts_.time.cancel(commit_timer_);
}

volume::handler volume::handler_of(opcode op) {
  switch (op) {
    using enum opcode;
    case none: return nullptr;
    case lookup: return &volume::do_lookup;
    case getattr: return &volume::do_getattr;
    case setattr: return &volume::do_setattr;
    case readlink: return &volume::do_readlink;
    case symlink:
    case mknod:
    case mkdir:
    case create: return &volume::do_make;
    case unlink:
    case rmdir: return &volume::do_unlink;
    case rename: return &volume::do_rename;
    case link: return &volume::do_link;
    case open:
    case reclaim_open: return &volume::do_open;
    case read: return &volume::do_read;
    case write: return &volume::do_write;
    case release: return &volume::do_release;
    case fsync: return &volume::do_fsync;
    case readdir: return &volume::do_readdir;
    case statfs: return &volume::do_statfs;
    case setxattr: return &volume::do_setxattr;
    case getxattr: return &volume::do_getxattr;
    case listxattr: return &volume::do_listxattr;
    case removexattr: return &volume::do_removexattr;
    case inode_range: return &volume::do_inode_range;
    case tmpfile: return &volume::do_tmpfile;
    case fallocate: return &volume::do_fallocate;
    case copy_range: return &volume::do_copy_range;
    case seek: return &volume::do_seek;
    case get_lock: return &volume::do_get_lock;
    case set_lock: return &volume::do_set_lock;
    case cancel_lock: return &volume::do_cancel_lock;
    case reclaim_lock: return &volume::do_reclaim_lock;
  }
  return nullptr;
}

void volume::execute(inbound_call& call) { run(begin(&call)); }

operation& volume::begin(inbound_call* call) {
  operation& o = operations_.emplace_back();
  o.place = std::prev(operations_.end());
  o.call = call;
  if (call != nullptr) {
    o.client = call->client;
    o.op = call->op;
    o.replay = (call->flags & message_flag::replay) != 0;
  }
  return o;
}

void volume::begin_own(std::function<error_code(operation&, transaction&)> own,
                       std::function<void(error_code)> done) {
  operation& o = begin(nullptr);
  o.own = std::move(own);
  o.own_done = std::move(done);
  run(o);
}

// A long piece of the volume's own work, in steps of one batch each, until a step says no_data.
// `running`: a member, which says that it is being done; `otherwise`: what it means that it stops.
void volume::repeat(bool& running, handler step, std::string_view otherwise) {
  if (running || !recovered_ || stopped_) return;
  running = true;
  begin_own([this, step](operation& o, transaction& t) { return (this->*step)(o, t); },
            [this, &running, step, otherwise](error_code e) {
              running = false;
              if (e == error_code::ok) return repeat(running, step, otherwise);
              if (e != error_code::no_data)
                log_error("{}: {}: {}", options_.where, otherwise, row_of(e).text);
            });
}

error_code volume::attempt(operation& o, transaction& t) {
  o.time_ns = time_of(o);
  o.wanted_gate = 0;
  o.working = false;
  o.form = answer_form::bytes;
  o.body.clear();
  o.payload_size = 0;
  o.protection.reset();
  o.after_write = nullptr;
  o.supersedes = 0;
  o.dirties = 0;
  o.wait_until = 0;
  o.has_action = false;
  if (o.own) return o.own(o, t);
  if (options_.rules.read_only && is_mutation(o.op) && o.op != opcode::inode_range)
    return error_code::read_only;
  const handler h = handler_of(o.op);
  return h == nullptr ? error_code::not_implemented : (this->*h)(o, t);
}

void volume::run(operation& o) {
  const bool patient = o.warm_count < warm_count_max;
  transaction t(parts_.kv, patient ? read_mode::cached : read_mode::blocking);
  const error_code e = attempt(o, t);
  if (e != error_code::again_later) {
    const bool writes = o.own != nullptr || is_mutation(o.op);
    if (e == error_code::ok && writes)
      write_batch(o, t);
    else
      answer(o, e, t);
    return;
  }
  if (o.working) return;
  if (!t.misses().empty())
    warm(o, t.misses());
  else
    enter_gate(o);
}

void volume::warm(operation& o, std::vector<missed_read> misses) {
  ++o.warm_count;
  ++counts_.warmed;
  parts_.pool.submit(
      [&kv = parts_.kv, misses = std::move(misses)] {
        std::string value;
        for (const missed_read& m : misses) {
          if (m.until.empty()) {
            (void)kv.get(m.where, m.from, value, read_mode::blocking);  // only for the cache
            continue;
          }
          std::size_t left = warm_entry_count_max;
          (void)kv.scan(m.where, m.from, m.until, read_mode::blocking,
                        [&left](std::string_view, std::string_view) { return --left > 0; });
        }
      },
      guarded([this, &o] { run(o); }));
}

std::int64_t volume::time_of(const operation& o) const {
  if (o.replay && o.call->replay_time_ns != 0) return o.call->replay_time_ns;
  return static_cast<std::int64_t>(parts_.time.wall_ns());
}

void volume::fill_answer(operation& o, transaction& t) {
  if (o.form == answer_form::bytes) return;
  const op_result<inode_record*> r = t.inode(o.subject);
  CHECK(r.has_value());
  t.look(aspect::shown, o.subject);
  const attributes attr = shown(o.subject, **r);
  switch (o.form) {
    case answer_form::bytes: break;
    case answer_form::entry:
      put_answer(o, entry_answer{attr, answer_valid_ms, answer_valid_ms});
      break;
    case answer_form::attr: {
      const bool due = o.op == opcode::open && atime_is_due(o.subject, **r, o.time_ns);
      put_answer(o, attr_answer{attr, answer_valid_ms, static_cast<std::uint8_t>(due ? 1 : 0)});
      break;
    }
    case answer_form::write:
      o.written.attr = attr;
      put_answer(o, o.written);
      break;
  }
}

void volume::answer(operation& o, error_code status, transaction& t) {
  o.status = status;
  o.has_action = false;
  if (status != error_code::ok) {
    o.body.clear();
    o.payload_size = 0;
    if (status == error_code::integrity && o.fault) put_answer(o, *o.fault);
  } else {
    fill_answer(o, t);  // reads what it has already read
  }
  release_room(o);
  end_marks(o);
  leave_gate(o);
  hold_answer(o, t);
  proceed(o);
}

// Its answer waits for what it is built upon; says which batch that is.
std::uint64_t volume::hold_answer(operation& o, const transaction& t) {
  if (o.call == nullptr || !options_.commit_on_share) return 0;
  const std::uint64_t built_on = sharing_.must_wait_for(o.client, t.looked());
  if (built_on > committed_) ++counts_.held_answers;
  o.wait_until = std::max(o.wait_until, built_on);
  return built_on;
}

void volume::add_reply(const operation& o, kv_batch& batch) {
  if (o.call == nullptr || !options_.keep_reply_records) return;
  saved_reply r;
  r.incarnation = o.client.incarnation;
  r.slot_seq = o.call->slot_seq;
  r.xid = o.call->xid;
  r.op = static_cast<std::uint16_t>(o.op);
  r.transno = o.transno;
  r.body = text_of(o.body);
  batch.put(column::replies, reply_key(o.client.client_id, o.call->slot), packed(r));
}

void volume::audit(const operation& o, kv_batch& batch) {
  if (o.call == nullptr || !options_.audit) return;
  std::string key(text_of(o.client.client_id));
  append_number(key, o.client.incarnation);
  append_number(key, o.call->slot);
  append_number(key, o.call->slot_seq);
  std::string earlier;
  const kv_status s = parts_.kv.get(column::audit, key, earlier, read_mode::blocking);
  if (s == kv_status::found) {
    ++counts_.duplicate_effects;
    log_error("AUDIT: duplicate effect: {} slot {} sequence {}: transno {:#x}, before {:#x}",
              name_of(o.op), o.call->slot, o.call->slot_seq, o.transno, number_at(earlier, 0));
    append_number(key, o.transno);
  }
  batch.put(column::audit, std::move(key), key_of(o.transno));
}

// The time behind the answer to a change (ops.h), in its reply record, too.
void volume::add_time(operation& o) {
  if (o.call == nullptr) return;
  std::byte room[answer_time_size];
  wire_writer w(room);
  w(o.time_ns);
  o.body.insert(o.body.end(), std::begin(room), std::end(room));
}

void volume::write_batch(operation& o, transaction& t) {
  // A limit is set when it is needed most.
  if (!has_space(o) && t.quota_edits().empty()) return answer(o, error_code::no_space, t);
  const std::vector<quota_change> charges = t.quota_changes();
  if (const error_code e = check_quotas(o, charges); e != error_code::ok) return answer(o, e, t);
  const std::vector<quota_update> quotas = quotas_.updated(charges, t.quota_edits());
  o.transno = o.replay ? o.call->transno : ++last_transno_;
  kv_batch& batch = t.seal(o.transno);
  if (o.supersedes != 0)
    for (const std::string& key : redo_.keys_of(o.supersedes)) batch.remove(column::redo, key);
  put_quotas(quotas, batch);
  fill_answer(o, t);
  add_time(o);
  add_reply(o, batch);
  audit(o, batch);
  const bool moves_low_water = recovered_ && !o.replay;
  if (moves_low_water) batch.put(column::meta, std::string(meta_transno), key_of(o.transno));
  const error_code e = parts_.kv.write(batch);
  if (e != error_code::ok) {
    o.transno = 0;
    return answer(o, e, t);
  }
  o.status = error_code::ok;
  o.batch = ++written_;
  quotas_.apply(quotas);
  release_room(o);
  end_marks(o);
  if (moves_low_water) low_water_ = o.transno;
  ++counts_.executed;
  if (o.supersedes != 0) redo_.drop(o.supersedes);
  for (const transaction::redo_note& n : t.redo_notes()) redo_.note(n.inode, n.key, n.size);
  if (o.dirties != 0) dirty_.insert(o.dirties);
  const std::uint64_t built_on = hold_answer(o, t);
  const bool early = o.call != nullptr && o.call->early_answer && may_be_early(o.op);
  if (!early) o.wait_until = o.batch;
  for (const share_key& key : t.changed())
    sharing_.changed(key, o.client, o.batch, built_on);
  if (o.after_write) o.after_write();
  if (t.has_walks()) start_walk();
  if (!o.has_action) leave_gate(o);
  arm_checkpoint();
  commit_later(o);
  proceed(o);
}

// Does what can be done now of what follows the handler.
void volume::proceed(operation& o) {
  if (!o.answered) {
    if (o.wait_until > committed_) return wait_for(o.wait_until, o);
    give_answer(o);
  }
  if (!o.has_action) return end(o);
  if (o.batch > committed_) return wait_for(o.batch, o);
  act(o);
}

void volume::give_answer(operation& o) {
  o.answered = true;
  if (o.call != nullptr) {
    call_result r;
    r.status = o.status;
    r.transno = o.transno;
    r.body = o.body;
    r.payload_size = o.payload_size;
    if (o.protection && o.payload_size != 0) r.protection = &*o.protection;
    std::exchange(o.call, nullptr)->complete(r);
  }
  if (o.own_done) o.own_done(o.status);
}

void volume::end(operation& o) {
  leave_gate(o);
  operations_.erase(o.place);
  if (stopped_) parts_.time.post(guarded([this] { stop_step(); }));
}

error_code volume::need_gate(operation& o, std::uint64_t inode) {
  if (o.gate == inode) return error_code::ok;
  o.wanted_gate = inode;
  return error_code::again_later;
}

void volume::enter_gate(operation& o) {
  CHECK(o.wanted_gate != 0);
  leave_gate(o);
  std::deque<operation*>& queue = gates_[o.wanted_gate];
  queue.push_back(&o);
  if (queue.size() > 1) return;
  o.gate = o.wanted_gate;
  run(o);
}

void volume::leave_gate(operation& o) {
  if (o.gate == 0) return;
  const auto at = gates_.find(o.gate);
  CHECK(at != gates_.end());
  CHECK(at->second.front() == &o);
  at->second.pop_front();
  const std::uint64_t inode = std::exchange(o.gate, 0);
  if (at->second.empty()) {
    gates_.erase(at);
    return;
  }
  operation& next = *at->second.front();
  next.gate = inode;
  parts_.time.post(guarded([this, &next] { run(next); }));
}

volume_status volume::status() const {
  volume_status s = counts_;
  s.running = operations_.size();
  s.open_handles = opens_.size();
  s.redo_size = redo_.size();
  s.last_transno = last_transno_;
  s.last_committed = last_committed_;
  return s;
}

}  // namespace tangelo
