#!/usr/bin/env bash
# userland.sh DIR PACKAGE…: a userland of Debian sid in DIR with PACKAGEs, which this machine's own release lacks or has too
# old. A later call finds it complete, or adds what is missing. Needs root. Takes some minutes the first time.
set -euo pipefail
dir=${1:?usage: userland.sh DIR PACKAGE…}
shift
[ $# -gt 0 ] || { echo "usage: userland.sh DIR PACKAGE…" >&2; exit 2; }
suite=sid

# "complete" lists the packages, one a line.
missing=()
for package in "$@"; do
  grep -qxF "$package" "$dir/complete" 2>/dev/null || missing+=("$package")
done
[ ${#missing[@]} = 0 ] && exit 0
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
  echo "Programs of Debian $suite need a userland of their own, made as root on Debian (hint: run this as root)." >&2
  exit 1
fi
# The mirror that apt uses here for Debian itself, whatever it is called.
mirror=$(apt-get indextargets --format '$(REPO_URI) $(ORIGIN) $(LABEL)' 'Created-By: Packages' | awk '$2 == "Debian" && $3 == "Debian" { print $1; exit }')
[ -n "$mirror" ] || { echo "apt knows no Debian mirror here (hint: apt-get update)." >&2; exit 1; }
command -v debootstrap >/dev/null || { apt-get update -qq; apt-get install -y -qq --no-install-recommends debootstrap >/dev/null; }

echo "Making a userland of Debian $suite in $dir for ${missing[*]}: some minutes, once"
# One that was cut off is made anew.
[ -e "$dir/complete" ] || rm -rf "$dir"
mkdir -p "$dir"
# In a mount namespace of its own, so that no mount is left behind. No package starts a daemon. A mirror that is a snapshot
# may be past its date; signatures are checked all the same.
unshare --mount --propagation private bash -euc '
  dir=$0 suite=$1 mirror=$2; shift 2
  [ -e "$dir/complete" ] || debootstrap --variant=minbase "$suite" "$dir" "$mirror"
  printf "#!/bin/sh\nexit 101\n" >"$dir/usr/sbin/policy-rc.d"
  chmod 755 "$dir/usr/sbin/policy-rc.d"
  echo "Acquire::Check-Valid-Until \"false\";" >"$dir/etc/apt/apt.conf.d/90snapshot"
  cp /etc/resolv.conf "$dir/etc/resolv.conf"
  mount --rbind /proc "$dir/proc"
  mount --rbind /dev "$dir/dev"
  export DEBIAN_FRONTEND=noninteractive LC_ALL=C
  chroot "$dir" apt-get update -qq
  chroot "$dir" apt-get install -y -qq --no-install-recommends "$@"
  chroot "$dir" apt-get clean
' "$dir" "$suite" "$mirror" "${missing[@]}" >"$dir.log" 2>&1 || { tail -5 "$dir.log" >&2; exit 1; }
printf '%s\n' "${missing[@]}" >>"$dir/complete"
