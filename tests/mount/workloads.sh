# workloads.sh: real programs that check themselves, for scripts that kill processes under them.
# Sourced after lib.sh; `seed` is set. Each try_X works below $mnt, and dies when anything differs.
# shellcheck shell=bash disable=SC2154

make_repository() {
  local n=$1 i
  mkdir -p "$work/repository"
  cd "$work/repository"
  git init -q .
  for ((i = 0; i < n; ++i)); do
    mkdir -p "d$((i % 20))"
    printf 'file %d\n%s\n' "$i" "$(head -c 300 /dev/urandom | base64)" > "d$((i % 20))/f$i"
  done
  git add -A
  git -c user.name=t -c user.email=t@example.org commit -qm "all of them"
  cd "$work"
}
try_git() {
  step "git: clone and fsck of a repository"
  make_repository "$(scaled 1000 100)"
  rm -rf "$mnt/clone"
  git clone -q --no-hardlinks "$work/repository" "$mnt/clone" || die "git clone"
  git -C "$mnt/clone" fsck --strict --full 2> "$work/fsck" || { cat "$work/fsck"; die "git fsck"; }
  [ -z "$(git -C "$mnt/clone" status --porcelain)" ] || die "git status is not clean"
  diff -r -x .git "$work/repository" "$mnt/clone" || die "the clone differs"
}

try_sqlite() {
  local rows
  rows=$(scaled 100000 5000)
  step "SQLite: $rows rows in transactions of 1000"
  {
    echo 'create table t(k integer primary key, v text); create index i on t(v);'
    local i
    for ((i = 0; i < rows; i += 1000)); do
      echo "begin; with recursive c(x) as (select $i union all select x + 1 from c
        where x < $i + 999) insert into t select x, hex(x * 7919) || '-row' from c; commit;"
    done
  } > "$work/sql"
  rm -f "$mnt/db"
  sqlite3 "$mnt/db" < "$work/sql" || die "sqlite3"
  [ "$(sqlite3 "$mnt/db" 'pragma integrity_check')" = ok ] || die "integrity_check"
  [ "$(sqlite3 "$mnt/db" 'select count(*) from t')" = "$rows" ] || die "rows are missing"
}

try_fio() {
  local size=$1
  step "fio: random writes of 4K to 1M, verified, $size bytes"
  mkdir -p "$mnt/fio"
  fio --name=verify --directory="$mnt/fio" --size="$size" --numjobs=2 --rw=randwrite \
    --bsrange=4k-1m --ioengine=psync --fallocate=none --verify=crc32c --verify_fatal=1 \
    --aux-path="$work" --do_verify=1 --randseed="$seed" \
    --output="$work/fio.out" || { cat "$work/fio.out"; die fio; }
  rm -r "$mnt/fio"
}

try_tar() {
  local tree=/usr/include
  [ "$scale" -ge 100 ] || tree=/usr/include/linux
  step "tar: unpack and compare $tree"
  rm -rf "$mnt/tree"
  mkdir "$mnt/tree"
  tar -C "$tree" -cf - . | tar -C "$mnt/tree" -xf - || die "tar -x"
  tar -C "$tree" -cf - . | tar -C "$mnt/tree" -df - || die "tar -d finds differences"
  rm -r "$mnt/tree"
}

# Overlapping writes in flight together, and more large reads than there are data slots: some of
# them wait.
try_crowd() { # for $1 seconds
  step "fio: a crowd on one small file"
  fio --filename="$mnt/crowd" --size=16m --ioengine=libaio --direct=1 --norandommap \
    --randrepeat=0 --fallocate=none --time_based --runtime="$1" --output="$work/fio.out" \
    --name=writers --rw=randwrite --bsrange=4k-64k --iodepth=64 \
    --name=readers --rw=randread --bs=1m --iodepth=128 --numjobs=2 ||
    { cat "$work/fio.out"; die crowd; }
}

# ---- programs that go on while processes are killed --------------------------------------------

holders=(unlinked locks cwd mapping positions)
declare -A holder_pids
start_holders() {
  local what
  for what in "${holders[@]}"; do
    "$python" "$(dirname "$0")/holders.py" "$what" "$mnt/$what" "$seed" "$work" \
      > "$work/$what.out" 2>&1 &
    holder_pids[$what]=$!
  done
}
small_fio() { try_fio "$(scaled 16000000 4000000)"; }
read -ra programs <<< "${TANGELO_PROGRAMS:-try_git try_sqlite small_fio try_tar}"
# One program after the other, again and again; it stands still while $work/pause exists.
take_turns() {
  local try turns=0
  until [ -e "$work/stop" ]; do
    for try in "${programs[@]}"; do
      [ ! -e "$work/stop" ] || break
      if [ -e "$work/pause" ]; then
        touch "$work/paused.turns"
        while [ -e "$work/pause" ]; do sleep 0.02; done
        rm "$work/paused.turns"
      fi
      $try
    done
    turns=$((turns + 1))
    echo "$turns" > "$work/turns"
  done
}
start_turns() {
  take_turns > "$work/turns.out" 2>&1 &
  turns_pid=$!
}
turns() { cat "$work/turns" 2> /dev/null || echo 0; }
all_work() { # none of them has ended
  local what
  for what in "${holders[@]}"; do
    kill -0 "${holder_pids[$what]}" 2> /dev/null || { cat "$work/$what.out"; die "$what: ended"; }
  done
  kill -0 "$turns_pid" 2> /dev/null || { tail -20 "$work/turns.out"; die "a program failed"; }
}
end_programs() {
  local what
  step "the programs come to their end"
  touch "$work/stop"
  wait "$turns_pid" || { tail -20 "$work/turns.out"; die "a program failed"; }
  say "turns of the programs: $(turns)"
  for what in "${holders[@]}"; do
    wait "${holder_pids[$what]}" || { cat "$work/$what.out"; die "$what failed"; }
    say "$(cat "$work/$what.out")"
  done
}

# ---- the proof ---------------------------------------------------------------------------------

use_audit() { # before start_server
  [ -x "$test_server_program" ] || return 0
  server_program=$test_server_program
  server_options+=(--audit)
}
all_is_there() { # after the last kill, while it is mounted
  step "everything is still there after the last kill"
  git -C "$mnt/clone" fsck --strict --full 2> "$work/fsck" || { cat "$work/fsck"; die "git fsck"; }
  [ "$(sqlite3 "$mnt/db" 'pragma integrity_check')" = ok ] || die "integrity_check"
  [ "$(timeout 20 "$tangelo" ops "$mnt")" = "no pending operations" ] || die "operations left over"
  [ "$(counter lost_files)" = 0 ] || die "files have lost data"
}
nothing_twice() { # after the server's end
  [ -x "$test_server_program" ] || return 0
  step "no operation took effect twice"
  "$test_server_program" audit-report "$volume_dir" || die "the audit found duplicates"
}
