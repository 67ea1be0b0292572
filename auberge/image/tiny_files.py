"""What the guest `tiny` has besides Debian's files: `/init` and a few lines of configuration."""

from auberge.image.shared_folders import MOUNT_FOLDERS

INIT = (
    r"""#!/bin/sh
# The first process of the guest `tiny`. What it does is decided by the kernel's command line:
#   auberge.report          print a line `guest says:`, `uname -a` and /etc/os-release; power off
#   auberge.run=BASE64      run this shell command; power off, the test device reports its status
#   auberge.size=COLSxROWS  the size of the terminal that the console is shown on
#   TERM=NAME               (the kernel puts it into our environment) the kind of that terminal
# Without the first two: a login shell on the console; leaving it powers off.

export PATH=/bin HOME=/root
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
echo tiny > /proc/sys/kernel/hostname

read -r cmdline < /proc/cmdline
what=shell
for word in $cmdline; do
    case $word in
    auberge.report) what=report ;;
    auberge.run=*) what=run command=${word#*=} ;;
    auberge.size=*x*) size=${word#*=} ;;
    esac
done

# The few drivers Debian's kernel does not have built in, when there is something to drive.
# The report needs none, and loading one costs an emulated processor a tenth of a second.
load_drivers() {
    case $(cat /sys/bus/platform/devices/*/modalias 2>/dev/null) in
    *virtio,mmio*)
        modprobe virtio_mmio
        found=$(cat /sys/bus/virtio/devices/*/modalias 2>/dev/null)
        [ "$found" ] && modprobe -aq $found
        ;;
    esac
}

# Where there is a network device: an address, a route and a resolver, by DHCP.
start_network() {
    [ -e /sys/class/net/eth0 ] || return
    ip link set lo up
    ip link set eth0 up
    udhcpc -i eth0 -q -n -t 5 -T 1 -s /etc/udhcpc.sh > /dev/null 2>&1
}
"""
    + MOUNT_FOLDERS
    + r"""
case $what in
report)
    echo "guest says:"
    uname -a
    cat /etc/os-release
    ;;
run)
    load_drivers
    mount_folders
    start_network
    sh -c "$(echo "$command" | base64 -d)"
    status=$?
    if [ $status -ne 0 ]; then
        sync
        # SiFive test device: the status in the high half, "fail" in the low one
        devmem 0x100000 32 $((status << 16 | 0x3333))
    fi
    ;;
shell)
    load_drivers
    mount_folders
    start_network
    mkdir /dev/pts
    mount -t devpts devpts /dev/pts
    ip link set lo up
    [ "$size" ] && stty cols "${size%x*}" rows "${size#*x}"
    cd /root
    setsid cttyhack sh -l
    ;;
esac
poweroff -f
"""
)

PASSWD = """root::0:0:root:/root:/bin/sh
nobody:*:65534:65534:nobody:/:/bin/false
"""

GROUP = """root:x:0:
tty:x:5:
disk:x:6:
nogroup:x:65534:
"""

HOSTS = """127.0.0.1 localhost
127.0.1.1 tiny
"""

UDHCPC = r"""#!/bin/sh
# What udhcpc found out: its environment and the first argument say it.
case $1 in
bound | renew)
    ip addr flush dev $interface
    ip addr add $ip/$mask dev $interface
    ip route add default via ${router%% *}
    for server in $dns; do
        echo nameserver $server
    done > /etc/resolv.conf
    ;;
esac
"""

PROFILE = r"""PS1='\u@\h:\w\$ '
alias ll='ls -l'
"""
