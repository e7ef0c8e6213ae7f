#!/bin/bash
uname -a; systemctl --version | head -1; ls /usr/local/bin
dd if=/dev/zero of=/srv/x bs=1M count=4 2>&1 | tail -1
ls -la /dev/fuse; cat /proc/self/cgroup
tangelo-server init /srv/home --name home
systemd-run --unit=server tangelo-server run --volume home=/srv/home
sleep 1
mkdir /mnt/home
tangelo mount 127.0.0.1:7471:/home /mnt/home; echo rc $?
timeout 2 witness /mnt/home/w /t/status
echo 0 > /t/code
