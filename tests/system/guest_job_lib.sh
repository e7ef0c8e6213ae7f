# guest_job_lib.sh: sourced first by the job in a guest (guest_lib.sh), which is its first
# process: makes a system of it, loads the modules, and has what all jobs say and wait with.
# shellcheck shell=dash
export PATH=/bin:/usr/bin
/bin/busybox --install -s /bin
for tool in /usr/bin/*; do rm -f "/bin/${tool##*/}"; done  # what is there whole
mount -t devtmpfs devtmpfs /dev
exec > /dev/ttyS1 2>&1
mount -t proc proc /proc
mount -t sysfs sysfs /sys
for place in /run /tmp /srv; do mount -t tmpfs tmpfs $place; done
stty -onlcr < /dev/ttyS1
. /settings

say() { echo "      $(cut -d. -f1 /proc/uptime) s in the guest  $*"; }
finish() { # 0: it holds
  if [ "$1" != 0 ]; then
    tail -n 100 /run/tangelo/log/*.log
    tail -n 60 /tmp/server.log
    timeout 20 tangelo status
    timeout 20 tangelo ops | head -30
    dmesg | grep -v audit | tail -15
  fi
  echo "result: $1"
  sync
  echo o > /proc/sysrq-trigger
  sleep 60
}
die() { say "FAILED: $*"; finish 1; }
within() { # $1 seconds for the command $2... to succeed; looks every 50 ms
  local end=$(($(date +%s) + $1))
  shift
  until "$@"; do
    [ "$(date +%s)" -lt $end ] || return 1
    sleep 0.05
  done
}
between() { # a random number from $1 to $2
  echo $(($1 + RANDOM % ($2 - $1 + 1)))
}
no_suspicious_lines() { # in the logs $@
  if grep -hE 'ERROR|broken invariant' "$@"; then
    die "suspicious lines in a log"
  fi
}

# ---- the witness ---------------------------------------------------------------------------------

start_witness() {
  witness /mnt/w /tmp/status &
  witness=$!
  within 60 test -s /tmp/status || die "the witness does not start"
}
end_witness() {
  kill -TERM "$witness"
  wait "$witness" || die "the witness saw something"
}
witness_lives() { kill -0 "$witness" 2> /dev/null && [ ! -e /tmp/failed ]; }
mark() { read -r data names held longest < /tmp/status; }
went_on() { # each worker of the witness has finished three operations since `mark`
  local d n h l
  read -r d n h l < /tmp/status
  longest=$l
  [ "$d" -ge $((data + 3)) ] && [ "$n" -ge $((names + 3)) ] && [ "$h" -ge $((held + 3)) ]
}
is_another() { # a process $1 runs, and it is not $2
  local pid
  pid=$(pidof "$1")
  [ -n "$pid" ] && [ "$pid" != "$2" ]
}

for module in /modules/*.ko; do insmod "$module" || die "$module"; done
ifconfig lo 127.0.0.1 up
ulimit -l unlimited
