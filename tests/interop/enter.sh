#!/usr/bin/env bash
# enter.sh USERLAND WORK INTEROP COMMAND…: runs COMMAND in USERLAND, in network, mount and process namespaces of its own: the
# ports 53, 80 and 443 are free, nothing leaves the machine, every process ends with it, and what is written outside of WORK is
# gone afterwards. WORK is /w in there, INTEROP (this folder) and the pages in docs are /interop and /docs, read-only. Names are
# asked of 127.0.0.1:53. Needs root.
set -euo pipefail
exec unshare --net --mount --pid --fork --kill-child --propagation private bash -euc '
  userland=$0 work=$1 interop=$2; shift 2
  ip link set lo up
  layers=$work/layers root=$work/layers/root
  mkdir -p "$layers"
  mount -t tmpfs tmpfs "$layers"
  mkdir "$layers/upper" "$layers/work" "$root"
  mount -t overlay overlay -o "lowerdir=$userland,upperdir=$layers/upper,workdir=$layers/work" "$root"
  mount -t proc proc "$root/proc"
  mount --bind /dev "$root/dev"
  mkdir -p "$root/w" "$root/interop" "$root/docs"
  mount --bind "$work" "$root/w"
  mount --bind -o ro "$interop" "$root/interop"
  mount --bind -o ro "$interop/../../docs" "$root/docs"
  echo "nameserver 127.0.0.1" >"$root/etc/resolv.conf"
  exec chroot "$root" /usr/bin/env -i HOME=/root PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin TERM=dumb "$@"
' "$@"
