#!/bin/bash
# json.sh: every subcommand says with --json, as one JSON value, what a program needs of it.
. "$(dirname "$0")/lib.sh"
need jq

says() { # FILTER COMMAND...: `tangelo COMMAND... --json` prints one value, for which FILTER is true
  local filter=$1
  shift
  stage="tangelo $*"
  timeout 60 "$tangelo" "$@" --json > "$work/out" || die "tangelo $*: exit code $?"
  jq -es --arg mnt "$mnt" --arg source "$address:/$volume" "length == 1 and (.[0] | $filter)" \
    "$work/out" > /dev/null || die "tangelo $* --json, not $filter: $(cat "$work/out")"
  say "ok: tangelo $*"
}

start_server
mkdir -p "$mnt"
of_mount='.mount_point == $mnt and .source == $source and'
says "$of_mount (.done | startswith(\"mounted on\"))" mount "$address:/$volume" "$mnt"
says "$of_mount (.done | startswith(\"is already mounted\"))" mount "$address:/$volume" "$mnt"
says '.mounts[0].state == "SERVING"' status "$mnt"
says '.mounts[0].ops == []' ops "$mnt"
says '.mounts[0].mount_point == $mnt' top "$mnt"
says '.metrics | any(.name == "tangelo_up" and .labels.mount == $mnt and .value == 1)' \
  metrics "$mnt"
says '.metrics | any(.name == "tangelo_op_seconds_bucket" and .labels.le == "+Inf")' metrics
says 'type == "object"' ping "$address" -c 1
says '.devices | type == "array"' fabric
says '(.fabric == "tcp" or .fabric == "verbs") and (.why | length > 0)' fabric "$address"
says '.mount_point == $mnt and .policy.dev_loss_tmo == "off"' set "$mnt"
says '.policy.dev_loss_tmo == 60 and .policy.commit == "sync"' \
  set "$mnt" dev_loss_tmo=60 commit=sync
says "$of_mount (.done | length > 0)" abort "$mnt"
says "$of_mount (.done | contains(\"now installed\"))" upgrade "$mnt"
says "$of_mount (.done | contains(\"already\"))" watchdog --adopt "$mnt"

says '.servers[0].clients | length == 1' server list "$server_dir"
says '.servers[0].volumes[0].state == "serving"' server volumes "$server_dir"
says '.done | length > 0' server log "$server_dir" info
says '.kind == "user"' quota set "$mnt" --user 4711 --bytes 1G
says '.kind == "user"' quota show "$mnt" --user 4711
says '.quotas | length > 0' quota list "$mnt"
says '.kind == "user" and (.done | length > 0)' quota clear "$mnt" --user 4711
client=$("$tangelo" server list "$server_dir" --json | jq -r '.servers[0].clients[0].client')
says '.done | length > 0' server evict "$server_dir" "$volume" "$client"
says "$of_mount .done == \"unmounted\"" umount "$mnt"
allowed_words='evict'
stop_server
