"""The agent's text, and the program that it assembles to: no libraries, one page, data on demand.

Numbers of system calls are Linux's generic ones (include/uapi/asm-generic/unistd.h).
"""

from struct import Struct

from auberge.image.cell_agent import CGROUP, LARGEST_REQUEST, MOST_JOBS, ROOT

ORIGIN = 0x10000
_ELF = Struct("<16sHHIQQQIHHHHHH")
_SEGMENT = Struct("<IIQQQQQQ")

_CALLS = {
    "fcntl": 25, "dup3": 24, "ioctl": 29, "mount": 40, "chdir": 49, "chroot": 51, "openat": 56,
    "close": 57, "pipe2": 59, "read": 63, "write": 64, "ppoll": 73, "signalfd4": 74,
    "exit_group": 94, "kill": 129, "rt_sigprocmask": 135, "setresuid": 147, "setresgid": 149,
    "setsid": 157, "setgroups": 159, "prctl": 167, "clone": 220, "execve": 221, "mmap": 222,
    "wait4": 260, "setns": 268, "pidfd_open": 434, "close_range": 436,
}  # fmt: skip

_CONSTANTS = {
    "LARGEST": LARGEST_REQUEST, "JOBS": MOST_JOBS, "MEMORY": LARGEST_REQUEST + 0x2000,
    "O_CLOEXEC": 0x80000, "O_RDWR": 0x80002, "O_WRONLY": 0x80001, "NEWPID": 0x2000_0000,
    "SIGCHLD": 17, "VFORK": 0x4000, "SIGKILL": 9, "O_TERMINAL": 0x80102,
    "TIOCSPTLCK": 0x40045431, "TIOCGPTPEER": 0x5441, "TIOCSWINSZ": 0x5414, "TIOCSCTTY": 0x540E,
    # what a request says, by offset from its beginning (Program.body)
    "R_LENGTH": 0, "R_KIND": 4, "R_JOB": 8, "R_ARGUMENT": 12, "R_FLAGS": 16, "R_PORT": 20,
    "R_UID": 24, "R_GID": 28, "R_GROUPS": 32, "R_WINDOW": 36, "R_CAPABILITIES": 40,
    "R_GROUP_LIST": 48, "R_CWD": 52, "R_PATHS": 56, "R_ARGS": 60, "R_ENV": 64,
    # a job of 64 bytes: its process, those that pump its streams, its terminal's master plus one
    "J_PID": 0, "J_PUMPS": 8, "J_MASTER": 32,
}  # fmt: skip

_TEXT = r"""
# s0 how ports' names begin   s1 port 0            s2 the request     s3 a signalfd for SIGCHLD
# s4 our pid namespace        s5 the guest's, -1   s6 the jobs        s7 room for short things
# s8 the job of a request     sp Linux's stack

start:
    ld      s0, 16(sp)                  # argv[1]
    li      a0, 0
    li      a1, MEMORY
    li      a2, 3                       # PROT_READ | PROT_WRITE
    li      a3, 0x22                    # MAP_PRIVATE | MAP_ANONYMOUS
    li      a4, -1
    li      a5, 0
    SYS     mmap
    mv      s2, a0
    li      t0, LARGEST
    add     s6, s2, t0
    li      t0, 0x1000
    add     s7, s6, t0
    li      a0, 0
    call    open_port
    bltz    a0, die
    mv      s1, a0
    li      t0, 1 << (SIGCHLD - 1)
    sd      t0, 0(s7)
    li      a0, 0                       # SIG_BLOCK
    mv      a1, s7
    li      a2, 0
    li      a3, 8
    SYS     rt_sigprocmask
    li      a0, -1
    mv      a1, s7
    li      a2, 8
    li      a3, O_CLOEXEC
    SYS     signalfd4
    mv      s3, a0
    lla     a1, own_namespace
    li      a2, O_CLOEXEC
    call    open
    mv      s4, a0
    li      s5, -1
    li      a0, 1                       # READY
    li      a1, 0
    li      a2, 1                       # VERSION
    call    report

loop:
    li      t0, 1                       # POLLIN
    sw      s1, 0(s7)
    sw      t0, 4(s7)
    sw      s3, 8(s7)
    sw      t0, 12(s7)
    mv      a0, s7
    li      a1, 2
    li      a2, 0
    li      a3, 0
    li      a4, 8
    SYS     ppoll
    blez    a0, loop
    lhu     s9, 6(s7)
    lhu     t0, 14(s7)
    beqz    t0, 1f
    call    reap                        # first: the number of a job may be used again at once
1:  beqz    s9, loop
    call    serve
    j       loop

die:
    li      a0, 1
    SYS     exit_group

# -- children that have ended ---------------------------------------------------------------------

reap:
    addi    sp, sp, -16
    sd      ra, 0(sp)
    mv      a0, s3
    addi    a1, s7, 256
    li      a2, 128
    SYS     read
next_child:
    li      a0, -1
    addi    a1, s7, 16
    li      a2, 1                       # WNOHANG
    li      a3, 0
    SYS     wait4
    blez    a0, 9f
    li      t0, 0                       # the job
    mv      t1, s6
1:  ld      t2, J_PID(t1)
    beq     t2, a0, ended
    addi    t3, t1, J_PUMPS
    li      t4, 3
2:  ld      t2, 0(t3)
    bne     t2, a0, 3f
    sd      zero, 0(t3)                 # its number will be another's
3:  addi    t3, t3, 8
    addi    t4, t4, -1
    bnez    t4, 2b
    addi    t0, t0, 1
    addi    t1, t1, 64
    li      t2, JOBS
    bne     t0, t2, 1b
    j       next_child
ended:
    sd      zero, J_PID(t1)
    sd      t0, 24(s7)
    sd      t1, 32(s7)
    ld      a0, J_PUMPS(t1)             # nobody reads what it pumps
    sd      zero, J_PUMPS(t1)
    beqz    a0, 1f
    li      a1, SIGKILL
    SYS     kill
1:  ld      t1, 32(s7)
    ld      a0, J_MASTER(t1)
    sd      zero, J_MASTER(t1)
    beqz    a0, 1f
    addi    a0, a0, -1
    SYS     close
1:  ld      a1, 24(s7)
    bnez    a1, 1f
    mv      a0, s5                      # job 0 is the first process: its namespace is gone
    li      s5, -1
    SYS     close
1:  li      a0, 4                       # EXITED
    ld      a1, 24(s7)
    lw      a2, 16(s7)
    call    report
    j       next_child
9:  ld      ra, 0(sp)
    addi    sp, sp, 16
    ret

# -- requests -------------------------------------------------------------------------------------

serve:
    addi    sp, sp, -16
    sd      ra, 0(sp)
    mv      a0, s2
    li      a1, 16
    call    receive
    lwu     t0, R_LENGTH(s2)
    li      t1, LARGEST
    bgtu    t0, t1, die
    addi    a0, s2, 16
    addi    a1, t0, -16
    call    receive
    lwu     t0, R_JOB(s2)
    li      t1, JOBS
    bgeu    t0, t1, die
    slli    t0, t0, 6
    add     s8, s6, t0
    lwu     t0, R_KIND(s2)
    lwu     a1, R_ARGUMENT(s2)
    addi    t0, t0, -1
    beqz    t0, run
    addi    t0, t0, -1
    beqz    t0, signal
    addi    t0, t0, -1
    beqz    t0, resize
    addi    t0, t0, -1
    beqz    t0, hang_up
    j       die
signal:
    ld      a0, J_PID(s8)
    beqz    a0, served
    SYS     kill
    j       served
resize:
    ld      a0, J_MASTER(s8)
    beqz    a0, served
    addi    a0, a0, -1
    call    set_window
    j       served
hang_up:
    li      t0, 3
    bgeu    a1, t0, served
    slli    a1, a1, 3
    add     t0, s8, a1
    ld      a0, J_PUMPS(t0)
    sd      zero, J_PUMPS(t0)
    beqz    a0, served
    li      a1, SIGKILL
    SYS     kill
served:
    ld      ra, 0(sp)
    addi    sp, sp, 16
    ret

receive:                                # a0 where to, a1 how much
    addi    sp, sp, -32
    sd      ra, 0(sp)
    sd      s10, 8(sp)
    sd      s11, 16(sp)
    mv      s10, a0
    mv      s11, a1
1:  blez    s11, 2f
    mv      a0, s1
    mv      a1, s10
    mv      a2, s11
    SYS     read
    blez    a0, die
    add     s10, s10, a0
    sub     s11, s11, a0
    j       1b
2:  ld      ra, 0(sp)
    ld      s10, 8(sp)
    ld      s11, 16(sp)
    addi    sp, sp, 32
    ret

report:                                 # a0 kind, a1 job, a2 value
    addi    sp, sp, -16
    sw      a0, 0(sp)
    sw      a1, 4(sp)
    sw      a2, 8(sp)
    sw      zero, 12(sp)
    mv      a0, s1
    mv      a1, sp
    li      a2, 16
    SYS     write
    addi    sp, sp, 16
    ret

set_window:                             # a0 the master, a1 rows and columns
    sw      a1, 0(s7)
    sw      zero, 4(s7)
    li      a1, TIOCSWINSZ
    mv      a2, s7
    SYS     ioctl
    ret

open:                                   # a1 path, a2 flags
    li      a0, -100                    # AT_FDCWD
    li      a3, 0
    SYS     openat
    ret

open_port:                              # a0 its number, below 100
    addi    t0, s7, 64
    mv      t1, s0
1:  lbu     t2, 0(t1)
    beqz    t2, 2f
    sb      t2, 0(t0)
    addi    t0, t0, 1
    addi    t1, t1, 1
    j       1b
2:  li      t2, 10
    bltu    a0, t2, 3f
    divu    t3, a0, t2
    remu    a0, a0, t2
    addi    t3, t3, 48
    sb      t3, 0(t0)
    addi    t0, t0, 1
3:  addi    a0, a0, 48
    sb      a0, 0(t0)
    sb      zero, 1(t0)
    addi    a1, s7, 64
    li      a2, O_RDWR
    j       open

await_host:                             # a0 a port: of its host's end the driver hears later
    sw      a0, 0(s7)
1:  sw      zero, 4(s7)
    mv      a0, s7
    li      a1, 1
    addi    a2, s7, 16
    sd      zero, 0(a2)
    sd      zero, 8(a2)
    li      a3, 0
    li      a4, 8
    SYS     ppoll
    lhu     t0, 6(s7)
    andi    t0, t0, 16                  # POLLHUP: it has not yet
    beqz    t0, 2f
    li      t0, 1000000                 # a millisecond
    addi    a2, s7, 16
    sd      t0, 8(a2)
    li      a0, 0
    li      a1, 0
    li      a3, 0
    li      a4, 8
    SYS     ppoll
    j       1b
2:  ret

pump:                                   # a0 from, a1 to: the process that passes bytes on
    mv      t5, a0
    mv      t6, a1
    li      a0, SIGCHLD
    li      a1, 0
    li      a2, 0
    li      a3, 0
    li      a4, 0
    SYS     clone
    beqz    a0, 1f
    ret
1:  mv      a0, t5
    li      a1, 0
    li      a2, 0
    SYS     dup3
    mv      a0, t6
    li      a1, 1
    li      a2, 0
    SYS     dup3
    li      a0, 3
    li      a1, -1
    li      a2, 0
    SYS     close_range
2:  li      a0, 0
    mv      a1, s2
    li      a2, 0x8000
    SYS     read
    blez    a0, die
    mv      s10, s2
    mv      s11, a0
3:  li      a0, 1
    mv      a1, s10
    mv      a2, s11
    SYS     write
    blez    a0, die
    add     s10, s10, a0
    sub     s11, s11, a0
    bnez    s11, 3b
    j       2b

# -- RUN ------------------------------------------------------------------------------------------

run:
    addi    sp, sp, -48                 # 0 to 16: what the program has as 0, 1, 2; 24: a pipe
    li      t0, -1
    sd      t0, 0(sp)
    sd      t0, 8(sp)
    sd      t0, 16(sp)
    sd      zero, J_PUMPS(s8)
    sd      zero, J_PUMPS + 8(s8)
    sd      zero, J_PUMPS + 16(s8)
    sd      zero, J_MASTER(s8)
    lwu     a0, R_PATHS(s2)
    call    relocate
    lwu     a0, R_ARGS(s2)
    call    relocate
    lwu     a0, R_ENV(s2)
    call    relocate
    lwu     t0, R_FLAGS(s2)
    andi    t0, t0, 1                   # TERMINAL
    bnez    t0, on_terminal

    li      s9, 0                       # the stream
each_stream:
    lwu     a0, R_PORT(s2)
    add     a0, a0, s9
    call    open_port
    bltz    a0, no_ports
    mv      s10, a0
    call    await_host
    addi    a0, sp, 24
    li      a1, O_CLOEXEC
    SYS     pipe2
    bltz    a0, no_ports
    lw      t0, 24(sp)                  # its end to read
    lw      s11, 28(sp)                 # its end to write
    bnez    s9, 1f
    sd      t0, 0(sp)
    mv      a0, s10
    mv      a1, s11
    call    pump
    j       2f
1:  slli    t1, s9, 3
    add     t1, sp, t1
    sd      s11, 0(t1)
    mv      s11, t0
    mv      a0, s11
    mv      a1, s10
    call    pump
2:  bltz    a0, no_ports
    slli    t1, s9, 3
    add     t1, s8, t1
    sd      a0, J_PUMPS(t1)
    mv      a0, s10
    SYS     close
    mv      a0, s11
    SYS     close
    addi    s9, s9, 1
    li      t0, 3
    bne     s9, t0, each_stream
    j       start_it

on_terminal:
    lla     a1, multiplexer
    li      a2, O_TERMINAL
    call    open
    bltz    a0, no_ports
    addi    t0, a0, 1
    sd      t0, J_MASTER(s8)
    mv      s11, a0
    sw      zero, 24(sp)
    li      a1, TIOCSPTLCK
    addi    a2, sp, 24
    SYS     ioctl
    mv      a0, s11
    lwu     a1, R_WINDOW(s2)
    call    set_window
    mv      a0, s11
    li      a1, TIOCGPTPEER
    li      a2, O_TERMINAL
    SYS     ioctl
    bltz    a0, no_ports
    sd      a0, 0(sp)
    sd      a0, 8(sp)
    sd      a0, 16(sp)
    lwu     a0, R_PORT(s2)
    call    open_port
    bltz    a0, no_ports
    mv      s10, a0
    call    await_host
    mv      a0, s10
    mv      a1, s11
    call    pump
    sd      a0, J_PUMPS(s8)
    mv      a0, s11
    mv      a1, s10
    call    pump
    sd      a0, J_PUMPS + 8(s8)
    mv      a0, s10
    SYS     close

start_it:
    lwu     s9, R_FLAGS(s2)
    andi    t0, s9, 8                   # JOIN
    beqz    t0, 1f
    mv      a0, s5
    li      a1, NEWPID
    SYS     setns
    bltz    a0, no_ports
1:  li      a0, SIGCHLD | VFORK         # until its exec: by then it has said what failed
    andi    t0, s9, 4                   # FIRST
    beqz    t0, 1f
    li      t0, NEWPID
    or      a0, a0, t0
1:  li      a1, 0
    li      a2, 0
    li      a3, 0
    li      a4, 0
    SYS     clone
    beqz    a0, child
    mv      s10, a0
    andi    t0, s9, 8
    beqz    t0, 1f
    mv      a0, s4
    li      a1, NEWPID
    SYS     setns
1:  mv      a0, s10
    bltz    a0, no_ports
    sd      a0, J_PID(s8)
    andi    t0, s9, 4
    beqz    t0, 1f
    li      a1, 0
    SYS     pidfd_open
    mv      s5, a0
1:  call    close_ends
    li      a0, 2                       # STARTED
    lwu     a1, R_JOB(s2)
    mv      a2, s10
    call    report
    addi    sp, sp, 48
    j       served

no_ports:
    neg     s10, a0
    call    close_ends
    li      a0, 3                       # FAILED
    lwu     a1, R_JOB(s2)
    li      a2, 1 << 16                 # PORTS
    or      a2, a2, s10
    call    report
    addi    sp, sp, 48
    j       served

close_ends:                             # of the program's; on a terminal they are one
    ld      a0, 0(sp)
    SYS     close
    ld      a0, 8(sp)
    SYS     close
    ld      a0, 16(sp)
    SYS     close
    ret

relocate:                               # a0 the offset of a list of offsets, which ends with 0
    add     a0, a0, s2
1:  ld      t0, 0(a0)
    beqz    t0, 2f
    add     t0, t0, s2
    sd      t0, 0(a0)
    addi    a0, a0, 8
    j       1b
2:  ret

child:
    SYS     setsid
    ld      a0, 0(sp)
    li      a1, 0
    li      a2, 0
    SYS     dup3
    ld      a0, 8(sp)
    li      a1, 1
    li      a2, 0
    SYS     dup3
    ld      a0, 16(sp)
    li      a1, 2
    li      a2, 0
    SYS     dup3
    andi    t0, s9, 1                   # TERMINAL
    beqz    t0, 1f
    li      a0, 0
    li      a1, TIOCSCTTY
    li      a2, 0
    SYS     ioctl
1:  andi    t0, s9, 4                   # FIRST: /proc of its namespace
    beqz    t0, 1f
    lla     a0, proc
    lla     a1, where_proc
    mv      a2, a0
    li      a3, 14                      # MS_NOSUID | MS_NODEV | MS_NOEXEC
    li      a4, 0
    SYS     mount
1:  andi    t0, s9, 2                   # INSIDE
    beqz    t0, 1f
    li      s10, 5                      # WALLS
    lla     a1, cgroup
    li      a2, O_WRONLY
    call    open
    lla     a1, zero_digit
    li      a2, 1
    SYS     write                       # which fails if there is no such file
    andi    t0, s9, 4                   # later, a guest that may has perhaps divided its cgroup
    beqz    t0, 9f
    bltz    a0, failed
9:  lla     a0, root
    SYS     chdir
    bltz    a0, failed
    lla     a0, dot
    SYS     chroot
    bltz    a0, failed
1:  lwu     a0, R_CWD(s2)
    add     a0, a0, s2
    SYS     chdir
    li      s10, 2                      # DIRECTORY
    bltz    a0, failed
    ld      s11, R_CAPABILITIES(s2)
    li      s9, 0
2:  andi    t0, s11, 1
    bnez    t0, 3f
    li      a0, 24                      # PR_CAPBSET_DROP
    mv      a1, s9
    li      a2, 0
    li      a3, 0
    li      a4, 0
    SYS     prctl
    bltz    a0, 4f                      # the kernel knows no more
3:  srli    s11, s11, 1
    addi    s9, s9, 1
    li      t0, 64
    bne     s9, t0, 2b
4:  li      s10, 3                      # IDENTITY
    lwu     a0, R_GROUPS(s2)
    lwu     a1, R_GROUP_LIST(s2)
    add     a1, a1, s2
    SYS     setgroups
    bltz    a0, failed
    lw      a0, R_GID(s2)
    mv      a1, a0
    mv      a2, a0
    SYS     setresgid
    bltz    a0, failed
    lw      a0, R_UID(s2)
    mv      a1, a0
    mv      a2, a0
    SYS     setresuid
    bltz    a0, failed
    sd      zero, 0(s7)
    li      a0, 2                       # SIG_SETMASK
    mv      a1, s7
    li      a2, 0
    li      a3, 8
    SYS     rt_sigprocmask
    li      s10, 4                      # EXECUTION
    li      s9, -2                      # ENOENT
    lwu     s11, R_PATHS(s2)
    add     s11, s11, s2
5:  ld      a0, 0(s11)
    beqz    a0, 7f
    lwu     a1, R_ARGS(s2)
    add     a1, a1, s2
    lwu     a2, R_ENV(s2)
    add     a2, a2, s2
    SYS     execve
    li      t0, -2                      # ENOENT and ENOTDIR: there may be another
    beq     a0, t0, 6f
    li      t0, -20
    beq     a0, t0, 6f
    mv      s9, a0
    li      t0, -13                     # so with EACCES, but that is the answer then
    bne     a0, t0, 7f
6:  addi    s11, s11, 8
    j       5b
7:  mv      a0, s9
failed:
    neg     a0, a0
    slli    a2, s10, 16
    or      a2, a2, a0
    li      a0, 3                       # FAILED
    lwu     a1, R_JOB(s2)
    call    report
    li      a0, 127
    SYS     exit_group

own_namespace:  .asciz  "/proc/self/ns/pid"
multiplexer:    .asciz  "ROOT/dev/pts/ptmx"
proc:           .asciz  "proc"
where_proc:     .asciz  "ROOT/proc"
cgroup:         .asciz  "CGROUP/cgroup.procs"
root:           .asciz  "ROOT"
zero_digit:     .asciz  "0"
dot:            .asciz  "."
"""


def agent() -> bytes:
    """The agent as an ELF program for riscv64."""
    # tracing the description costs a quarter of a second
    from auberge.isa.assembler import assemble
    from auberge.isa.riscv.rv64 import rv64

    lines = []
    for line in _TEXT.replace("ROOT/", f"{ROOT}/").replace('"ROOT"', f'"{ROOT}"').split("\n"):
        before, sys, name = line.partition("SYS ")
        if sys:
            lines.append(f"{before}li a7, {_CALLS[name.split('#')[0].strip()]}; ecall")
        else:
            lines.append(line.replace('"CGROUP/', f'"{CGROUP}/'))
    headers = _ELF.size + _SEGMENT.size
    code = assemble(rv64, "\n".join(lines), ORIGIN + headers, _CONSTANTS)
    size = headers + len(code)
    identity = b"\x7fELF\x02\x01\x01".ljust(16, b"\0")
    # gABI, chapters 4 and 5: an executable for EM_RISCV with one segment, to be read and executed
    header = _ELF.pack(
        identity, 2, 243, 1, ORIGIN + headers, _ELF.size, 0, 4, _ELF.size, _SEGMENT.size, 1, 0, 0, 0
    )
    return header + _SEGMENT.pack(1, 5, 0, ORIGIN, ORIGIN, size, size, 0x1000) + code
