#!/bin/bash
# docs.sh: the commands in README, docs/TUTORIAL.md and docs/OPERATIONS.md do what they say.
#
# Each block that is fenced as ```sh is run as it stands, those of one file in order and in one
# shell that ends at the first failure; each file in a machine of its own: fresh /run, /srv, /mnt,
# /var/lib, a copy of /etc, only its own processes, a network of its own. What cannot run there is
# fenced as ```sh elsewhere; each line of it stands in docs_elsewhere.txt, with what runs it.
. "$(dirname "$0")/lib.sh"
need unshare ip pidof cmp
source_dir=$(cd "$(dirname "$0")/../.." && pwd)

# blocks KIND FILE: the lines of its blocks of that kind; "" prints where others begin.
blocks() {
  awk -v kind="$1" '
    /^```/ { if (inside) { inside = 0; next }
             inside = 1; mine = (substr($0, 4) == kind)
             if (mine && kind == "sh") printf "printf \"%%s\\n\" \"--- %s:%d\"\n", FILENAME, NR
             if (mine && kind == "") print FILENAME ":" NR
             next }
    inside && mine && kind != "" { print }' "$2"
}
plain() { # commands without comments and blanks around them
  sed -E 's/^#.*//; s/[ \t]+#.*//; s/^[ \t]+//; s/[ \t]+$//' | grep -v '^$'
}

step "every block says what it is"
files=(README.md docs/TUTORIAL.md docs/OPERATIONS.md)
cd "$source_dir"
for file in "${files[@]}"; do
  nameless=$(blocks "" "$file")
  [ -z "$nameless" ] || die "blocks without a kind (sh, sh elsewhere, text, ...): $nameless"
done

step "what is run elsewhere is listed"
for file in "${files[@]}"; do blocks "sh elsewhere" "$file"; done | plain | sort -u > "$work/there"
sed 's/ | [^|]*$//' tests/mount/docs_elsewhere.txt | sort -u > "$work/listed"
diff "$work/listed" "$work/there" > "$work/differences" ||
  die "the list (<) and the documents (>) differ: $(cat "$work/differences")"

# ---- the others are run -------------------------------------------------------------------------

programs=$work/bin
mkdir -p "$programs"
ln -s "$tangelo" "$server_program" "$programs/"

inside() { # a machine for the commands on standard input; $1: what they find there
  local machine=$1 part
  cp -a /etc "$machine/etc"
  mkdir -p "$machine"/{run,srv,mnt,var} "$machine/etc/tangelo"
  export machine programs
  unset TANGELO_RUN_DIR TANGELO_STATE_DIR
  cat > "$machine/commands"
  exec unshare --mount --net --pid --fork --kill-child --mount-proc --propagation private \
    bash -euo pipefail -c '
      # Mounts of other tests, which `tangelo status` would tell of, are not here.
      awk "/ - fuse.tangelo /{ print \$5 }" /proc/self/mountinfo | xargs -r -n 1 umount -l
      for part in run srv mnt etc; do mount --bind "$machine/$part" "/$part"; done
      mount --bind "$machine/var" /var/lib
      ip link set lo up
      export PATH=$programs:$PATH
      cd /
      . "$machine/commands"' > "$machine/said" 2>&1 < /dev/null
}

run_file() { # of the source; the commands on standard input come before it
  local file=$1 machine=$work/${1//\//-}
  step "$file"
  mkdir -p "$machine"
  { cat; blocks sh "$file"; } | timeout 200 bash -c "$(declare -f inside); inside '$machine'" ||
    die "$file: a command failed: $(tail -n 15 "$machine/said")"
  ! grep -rhE "$suspicious" "$machine"/run/tangelo/log "$machine/said" ||
    die "$file: suspicious lines in a log"
  say "$(grep -c '^--- ' "$machine/said") blocks of $file"
}
export programs tangelo server_program
run_file README.md < /dev/null
run_file docs/TUTORIAL.md < /dev/null
grep -qx 'all there, nothing twice' "$work/docs-TUTORIAL.md/said" || die "the tutorial's promise"
run_file docs/OPERATIONS.md << 'END'
tangelo-server init /srv/home --name home
mkdir -p /mnt/home
END
