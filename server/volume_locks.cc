// Locks: the table (locks.h) as calls see it. None of these reads the store, so each is carried out
// before execute() returns: a call that outlives its connection could otherwise lock what its owner
// has unlocked meanwhile.
#include "server/volume.h"

namespace tangelo {

error_code volume::do_get_lock(operation& o, transaction&) {
  const std::optional<lock_call> c = decode<lock_call>(o.call->body);
  if (!c || !is_sound(c->what)) return error_code::invalid;
  put_answer(o, lock_answer{locks_.test(o.client, c->what).value_or(lock_what{})});
  return error_code::ok;
}

error_code volume::do_set_lock(operation& o, transaction&) {
  const std::optional<lock_call> c = decode<lock_call>(o.call->body);
  if (!c || !is_sound(c->what)) return error_code::invalid;
  const bool locks = c->what.type != lock_type::unlock;
  if (locks && !known_.contains(o.client)) return error_code::stale;
  if (locks) note_handle(o, c->what.handle, c->what.inode);
  const error_code e = locks_.set(o.client, c->what, c->lock_id, c->wait != 0);
  tell_lock_news();
  return e;
}

error_code volume::do_cancel_lock(operation& o, transaction&) {
  const std::optional<cancel_lock_call> c = decode<cancel_lock_call>(o.call->body);
  if (!c) return error_code::invalid;
  const bool granted = locks_.cancel(o.client, c->inode, c->lock_id);
  put_answer(o, cancel_lock_answer{static_cast<std::uint8_t>(granted ? 1 : 0)});
  return error_code::ok;
}

// Its open file was claimed before it.
error_code volume::do_reclaim_lock(operation& o, transaction&) {
  const std::optional<lock_call> c = decode<lock_call>(o.call->body);
  if (!c || !is_sound(c->what)) return error_code::invalid;
  if (opens_.inode_of(o.client, c->what.handle) != c->what.inode) return error_code::stale;
  return locks_.claim(o.client, c->what, c->lock_id, c->wait != 0, c->at_least);
}

// Behind the answer to the call that caused them.
void volume::tell_lock_news() {
  if (lock_news_posted_) return;
  lock_news_posted_ = true;
  parts_.time.post(guarded([this] {
    lock_news_posted_ = false;
    for (const client_key& client : locks_.take_news())
      if (lock_watcher_) lock_watcher_(client);
  }));
}

void volume::noticed(const client_key& key, std::uint64_t lock_id, bool kept) {
  locks_.noticed(key, lock_id, kept);
  tell_lock_news();
}

}  // namespace tangelo
