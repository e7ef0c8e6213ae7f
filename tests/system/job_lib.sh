# job_lib.sh: sourced by the jobs inside the machine that systemd.sh boots: waiting, the service
# $service and its processes, the witness, the server. The job's end is said in /t/code.
# shellcheck shell=bash
set -uo pipefail
export PATH=/usr/sbin:/usr/bin:/sbin:/bin

service=tangelo@mnt-home.service
server=tangelo-server@default.service
mnt=/mnt/home
status=/run/witness
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
    journalctl --no-pager -o short-precise -n 60 -u 'tangelo@*' -u 'tangelo-server@*'
  fi
  jobs -p | xargs -r kill -9 2> /dev/null
  echo $code > /t/code
}
trap finish EXIT

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

# ---- the server ---------------------------------------------------------------------------------

start_server() {
  systemctl start "$server" || die "the server does not start"
}
kill_server() { # for good
  systemctl kill -s KILL "$server"
  systemctl stop "$server"
}

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
