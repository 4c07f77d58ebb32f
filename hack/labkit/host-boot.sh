#!/bin/bash
# Prepares the namespaces of one hypervisor host, then becomes its PID 1 ("$@").
# From the environment: HOST, LAB_FOLDER, PROJECT, BOOT_ID.
#
# /etc and /var are the host's own (overlays whose upper layers lie on the lab's tmpfs, since an
# upper layer may not lie inside its lower one): what a host writes there survives its power-off
# and goes with the lab. /run and /tmp are new at each boot.
set -eu
mount --make-rprivate /
mount -t sysfs sysfs /sys
mount -t tmpfs tmpfs /dev/shm
hostname "$HOST"
ip link set lo up

scratch=/run/hosts/$HOST
mkdir -p "$scratch"/{etc,var,bin}.{upper,work} "$scratch"/{lab,project}
touch "$scratch/qemu"
mount --bind "$LAB_FOLDER" "$scratch/lab"
mount --bind "$PROJECT" "$scratch/project"
mount --bind /usr/bin/qemu-system-x86_64 "$scratch/qemu"
for tree in /etc /var /usr/bin; do
  own=$scratch/${tree##*/}
  mount -t overlay "$HOST" -o "lowerdir=$tree,upperdir=$own.upper,workdir=$own.work" "$tree"
done
mount --bind "$scratch/lab" "$LAB_FOLDER"
mount -t tmpfs -o mode=1777 tmpfs /tmp
mkdir -p "$PROJECT"
mount --bind "$scratch/project" "$PROJECT"

files=$LAB_FOLDER/hosts/$HOST
cp -a "$files/etc/." /etc/
# the accounts that libvirt's own package would have made
getent passwd libvirt-qemu >/dev/null || echo "libvirt-qemu:x:64055:64055::/nonexistent:/usr/sbin/nologin" >> /etc/passwd
getent group libvirt-qemu >/dev/null || echo "libvirt-qemu:x:64055:" >> /etc/group
getent group kvm >/dev/null || echo "kvm:x:64056:" >> /etc/group
mkdir -p /var/log/respawn/consoles /var/lib/libvirt /var/cache/libvirt /var/log/libvirt
# consoles lie outside the hosts: the lab reads and stamps them
mount --bind "$LAB_FOLDER/consoles/$HOST" /var/log/respawn/consoles

echo "$BOOT_ID" > "$scratch/boot_id"
mount --bind "$scratch/boot_id" /proc/sys/kernel/random/boot_id

# Every QEMU of the lab is nicer than the control processes. The real one stays in its folder,
# from which it finds its modules and firmware.
touch /usr/bin/qemu-system-x86_64.real
mount --bind "$scratch/qemu" /usr/bin/qemu-system-x86_64.real
mount --bind "$LAB_FOLDER/nice-qemu" /usr/bin/qemu-system-x86_64

mount -t tmpfs -o mode=755 tmpfs /run
mkdir -p /run/lock /run/libvirt /run/respawn
exec "$@"
