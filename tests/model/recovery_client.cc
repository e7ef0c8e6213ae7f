#include "tests/model/recovery_turn.h"

namespace tangelo::model {

bool recovery_turn::can_issue(std::size_t id) const {
  const std::size_t c = owner_of(id);
  if (w.clients[c].import != import_phase::full || w.ops[id].phase != op_phase::idle) return false;
  if (spec(id).kind == op_kind::none) return false;
  const bool after_all = !is_change(id) && spec(id).kind != op_kind::look;
  for (std::size_t before = id_of(c, 0); before < id; ++before) {
    if (w.ops[before].phase == op_phase::idle) return false;
    if (ended(before)) continue;
    const bool slot_busy = is_change(id) && is_change(before) && spec(id).slot == spec(before).slot;
    const bool overlaps = rule.overlap_rule && same_key(id, before);
    if (after_all || !is_change(before) || slot_busy || overlaps) return false;
  }
  return true;
}

void recovery_turn::issue(std::size_t id) {
  client_state& c = w.clients[owner_of(id)];
  if (can_fail_fsync(id)) {
    w.ops[id].phase = op_phase::failed;
    return tell_losses(id);
  }
  w.ops[id].phase = op_phase::sending;
  w.ops[id].call = true;
  if (spec(id).kind == op_kind::unlock) c.holds = false;
  if (spec(id).kind == op_kind::close) c.opened = false;
}

bool recovery_turn::can_fail_fsync(std::size_t id) const {
  if (!rule.losses_reported || spec(id).kind != op_kind::fsync) return false;
  for (std::size_t before = id_of(owner_of(id), 0); before < id; ++before) {
    if (w.ops[before].lost && !w.ops[before].told) return true;
  }
  return false;
}

void recovery_turn::tell_losses(std::size_t id) {
  for (std::size_t before = id_of(owner_of(id), 0); before < id; ++before) {
    w.ops[before].told = w.ops[before].told || w.ops[before].lost;
  }
}

void recovery_turn::take_reply(std::size_t id) {
  op_state& op = w.ops[id];
  const std::size_t me = owner_of(id);
  client_state& c = w.clients[me];
  op.reply = false;
  if (!under_way(id)) return;
  const bool told = op.phase == op_phase::sending;
  op.phase = told ? op_phase::answered : op_phase::failed;
  if (is_change(id)) {
    op.listed = spec(id).kind != op_kind::sync_change && (told || rule.given_up_replayed);
    const std::size_t end = find(id);
    for (std::size_t i = 0; i < end && end < w.count; ++i) {
      const std::size_t other = w.log[i];
      if (owner_of(other) == me || !same_key(other, id)) continue;
      c.seen = static_cast<std::uint8_t>(c.seen | 1u << other % op_count_max);
    }
  } else if (spec(id).kind == op_kind::look) {
    c.seen = static_cast<std::uint8_t>(c.seen | c.shown);
    c.shown = 0;
  } else if (spec(id).kind == op_kind::fsync) {
    for (std::size_t before = id_of(me, 0); before < id; ++before) {
      op_state& b = w.ops[before];
      if (b.lost && !b.told) blame(promise::losses_told);
      b.synced = b.synced || (is_change(before) && b.phase == op_phase::answered && !b.lost);
    }
  } else if (spec(id).kind == op_kind::lock) {
    c.holds = true;
  } else if (spec(id).kind == op_kind::open) {
    c.opened = c.opens;  // false: there was no such name
  }
}

void recovery_turn::learn_committed(std::size_t client) {
  for (std::size_t id = id_of(client, 0); id < id_of(client + 1, 0); ++id) {
    op_state& op = w.ops[id];
    if (!op.listed || op.transno > w.low_water) continue;
    op.listed = false;
    op.covered = false;
  }
}

void recovery_turn::take_connect_answer(std::size_t client) {
  client_state& c = w.clients[client];
  const connect_answer said = c.answer;
  c.answer = connect_answer::none;
  if (said == connect_answer::evicted) return forget_session(client);
  if (rule.trims_first) learn_committed(client);
  const bool unexpected = said == connect_answer::resumed && !c.knows_boot;
  if (unexpected && !rule.unknown_boot_forgiven) return forget_session(client);
  if (said == connect_answer::new_boot || unexpected) {  // nobody waited for what we hold
    bool holding = c.holds || c.opened;
    for (std::size_t id = id_of(client, 0); id < id_of(client + 1, 0); ++id) {
      holding = holding || w.ops[id].listed;
    }
    if (holding) return forget_session(client);
  }
  learn_committed(client);
  const bool cursor_valid = rule.cursor_by_boot ? c.knows_boot : said == connect_answer::rejoined;
  if (said == connect_answer::joined || !cursor_valid) {
    for (std::size_t id = id_of(client, 0); id < id_of(client + 1, 0); ++id) {
      w.ops[id].covered = false;
    }
  }
  c.claims = true;
  c.knows_boot = true;
  if (said == connect_answer::joined || said == connect_answer::rejoined) {
    c.import = import_phase::replay;
    send_replays(client);
  } else {
    resend(client);
  }
}

void recovery_turn::send_replays(std::size_t client) {
  bool any = false;
  for (std::size_t id = id_of(client, 0); id < id_of(client + 1, 0); ++id) {
    op_state& op = w.ops[id];
    op.replay = op.listed && !op.covered;
    any = any || op.replay;
  }
  if (!any) claim_locks(client);
}

void recovery_turn::take_replayed(std::size_t id) {
  const std::size_t me = owner_of(id);
  w.ops[id].replayed = false;
  w.ops[id].covered = true;
  for (std::size_t other = id_of(me, 0); other < id_of(me + 1, 0); ++other) {
    if (w.ops[other].listed && !w.ops[other].covered) return;
  }
  claim_locks(me);
}

void recovery_turn::claim_locks(std::size_t client) {
  client_state& c = w.clients[client];
  c.import = import_phase::wait;
  c.reclaim = (c.holds && rule.locks_reclaimed) || c.opened;
  c.done = !c.reclaim;
}

void recovery_turn::take_done_answer(std::size_t client) {
  w.clients[client].done_answer = false;
  resend(client);
}

void recovery_turn::resend(std::size_t client) {
  client_state& c = w.clients[client];
  c.import = import_phase::full;
  c.trusts = true;
  for (std::size_t id = id_of(client, 0); id < id_of(client + 1, 0); ++id) {
    w.ops[id].covered = false;
    w.ops[id].call = under_way(id);
  }
}

void recovery_turn::drop_connection(std::size_t client) {
  client_state& c = w.clients[client];
  for (std::size_t id = id_of(client, 0); id < id_of(client + 1, 0); ++id) {
    op_state& op = w.ops[id];
    op.call = op.reply = op.replay = op.replayed = false;
  }
  c.import = import_phase::discon;
  c.answer = connect_answer::none;
  c.shown = 0;
  c.reclaim = c.done = c.done_answer = false;
  if (c.exported == export_phase::current) c.exported = export_phase::old;
}

void recovery_turn::forget_session(std::size_t client) {
  client_state& c = w.clients[client];
  if (!c.evicted) blame(promise::cause_for_eviction);
  drop_connection(client);
  c.evicted = false;
  c.claims = false;
  c.holds = false;
  c.opened = false;
  for (std::size_t id = id_of(client, 0); id < id_of(client + 1, 0); ++id) {
    op_state& op = w.ops[id];
    op.covered = false;
    op.lost = op.lost || op.listed;
    op.listed = false;
    if (!under_way(id) || !rule.evicted_forgets) continue;
    op.phase = op_phase::failed;
    if (spec(id).kind == op_kind::fsync) tell_losses(id);
  }
}

}  // namespace tangelo::model
