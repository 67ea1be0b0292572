"""What the guest `cell` has besides Debian's files: `/init`, and `/setup`, which the host runs."""

from auberge.image.cell_agent import CGROUP, ROOT

INIT = r"""#!/bin/sh
# The first process of a machine that runs a container's image: it loads drivers, and becomes the
# agent, which does what the host asks for.
export PATH=/bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
read -r cmdline < /proc/cmdline
drivers=
for word in $cmdline; do
    case $word in
    auberge.drivers=*) drivers=${word#*=} ;;
    esac
done
IFS=,
modprobe -a virtio_mmio $drivers
while :; do
    # the host is asked for port 0 when the driver is there
    for port in /dev/vport*p0; do
        [ -e "$port" ] && exec /agent "${port%0}"
    done
    usleep 2000
done
"""

SETUP = (
    f"root={ROOT}\ngroup={CGROUP}\n"
    + r"""
# The guest's root file system, and all that is to be in it. The host says in variables:
#   READ_ONLY   not empty if the root file system is
#   NAME        of the host; ADDRESS and ROUTER, if there is a network; RESOLVERS
#   FOLDERS     tags of 9p devices, one a line: where each belongs, perhaps with :ro
#   DIRECTORY   the program's working directory
#   PIDS, CPU   limits, as cgroup v2 has them; or max
set -e
disk=/dev/vda
[ -e /dev/vda1 ] && disk=/dev/vda1
mount -t ext4 -o noatime $disk $root

# /devices is made with its nodes; the root file system's own /dev stays as it is
mount -t devpts -o gid=5,mode=620,ptmxmode=666,nosuid,noexec devpts /devices/pts
mount -t tmpfs -o mode=1777,size=64m,nosuid,nodev,noexec shm /devices/shm
for folder in dev proc sys etc; do
    [ -d $root/$folder ] || mkdir -p $root/$folder
done
mount -o rbind /devices $root/dev
mount -t sysfs -o ro,nosuid,nodev,noexec sysfs $root/sys
mount -t cgroup2 none /sys/fs/cgroup
echo '+cpu +memory +pids' > /sys/fs/cgroup/cgroup.subtree_control
mkdir $group
echo "$PIDS" > $group/pids.max
echo "$CPU" > $group/cpu.max

echo "$NAME" > /proc/sys/kernel/hostname
ip link set lo up
rm -f $root/etc/hostname $root/etc/hosts
echo "$NAME" > $root/etc/hostname
echo "127.0.0.1 localhost
${ADDRESS:+${ADDRESS%/*} $NAME}" > $root/etc/hosts
if [ "$ADDRESS" ]; then
    ip addr add "$ADDRESS" dev eth0
    ip link set eth0 up
    ip route add default via "$ROUTER"
    rm -f $root/etc/resolv.conf
    for server in $RESOLVERS; do
        echo "nameserver $server"
    done > $root/etc/resolv.conf
fi

# links in paths are the root file system's own: so from inside, with our busybox
ln /bin/busybox /devices/busybox
inside() {
    chroot $root /dev/busybox "$@"
}
IFS='
'
for tag in $FOLDERS; do
    target=${tag%:ro}
    [ "$target" = "$tag" ] && access=rw || access=ro
    inside mkdir -p "$target"
    inside mount -t 9p -o "$access,nosuid,nodev,trans=virtio,version=9p2000.L,msize=512000,\
cache=mmap" "$tag" "$target"
done
if [ "$READ_ONLY" ]; then
    mount -o remount,bind,ro $root
else
    inside mkdir -p "$DIRECTORY"
fi
rm /devices/busybox
"""
)

USAGE = (
    f"group={CGROUP}\n"
    + r"""
# What the guest uses: a line for each number, its name first.
cd $group
echo "memory $(cat memory.current)"
echo "pids $(cat pids.current)"
cat cpu.stat
echo "oom $(grep -w oom_kill memory.events)"
grep eth0: /proc/net/dev || :
cat /sys/block/vda/stat
"""
)

TASKS = (
    f"group={CGROUP}\n"
    + r"""
# The guest's processes: a block of lines for each, and an empty line.
while read -r pid; do
    cat /proc/$pid/stat
    grep -e ^Uid: -e ^NSpid: /proc/$pid/status
    tr '\0\n' '  ' < /proc/$pid/cmdline
    printf '\n\n'
done < $group/cgroup.procs 2>/dev/null
"""
)
