"""A cgroup of v2 with all controllers, recorded: Linux 6.12 of Debian 13 (riscv64).

A shell in it was limited to a fifth of a processor, 32 MiB and 5 tasks, had read two programs,
written 4 MiB with fsync, started a Python that wanted 64 MiB, and seven times `sleep &`.
"""

FILES = {
    "cgroup.controllers": "cpuset cpu io memory hugetlb pids rdma misc\n",
    "cgroup.subtree_control": "",
    "cgroup.procs": "",
    "cgroup.events": "populated 1\nfrozen 0\n",
    "cpu.stat": (
        "usage_usec 7794282\nuser_usec 3749682\nsystem_usec 4044600\nnice_usec 0\n"
        "nr_periods 394\nnr_throttled 370\nthrottled_usec 22632360\nnr_bursts 0\nburst_usec 0\n"
    ),
    "cpu.max": "20000 100000\n",
    "cpu.weight": "100\n",
    "cpuset.cpus": "\n",
    "cpuset.mems": "\n",
    "memory.current": "1171456\n",
    "memory.peak": "33554432\n",
    "memory.max": "33554432\n",
    "memory.low": "0\n",
    "memory.swap.current": "0\n",
    "memory.swap.max": "max\n",
    "memory.events": "low 0\nhigh 0\nmax 90\noom 1\noom_kill 1\noom_group_kill 0\n",
    "memory.stat": (
        "anon 397312\nfile 348160\nkernel 425984\nkernel_stack 65536\npagetables 172032\nsock 0\n"
    ),
    "pids.current": "4\n",
    "pids.max": "5\n",
    "pids.events": "max 1\n",
    "io.stat": "254:0 rbytes=9674752 wbytes=4194304 rios=398 wios=4 dbytes=0 dios=0\n",
    "io.max": "",
    "io.weight": "default 100\n",
    "hugetlb.2MB.current": "0\n",
    "hugetlb.2MB.events": "max 0\n",
    "hugetlb.2MB.max": "max\n",
    "rdma.max": "",
    "cpu.pressure": (
        "some avg10=77.52 avg60=38.06 avg300=10.01 total=31061823\n"
        "full avg10=69.82 avg60=36.42 avg300=9.66 total=30597020\n"
    ),
    "io.pressure": (
        "some avg10=0.00 avg60=0.00 avg300=0.00 total=809\n"
        "full avg10=0.00 avg60=0.00 avg300=0.00 total=809\n"
    ),
}
