#!/bin/bash
# config_errors: what goes wrong before anything runs: each mistake has its exit code, and a message
# that says what, where, and what to do.
. "$(dirname "$0")/lib.sh"
need jq

start_server
mkdir -p "$work/empty" "$work/foreign" "$work/in use"
touch "$work/foreign/file" "$work/a-file"
printf 'listen = "127.0.0.1:0"\n[[volume]]\nnam = "x"\n' > "$work/unknown-key.toml"
printf 'listen = \n' > "$work/syntax.toml"

printf 'commit_interval_ms = 0\n' > "$work/interval.toml"

volume_key() { # FILE LINE: a configuration whose volume has this line, its fifth
  printf 'listen = "127.0.0.1:0"\n[[volume]]\nname = "x"\npath = "/x"\n%s\n' "$2" > "$work/$1.toml"
}
volume_key squash 'squash = "some"'
volume_key anon 'anon_uid = -1'
volume_key allow 'allow = ["127.0.0.0/8", "127.0.0.1/8"]'
volume_key atime 'atime = "strict"'

wrong=0
# expect CODE PATTERN COMMAND...: its exit code, and an extended regular expression that its
# output must match.
expect() {
  local code=$1 pattern=$2 got=0
  shift 2
  stage="$*"
  timeout 60 "$@" > "$work/out" 2>&1 < /dev/null || got=$?
  if [ "$got" = "$code" ] && grep -qE -- "$pattern" "$work/out"; then
    say "ok: $code: $(head -1 "$work/out")"
  else
    say "WRONG: ${*#"$build"/}: exit code $got, expected $code and /$pattern/:"
    cat "$work/out"
    wrong=$((wrong + 1))
  fi
}
server=$server_program
run=("$server" run --run-dir "$work/other" --listen 127.0.0.1:0)
mkdir -p "$mnt" "$work/other"

# -- tangelo
expect 2 'subcommand|not expected'     "$tangelo"
expect 2 'bogus'                       "$tangelo" bogus
expect 2 'directory is required'       "$tangelo" mount "$address:/$volume"
expect 2 'not expected.*--bogus'       "$tangelo" status --bogus
expect 2 "no ':/VOLUME'"               "$tangelo" mount "$address" "$mnt"
expect 2 "no ':/VOLUME'"               "$tangelo" mount "/$volume" "$mnt"
expect 2 'host\[:port\]'               "$tangelo" mount "host:99999:/$volume" "$mnt"
expect 2 "volume's name"               "$tangelo" mount "$address:/" "$mnt"
expect 2 'No such file.*'              "$tangelo" mount "$address:/$volume" "$work/nowhere"
expect 2 'not a directory'             "$tangelo" mount "$address:/$volume" "$work/a-file"
expect 2 '/: not a mount point'        "$tangelo" mount "$address:/$volume" /
expect 2 "option 'bogus=1' is unknown" "$tangelo" mount -o ro,bogus=1 "$address:/$volume" "$mnt"
expect 2 'known are .*allow_other'     "$tangelo" mount -o bogus=1 "$address:/$volume" "$mnt"
expect 2 'SOURCE is empty'             "$tangelo" mount "" "$mnt"
expect 5 'no volume'                   "$tangelo" mount "$address:/nosuchvolume" "$mnt"
expect 1 'only 64 files may be open .* needs 128' \
  prlimit --nofile=64:64 "$tangelo" mount "$address:/$volume" "$mnt"
mkdir -p "$TANGELO_STATE_DIR/client-ids" "$work/piped"
mkfifo "$TANGELO_STATE_DIR/client-ids/$(systemd-escape --path "$work/piped")"
expect 1 'client-ids/.*not a regular file' "$tangelo" mount "$address:/$volume" "$work/piped"
expect 1 '/run: belongs to user 0' \
  env TANGELO_RUN_DIR=/run setpriv --reuid 65534 --clear-groups \
  "$tangelo" mount "$address:/$volume" /tmp
expect 5 'no Tangelo mount'            "$tangelo" status "$work/empty"
expect 5 'no Tangelo mount'            "$tangelo" ops "$work/empty"
expect 5 'no Tangelo mount'            "$tangelo" umount "$work/empty"
expect 5 'no Tangelo mount'            "$tangelo" abort "$work/empty"
expect 5 'no Tangelo mount'            "$tangelo" upgrade "$work/empty"
expect 5 'no Tangelo mount'            "$tangelo" watchdog --adopt "$work/empty"
expect 5 'no Tangelo mount'            "$tangelo" set "$work/empty" dev_loss_tmo=60
expect 2 'nothing that can be set'     "$tangelo" set "$work/empty" bogus=60
expect 2 'not a number of seconds'     "$tangelo" set "$work/empty" dev_loss_tmo=soon
expect 2 'excludes'                    "$tangelo" umount -l -f "$work/empty"
expect 2 'adopt is required'           "$tangelo" watchdog
expect 0 'Examples'                    "$tangelo" --help
expect 0 '^tangelo [0-9]'              "$tangelo" --version
! grep -q "$mnt" /proc/self/mountinfo || die "a mount that failed is still there"

# -- a mount that is there, also with a blank in its name
expect 0 'mounted on'                  "$tangelo" mount "$address:/$volume" "$work/in use"
expect 0 'already mounted'             "$tangelo" mount "$address:/$volume" "$work/in use"
expect 1 'is mounted here already'     "$tangelo" mount "$address:/other" "$work/in use"
expect 0 'SERVING'                     "$tangelo" status "$work/in use"
exec 7< "$work/in use"
expect 1 'busy'                        "$tangelo" umount "$work/in use"
exec 7<&-
ln -s "in use" "$work/link"
ln -s "$work/link" "$work/link of a link"
expect 0 'SERVING'                     "$tangelo" status "$work/link of a link"
expect 0 'SERVING'                     "$tangelo" status "$work/link/"
expect 0 'in use unmounted'            "$tangelo" umount "$work/link"
expect 5 'no Tangelo mount'            "$tangelo" status "$work/link"

# -- whoever starts it
expect 0 'mounted on' \
  prlimit --nofile=64: "$tangelo" mount "$address:/$volume" "$mnt"
expect 0 'SERVING'                     "$tangelo" status "$mnt"
expect 1 'standard output'             bash -c '"$@" > /dev/full' full "$tangelo" status "$mnt"
expect 0 'unmounted'                   "$tangelo" umount "$mnt"
closed=(bash -c '"$@" <&- >&- 2>&- && echo done' closed)
expect 0 'done'                        "${closed[@]}" "$tangelo" mount "$address:/$volume" "$mnt"
expect 0 'SERVING'                     "$tangelo" status "$mnt"
expect 0 'done'                        "${closed[@]}" "$tangelo" umount "$mnt"
expect 0 'done' \
  "${closed[@]}" "$build/cli/mount.tangelo" "$address:/$volume" "$mnt"
expect 0 'unmounted'                   "$tangelo" umount "$mnt"

# -- a name that no file could have
long=$work/$(printf '\u044f%.0s' {1..100})
mkdir "$long"
expect 0 'mounted on'                  "$tangelo" mount "$address:/$volume" "$long"
expect 0 'SERVING'                     "$tangelo" status "$long"
expect 0 'SERVING'                     "$tangelo" status "$(ls "$TANGELO_RUN_DIR/mounts")"
expect 0 'unmounted'                   "$tangelo" umount "$long"

# -- tangelo-watchdog, tangelo-fs, tangelo-core by hand
expect 2 'source is missing'           "$build/watchdog/tangelo-watchdog"
expect 2 'bogus'                       "$build/watchdog/tangelo-watchdog" --bogus

# -- a mount's file
mount_file() { # FILE LINE...: with these lines behind the source, which is its first
  printf 'source = "%s:/%s"\n' "$address" "$volume" > "$work/$1.toml"
  printf '%s\n' "${@:2}" >> "$work/$1.toml"
}
watchdog=("$build/watchdog/tangelo-watchdog" --check --config)
mount_file good "mount_point = \"$mnt\"" 'options = ["noatime", "dev_loss_tmo=60"]'
mount_file colour "mount_point = \"$mnt\"" '  colour = "red"'
mount_file word "mount_point = \"$mnt\"" 'options = ["ro",' '  "bogus=1"]'
mount_file unsound "mount_point = \"$mnt\"" 'options = ["fast_io_fail_tmo=15", "dev_loss_tmo=10"]'
mount_file nowhere "mount_point = \"$work/nowhere\""
mount_file unclosed 'mount_point = "/mnt'
printf 'mount_point = "%s"\nsource =  "host:99999:/x"\n' "$mnt" > "$work/port.toml"
expect 0 'good.toml: nothing is wrong' "${watchdog[@]}" "$work/good.toml"
expect 2 '^tangelo-watchdog: .*/colour.toml:3:3: unknown key "colour"' \
  "${watchdog[@]}" "$work/colour.toml"
expect 2 "word.toml:4:3: .*'bogus=1' is unknown" "${watchdog[@]}" "$work/word.toml"
expect 2 'unsound.toml:3:11: .*dev_loss_tmo'  "${watchdog[@]}" "$work/unsound.toml"
expect 2 'nowhere.toml:2:15: .*No such file'  "${watchdog[@]}" "$work/nowhere.toml"
expect 2 'unclosed.toml:2:[0-9]+: '           "${watchdog[@]}" "$work/unclosed.toml"
expect 2 'port.toml:2:11: .*host\[:port\]'    "${watchdog[@]}" "$work/port.toml"
sed "s,\"/mnt/home\",\"$mnt\"," "$(dirname "$0")/../../packaging/config/mount.toml.example" \
  > "$work/example.toml"
expect 0 'nothing is wrong'            "${watchdog[@]}" "$work/example.toml"
expect 2 'check needs --config'        "$build/watchdog/tangelo-watchdog" --check
! grep -q "$mnt" /proc/self/mountinfo || die "--check has mounted something"
expect 2 'tangelo mount'               "$build/fs/tangelo-fs"

# -- tangelo-server
expect 2 'unknown-key.toml:3:1: .*nam' "$server" run --config "$work/unknown-key.toml"
expect 2 'empty: not a regular file'    "$server" run --config "$work/empty"
expect 2 'empty: not a regular file'    "${watchdog[@]}" "$work/empty"
expect 2 'interval.toml:1:22: .*from 1 to 1000' "$server" run --config "$work/interval.toml"
expect 2 'squash.toml:5:10: .*"root"'   "$server" run --config "$work/squash.toml"
expect 2 'anon.toml:5:12: .*numeric id' "$server" run --config "$work/anon.toml"
expect 2 'allow.toml:5:25: .*127.0.0.1/8' "$server" run --config "$work/allow.toml"
expect 2 'atime.toml:5:9: .*relatime'  "$server" run --config "$work/atime.toml"
expect 2 'syntax.toml:1:10:'           "$server" run --config "$work/syntax.toml"
check=("$server" run --check --config)
server_file() { # FILE LINE...: with these lines before its volume, the first being the third
  printf 'standby = true\nmetrics = "127.0.0.1:0"\n' > "$work/$1.toml"
  printf '%s\n' "${@:2}" '[[volume]]' 'name = "x"' 'path = "/x"' >> "$work/$1.toml"
}
server_file sound 'listen = "127.0.0.1:7471"' 'lease_seconds = 20'
server_file abroad '' 'listen =   "0.0.0.0:7471"'
server_file no-port 'listen = "127.0.0.1:x"'
server_file times 'lease_seconds = 20' 'evict_seconds = 10'
server_file twice '[[volume]]' 'name = "x"' 'path = "/y"'
sed 's/^metrics.*/metrics = "0.0.0.0:9472"/' "$work/sound.toml" > "$work/told.toml"
expect 0 'sound.toml: nothing is wrong' "${check[@]}" "$work/sound.toml"
expect 0 'default.toml: nothing is wrong' \
  "${check[@]}" "$(dirname "$0")/../../packaging/config/default.toml"
expect 2 'check requires --config'      "$server" run --check
expect 2 'squash.toml:5:10: .*"root"'   "${check[@]}" "$work/squash.toml"
expect 2 'abroad.toml:4:12: .*beyond loopback' "${check[@]}" "$work/abroad.toml"
expect 2 'no-port.toml:3:10: .*listen' "${check[@]}" "$work/no-port.toml"
expect 2 'times.toml:4:17: .*shorter'  "${check[@]}" "$work/times.toml"
expect 2 'twice.toml:7:8: .*named twice' "${check[@]}" "$work/twice.toml"
expect 2 'told.toml:2:11: .*loopback'  "${check[@]}" "$work/told.toml"
expect 2 '^tangelo-server: listen "0.0.0.0:1": beyond' \
  "${check[@]}" "$work/abroad.toml" --listen 0.0.0.0:1
expect 2 'NAME=DIR'                    "${run[@]}" --volume bogus
expect 2 "volume's name"               "${run[@]}" --volume "my home=$work/empty"
expect 2 "volume's name"               "$server" init "$work/new" --name 'my home'
expect 2 'no volume to serve'          "${run[@]}"
expect 2 'beyond loopback'             "$server" run --volume "x=$work/empty" --listen 0.0.0.0:0
expect 2 "secret_file .*No such file"  "${run[@]}" --volume "x=$work/empty" \
  --secret-file "$work/none"
expect 3 'no such directory'           "${run[@]}" --volume "x=$work/nowhere"
expect 3 'not a Tangelo volume'        "${run[@]}" --volume "x=$work/foreign"
expect 3 'not empty'                   "$server" init "$work/foreign"
chmod 755 "$work"
install -d -o 65534 "$work/of-nobody"
nobody=(setpriv --reuid 65534 --clear-groups)
"${nobody[@]}" "$server" init "$work/of-nobody/volume" --name x > /dev/null || die "init"
expect 1 'below 1024 is not permitted' \
  "${nobody[@]}" "$server" run --run-dir "$work/of-nobody/run" --volume "x=$work/of-nobody/volume" \
  --listen 127.0.0.1:80
expect 3 'held|another server'         "${run[@]}" --volume "x=$volume_dir"
expect 2 'bogus'                       "$server" run --bogus

# Some of these mistakes are said in the log as well, as they should be.
allowed_words='only 64 files|not a regular file|SOURCE'
allowed_words+='|option .bogus|not a directory|not a mount point|volume|source|No such file|--bogus'
stop_server
[ "$wrong" = 0 ] || die "$wrong messages or exit codes are wrong"
