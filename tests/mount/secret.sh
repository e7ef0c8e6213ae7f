#!/bin/bash
# secret: who does not know it gets nowhere and is told why; who does keeps it through the death of
# each process, and can change it; it is written down nowhere.
. "$(dirname "$0")/lib.sh"
need jq

allowed_words='secret_file'  # mounts that are refused
secret=$work/secret wrong=$work/wrong
new_secret() { (umask 077; head -c 32 /dev/urandom | base64 > "$1"); }
new_secret "$secret"
new_secret "$wrong"
server_options=(--secret-file "$secret")
start_server

# refused PATTERN OPTION...: a mount with these is not made, with this explanation.
refused() {
  local pattern=$1 code=0
  shift
  mkdir -p "$work/no"
  timeout 60 "$tangelo" mount "$@" "$address:/$volume" "$work/no" > "$work/out" 2>&1 || code=$?
  [ "$code" != 0 ] || die "mounted: $*"
  grep -qE -- "$pattern" "$work/out" || { cat "$work/out"; die "it does not say /$pattern/"; }
  say "ok: $code: $(head -1 "$work/out")"
}
said() { timeout 20 "$tangelo" status "$mnt" --json | jq -e "$1" > /dev/null; }
kill_core() {
  local before
  before=$(process_pid core)
  kill -9 "$before"
  is_another() { local now; now=$(process_pid core) && [ "$now" != "$before" ]; }
  until_true 20 is_another || die "no other core"
}

step "strangers"
refused 'wants a secret: mount with secret_file'
refused 'does not know the secret' -o "secret_file=$wrong"
refused 'not a full path' -o secret_file=secret
refused 'No such file' -o "secret_file=$work/nowhere"
chmod 644 "$wrong"
refused 'open to others .mode 0644.*' -o "secret_file=$wrong"
echo short > "$work/short" && chmod 600 "$work/short"
refused 'has 16 to 4096 bytes, not 5' -o "secret_file=$work/short"

step "a friend"
mount_volume -o "secret_file=$secret"
echo one > "$mnt/f"
kill_core
echo two >> "$mnt/f"
stop_server KILL
start_server "$address"
echo three >> "$mnt/f"

step "the file is gone: cores go on with what was in it"
mv "$secret" "$secret.away"
kill_core
echo four >> "$mnt/f"
mv "$secret.away" "$secret"

step "another watchdog"
kill -9 "$(process_pid watchdog)"
timeout 60 "$tangelo" watchdog --adopt "$mnt" > /dev/null || die "not adopted"
kill_core
echo five >> "$mnt/f"

step "another secret: the mount waits for it, and loses nothing"
stop_server TERM
new_secret "$secret.new"
server_options=(--secret-file "$secret.new")
start_server "$address"
echo six >> "$mnt/f" &
writer=$!
until_true 30 said '.mounts[0] | tostring | contains("does not know the secret")' ||
  die "status does not say why: $(timeout 20 "$tangelo" status "$mnt")"
mv "$secret.new" "$secret"
kill_core
wait "$writer" || die "the write that waited"
[ "$(tr '\n' ' ' < "$mnt/f")" = "one two three four five six " ] || die "$(cat "$mnt/f")"

step "it is written down nowhere"
text=$(cat "$secret")
! grep -rFqs -- "$text" "$TANGELO_RUN_DIR" "$server_log" "$volume_dir" || die "in a file"
for pid in $(own_processes); do
  ! grep -Fqs -- "$text" "/proc/$pid/cmdline" "/proc/$pid/environ" || die "in sight of ps"
done
unmount_volume
