#!/bin/bash
# systemd_job.sh: the first job of the machine that systemd.sh boots: the packages are installed, a
# mount is a service, each process of it is killed, stopped and replaced under a program that must
# not notice, and ended in every state; mount(8), the server's socket, the upgrade of the packages.
# Says what was seen and, in /t/code, whether it holds.
#
# Environment: TANGELO_KILLS, TANGELO_SEED.
. /root/job_lib.sh
stop_ms_max=2300  # 2 s, and what systemctl itself takes
RANDOM=$TANGELO_SEED

# ---- the tests ----------------------------------------------------------------------------------

install_packages() { # of the directory $1
  dpkg -i /root/packages/"$1"/*.deb > /run/dpkg 2>&1 || { cat /run/dpkg; return 1; }
}
test_install() {
  local start
  start=$(now_ms)
  install_packages one || die "the packages cannot be installed"
  getent passwd tangelo > /dev/null || die "there is no user tangelo"
  say "installed in $(($(now_ms) - start)) ms"
  systemd-analyze verify --man=no tangelo@mnt-home.service tangelo-server@default.service \
    tangelo-server@default.socket || die "systemd does not like the units"
  systemd-analyze security --offline=yes --threshold=40 tangelo-server@default.service \
    > /run/exposed || { tail -3 /run/exposed; die "the server is exposed"; }
  say "$(tail -1 /run/exposed)"
}
test_server() { # not without its volume; made by root, served by its user
  ! systemctl start $server 2> /dev/null || die "a server without a volume serves"
  [ "$(systemctl show -P NRestarts $server)" = 0 ] || die "it is tried again"
  journalctl --no-pager -o cat -u $server | grep 'volumes/home' > /run/said ||
    die "the volume is not named in the journal"
  tangelo-server init /var/lib/tangelo/volumes/home > /dev/null || die "no volume"
  [ -z "$(find /var/lib/tangelo/volumes/home ! -user tangelo)" ] ||
    die "its files are not tangelo's"
  start_server
  [ "$(ps -o user= -p "$(systemctl show -P MainPID $server)")" = tangelo ] ||
    die "the server is not tangelo's"
  [ "$(systemctl show -P StatusText $server)" = "serving home on 127.0.0.1:7471" ] ||
    die "systemctl status of the server says $(systemctl show -P StatusText $server)"
  tangelo server volumes | grep -q home || die "tangelo server volumes"
  say "the server, without a volume: $(head -1 /run/said)"
}
test_start() {
  mkdir -p $mnt
  cat > /etc/tangelo/mounts/mnt-home.toml << EOF
source = "127.0.0.1:7471:/home"
mount_point = "$mnt"
EOF
  local start
  start=$(now_ms)
  systemctl start $service || die "systemctl start"
  say "active after $(($(now_ms) - start)) ms, status: $(property StatusText)"
  [[ $(property StatusText) = "serving 127.0.0.1:7471:/home; import FULL, operations "* ]] ||
    die "READY says $(property StatusText)"
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

test_refused() { # by the server: a failure at once, with its reason, and not tried again
  local wrong=tangelo@mnt-refused.service took
  mkdir -p /mnt/refused
  printf 'source = "127.0.0.1:7471:/nothing"\nmount_point = "/mnt/refused"\n' \
    > /etc/tangelo/mounts/mnt-refused.toml
  took=$(now_ms)
  ! systemctl start $wrong 2> /dev/null || die "a mount that the server refuses is started"
  took=$(($(now_ms) - took))
  [ "$(systemctl show -P ActiveState $wrong)/$(systemctl show -P NRestarts $wrong)" = failed/0 ] ||
    die "refused: $(systemctl status -n0 $wrong)"
  [[ $(systemctl show -P StatusText $wrong) = *"says: "*"no volume"* ]] ||
    die "the reason is not told: $(systemctl show -P StatusText $wrong)"
  ! findmnt /mnt/refused > /dev/null || die "what was refused is mounted"
  say "refused by the server after $took ms: $(systemctl show -P StatusText $wrong)"
  rm /etc/tangelo/mounts/mnt-refused.toml
  systemctl reset-failed $wrong
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
  systemctl is-active -q $server || start_server
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

# ---- mount(8) -----------------------------------------------------------------------------------

two=/mnt/two
refused() { # mount(8) with "$@" says $1 and ends with $2
  local text=$1 code=$2 got=0
  shift 2
  mount "$@" 2> /run/said || got=$?
  [ $got = "$code" ] || die "mount $*: exit code $got, not $code: $(cat /run/said)"
  grep -q -- "$text" /run/said || die "mount $*: does not say '$text': $(cat /run/said)"
}
two_ended() {
  [ "$(systemctl show -P ActiveState tangelo@mnt-two.service)" = inactive ] &&
    [ ! -e /run/tangelo/asked/mnt-two.toml ] && [ ! -e /run/tangelo/mounts/mnt-two ]
}
is_waiting() { # on the mount $1 an operation of process $2
  tangelo ops "$1" --json | jq -e --argjson pid "$2" '.mounts[0].ops | any(.pid == $pid)' \
    > /dev/null
}
test_mount() {
  local n took
  mkdir -p $two
  mount -t tangelo -o defaults,_netdev,x-a.b=c,comment=d 127.0.0.1:/home $two || die "mount"
  systemctl is-active -q tangelo@mnt-two.service || die "mount(8) makes no service"
  [ "$(findmnt -nro SOURCE,FSTYPE $two)" = "127.0.0.1:/home fuse.tangelo" ] ||
    die "findmnt: $(findmnt -nro SOURCE,FSTYPE $two)"
  [ "$(df --output=source,fstype $two | tail -1 | tr -s ' ')" = "127.0.0.1:/home fuse.tangelo" ] ||
    die "df: $(df --output=source,fstype $two)"
  mount -o remount,ro $two || die "remount,ro"
  ! mkdir $two/refused 2> /dev/null || die "a change in what is mounted ro"
  mount -o remount,rw,dev_loss_tmo=77 $two || die "remount,rw"
  mkdir $two/taken && rmdir $two/taken || die "no change in what is mounted rw"
  tangelo set $two | grep -q 77 || die "remount,dev_loss_tmo=77: $(tangelo set $two)"
  refused "cannot be changed" 1 -o remount,nolock $two
  mount -f -t tangelo 127.0.0.1:/home /mnt || die "mount -f"
  for n in 1 2 3 4 5 6 7 8; do
    umount $two || die "umount $two"
    mount -t tangelo 127.0.0.1:/home $two || die "mount right after umount, $n"
  done
  mount -t tangelo 127.0.0.1:/home $two || die "what is mounted already is an error"
  (cd $two && exec sleep 100) &
  within 2 eval '[ "$(readlink /proc/$!/cwd)" = $two ]' || die "the test's own child"
  ! umount $two 2> /dev/null || die "umount of what is used"
  umount -l $two || die "umount -l"
  kill -9 $!
  wait $! 2> /dev/null
  within 5 two_ended || die "left after umount: $(systemctl status -n0 tangelo@mnt-two.service)"
  refused "no volume" 32 -t tangelo 127.0.0.1:/nothing $two
  refused "colour" 1 -t tangelo -o colour=red 127.0.0.1:/home $two
  within 5 two_ended || die "left after what was refused: $(ls /run/tangelo/*)"
  say "mount(8): mounts, remounts, is refused, ends; 8 times in a row"
  took=$(now_ms)
  mount -t tangelo 127.0.0.1:7999:/home $two 2> /run/said || die "mount without a server"
  took=$(($(now_ms) - took))
  grep -q "does not answer yet" /run/said || die "mount without a server says: $(cat /run/said)"
  [ $took -lt 15000 ] || die "mount without a server took $took ms"
  ls $two 2> /dev/null &
  within 5 is_waiting $two $! || die "ls does not wait: $(tangelo ops $two)"
  umount -f $two 2> /dev/null  # it may say "busy", because of ls; but nobody waits any more
  within 3 eval '! findmnt $two > /dev/null' || umount $two || die "umount -f"
  within 3 eval "! kill -0 $! 2> /dev/null" || die "umount -f: a caller waits"
  within 5 two_ended || die "left after umount -f: $(systemctl status -n0 tangelo@mnt-two.service)"
  say "mount(8) without a server: there after $took ms, and ends by umount -f"
}

# ---- the server's socket, and an upgrade --------------------------------------------------------

connects() { # until told to stop; one word for each connection
  while [ ! -e /run/enough ]; do
    if (exec 3<> /dev/tcp/127.0.0.1/7471) 2> /dev/null; then echo taken; else echo refused; fi
    sleep 0.01
  done > /run/connects
}
has_connected() { [ "$(wc -l < /run/connects)" -ge "$1" ]; }
refusals_while() { # the command "$@" runs
  local caller
  rm -f /run/enough
  : > /run/connects
  connects &
  caller=$!
  within 5 has_connected 1 || die "nobody connects"
  "$@" || die "$*"
  within 5 has_connected $(($(wc -l < /run/connects) + 10)) || die "nobody connects any more"
  touch /run/enough
  wait $caller
  refusals=$(grep -c refused /run/connects)
}
restart_twice() {
  systemctl restart $server && systemctl kill -s KILL $server &&
    within 5 eval '[ "$(systemctl show -P ActiveState $server)" = active ]'
}
test_socket() {
  local without
  refusals_while restart_twice
  without=$refusals
  [ "$without" -gt 0 ] || die "without the socket nobody is refused: the test sees nothing"
  systemctl stop $server && systemctl start tangelo-server@default.socket && start_server ||
    die "the server does not start with its socket"
  refusals_while restart_twice
  [ "$refusals" = 0 ] || die "with the socket $refusals are refused"
  mark
  within 20 went_on || die "the witness does not go on"
  say "server restarted: without its socket $without connections refused, with it none"
}
test_open_socket() { # a socket that strangers reach is not served without a secret
  local unit=tangelo-server@open dropin=/etc/systemd/system/tangelo-server@open.socket.d
  cp /etc/tangelo/servers/{default,open}.toml
  mkdir -p $dropin
  printf '[Socket]\nListenStream=\nListenStream=0.0.0.0:7474\n' > $dropin/address.conf
  systemctl daemon-reload
  systemctl start $unit.socket || die "the socket for everybody"
  ! systemctl start $unit.service 2> /dev/null || die "strangers are served without a secret"
  journalctl --no-pager -o cat -u $unit.service | grep '0.0.0.0:7474.*secret' > /run/said ||
    die "the reason is not in the journal"
  systemctl stop $unit.socket $unit.service
  rm -r $dropin /etc/tangelo/servers/open.toml
  systemctl daemon-reload
  say "a socket for everybody: $(head -1 /run/said)"
}
test_upgrade() {
  local before
  before=$(systemctl show -P MainPID $server)
  change "front_end core" install_packages two
  runs_installed main tangelo-watchdog && runs_installed front_end tangelo-fs &&
    runs_installed core tangelo-core || die "not all run the new files"
  [ "$(systemctl show -P MainPID $server)" != "$before" ] || die "the server was not restarted"
  dpkg-query -W -f '${Version}\n' tangelo-client | grep -q two || die "no upgrade"
  say "packages upgraded: all run the new files, $took ms," \
    "the program waited $((longest / 1000)) ms"
}

logged() { # a line of the service's journal
  journalctl --no-pager -o cat -u "$service" > /run/journal
  grep -qE "$1" /run/journal || die "the journal has no line with: $1"
}
has_fields() { # lines of the process named $1 have its name and the priority $2 as fields
  journalctl -q --no-pager -o json -u "$service" "_COMM=$1" "PRIORITY=$2" > /run/journal
  jq -es --arg unit "$service" 'length > 0 and all(._SYSTEMD_UNIT == $unit and ._PID != null)' \
    /run/journal > /dev/null
}
test_journal() {
  local name
  for name in tangelo-watchdo tangelo-fs tangelo-core; do
    has_fields $name 6 || has_fields $name 5 ||
      die "no fields of $name: $(journalctl -q --no-pager -o json -u "$service" | tail -n 1)"
  done
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

test_install
test_server
test_start
test_mistake
test_refused
start_witness
test_socket
test_open_socket
test_upgrade
test_kills
test_storm
test_stops
test_reload
end_witness
test_mount
test_end
test_journal
# For the next boot: see systemd_boot.sh.
systemctl enable -q $server || die "systemctl enable"
mkdir -p /mnt/auto /mnt/late
cat > /etc/fstab << END
127.0.0.1:/home       /mnt/home  tangelo  _netdev                              0 0
127.0.0.1:/home       /mnt/auto  tangelo  _netdev,noauto,x-systemd.automount   0 0
127.0.0.1:7472:/late  /mnt/late  tangelo  _netdev,nofail                       0 0
END
sed 's/7471/7472/; s/home/late/g' /etc/tangelo/servers/default.toml > /etc/tangelo/servers/late.toml
