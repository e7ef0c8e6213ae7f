#!/bin/bash
# systemd_job.sh: the one job of the machine that systemd.sh boots: a mount as a service, each
# process of it killed, stopped and replaced under a program that must not notice, and ended in
# every state. Says what was seen and, in /t/code, whether it holds.
#
# Environment: TANGELO_KILLS, TANGELO_SEED.
set -uo pipefail
export PATH=/usr/sbin:/usr/bin:/sbin:/bin

service=tangelo@mnt-home.service
mnt=/mnt/home
status=/run/witness
stop_ms_max=2300  # 2 s, and what systemctl itself takes
descriptors=3     # /dev/fuse and the two arenas
began=$(date +%s)
witness=

say() { printf '%4d s in it  %s\n' $(($(date +%s) - began)) "$*"; }
die() { say "FAILED: $*"; exit 1; }
finish() {
  local code=$?
  trap - EXIT
  if [ $code != 0 ]; then
    timeout 10 systemctl status --no-pager -n 0 "$service"
    [ -s $status ] && echo "witness: $(cat $status)"
    timeout 10 tangelo status
    timeout 10 tangelo ops | head -20
    journalctl --no-pager -o short-precise -n 60 -u "$service" -u server.service
  fi
  jobs -p | xargs -r kill -9 2> /dev/null
  echo $code > /t/code
}
trap finish EXIT
RANDOM=$TANGELO_SEED

now_ms() { echo $((${EPOCHREALTIME/./} / 1000)); }
within() { # $1 seconds for the command $2... to succeed; looks every 20 ms
  local end=$(($(now_ms) + $1 * 1000))
  shift
  until "$@"; do
    [ "$(now_ms)" -lt $end ] || return 1
    sleep 0.02
  done
}

# ---- the service --------------------------------------------------------------------------------

property() { systemctl show -P "$1" "$service"; }
processes() { # of the service: lines "PID COMMAND"
  local group pid
  group=$(property ControlGroup)
  [ -n "$group" ] && [ -e "/sys/fs/cgroup$group/cgroup.procs" ] || return 0
  while read -r pid; do
    echo "$pid $(cat "/proc/$pid/comm" 2> /dev/null)"
  done < "/sys/fs/cgroup$group/cgroup.procs"
}
pid_of() { # main, front_end or core
  local comm
  case $1 in
    main) property MainPID; return ;;
    front_end) comm=tangelo-fs ;;
    core) comm=tangelo-core ;;
  esac
  processes | awk -v comm=$comm '$2 == comm { print $1 }'
}
whole() { # active, with one process of each kind and no other, and the descriptors stored
  local all
  all=$(processes | awk '{ print $2 }' | sort | paste -sd' ')
  [ "$(property ActiveState)/$(property SubState)" = active/running ] &&
    [ "$all" = "tangelo-core tangelo-fs tangelo-watchdo" ] &&
    [ "$(property NFileDescriptorStore)" = $descriptors ]
}
describe() {
  echo "$(property ActiveState)/$(property SubState)," \
    "$(property NFileDescriptorStore) descriptors stored, processes: $(processes | paste -sd,)"
}
is_another() { # the process $1 runs and is not $2
  local pid
  pid=$(pid_of "$1")
  [ -n "$pid" ] && [ "$pid" != 0 ] && [ "$pid" != "$2" ]
}

start_server() {
  systemctl reset-failed server.service 2> /dev/null
  systemd-run --quiet --unit=server -p Type=notify tangelo-server run --volume home=/srv/home ||
    die "the server does not start"
}
kill_server() { systemctl kill -s KILL server.service; }

# ---- the witness --------------------------------------------------------------------------------

start_witness() {
  rm -f $status
  witness "$mnt/w" $status &
  witness=$!
  within 20 test -s $status || die "the witness does not start"
  mark
  within 20 went_on || die "the witness does not begin"
}
end_witness() {
  kill -TERM $witness
  wait $witness || die "the witness saw something"
}
mark() { read -r data names held longest < $status; }
went_on() { # each of its workers has finished three operations since `mark`
  local d n h l
  kill -0 $witness 2> /dev/null || die "the witness has ended"
  read -r d n h l < $status
  longest=$l
  [ "${l:-}" ] && [ "$d" -ge $((data + 3)) ] && [ "$n" -ge $((names + 3)) ] &&
    [ "$h" -ge $((held + 3)) ]
}

# Does $2... to the mount; then the processes $1 (of main, front_end, core) have to be others, the
# rest the same, everything whole again within $limit seconds, and the witness has gone on.
# $took: milliseconds until then.
declare -A pid
limit=20
change() {
  local changed=" $1 " began_ms role restarts
  shift
  for role in main front_end core; do pid[$role]=$(pid_of $role); done
  restarts=$(property NRestarts)
  kill -USR1 $witness
  began_ms=$(now_ms)
  "$@" || die "$* failed"
  for role in main front_end core; do
    [[ $changed != *" $role "* ]] || within $limit is_another $role "${pid[$role]}" ||
      die "no other $role: $(describe)"
  done
  within $limit whole || die "not whole again: $(describe)"
  took=$(($(now_ms) - began_ms))
  mark
  within $limit went_on || die "the witness does not go on"
  for role in main front_end core; do
    [[ $changed = *" $role "* ]] || [ "$(pid_of $role)" = "${pid[$role]}" ] ||
      die "$role was replaced, too"
  done
  [[ $changed = *" main "* ]] && restarts=$((restarts + 1))
  [ "$(property NRestarts)" = $restarts ] || die "NRestarts is $(property NRestarts), not $restarts"
}

# ---- the tests ----------------------------------------------------------------------------------

test_start() {
  systemd-analyze verify --man=no "/etc/systemd/system/tangelo@.service" ||
    die "systemd does not like the unit"
  tangelo-server init /srv/home --name home > /dev/null || die "no volume"
  start_server
  mkdir -p /etc/tangelo/mounts $mnt
  cat > /etc/tangelo/mounts/mnt-home.toml << EOF
source = "127.0.0.1:7471:/home"
mount_point = "$mnt"
EOF
  local start
  start=$(now_ms)
  systemctl start $service || die "systemctl start"
  say "active after $(($(now_ms) - start)) ms"
  grep -q " $mnt .*fuse.tangelo" /proc/self/mountinfo || die "active, but nothing is mounted"
  timeout 2 mkdir $mnt/first && timeout 2 rmdir $mnt/first || die "active, but it does not work"
  within 5 whole || die "not whole: $(describe)"
  [[ $(property StatusText) = serving* ]] || die "systemctl status says $(property StatusText)"
}
test_mistake() { # in a configuration: said once, not tried again
  local wrong=tangelo@mnt-wrong.service
  printf 'source = "127.0.0.1:7471:/home"\nmount_point = "/mnt/wrong"\ncolour = "red"\n' \
    > /etc/tangelo/mounts/mnt-wrong.toml
  ! systemctl start $wrong 2> /dev/null || die "a wrong configuration is accepted"
  [ "$(systemctl show -P NRestarts $wrong)" = 0 ] || die "a wrong configuration is tried again"
  journalctl --no-pager -o cat -u $wrong | grep 'mnt-wrong.toml.*colour' > /run/said ||
    die "the mistake is not named in the journal"
  say "a mistake in a configuration: $(head -1 /run/said)"
}

kill_what() { # SIGKILL for the processes of `change`
  case "$1" in
    "main front_end core") systemctl kill -s KILL $service ;;
    main) systemctl kill --kill-whom=main -s KILL $service ;;
    *) kill_pids "$1" ;;
  esac
}
kill_pids() {
  local role all=()
  for role in $1; do all+=("${pid[$role]}"); done
  kill -KILL "${all[@]}"
}
test_kills() { # who is killed, and who has to be another one after it
  local kinds=("core:core" "front_end:front_end core" "main:main"
    "main front_end:main front_end core" "main front_end core:main front_end core")
  local i kind order
  local -A worst waits
  mapfile -t order < <(for ((i = 0; i < TANGELO_KILLS; ++i)); do echo $((i % ${#kinds[@]})); done |
    shuf --random-source=<(yes "$TANGELO_SEED" 2> /dev/null))
  say "$TANGELO_KILLS kills, seed $TANGELO_SEED"
  for i in "${order[@]}"; do
    kind=${kinds[$i]%:*}
    change "${kinds[$i]#*:}" kill_what "$kind"
    [ "${worst[$kind]:-0}" -ge "$took" ] || worst[$kind]=$took
    [ "${waits[$kind]:-0}" -ge "$longest" ] || waits[$kind]=$longest
  done
  systemctl daemon-reexec || die "daemon-reexec"
  change "main front_end core" kill_what "main front_end core"
  for kind in "${!worst[@]}"; do
    say "killed $kind: whole again after ${worst[$kind]} ms at most," \
      "the program waited $((waits[$kind] / 1000)) ms at most"
  done
}

test_storm() { # kills before anything is whole again, and in the middle of upgrades
  local n roles=(main front_end core) victim upgrades=0
  for ((n = 0; n < TANGELO_KILLS; ++n)); do
    if [ $((n % 5)) = 0 ] && within 5 eval '[ "$(property ActiveState)" = active ]'; then
      systemctl --no-block reload $service && upgrades=$((upgrades + 1))
    fi
    sleep "0.0$((RANDOM % 90 + 10))"
    victim=$(pid_of "${roles[RANDOM % 3]}")
    [ "${victim:-0}" = 0 ] || kill -KILL "$victim" 2> /dev/null
  done
  within 30 whole || die "not whole again: $(describe)"
  mark
  within 30 went_on || die "the witness does not go on"
  say "a storm of $TANGELO_KILLS kills in $upgrades upgrades: whole again, the program goes on"
}

test_stops() {
  change "core" eval 'kill -STOP ${pid[core]}'
  say "core stopped: replaced after $took ms, the program waited $((longest / 1000)) ms"
  change "front_end core" eval 'kill -STOP ${pid[front_end]}'
  say "front end stopped: replaced after $took ms, the program waited $((longest / 1000)) ms"
  change "main" eval 'kill -STOP ${pid[main]}'
  say "main process stopped: replaced after $took ms, the program waited $((longest / 1000)) ms"
}

install_anew() { # the file of program $1, from $2
  cp "$2" "/usr/bin/$1.new" && mv "/usr/bin/$1.new" "/usr/bin/$1"
}
runs_installed() { # the process $1 runs the file of program $2
  [ "$(stat -Lc %d:%i "/proc/$(pid_of "$1")/exe")" = "$(stat -c %d:%i "/usr/bin/$2")" ]
}
test_reload() {
  local program
  for program in tangelo-watchdog tangelo-fs tangelo-core; do
    install_anew $program /usr/bin/$program
  done
  ! runs_installed main tangelo-watchdog || die "the test installs nothing"
  change "front_end core" systemctl reload $service
  runs_installed main tangelo-watchdog && runs_installed front_end tangelo-fs &&
    runs_installed core tangelo-core || die "not all run the new files"
  say "reload: all run the new files, main pid unchanged, $took ms," \
    "the program waited $((longest / 1000)) ms"

  cp /usr/bin/tangelo-fs /root/good
  install_anew tangelo-fs /bin/false
  change "" eval '! systemctl reload $service 2> /dev/null'
  install_anew tangelo-fs /root/good
  say "reload with a broken tangelo-fs: refused, nothing replaced"
}

break_it() { # before systemctl stop
  case $1 in
    "all is well") ;;
    "the server is dead") kill_server ;;
    "the core is stopped") kill -STOP "$(pid_of core)" ;;
    "the front end is stopped") kill -STOP "$(pid_of front_end)" ;;
    "server dead, core and front end stopped")
      kill_server
      kill -STOP "$(pid_of front_end)" "$(pid_of core)" ;;
  esac
}
nothing_left() {
  ! grep -q fuse.tangelo /proc/self/mountinfo && [ -z "$(processes)" ] &&
    ! pgrep '^tangelo-[fcw]' > /dev/null
}
stop_while() {
  local start took caller
  systemctl start $service || die "systemctl start"
  within 5 whole || die "not whole: $(describe)"
  [ "$(timeout 5 cat $mnt/kept)" = tangelo ] || die "what was written is not there"
  break_it "$1"
  (cd $mnt && exec mkdir "parked.$BASHPID") 2> /dev/null &
  caller=$!
  start=$(now_ms)
  systemctl stop $service || die "systemctl stop"
  took=$(($(now_ms) - start))
  within 1 eval "! kill -0 $caller 2> /dev/null" || die "$1: a caller is still waiting"
  [ $took -le $stop_ms_max ] || die "$1: systemctl stop took $took ms"
  within 1 nothing_left || die "$1: left: $(grep fuse.tangelo /proc/self/mountinfo) $(describe)"
  [ "$(property Result)/$(property ActiveState)" = success/inactive ] ||
    die "$1: $(property Result)/$(property ActiveState)"
  [ "$(property NFileDescriptorStore)" = 0 ] || die "$1: descriptors are still stored"
  say "systemctl stop while $1: $took ms, nothing left"
  systemctl is-active -q server.service || start_server
}
test_unmount() { # by somebody else: the service ends, and is not started again
  local restarts
  restarts=$(property NRestarts)
  umount $mnt || die "umount"
  within 2 eval '[ "$(property ActiveState)" = inactive ]' || die "$(describe)"
  within 1 nothing_left || die "left: $(describe)"
  [ "$(property Result)" = success ] && [ "$(property NRestarts)" = "$restarts" ] || die "restarted"
  say "umount: the service has ended"
}
test_end() {
  echo tangelo > $mnt/kept
  systemctl stop $service || die "systemctl stop"
  local state
  for state in "all is well" "the server is dead" "the core is stopped" \
    "the front end is stopped" "server dead, core and front end stopped"; do
    stop_while "$state"
  done
  systemctl start $service && systemctl restart $service || die "systemctl restart"
  within 5 whole || die "not whole: $(describe)"
  [ "$(timeout 5 cat $mnt/kept)" = tangelo ] || die "what was written is not there"
  say "systemctl restart: works"
  test_unmount
}

logged() { # a line of the service's journal
  journalctl --no-pager -o cat -u "$service" > /run/journal
  grep -qE "$1" /run/journal || die "the journal has no line with: $1"
}
test_journal() {
  logged 'mounted on /mnt/home'
  logged 'core ended, pid [0-9]+: '
  logged 'front_end ended, pid [0-9]+: '
  logged 'core started, pid [0-9]+'
  logged 'core [0-9]+ stands still'
  logged 'front_end [0-9]+ stands still'
  logged 'is adopted'
  logged 'Watchdog timeout'
  say "the journal has what an administrator looks for; $(wc -l < /run/journal) lines"
  if grep -E 'ERROR|broken invariant' /run/journal; then die "suspicious lines in it"; fi
}

test_start
test_mistake
start_witness
test_kills
test_storm
test_stops
test_reload
end_witness
test_end
test_journal
