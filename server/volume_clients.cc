// What clients hold: opens, ranges of inode numbers, reply records; and what becomes of it.
#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>

#include "protocol/open_flags.h"
#include "server/volume.h"

namespace tangelo {

namespace {
constexpr std::uint32_t range_count_max = 1 << 20;
}

// The handle of a change that was answered from its reply record, after a restart, is open again.
void volume::answered_again(const inbound_call& call, byte_span answer) {
  if ((call.flags & message_flag::replay) != 0) return;
  std::uint64_t handle = 0, inode = 0;
  if (call.op == opcode::create || call.op == opcode::tmpfile) {
    if (const auto c = decode<make_call>(call.body)) handle = c->handle;
    if (const auto made = decode<entry_answer>(answer)) inode = made->attr.inode;
  } else if (call.op == opcode::rmdir) {
    if (const auto c = decode<remove_call>(call.body)) handle = c->handle;
    inode = removed_inode(answer);
  } else if (call.op == opcode::rename) {
    if (const auto c = decode<replace_call>(call.body)) handle = c->handle;
    inode = removed_inode(answer);
  }
  if (handle == 0 || inode == 0) return;
  (void)opens_.open(call.client, handle, inode);  // false: known, and another's
}

// Known handles keep an inode alive; one that the server has forgotten is learnt again from the
// first call that names it. Once: when a call is attempted again, it may have been released.
void volume::note_handle(operation& o, std::uint64_t handle, std::uint64_t inode) {
  if (handle == 0 || o.replay || !known_.contains(o.client)) return;
  for (std::uint64_t& noted : o.noted) {
    if (noted == handle) return;
    if (noted != 0) continue;
    noted = handle;
    break;
  }
  (void)opens_.open(o.client, handle, inode);  // false: it means another inode; that one stays
}

error_code volume::do_open(operation& o, transaction& t) {
  const std::optional<open_call> c = decode<open_call>(o.call->body);
  if (!c) return error_code::invalid;
  const op_result<inode_record*> r = t.inode(c->inode);
  if (!r) return r.error();
  if (S_ISLNK((*r)->mode)) return error_code::loop_of_links;
  const bool writes = (c->open_flags & O_ACCMODE) != O_RDONLY;
  if (S_ISDIR((*r)->mode) && writes) return error_code::is_directory;
  std::uint32_t rights = rights_of_open(c->open_flags);
  if (o.op == opcode::open) {  // else it is open already, perhaps by O_TMPFILE (O_DIRECTORY, too)
    if (!S_ISDIR((*r)->mode) && (c->open_flags & O_DIRECTORY) != 0)
      return error_code::not_directory;
    // By a name that the kernel had from before: it is to look again (fs/open_retries.h).
    if ((*r)->link_count == 0 && (c->open_flags & open_again) == 0 &&
        !opens_.means(o.client, c->handle, c->inode))
      return error_code::stale;
    const error_code e = check_may_open(o, t, caller_of(c->who), c->inode, c->open_flags);
    if (e != error_code::ok) return e;
  } else if (!options_.rules.believe_clients()) {
    const error_code e = check_may_open(o, t, caller_of(c->who), c->inode, c->open_flags);
    if (e == error_code::again_later) return e;
    if (e != error_code::ok) rights = 0;
  }
  if (!opens_.open(o.client, c->handle, c->inode, rights)) return error_code::bad_handle;
  o.form = answer_form::attr;
  o.subject = c->inode;
  return error_code::ok;
}

error_code volume::do_release(operation& o, transaction&) {
  const std::optional<open_call> c = decode<open_call>(o.call->body);
  if (!c) return error_code::invalid;
  const std::optional<std::uint64_t> inode = opens_.release(o.client, c->handle);
  locks_.release_handle(o.client, c->inode, c->handle);
  tell_lock_news();
  if (inode) released({*inode});
  return error_code::ok;
}

void volume::released(const std::vector<std::uint64_t>& inodes) {
  if (!recovered_) return;  // somebody may still re-claim it
  for (const std::uint64_t inode : inodes)
    if (opens_.count(inode) == 0 && orphans_.contains(inode)) remove_orphan(inode);
}

// Whether somebody may be about to open it (recent_lookups.h). Its owner is charged for it as long
// as it is kept, so not close to a limit of his.
bool volume::may_linger(std::uint64_t inode, const inode_record& r, const client_key& by) const {
  return looked_up_.by_another(inode, by, parts_.time.now_ns()) && quotas_.is_far_from_limits(r);
}

// As if it were open, by nobody.
void volume::keep_for_a_moment(std::uint64_t inode) {
  const std::uint64_t handle = ++last_keeping_;
  (void)opens_.open(client_key{}, handle, inode);  // a new number
  (void)parts_.time.call_after(recent_lookups::age_max_ns, guarded([this, handle, inode] {
                                 (void)opens_.release(client_key{}, handle);
                                 released({inode});
                               }));
}

void volume::remove_orphan(std::uint64_t inode) {
  begin_own(
      [this, inode](operation& o, transaction& t) {
        if (opens_.count(inode) != 0 || !orphans_.contains(inode)) return error_code::no_data;
        const op_result<inode_record*> r = t.inode(inode);
        if (!r && r.error() != error_code::stale) return r.error();
        if (r && (*r)->link_count == 0) {
          const error_code e = erase_inode(o, t, inode);
          if (e != error_code::ok) return e;
        }
        t.remove(column::orphans, key_of(inode));
        o.after_write = [this, inode] { orphans_.erase(inode); };
        return error_code::ok;
      },
      nullptr);
}

void volume::recovery_ended() {
  locks_.open();
  tell_lock_news();
  // A batch with nothing in it but the new low-water mark.
  if (!std::exchange(recovered_, true))
    begin_own([](operation&, transaction&) { return error_code::ok; }, nullptr);
  const std::vector<std::uint64_t> all(orphans_.begin(), orphans_.end());
  released(all);
  start_walk();
  start_mending();
}

error_code volume::do_fsync(operation& o, transaction& t) {
  const std::optional<fsync_call> c = decode<fsync_call>(o.call->body);
  if (!c) return error_code::invalid;
  const op_result<inode_record*> r = t.inode(c->inode);
  if (!r) return r.error();
  note_handle(o, c->handle, c->inode);
  o.wait_until = written_;
  return error_code::ok;
}

error_code volume::do_inode_range(operation& o, transaction& t) {
  const std::optional<inode_range_call> c = decode<inode_range_call>(o.call->body);
  if (!c || c->count == 0) return error_code::invalid;
  const std::uint32_t count = std::min(c->count, range_count_max);
  const std::uint64_t first = next_inode_;
  t.put(column::meta, std::string(meta_next_inode), key_of(first + count));
  t.put(column::clients, range_key(o.client.client_id, first),
        packed(saved_range{record_version, o.client.incarnation, count}));
  o.after_write = [this, client = o.client, first, count] {
    next_inode_ = first + count;
    ranges_.add(client, first, count);
  };
  put_answer(o, inode_range_answer{first, count});
  return error_code::ok;
}

// Removes the reply records and ranges of this client's incarnations before `key`, or of `key` too;
// `highest` becomes the highest transno among those of `key`, if it is lower.
error_code volume::drop_client(transaction& t, const client_key& key, bool older_only,
                               std::uint64_t& highest) {
  const auto goes = [&key, older_only](std::uint64_t incarnation) {
    return incarnation < key.incarnation || (!older_only && incarnation == key.incarnation);
  };
  const std::string from = client_record_key(key.client_id);
  const std::string until = end_of(from);
  error_code e = t.scan(column::replies, from, until,
                        [&](std::string_view k, std::string_view value) {
                          const std::optional<saved_reply> r = unpacked<saved_reply>(value);
                          if (r && r->incarnation == key.incarnation)
                            highest = std::max(highest, r->transno);
                          if (!r || goes(r->incarnation))
                            t.remove(column::replies, std::string(k));
                          return true;
                        });
  if (e != error_code::ok) return e;
  return t.scan(column::clients, from, until,
                [&t, &goes](std::string_view k, std::string_view value) {
                  if (k.size() == sizeof(id128)) return true;
                  const std::optional<saved_range> r = unpacked<saved_range>(value);
                  if (!r || goes(r->incarnation)) t.remove(column::clients, std::string(k));
                  return true;
                });
}

// What is saved of this client; nothing when it is not known.
op_result<std::optional<saved_client>> volume::saved_of(transaction& t, const id128& client) {
  const op_result<std::string> raw = t.value(column::clients, client_record_key(client));
  if (raw) return unpacked<saved_client>(*raw);
  if (raw.error() != error_code::no_data) return failure{raw.error()};
  return std::optional<saved_client>();
}

void volume::remember_client(const client_key& key, std::function<void(error_code)> done) {
  begin_own(
      [this, key](operation& o, transaction& t) {
        const op_result<std::optional<saved_client>> saved = saved_of(t, key.client_id);
        if (!saved) return saved.error();
        // Nothing of a session that was written off is left to the new one.
        const bool goes_on = *saved && (*saved)->incarnation == key.incarnation &&
                             (*saved)->tombstone == 0;
        std::uint64_t highest = 0;
        const error_code e = drop_client(t, key, goes_on, highest);
        if (e != error_code::ok) return e;
        // It may hold something from now on: a recovery window has to wait for it.
        t.put(column::clients, client_record_key(key.client_id),
              packed(saved_client{record_version, 1, key.incarnation, 0, 0}));
        o.after_write = [this, key, goes_on] {
          ranges_.forget(key, goes_on);
          std::erase_if(known_, [&key](const client_key& k) {
            return k.client_id == key.client_id && k.incarnation < key.incarnation;
          });
          known_.insert(key);
          released(opens_.forget(key, true));
          locks_.forget(key, true);
          tell_lock_news();
        };
        return error_code::ok;
      },
      std::move(done));
}

void volume::set_awaited(const client_key& key, bool awaited,
                         std::function<void(error_code)> done) {
  begin_own(
      [this, key, awaited](operation& o, transaction& t) {
        const op_result<std::optional<saved_client>> saved = saved_of(t, key.client_id);
        if (!saved) return saved.error();
        if (!*saved || (*saved)->incarnation != key.incarnation || (*saved)->tombstone != 0)
          return error_code::stale;
        o.wait_until = written_;
        saved_client fresh = **saved;
        fresh.awaited = awaited ? 1 : 0;
        if ((*saved)->awaited == fresh.awaited) return error_code::no_data;
        t.put(column::clients, client_record_key(key.client_id), packed(fresh));
        return error_code::ok;
      },
      [done = std::move(done)](error_code e) {
        done(e == error_code::no_data ? error_code::ok : e);  // it was so already
      });
}

void volume::forget_client(const client_key& key, bool tombstone,
                           std::function<void(error_code)> done) {
  begin_own(
      [this, key, tombstone](operation& o, transaction& t) {
        const op_result<std::optional<saved_client>> saved = saved_of(t, key.client_id);
        if (!saved) return saved.error();
        o.wait_until = written_;
        if (*saved && (*saved)->incarnation > key.incarnation) return error_code::no_data;
        std::uint64_t highest = *saved ? (*saved)->highest_transno : 0;
        const error_code e = drop_client(t, key, false, highest);
        if (e != error_code::ok) return e;
        const std::string name = client_record_key(key.client_id);
        if (tombstone)
          t.put(column::clients, name,
                packed(saved_client{record_version, 0, key.incarnation, 1, highest}));
        else
          t.remove(column::clients, name);
        o.after_write = [this, key] {
          ranges_.forget(key, false);
          known_.erase(key);
          released(opens_.forget(key, false));
          locks_.forget(key, false);
          tell_lock_news();
        };
        return error_code::ok;
      },
      [done = std::move(done)](error_code e) {
        done(e == error_code::no_data ? error_code::ok : e);  // a newer one is remembered
      });
}

bool volume::has_opens(const client_key& key) const {
  const lock_counts locks = locks_.counts(key);
  return opens_.has(key) || locks.held + locks.waiting != 0;
}

std::vector<client_record> volume::load_clients() {
  std::map<id128, client_record> clients;
  const auto client = [&clients](std::string_view key, std::string_view value) {
    const std::optional<saved_client> c = unpacked<saved_client>(value);
    if (key.size() != sizeof(id128) || !c) return true;
    client_record r;
    copy_bytes(r.key.client_id, bytes_of(key));
    r.key.incarnation = c->incarnation;
    r.awaited = c->awaited != 0;
    r.tombstone = c->tombstone != 0;
    r.highest_transno = c->highest_transno;
    clients.emplace(r.key.client_id, std::move(r));
    return true;
  };
  const auto reply = [&clients](std::string_view key, std::string_view value) {
    const std::optional<saved_reply> s = unpacked<saved_reply>(value);
    id128 id{};
    copy_bytes(id, bytes_of(key));
    const auto at = clients.find(id);
    if (!s || at == clients.end() || at->second.key.incarnation != s->incarnation) return true;
    reply_record r;
    r.incarnation = s->incarnation;
    for (const char digit : key.substr(sizeof(id128)))
      r.slot = static_cast<std::uint16_t>((r.slot << 8) | static_cast<unsigned char>(digit));
    r.slot_seq = s->slot_seq;
    r.xid = s->xid;
    r.op = static_cast<opcode>(s->op);
    r.status = error_of_wire(s->status);
    r.transno = s->transno;
    at->second.highest_transno = std::max(at->second.highest_transno, s->transno);
    const byte_span body = bytes_of(s->body);
    r.body.assign(body.begin(), body.end());
    at->second.replies.push_back(std::move(r));
    return true;
  };
  kv_status s = parts_.kv.scan(column::clients, {}, {}, read_mode::blocking, client);
  CHECK(s == kv_status::found);  // open() read all of it
  s = parts_.kv.scan(column::replies, {}, {}, read_mode::blocking, reply);
  CHECK(s == kv_status::found);
  std::vector<client_record> out;
  for (auto& [id, record] : clients) out.push_back(std::move(record));
  return out;
}

}  // namespace tangelo
