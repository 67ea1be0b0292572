"""What the guest `debian` has besides Debian's packages: how it is installed, boots, is set up.

INSTALL and INIT are first processes, of an initramfs with busybox; neither is in what is installed.
"""

from auberge.image.shared_folders import MOUNT_FOLDERS

INSTALL = r"""#!/bin/sh
# Installs Debian on the disk that can be written, from the packages on the one that cannot.
# What it prints on the console is read by the build: dpkg's `status:` lines (dpkg(1), --status-fd),
# `auberge: checkpoint STEP`, and at the end `auberge: done` or `auberge: failed: WHY`.

export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8
export DEBIAN_FRONTEND=noninteractive DEBCONF_NONINTERACTIVE_SEEN=true
# The image's own initramfs boots it; one by initramfs-tools takes as long as all the rest. See
# /etc/kernel/postinst.d/initramfs-tools; `update-initramfs -c -k all` makes it afterwards.
export INITRD=No
exec 3>&1 > /log 2>&1
root=/target

finish() {
    if [ "$1" = 0 ]; then
        echo "auberge: done" >&3
    else
        tail -n 40 /log >&3
        echo "auberge: failed: $(grep '^[^[:space:]]' /log | tail -n 1)" >&3
    fi
    poweroff -f
}
trap 'finish $?' EXIT
set -e -o pipefail

unpack() {
    while read -r package; do
        ar p "$package" data.tar | tar -x -p -C "$1"
    done
}

# Programs of the system have to be named by their paths: busybox has some of its own.
configure() {
    # a package may need another's scripts before it is unpacked, but nothing here was ever in use
    PATH=/run/build:$PATH chroot $root /usr/bin/dpkg --status-fd 3 --force-depends \
        --force-unsafe-io --install $(cat "$1")
}

# The index takes minutes, and nobody waits for it: it is made beside the other packages, and what
# the kernel's package calls for it does nothing.
index_modules() {
    for release in $root/usr/lib/modules/*; do
        if [ -e "$release" ] && [ ! "$indexing" ] && [ ! -e $root/run/build/indexed ]; then
            (chroot $root /usr/sbin/depmod "${release##*/}" && : > $root/run/build/indexed) &
            indexing=$!
        fi
    done
}

# The build may be interrupted and begin again from here. The host copies the disk, on which all is
# written and nothing in motion, and then answers.
checkpoint() {
    sync
    fsfreeze --freeze $root
    echo "auberge: checkpoint $1" >&3
    read -r answer
    fsfreeze --unfreeze $root
}

mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
done=0
for word in $(cat /proc/cmdline); do
    case $word in
    auberge.step=*) done=${word#*=} ;;
    esac
done
modprobe -a $(cat /etc/modules)
for disk in /sys/block/vd*; do
    read -r read_only < $disk/ro
    if [ $read_only = 1 ]; then cd=/dev/${disk##*/}; else partition=/dev/${disk##*/}1; fi
done
mkdir -p /mnt $root /tools
mount -t iso9660 -o ro $cd /mnt
unpack /tools < /etc/packages.tools
mount --bind /dev /tools/dev
if [ $done = 0 ]; then
    chroot /tools /usr/sbin/mke2fs -q -t ext4 -L debian -E assume_storage_prezeroed=1 $partition
fi
# nothing is lost if this guest is stopped: the build begins again
mount -t ext4 -o noatime,nobarrier,data=writeback $partition $root
if [ $done = 0 ]; then
    unpack $root < /etc/packages.1
    mkdir -p $root/dev $root/proc $root/sys $root/mnt $root/run/build
    : > $root/var/lib/dpkg/status
    : > $root/var/lib/dpkg/available
    printf '#!/bin/sh\nexit 101\n' > $root/usr/sbin/policy-rc.d
    printf '#!/bin/sh\n' > $root/run/build/depmod
    chmod 755 $root/usr/sbin/policy-rc.d $root/run/build/depmod
fi
for directory in dev proc sys mnt; do
    mount --bind /$directory $root/$directory
done

index_modules
step=0
for list in /etc/packages.[1-9]; do
    step=$((step + 1))
    if [ $step -gt $done ]; then
        [ $step = 1 ] || [ $step = $((done + 1)) ] || checkpoint $((step - 1))
        configure $list
        index_modules
    fi
done
wait $indexing
chroot $root /usr/bin/dpkg --audit > /audit
if [ -s /audit ]; then cat /audit; false; fi
chroot $root /usr/bin/passwd -d root
cp -R /etc/after/. $root
chmod 755 $root/etc/systemd/system-generators/*
release=$(ls $root/usr/lib/modules)
cat /mnt/initrd.img > $root/boot/initrd.img-$release
ln -s boot/initrd.img-$release $root/initrd.img
rm $root/usr/sbin/policy-rc.d
for unit in $(cat /etc/masked); do
    ln -sf /dev/null $root/etc/systemd/system/$unit
done
# spares each boot what systemd does after an update (systemd-update-done.service(8))
chroot $root /usr/lib/systemd/systemd-update-done

# a computer of its own each time
: > $root/etc/machine-id
rm -f $root/var/lib/dbus/machine-id $root/var/lib/systemd/random-seed
rm -f $root/var/log/*.log $root/var/log/apt/* $root/var/lib/dpkg/*-old $root/var/cache/debconf/*-old
rm -r $root/run/build
umount $root/dev $root/proc $root/sys $root/mnt
fstrim $root
umount $root
chroot /tools /usr/sbin/e2fsck -f -n $partition
if dmesg | grep 'I/O error\|EXT4-fs error\|EXT4-fs warning'; then false; fi
"""

INIT = (
    r"""#!/bin/sh
# Finds the root disk, `root=` on the kernel's command line, and starts Debian's own init from it.

export PATH=/bin
"""
    + MOUNT_FOLDERS
    + r"""
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
modprobe virtio_mmio
modprobe -aq $(cat /sys/bus/virtio/devices/*/modalias 2>/dev/null)
[ -e /sys/bus/virtio/drivers/9pnet_virtio ] && modprobe 9p
modprobe -a crc32c_generic ext4

read -r cmdline < /proc/cmdline
root=/dev/vda1 mode=ro init=/sbin/init
for word in $cmdline; do
    case $word in
    root=*) root=${word#root=} ;;
    init=*) init=${word#init=} ;;
    rw | ro) mode=$word ;;
    esac
done
case $root in
*=*) root=$(findfs "$root") ;;
esac
if ! mount -t ext4 -o "$mode" "$root" /root; then
    echo "initramfs: $root: no ext4 file system; name the root disk with root= on --append"
    # SiFive test device: "fail", with status 1
    devmem 0x100000 32 $((1 << 16 | 0x3333))
    poweroff -f
fi
mount --move /proc /root/proc
mount --move /sys /root/sys
mount --move /dev /root/dev
mount_folders /root
exec switch_root /root "$init"
"""
)

HOSTS = """127.0.0.1 localhost
127.0.1.1 debian
::1 localhost ip6-localhost ip6-loopback
ff02::1 ip6-allnodes
ff02::2 ip6-allrouters
"""

FSTAB = """# <file system> <mount point> <type> <options> <dump> <pass>
/dev/vda1 / ext4 rw,errors=remount-ro 0 1
"""

INTERFACES = """# interfaces(5); a network device is brought up when there is one
source /etc/network/interfaces.d/*

auto lo
iface lo inet loopback

allow-hotplug eth0
iface eth0 inet dhcp
"""

MASKED = (
    # one terminal, one login: there is no screen, and hvc0 is another way to the terminal of ttyS0
    "serial-getty@hvc0.service",
    "getty@tty1.service",
    "getty-static.service",
    "modprobe@drm.service",
)
"""Units that do nothing for anybody on this machine, but take time."""

NO_WIRELESS = """\
# dhcpcd asks whether a device is wireless. There are none on this machine, and to load
# cfg80211, which would say so, takes longer than all else about the network.
alias net-pf-16-proto-16-family-nl80211 off
"""

EXTLINUX = """default debian
prompt 0
timeout 1
label debian
    menu label Debian
    linux /vmlinuz
    initrd /initrd.img
    append {append}
"""
"""What U-Boot boots (its doc/README.distro); the links lead to the newest kernel that is there."""

REPORT_GENERATOR = r"""#!/bin/sh
# systemd.generator(7): `auberge.report` on the kernel's command line makes this boot a report.
read -r cmdline < /proc/cmdline
case " $cmdline " in
*" auberge.report "*)
    printf '[Unit]\nRequires=auberge-report.service\nAfter=auberge-report.service\n' \
        > "$2/default.target"
    ;;
esac
"""

REPORT_SERVICE = """[Unit]
Description=Say which system this is, and power off
SuccessAction=poweroff
FailureAction=poweroff

[Service]
Type=oneshot
StandardOutput=tty
TTYPath=/dev/console
ExecStart=/bin/sh -c 'echo; echo "guest says:"; uname -a; cat /etc/os-release'
"""
