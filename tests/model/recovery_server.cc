#include <algorithm>

#include "tests/model/recovery_turn.h"

namespace tangelo::model {

std::size_t recovery_turn::find(std::size_t id) const {
  const auto end = w.log.begin() + w.count;
  return static_cast<std::size_t>(std::find(w.log.begin(), end, id) - w.log.begin());
}

// Transnos: only their order counts, so they are kept as ranks without gaps.

void recovery_turn::unstamp(std::size_t id) {
  const std::uint8_t old = w.ops[id].transno;
  if (old == 0) return;
  w.ops[id].transno = 0;
  for (op_state& op : w.ops) {
    if (op.transno > old) --op.transno;
  }
  if (w.low_water >= old) --w.low_water;
}

void recovery_turn::stamp(std::size_t id) {
  unstamp(id);
  std::uint8_t newest = 0;
  for (const op_state& op : w.ops) newest = std::max(newest, op.transno);
  w.ops[id].transno = static_cast<std::uint8_t>(newest + 1);
}

// What nobody will ask for is made equal, so that there are fewer states: transnos that neither the
// server nor a client remembers, notes about effects that are durable, claims that are closed.
void recovery_turn::tidy() {
  unsigned durable = 0;
  for (std::size_t i = 0; i < w.durable; ++i) durable |= 1u << w.log[i];
  for (std::size_t id = 0; id < w.ops.size(); ++id) {
    op_state& op = w.ops[id];
    op.stands_on = static_cast<std::uint8_t>(op.stands_on & ~durable);
    if (ended(id) && !op.listed && !op.late) op.old_claim = false;
    if (op.transno == 0 || op.listed || logged(id)) continue;
    unstamp(id);
    op.stands_on = 0;
  }
  const std::array<unsigned, client_count> others{durable >> op_count_max, durable};
  for (std::size_t i = 0; i < client_count; ++i) {
    w.clients[i].seen = static_cast<std::uint8_t>(w.clients[i].seen & ~others[i]);
  }
  if (rule.reply_records) w.boot_base = 0;
}

bool recovery_turn::can_execute(std::size_t id) const {
  if (w.recovering != 0 && rule.quiet_window) return false;
  if (spec(id).kind != op_kind::lock) return true;
  return !w.clients[1 - owner_of(id)].owner;
}

void recovery_turn::answer(std::size_t id) {
  const client_state& c = w.clients[owner_of(id)];
  if (c.import == import_phase::full && c.exported == export_phase::current) {
    w.ops[id].reply = true;
  }
}

void recovery_turn::await(std::size_t client) {
  if (rule.awaited_first) {
    w.clients[client].awaited = true;
  } else {
    w.clients[client].awaited_soon = true;
  }
}

void recovery_turn::execute(std::size_t id) {
  client_state& c = w.clients[owner_of(id)];
  switch (spec(id).kind) {
    case op_kind::none: return;
    case op_kind::change:
    case op_kind::sync_change:
    case op_kind::unlink: return execute_change(id);
    case op_kind::look:
      share(id);
      c.shown = 0;
      for (std::size_t i = 0; i < w.count; ++i) {
        const std::size_t other = w.log[i];
        if (owner_of(other) == owner_of(id) || !same_key(other, id)) continue;
        c.shown = static_cast<std::uint8_t>(c.shown | 1u << other % op_count_max);
      }
      break;
    case op_kind::fsync:
      if (rule.fsync_commits) commit();
      break;
    case op_kind::lock:
      await(owner_of(id));
      c.owner = true;
      break;
    case op_kind::unlock: c.owner = false; break;
    case op_kind::open: {
      share(id);
      bool unlinked = false;
      for (std::size_t i = 0; i < w.count; ++i) {
        unlinked = unlinked || spec(w.log[i]).kind == op_kind::unlink;
      }
      if (!unlinked) await(owner_of(id));
      c.opens = !unlinked;
      break;
    }
    case op_kind::close: c.opens = false; break;
  }
  answer(id);
}

// Which operation its slot has a record of: the highest sequence; -1: none.
int recovery_turn::newest_in_slot(std::size_t id) const {
  int newest = -1;
  for (std::size_t i = rule.reply_records ? 0 : w.boot_base; i < w.count; ++i) {
    const std::size_t other = w.log[i];
    if (owner_of(other) != owner_of(id) || spec(other).slot != spec(id).slot) continue;
    newest = std::max(newest, static_cast<int>(other));
  }
  return newest;
}

void recovery_turn::execute_change(std::size_t id) {
  const int newest = rule.slot_sequences ? newest_in_slot(id) : -1;
  if (newest > static_cast<int>(id)) return;  // stale
  const bool waits = spec(id).kind == op_kind::sync_change;
  if (newest == static_cast<int>(id)) {
    if (!waits || find(id) < w.durable) answer(id);  // else its commit will
    return;
  }
  share(id);
  stamp(id);
  std::uint8_t below = 0;
  for (std::size_t i = 0; i < w.count; ++i) {
    if (same_key(w.log[i], id)) below = static_cast<std::uint8_t>(below | 1u << w.log[i]);
  }
  w.ops[id].stands_on = below;
  append(id);
  await(owner_of(id));
  if (!waits) answer(id);
}

// Commit-on-share: what another client changed under this key is made durable first.
void recovery_turn::share(std::size_t id) {
  if (!rule.commit_on_share) return;
  for (std::size_t i = w.durable; i < w.count; ++i) {
    if (owner_of(w.log[i]) == owner_of(id) || !same_key(w.log[i], id)) continue;
    return commit();
  }
}

void recovery_turn::append(std::size_t id) {
  if (logged(id)) return blame(promise::once);
  if (w.ops[id].old_claim) blame(promise::old_claims_dead);
  w.log[w.count++] = static_cast<std::uint8_t>(id);
}

void recovery_turn::commit() {
  for (std::size_t i = w.durable; i < w.count; ++i) {
    const std::size_t id = w.log[i];
    const op_state& op = w.ops[id];
    if (spec(id).kind != op_kind::sync_change) continue;
    if (under_way(id) && !op.call) answer(id);
  }
  w.durable = w.count;
  if (w.recovering == 0 || !rule.low_water) {
    for (std::size_t i = 0; i < w.count; ++i) {
      w.low_water = std::max(w.low_water, w.ops[w.log[i]].transno);
    }
  }
  for (client_state& c : w.clients) {
    c.awaited = c.awaited || c.awaited_soon;
    c.awaited_soon = false;
  }
}

void recovery_turn::connect(std::size_t client) {
  client_state& c = w.clients[client];
  const bool had_export = c.exported != export_phase::none;
  c.import = import_phase::connecting;
  c.exported = export_phase::current;
  if (!c.claims && (rule.claimless_starts_afresh || !had_export)) {  // whatever is there
    if (rule.session_end_commits) commit();
    c.tombstone = c.awaited = c.finished = c.expected = c.owner = c.opens = false;
    c.lingers = false;
    c.answer = connect_answer::fresh;
  } else if (c.tombstone || (w.recovering == 0 && !had_export && c.awaited)) {
    c.exported = export_phase::none;
    c.answer = connect_answer::evicted;
  } else if (w.recovering != 0) {
    c.answer = had_export ? connect_answer::rejoined : connect_answer::joined;
  } else {
    c.answer = had_export ? connect_answer::resumed : connect_answer::new_boot;
  }
}

bool recovery_turn::can_replay(std::size_t id) const {
  if (!w.ops[id].replay) return false;
  if (!rule.replay_in_order) return true;
  const std::size_t me = owner_of(id);
  for (std::size_t other = id_of(me, 0); other < id_of(me + 1, 0); ++other) {
    if (w.ops[other].replay && w.ops[other].transno < w.ops[id].transno) return false;
  }
  return true;
}

// All of a client's replays come in the order of their transnos and before anything new of it:
// its highest executed transno says which are done.
bool recovery_turn::was_executed(std::size_t id) const {
  if (w.ops[id].transno <= w.low_water) return true;
  for (std::size_t i = 0; i < w.count; ++i) {
    const std::size_t other = w.log[i];
    if (owner_of(other) != owner_of(id)) continue;
    if (w.ops[other].transno >= w.ops[id].transno) return true;
  }
  return false;
}

void recovery_turn::replay(std::size_t id) {
  w.ops[id].replay = false;
  if (!rule.judge_before_window && w.recovering == 0) return evict(owner_of(id));
  if (!rule.transno_before_sequence && newest_in_slot(id) > static_cast<int>(id)) return;  // stale
  w.ops[id].replayed = true;
  if (was_executed(id)) return;
  if (w.recovering == 0) return blame(promise::acknowledged_kept);
  append(id);
}

void recovery_turn::reclaim(std::size_t client) {
  client_state& c = w.clients[client];
  c.reclaim = false;
  if (c.holds && rule.locks_reclaimed) {
    if (w.clients[1 - client].owner) blame(promise::lock_kept);
    c.owner = true;
  }
  if (c.opened) {
    if (w.gone != 0) blame(promise::open_file_kept);
    c.opens = true;
  }
  c.done = true;
}

void recovery_turn::finish_replay(std::size_t client) {
  client_state& c = w.clients[client];
  c.done = false;
  c.finished = w.recovering != 0;
  c.done_answer = w.recovering == 0 || !rule.quiet_window;
}

bool recovery_turn::can_close_window() const {
  for (const client_state& c : w.clients) {
    const bool counts = rule.window_waits_for_all || c.exported != export_phase::none;
    if (c.expected && !c.finished && counts) return false;
    if (c.lingers && c.trusts && rule.lease_outlives_crash) return false;
  }
  return w.recovering != 0;
}

void recovery_turn::close_window() {
  w.recovering = 0;
  commit();
  for (client_state& c : w.clients) {
    const bool waiting = c.import == import_phase::wait && !c.reclaim && !c.done;
    c.done_answer = c.done_answer || (c.finished && waiting);
    c.expected = c.finished = c.lingers = false;
  }
}

// Only by the server: the client learns it from the answer to its next CONNECT.
void recovery_turn::evict(std::size_t client) {
  client_state& c = w.clients[client];
  if (c.trusts && rule.lease_nests) blame(promise::cause_for_eviction);
  drop_connection(client);
  if (rule.session_end_commits) commit();
  c.exported = export_phase::none;
  c.owner = c.opens = c.expected = c.finished = false;
  if (rule.durable_tombstones) c.awaited = false;
  c.tombstone = true;
  c.evicted = true;
  mark_old_claims(client);
}

void recovery_turn::mark_old_claims(std::size_t client) {
  for (std::size_t id = id_of(client, 0); id < id_of(client + 1, 0); ++id) {
    w.ops[id].old_claim = w.ops[id].old_claim || under_way(id) || w.ops[id].listed;
  }
}

// At once and for ever, but the lock is nobody's before the client has stopped trusting in it.
void recovery_turn::evict_by_command(std::size_t client) {
  client_state& c = w.clients[client];
  const bool kept = rule.evicted_lock_waits && c.trusts && c.owner;
  const bool trusted = c.trusts;
  c.trusts = false;
  evict(client);
  c.trusts = trusted;
  c.owner = kept;
  c.lingers = kept;
}

bool recovery_turn::can_clear_awaited(std::size_t client) const {
  const client_state& c = w.clients[client];
  if (!c.awaited || c.owner || c.opens || w.recovering != 0) return false;
  for (std::size_t i = w.durable; i < w.count && rule.awaited_while_volatile; ++i) {
    if (owner_of(w.log[i]) == client) return false;
  }
  return c.exported != export_phase::none;
}

bool recovery_turn::can_remove_file() const {
  if (w.gone != 0 || w.clients[0].opens || w.clients[1].opens) return false;
  if (rule.orphans_kept && w.recovering != 0) return false;
  const std::size_t end = rule.removal_after_commit ? w.durable : w.count;
  for (std::size_t i = 0; i < end; ++i) {
    if (spec(w.log[i]).kind == op_kind::unlink) return true;
  }
  return false;
}

void recovery_turn::remove_file() { w.gone = 1; }

void recovery_turn::crash() {
  w.count = w.durable;
  w.boot_base = w.durable;
  std::fill(w.log.begin() + w.count, w.log.end(), std::uint8_t{0});
  w.recovering = 0;
  for (std::size_t i = 0; i < client_count; ++i) {
    client_state& c = w.clients[i];
    drop_connection(i);
    c.exported = export_phase::none;
    c.knows_boot = c.owner = c.opens = c.finished = c.awaited_soon = false;
    if (!rule.durable_tombstones) c.tombstone = false;
    c.expected = c.awaited && !c.tombstone;
    if (c.expected || (c.lingers && rule.lease_outlives_crash)) w.recovering = 1;
  }
}

}  // namespace tangelo::model
