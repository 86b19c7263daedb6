#!/usr/bin/env bash
# Makes a small Linux guest out of Debian's packages, on Debian and as any user: the cloud kernel, busybox and test/guest/linux-init.sh.
# Leaves vmlinuz and initrd.img in ~/.cache/nexus/linux-guest. Does nothing if they are newer than the init script and this one.
set -euo pipefail
cd "$(dirname "$0")/.."

guest="$HOME/.cache/nexus/linux-guest"
init=test/guest/linux-init.sh
[ "$guest/initrd.img" -nt "$init" ] && [ "$guest/initrd.img" -nt scripts/linux-guest.sh ] && exit

for program in apt-get dpkg-deb cpio; do
  command -v "$program" >/dev/null || { echo "$0: $program is missing" >&2; exit 1; }
done
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
kernel="$(apt-cache depends linux-image-cloud-amd64 | sed -n 's/.*Depends: \(linux-image-.*\)/\1/p')"
(
  cd "$work"
  # Root's folder is closed to apt's own user.
  apt-get download -qq -o APT::Sandbox::User=root "$kernel" busybox-static
  for package in *.deb; do dpkg-deb -x "$package" packages; done
)

root="$work/root"
mkdir -p "$root"/{bin,modules}
install -m 755 "$init" "$root/init"
install -m 755 "$work"/packages/*bin/busybox "$root/bin/busybox"
# In the order of their dependencies: insmod does not resolve them.
for module in virtio_ring virtio virtio_mmio virtio_blk button evdev; do
  file="$(find "$work/packages" -name "$module.ko")"
  [ -n "$file" ] || continue
  cp "$file" "$root/modules"
  echo "$module.ko" >>"$root/modules/order"
done
mkdir -p "$guest"
(cd "$root" && find . | cpio --quiet -H newc -o | gzip) >"$work/initrd.img"
mv "$work"/packages/boot/vmlinuz-* "$guest/vmlinuz"
mv "$work/initrd.img" "$guest/initrd.img"
