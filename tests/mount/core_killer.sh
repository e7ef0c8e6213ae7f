# core_killer.sh: sourced after lib.sh: kills the core of the mount again and again, in the
# background, until stop_killing. RANDOM repeats the phases.
# shellcheck shell=bash

killer=

# The watchdog's children are the front end and the core.
start_killing() {
  local watchdog front_end
  watchdog=$(process_pid watchdog)
  front_end=$(process_pid front_end)
  (
    trap - EXIT
    while sleep "0.$((RANDOM % 200 + 100))"; do
      for pid in $(cat "/proc/$watchdog/task/$watchdog/children"); do
        [ "$pid" = "$front_end" ] || kill -9 "$pid" 2> /dev/null
      done
    done
  ) &
  killer=$!
}

stop_killing() {
  kill -9 "$killer" 2> /dev/null || true
  wait "$killer" 2> /dev/null || true
  until_true 30 is_serving || die "the mount did not come back"
}
