#include "server/locks.h"

#include <algorithm>
#include <set>

namespace tangelo {

namespace {

bool overlap(const lock_what& a, const lock_what& b) {
  return a.start <= b.end && b.start <= a.end;
}

// One ends where the other begins.
bool touch(const lock_what& a, const lock_what& b) {
  return a.start <= b.end + 1 && b.start <= a.end + 1;
}

}  // namespace

bool lock_table::is_owner(const held_lock& h, const client_key& client, const lock_what& what) {
  return h.what.owner == what.owner && h.client == client && h.what.kind == what.kind;
}

bool lock_table::conflicts(const held_lock& h, const client_key& client, const lock_what& what) {
  return h.what.kind == what.kind && excludes(h.what.type, what.type) && overlap(h.what, what) &&
         !is_owner(h, client, what);
}

const lock_table::held_lock* lock_table::in_the_way(const file_locks& f, const client_key& client,
                                                    const lock_what& what) {
  const held_lock* first = nullptr;
  for (const held_lock& h : f.held)
    if (conflicts(h, client, what) && (first == nullptr || h.what.start < first->what.start))
      first = &h;
  return first;
}

bool lock_table::is_full(const client_key& client) const {
  const auto at = clients_.find(client);
  return at != clients_.end() && at->second.held + at->second.waiting >= per_client_max;
}

void lock_table::add(file_locks& f, held_lock h) {
  ++clients_[h.client].held;
  f.held.push_back(std::move(h));
}

void lock_table::drop(file_locks& f, std::size_t index) {
  --clients_[f.held[index].client].held;
  f.held[index] = f.held.back();
  f.held.pop_back();
}

// Takes the range away from what its owner has; true: there was something in it.
bool lock_table::cut(file_locks& f, const client_key& client, const lock_what& what) {
  bool any = false;
  std::vector<held_lock> rest;
  for (std::size_t i = f.held.size(); i-- > 0;) {
    const held_lock h = f.held[i];
    if (!is_owner(h, client, what) || !overlap(h.what, what)) continue;
    any = true;
    if (h.what.start < what.start) {
      rest.push_back(h);
      rest.back().what.end = what.start - 1;
    }
    if (h.what.end > what.end) {
      rest.push_back(h);
      rest.back().what.start = what.end + 1;
    }
    drop(f, i);
  }
  for (held_lock& h : rest) add(f, std::move(h));
  return any;
}

// The owner has the range, with this type; nobody stands in the way.
void lock_table::take(file_locks& f, const client_key& client, const lock_what& what,
                      lock_type at_least) {
  cut(f, client, what);
  held_lock h{client, what, at_least};
  for (std::size_t i = f.held.size(); i-- > 0;) {
    const held_lock& o = f.held[i];
    if (!is_owner(o, client, what) || o.what.type != what.type || o.at_least != at_least ||
        !touch(o.what, h.what))
      continue;
    h.what.start = std::min(h.what.start, o.what.start);
    h.what.end = std::max(h.what.end, o.what.end);
    drop(f, i);
    i = f.held.size();  // the longer one may touch others
  }
  add(f, std::move(h));
}

// A flock that changes its type is given back before the new one is asked for. True: it was.
bool lock_table::drop_flock(file_locks& f, const client_key& client, const lock_what& what) {
  for (std::size_t i = 0; i < f.held.size(); ++i)
    if (is_owner(f.held[i], client, what) && f.held[i].what.type != what.type) {
      drop(f, i);
      return true;
    }
  return false;
}

void lock_table::wait_for(file_locks& f, const client_key& client, const lock_what& what,
                          std::uint64_t lock_id) {
  f.waiting.push_back({client, what, lock_id});
  ++clients_[client].waiting;
  if (what.kind == lock_kind::posix)
    waits_.emplace(owner_key{client, what.owner}, &f.waiting.back());
}

std::list<lock_table::waiting_lock>::iterator lock_table::end_wait(
    file_locks& f, std::list<waiting_lock>::iterator at) {
  --clients_[at->client].waiting;
  const auto [first, last] = waits_.equal_range(owner_key{at->client, at->what.owner});
  for (auto w = first; w != last; ++w)
    if (w->second == &*at) {
      waits_.erase(w);
      break;
    }
  return f.waiting.erase(at);
}

void lock_table::tell(const client_key& client, std::uint64_t lock_id, error_code status,
                      const lock_what& what) {
  clients_[client].notices.insert_or_assign(lock_id, notice{status, what});
  if (std::find(news_.begin(), news_.end(), client) == news_.end()) news_.push_back(client);
}

// Does anybody whom this request would wait for wait for its owner? Where one process has two
// owners there are locks of open files among them, that another thread may give up: no deadlock.
bool lock_table::would_deadlock(const client_key& client, const lock_what& what) const {
  if (what.kind != lock_kind::posix) return false;
  const owner_key asker{client, what.owner};
  std::set<owner_key, owner_less> seen;
  std::vector<std::pair<client_key, lock_what>> left{{client, what}};
  while (!left.empty()) {
    const auto [who, wanted] = left.back();
    left.pop_back();
    const auto file = files_.find(wanted.inode);
    if (file == files_.end()) continue;
    for (const held_lock& h : file->second.held) {
      if (!conflicts(h, who, wanted)) continue;
      const owner_key holder{h.client, h.what.owner};
      if (holder.first == asker.first && holder.second == asker.second) return true;
      if (h.client == client && h.what.pid == what.pid) continue;
      if (!seen.insert(holder).second) continue;
      const auto [first, last] = waits_.equal_range(holder);
      for (auto w = first; w != last; ++w) left.push_back({w->second->client, w->second->what});
    }
  }
  return false;
}

error_code lock_table::set(const client_key& client, const lock_what& what, std::uint64_t lock_id,
                           bool wait) {
  file_locks& f = files_[what.inode];
  error_code status = error_code::ok;
  bool freed = false;
  if (what.type == lock_type::unlock) {
    freed = cut(f, client, what);
  } else {
    for (const waiting_lock& w : f.waiting)
      if (wait && w.lock_id == lock_id && w.client == client) return error_code::queued;
    if (what.kind == lock_kind::flock) freed = drop_flock(f, client, what);
    if (is_full(client)) {
      status = error_code::no_locks;
    } else if (in_the_way(f, client, what) == nullptr) {
      take(f, client, what, lock_type::unlock);
      freed = true;  // it may have been reduced
      if (waits_.contains(owner_key{client, what.owner})) refuse_circles(f);
    } else if (!wait) {
      status = error_code::again;
    } else if (would_deadlock(client, what)) {
      status = error_code::deadlock;
    } else {
      wait_for(f, client, what, lock_id);
      status = error_code::queued;
    }
  }
  if (freed) serve(what.inode);
  remove_if_empty(what.inode);
  return status;
}

std::optional<lock_what> lock_table::test(const client_key& client, const lock_what& what) const {
  const auto f = files_.find(what.inode);
  if (f == files_.end()) return std::nullopt;
  const held_lock* h = in_the_way(f->second, client, what);
  if (h == nullptr) return std::nullopt;
  lock_what found = h->what;
  if (!(h->client == client)) found.pid = 0;
  return found;
}

bool lock_table::cancel(const client_key& client, std::uint64_t inode, std::uint64_t lock_id) {
  if (const auto f = files_.find(inode); f != files_.end())
    for (auto w = f->second.waiting.begin(); w != f->second.waiting.end(); ++w)
      if (w->lock_id == lock_id && w->client == client) {
        end_wait(f->second, w);
        remove_if_empty(inode);
        return false;
      }
  const auto of = clients_.find(client);
  if (of == clients_.end()) return false;
  const auto n = of->second.notices.find(lock_id);
  return n != of->second.notices.end() && n->second.status == error_code::ok;
}

// Serves the waits of a file, the oldest first, until none can be.
void lock_table::serve(std::uint64_t inode) {
  const auto file = files_.find(inode);
  if (!open_ || file == files_.end()) return;
  file_locks& f = file->second;
  bool circles = false;
  for (bool again = true; again;) {
    again = false;
    for (auto w = f.waiting.begin(); w != f.waiting.end();) {
      if (in_the_way(f, w->client, w->what) != nullptr) {
        ++w;
        continue;
      }
      const waiting_lock granted = *w;
      w = end_wait(f, w);
      take(f, granted.client, granted.what, lock_type::unlock);
      tell(granted.client, granted.lock_id, error_code::ok, granted.what);
      circles = circles || waits_.contains(owner_key{granted.client, granted.what.owner});
      again = true;
    }
  }
  if (circles) refuse_circles(f);
}

void lock_table::refuse_circles(file_locks& f) {
  for (auto w = f.waiting.begin(); w != f.waiting.end();) {
    if (!would_deadlock(w->client, w->what)) {
      ++w;
      continue;
    }
    tell(w->client, w->lock_id, error_code::deadlock, w->what);
    w = end_wait(f, w);
  }
}

void lock_table::remove_if_empty(std::uint64_t inode) {
  const auto f = files_.find(inode);
  if (f != files_.end() && f->second.held.empty() && f->second.waiting.empty()) files_.erase(f);
}

}  // namespace tangelo
