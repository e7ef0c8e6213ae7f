#!/bin/bash
# upgrade: a mount in use changes to the programs now installed; where one of them is no good, the
# one before it goes on. "Installed" is a directory of copies; another version is a longer file.
. "$(dirname "$0")/lib.sh"
need jq python3

bin=$work/bin
mkdir -p "$bin"
declare -A built=([tangelo-core]=client_core [tangelo-fs]=fs [tangelo-watchdog]=watchdog)
install_good() { # program $1, as a new file
  cp "$build/${built[$1]}/$1" "$bin/.new"
  echo "version $RANDOM" >> "$bin/.new"
  mv "$bin/.new" "$bin/$1"
}
install_script() { # as program $1, what comes on standard input; good in its self-test
  { echo '#!/bin/bash'; echo '[ "$1" = --self-test ] && exit 0'; cat; } > "$bin/.new"
  chmod 755 "$bin/.new"
  mv "$bin/.new" "$bin/$1"
}
for program in "${!built[@]}"; do install_good "$program"; done
chmod 755 "$work"
export TANGELO_BIN_DIR=$bin

start_server
mount_volume
upgrade() { timeout 60 "$tangelo" upgrade "$mnt"; }
runs() { # role $1: whether it is the file that is installed now
  [ "$(stat -L -c %i "/proc/$(process_pid "$1")/exe")" = "$(stat -c %i "$bin/$2")" ]
}
note_pids() {
  watchdog=$(process_pid watchdog) front_end=$(process_pid front_end) core=$(process_pid core)
}

# Appends numbered lines, each synced, for as long as the test lasts; its longest pause is told.
cat > "$work/writer.py" << 'END_PYTHON'
import os, signal, sys, time
go = True
def end(*_):
    global go
    go = False
signal.signal(signal.SIGTERM, end)
fd = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
n, longest = 0, 0.0
while go:
    begin = time.monotonic()
    os.write(fd, b"%d\n" % n)
    os.fsync(fd)
    longest = max(longest, time.monotonic() - begin)
    n += 1
    time.sleep(0.002)
print(n, "%.0f" % (longest * 1000))
END_PYTHON
begin_writing() {
  rm -f "$mnt/lines"
  python3 "$work/writer.py" "$mnt/lines" > "$work/written" &
  writer=$!
  local i
  for ((i = 0; i < 200; ++i)); do [ -s "$mnt/lines" ] && return 0; sleep 0.02; done
  die "the writer does not begin"
}
end_writing() {
  kill -TERM "$writer"
  wait "$writer" || die "the writer got an error"
  local n longest
  read -r n longest < "$work/written"
  seq 0 $((n - 1)) | cmp - "$mnt/lines" || die "lines are missing, or there twice"
  say "$n lines written, longest pause $longest ms"
}

step "all three are replaced under a writer, and the watchdog keeps its number"
begin_writing
note_pids
for program in "${!built[@]}"; do install_good "$program"; done
upgrade || die "upgrade"
end_writing
runs core tangelo-core || die "the core is the old one"
runs front_end tangelo-fs || die "the front end is the old one"
runs watchdog tangelo-watchdog || die "the watchdog is the old one"
[ "$(process_pid watchdog)" = "$watchdog" ] || die "the watchdog is another process"
timeout 20 "$tangelo" status "$mnt" | grep -q SERVING || die "it does not serve"

step "what dies later is started again"
note_pids
kill -9 "$core"
for ((i = 0; i < 100; ++i)); do
  pid=$(process_pid core)
  [ "$pid" = "$core" ] || [ "$pid" = 0 ] || break
  sleep 0.05
done
runs core tangelo-core || die "not by the new program"
echo alive > "$mnt/file"

refused() { # with a text that matches $1
  if upgrade > "$work/out" 2>&1; then die "it was not refused"; fi
  grep -q "$1" "$work/out" || { cat "$work/out"; die "the text does not say why"; }
}

step "a program that fails its self-test changes nothing"
note_pids
printf '#!/bin/sh\nexit 3\n' > "$bin/.new"
chmod 755 "$bin/.new"
mv "$bin/.new" "$bin/tangelo-fs"
refused "tangelo-fs: its self-test failed"
[ "$(process_pid core)" = "$core" ] && [ "$(process_pid front_end)" = "$front_end" ] ||
  die "something was replaced"
install_good tangelo-fs

step "a core that ends at once is rolled back"
begin_writing
note_pids
install_script tangelo-core <<< 'exit 1'
refused "the new tangelo-core is no good: it ended at once"
end_writing
[ "$(process_pid front_end)" = "$front_end" ] || die "the front end was replaced"

step "a core that does nothing is rolled back"
begin_writing
install_script tangelo-core <<< 'exec sleep 1000'
refused "the new tangelo-core is no good: it did not serve within 5 s"
end_writing
install_good tangelo-core

step "a front end that ends at once is rolled back"
begin_writing
install_script tangelo-fs <<< 'exit 1'
refused "the new tangelo-fs is no good: it ended at once"
end_writing
install_good tangelo-fs

step "a watchdog that cannot go on gives everything back"
begin_writing
note_pids
install_script tangelo-watchdog << 'END_SCRIPT'
[ "$1" = --resume ] || exit 1
exec "/proc/self/fd/${2##*,}" "$@" --resume-failed
END_SCRIPT
refused "the new tangelo-watchdog could not go on"
end_writing
[ "$(process_pid watchdog)" = "$watchdog" ] || die "the watchdog is another process"
timeout 20 "$tangelo" status "$mnt" | grep -q SERVING || die "it does not serve"
kill -9 "$(process_pid front_end)"
[ "$(cat "$mnt/file")" = alive ] || die "cannot read"
install_good tangelo-watchdog

step "and after all that it is upgraded once more, on a terminal, and ends"
note_pids
python3 "$(dirname "$0")/terminal.py" 60 q "$tangelo" upgrade "$mnt" > "$work/shown" ||
  die "upgrade: $(cat "$work/shown")"
for role in core front_end; do
  grep -q "^$role replaced, pid $(process_pid $role)" "$work/shown" ||
    die "the terminal shows: $(cat "$work/shown")"
done
! grep -q '^watchdog replaced' "$work/shown" || die "the watchdog keeps its pid"
runs watchdog tangelo-watchdog || die "the watchdog is the old one"
note_pids
unmount_volume
for ((i = 0; i < 60; ++i)); do
  [ -d "/proc/$watchdog" ] || [ -d "/proc/$front_end" ] || [ -d "/proc/$core" ] || break
  sleep 0.05
done
[ ! -d "/proc/$front_end" ] && [ ! -d "/proc/$core" ] && [ ! -d "/proc/$watchdog" ] ||
  die "a process is left"
stop_server
