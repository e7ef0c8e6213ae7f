// What clients claim, leave behind, and are told.
#include <algorithm>

#include "server/locks.h"

namespace tangelo {

error_code lock_table::claim(const client_key& client, const lock_what& what,
                             std::uint64_t lock_id, bool waiting, lock_type at_least) {
  if (is_full(client)) return error_code::no_locks;
  file_locks& f = files_[what.inode];
  if (!waiting) {
    const error_code status = claim_held(f, client, what, at_least);
    remove_if_empty(what.inode);
    return status;
  }
  const bool known = std::any_of(f.waiting.begin(), f.waiting.end(), [&](const waiting_lock& w) {
    return w.lock_id == lock_id && w.client == client;
  });
  if (!known) wait_for(f, client, what, lock_id);
  return error_code::ok;
}

// Where two claims exclude each other, one of them may have been reduced without its client having
// heard of it: that one gives way there.
error_code lock_table::claim_held(file_locks& f, const client_key& client, const lock_what& what,
                                  lock_type at_least) {
  std::vector<lock_what> left{what};
  std::vector<lock_what> mine;
  std::vector<std::pair<client_key, lock_what>> give_way;
  while (!left.empty()) {
    lock_what piece = left.back();
    left.pop_back();
    const held_lock* h = in_the_way(f, client, piece);
    if (h == nullptr) {
      if (piece.type != lock_type::unlock) mine.push_back(piece);
      continue;
    }
    const std::uint64_t start = std::max(piece.start, h->what.start);
    const std::uint64_t end = std::min(piece.end, h->what.end);
    lock_what both = piece;
    both.start = start;
    both.end = end;
    if (at_least < piece.type && !excludes(at_least, h->what.type)) {
      both.type = at_least;
      if (piece.start < start) left.push_back(piece), left.back().end = start - 1;
      if (piece.end > end) left.push_back(piece), left.back().start = end + 1;
      left.push_back(both);
    } else if (h->at_least < h->what.type && !excludes(h->at_least, piece.type)) {
      lock_what theirs = h->what;
      theirs.start = start;
      theirs.end = end;
      theirs.type = h->at_least;
      const client_key other = h->client;
      const lock_type floor = h->at_least;
      cut(f, other, theirs);
      if (floor != lock_type::unlock) add(f, {other, theirs, floor});
      left.push_back(piece);
    } else {
      return error_code::again;
    }
  }
  for (const lock_what& piece : mine) take(f, client, piece, std::min(at_least, piece.type));
  return error_code::ok;
}

void lock_table::release_handle(const client_key& client, std::uint64_t inode,
                                std::uint64_t handle) {
  const auto f = files_.find(inode);
  if (f == files_.end()) return;
  const bool freed = drop_all(f->second, [&](const client_key& c, const lock_what& what) {
    return what.handle == handle && c == client;
  });
  if (freed) serve(inode);
  remove_if_empty(inode);
}

void lock_table::forget(const client_key& client, bool older_only) {
  const auto goes = [&client, older_only](const client_key& c) {
    return c.client_id == client.client_id &&
           (c.incarnation < client.incarnation ||
            (!older_only && c.incarnation == client.incarnation));
  };
  std::vector<std::uint64_t> freed;
  for (auto& [inode, f] : files_) {
    const bool any = drop_all(f, [&goes](const client_key& c, const lock_what&) {
      return goes(c);
    });
    if (any || f.waiting.empty()) freed.push_back(inode);
  }
  std::erase_if(clients_, [&goes](const auto& entry) { return goes(entry.first); });
  std::erase_if(news_, goes);
  for (const std::uint64_t inode : freed) {
    serve(inode);
    remove_if_empty(inode);
  }
}

void lock_table::open() {
  open_ = true;
  std::vector<std::uint64_t> all;
  for (auto& [inode, f] : files_) {
    all.push_back(inode);
    for (held_lock& h : f.held) h.at_least = lock_type::unlock;
  }
  for (const std::uint64_t inode : all) serve(inode);
}

std::vector<lock_notice> lock_table::notices(const client_key& client) const {
  std::vector<lock_notice> out;
  if (const auto at = clients_.find(client); at != clients_.end())
    for (const auto& [id, n] : at->second.notices) out.push_back({id, n.status});
  return out;
}

void lock_table::noticed(const client_key& client, std::uint64_t lock_id, bool kept) {
  const auto at = clients_.find(client);
  if (at == clients_.end()) return;
  const auto n = at->second.notices.find(lock_id);
  if (n == at->second.notices.end()) return;
  const notice told = n->second;
  at->second.notices.erase(n);
  if (kept || told.status != error_code::ok) return;
  lock_what back = told.what;
  back.type = lock_type::unlock;
  (void)set(client, back, 0, false);  // unlocking never fails
}

lock_counts lock_table::counts(const client_key& client) const {
  const auto at = clients_.find(client);
  if (at == clients_.end()) return {};
  return {at->second.held, at->second.waiting};
}

lock_counts lock_table::total() const {
  lock_counts all;
  for (const auto& [key, c] : clients_) all.held += c.held, all.waiting += c.waiting;
  return all;
}

bool lock_table::is_waited_for(const client_key& client) const {
  for (const auto& [inode, f] : files_)
    for (const waiting_lock& w : f.waiting)
      for (const held_lock& h : f.held)
        if (h.client == client && !(w.client == client) && conflicts(h, w.client, w.what))
          return true;
  return false;
}

}  // namespace tangelo
