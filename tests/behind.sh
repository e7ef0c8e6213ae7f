#!/bin/sh
# behind.sh: becomes the program $@, behind everything else that wants to run. Linux weighs sessions
# (autogroup) before it weighs processes, and each test of meson is a session of its own. From
# a shell: with setsid, or all that the shell runs later is behind, too.
{ echo 19 > /proc/self/autogroup; } 2> /dev/null
exec nice -n 19 "$@"
