#!/bin/busybox sh
# oldkernel_job.sh: the first process of the guest of oldkernel.sh. Mounts a volume, kills its
# front end again and again under load, and says in the last line how it went.
. /guest_job_lib.sh

# ---- load ---------------------------------------------------------------------------------------

copy_for_ever() { # and compare
  local n=0
  while [ ! -e /tmp/stop ]; do
    n=$((n + 1))
    dd if=/tmp/pattern of=/mnt/copy bs=64k conv=fsync 2> /dev/null && cmp /tmp/pattern /mnt/copy &&
      rm /mnt/copy || { echo "copy $n" > /tmp/failed; return; }
    echo "$n" > /tmp/copies
  done
}
name_for_ever() {
  local n=0
  while [ ! -e /tmp/stop ]; do
    n=$((n + 1))
    mkdir "/mnt/d$n" && [ -d "/mnt/d$n" ] && rmdir "/mnt/d$n" && [ ! -e "/mnt/d$n" ] ||
      { echo "directory $n" > /tmp/failed; return; }
  done
}

# ---- all of it ----------------------------------------------------------------------------------

say "kernel $(uname -r), $kills kills, seed $seed"
tangelo-server init /srv/home --name home || die "no volume"
tangelo-server run --volume home=/srv/home > /tmp/server.log 2>&1 &
within 30 grep -q 'ready: serving' /tmp/server.log || die "no server"
timeout 60 tangelo mount 127.0.0.1:7471:/home /mnt || die "no mount"
say "mounted: $(grep -h -o 'FUSE .* resend .*' /run/tangelo/log/mnt.log)"
grep -q 'resend not offered' /run/tangelo/log/mnt.log || die "this kernel can send requests again"

dd if=/dev/urandom of=/tmp/pattern bs=64k count=16 2> /dev/null
start_witness
copy_for_ever &
name_for_ever &
sleep 1

n=0
while [ $n -lt "$kills" ]; do
  n=$((n + 1))
  sleep "0.$(awk "BEGIN { srand($seed + $n); print int(100 + rand() * 800) }")"
  old=$(pidof tangelo-fs)
  kill -USR1 "$witness"
  kill -9 "$old"
  mark
  within 60 is_another tangelo-fs "$old" || die "no front end after kill $n"
  within 60 went_on || die "the witness does not go on after kill $n"
  witness_lives || die "kill $n: $(cat /tmp/failed)"
  say "kill $n: gone on, longest wait $((longest / 1000)) ms"
done

touch /tmp/stop
end_witness
within 60 test ! -e /mnt/copy || die "the copying does not end"
[ ! -e /tmp/failed ] || die "$(cat /tmp/failed)"
say "copied and compared $(cat /tmp/copies) times 1 MiB"
[ "$(ls -A /mnt)" = "" ] || die "left on the volume: $(ls -A /mnt)"
timeout 20 tangelo status --json > /tmp/json
say "$(grep -E -o '"(restarts|core_losses)": *[0-9]+' /tmp/json | tr '\n' ' ')"
timeout 10 tangelo umount /mnt || die "no unmount"
no_suspicious_lines /run/tangelo/log/mnt.log /tmp/server.log
finish 0
