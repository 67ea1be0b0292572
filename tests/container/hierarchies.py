"""Hosts as the kernel told of them: what /proc/self/mountinfo and cgroup said, recorded."""

V1 = (
    "25 30 0:22 / /sys rw,nosuid,nodev,noexec,relatime shared:7 - sysfs sysfs rw\n"
    "31 25 0:26 / /sys/fs/cgroup ro,nosuid,nodev,noexec shared:9 - tmpfs tmpfs ro,mode=755\n"
    "33 31 0:28 / /sys/fs/cgroup/systemd rw shared:11 - cgroup cgroup rw,xattr,name=systemd\n"
    "36 31 0:31 / /sys/fs/cgroup/net_cls,net_prio rw - cgroup cgroup rw,net_cls,net_prio\n"
    "37 31 0:32 / /sys/fs/cgroup/cpu,cpuacct rw shared:16 - cgroup cgroup rw,cpu,cpuacct\n"
    "38 31 0:33 / /sys/fs/cgroup/memory rw shared:17 - cgroup cgroup rw,memory\n"
    "39 31 0:34 / /sys/fs/cgroup/blkio rw shared:18 - cgroup cgroup rw,blkio\n"
    "40 31 0:35 / /sys/fs/cgroup/hugetlb rw shared:19 - cgroup cgroup rw,hugetlb\n"
    "41 31 0:36 / /sys/fs/cgroup/pids rw shared:20 - cgroup cgroup rw,pids\n"
    "42 31 0:37 / /sys/fs/cgroup/cpuset rw shared:21 - cgroup cgroup rw,cpuset\n"
    "43 31 0:38 / /sys/fs/cgroup/freezer rw shared:22 - cgroup cgroup rw,freezer\n"
    "44 31 0:39 / /sys/fs/cgroup/devices rw shared:23 - cgroup cgroup rw,devices\n"
    "45 31 0:40 / /sys/fs/cgroup/rdma rw shared:24 - cgroup cgroup rw,rdma\n",
    "12:net_cls,net_prio:/\n11:cpu,cpuacct:/user.slice\n10:memory:/user.slice/user-1000.slice\n"
    "9:blkio:/user.slice\n8:hugetlb:/\n7:pids:/user.slice\n6:cpuset:/\n5:freezer:/\n"
    "4:devices:/user.slice\n3:rdma:/\n1:name=systemd:/user.slice/user-1000.slice\n",
)
"""Debian 10 with systemd.unified_cgroup_hierarchy=0 and no hybrid."""

HYBRID = (
    "31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755\n"
    "32 31 0:29 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu\n"
    "35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory\n"
    "39 31 0:36 / /sys/fs/cgroup/pids rw,relatime - cgroup cgroup rw,pids\n"
    "40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,name=systemd\n"
    "41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n",
    "9:name=systemd:/\n8:pids:/\n4:memory:/jobs/7\n1:cpu:/\n0::/jobs/7\n",
)

V2 = (
    "24 30 0:22 / /sys rw - sysfs sysfs rw\n"
    "29 24 0:25 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n",
    "0::/user.slice/user-1000.slice/user@1000.service/app.slice/run-7.scope\n",
)
"""Debian 12, in a scope that systemd has delegated to a user."""

IN_A_CONTAINER = (
    "501 490 0:26 /docker/f00 /sys/fs/cgroup ro,nosuid - cgroup2 cgroup rw\n",
    "0::/docker/f00/mine\n",
)
"""Without a cgroup namespace: the mount shows a part of the hierarchy."""

V2_CONTROLLERS = "cpuset cpu io memory hugetlb pids rdma misc\n"
