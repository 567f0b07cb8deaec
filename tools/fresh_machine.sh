#!/usr/bin/env bash
# Proves the README on a machine where nothing was installed by hand: a bare Debian 12 root made by debootstrap, with only git
# and make added, a clone of this repository's HEAD inside it, and the README's commands run there.
#
# Usage (as root): tools/fresh_machine.sh [--keep] [DIR] [-- COMMAND ...]
#   DIR      where the root is made (default: a temporary folder; reused if it holds one already)
#   COMMAND  what to run in the clone (default: make demo, then make test)
# The apt sources and proxy settings of this machine are used inside.
set -euo pipefail

keep=0
dir=
while [ $# -gt 0 ]; do
  case "$1" in
    --keep) keep=1 ;;
    --) shift; break ;;
    *) dir=$1; keep=1 ;;
  esac
  shift
done
[ "$(id -u)" -eq 0 ] || { echo "error: this script makes a chroot and needs root" >&2; exit 1; }
repo=$(git -C "$(dirname "$0")/.." rev-parse --show-toplevel)
[ -n "$dir" ] || dir=$(mktemp -d /var/tmp/trireme-fresh.XXXXXX)
mkdir -p "$dir"
dir=$(cd "$dir" && pwd)

unmount() {
  for mount in dev/shm dev/pts dev proc sys; do
    mountpoint -q "$dir/$mount" && umount -l "$dir/$mount"
  done
  if [ $keep -eq 0 ]; then
    # Never remove a root that still has something of this machine mounted in it.
    grep -q " $dir/" /proc/mounts || rm -rf --one-file-system "$dir"
  fi
}
trap unmount EXIT

if [ ! -x "$dir/usr/bin/make" ]; then
  mirror=$(sed -n 's/^URIs: *\([^ ]*\).*/\1/p' /etc/apt/sources.list.d/*.sources 2>/dev/null | head -1)
  [ -n "$mirror" ] || mirror=$(sed -n 's/^deb \(\[[^]]*\] \)\?\([^ ]*\).*/\2/p' /etc/apt/sources.list /etc/apt/sources.list.d/*.list 2>/dev/null | head -1)
  debootstrap --variant=minbase --include=git,make,ca-certificates bookworm "$dir" "$mirror" >"$dir.debootstrap.log" 2>&1 \
    || { tail -5 "$dir.debootstrap.log" >&2; exit 1; }
  rm -f "$dir.debootstrap.log"
  cp -r /etc/apt/apt.conf.d/. "$dir/etc/apt/apt.conf.d/"
  cp /etc/apt/sources.list "$dir/etc/apt/" 2>/dev/null || true
  cp -r /etc/apt/sources.list.d/. "$dir/etc/apt/sources.list.d/" 2>/dev/null || true
  cp -rL /etc/ssl/certs/. "$dir/etc/ssl/certs/" 2>/dev/null || true
fi
cp -L /etc/resolv.conf "$dir/etc/resolv.conf" 2>/dev/null || true
cp /etc/hosts "$dir/etc/hosts" 2>/dev/null || true
mount -t proc proc "$dir/proc"
mount --rbind /dev "$dir/dev"
mount --make-rslave "$dir/dev"

rm -rf "$dir/root/trireme"
git clone -q --no-local "$repo" "$dir/root/trireme"
git -C "$dir/root/trireme" remote remove origin

inside() {
  env -i HOME=/root PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8 \
    ${http_proxy:+http_proxy="$http_proxy"} ${https_proxy:+https_proxy="$https_proxy"} ${no_proxy:+no_proxy="$no_proxy"} \
    chroot "$dir" sh -c "cd /root/trireme && $1"
}
if [ $# -gt 0 ]; then
  inside "$*"
else
  inside "make demo"
  inside "make test"
fi
