#!/bin/busybox sh
# init of the Linux guest that scripts/linux-guest.sh makes. It goes on to the root file system if it was given one. Else it prints what
# it was given, powers off when the ACPI power button is pressed, and does what the boot argument `guest=` says.
/bin/busybox mkdir -p /proc /sys /dev /bin /sbin
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
while read -r module; do insmod "/modules/$module"; done </modules/order

root= init=/sbin/init
for word in $(cat /proc/cmdline); do
  case "$word" in
    root=*) root="${word#root=}" ;;
    init=*) init="${word#init=}" ;;
  esac
done
if [ -n "$root" ]; then
  mkdir -p /root
  mount "$root" /root && exec switch_root /root "$init"
fi

echo "LINUX-UP cpus=$(nproc) mem=$(awk '/MemTotal/ { print int($2 / 1024) }' /proc/meminfo)"
for disk in /sys/block/vd*; do
  [ -e "$disk" ] || continue
  name="${disk##*/}"
  echo "DISK $name read-only=$(cat "$disk/ro") begins: $(head -n 1 "/dev/$name")"
  # Also to a read-only disk, which must refuse it.
  if echo "written by the guest" | dd of="/dev/$name" bs=512 seek=1 conv=fsync 2>/tmp-error; then
    echo "WRITE $name done"
  else
    echo "WRITE $name refused: $(head -n 1 /tmp-error)"
  fi
done

# busybox acpid runs this when the power button is pressed.
mkdir -p /etc/acpi/PWRF
printf '#!/bin/sh\necho "POWER-BUTTON" >/dev/console\npoweroff -f\n' >/etc/acpi/PWRF/00000080
chmod +x /etc/acpi/PWRF/00000080

case "$(cat /proc/cmdline)" in
  *guest=off*) poweroff -f ;;
  *guest=panic*) echo c >/proc/sysrq-trigger ;;
esac
acpid -d -c /etc/acpi &
# A press before it reads the button's events is lost.
until ls -l "/proc/$!/fd" | grep -q /dev/input/event; do sleep 0.1; done
echo "LINUX-READY"
wait
