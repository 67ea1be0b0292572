"""What a machine's guest says of itself is read with care: it may say anything."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auberge.image.oci.identity import Identity
from auberge.monitor.guest import Task, Usage
from auberge.monitor.machine_tasks import identify, numbers, tasks, usage
from auberge.refusal import Refusal

STAT = "{pid} ({name}) S {parent} 1 1 0 -1 4 1 0 0 0 150 50 0 0 20 0 1 0 5 1 1\n"

PASSWD = "root:x:0:0:root:/root:/bin/sh\nguest:x:1000:1001:g:/home/guest:/bin/sh\nodd:x:y:z:::\n"
GROUP = "root:x:0:\nplayers:x:2000:guest,other\nothers:x:3000:other\n"


def block(pid, inner, name="sh", parent=1, uid=0, command="sh -c x"):
    first = STAT.format(pid=pid, name=name, parent=parent)
    return f"{first}Uid:\t{uid}\t{uid}\nNSpid:\t{pid}\t{inner}\n{command}\n\n"


def test_processes_have_the_numbers_that_the_guest_knows():
    said = block(90, 1) + block(95, 7, parent=90, uid=33, name="a) b", command="")
    assert tasks(said) == [
        Task(1, 0, "0", 2.0, "sh -c x"),
        Task(7, 1, "33", 2.0, "[a) b]"),
    ]


def test_what_is_no_process_is_left_out():
    assert tasks("") == tasks("nonsense\n\n1 (x) S\nUid: 0\nNSpid: 1\n\n") == []
    odd = block(90, 1).replace("NSpid:\t90\t1", "NSpid:\tx")
    assert tasks(odd + block(91, 2, command="\x1b[2Jhi")) == [Task(2, 0, "0", 2.0, "?[2Jhi")]


def test_numbers_of_a_guest():
    said = (
        "memory 4096\npids 3\nusage_usec 1500000\noom oom_kill 2\n"
        "  eth0: 100 1 0 0 0 0 0 0 200 2 0 0 0 0 0 0\n"
        " 5 0 16 1 6 0 32 2 0 3 4 0 0 0 0 0 0\n"
    )
    assert usage(said) == Usage(1.5, 4096, None, 3, None, 100, 200, 16 * 512, 32 * 512)
    assert numbers(said)["oom"] == 2
    assert usage("memory -1\npids 1e9\n") == Usage()


def test_users_are_those_of_the_guests_files():
    assert identify("guest", PASSWD, GROUP, "x") == Identity(1000, 1001, (2000,), "/home/guest")
    assert identify("7", PASSWD, GROUP, "x") == Identity(7, 0, (), "/")
    assert identify("guest:players", PASSWD, GROUP, "x").gid == 2000
    assert identify("0:5", PASSWD, GROUP, "x") == Identity(0, 5, (), "/root")
    with pytest.raises(Refusal) as refused:
        identify("nobody", PASSWD, GROUP, "box:riscv64")
    assert str(refused.value) == (
        "box:riscv64: no user 'nobody' in the guest's /etc/passwd; give a number"
    )
    with pytest.raises(Refusal) as refused:
        identify("4294967295", PASSWD, GROUP, "box:riscv64")
    assert str(refused.value) == "box:riscv64: 4294967295 is no id; give one below 4294967295"


@given(st.text(alphabet="0123456789 :()\n\tUidNSpeth-xoml_", max_size=300))
def test_whatever_it_says(text):
    for task in tasks(text):
        assert task.pid >= 0 and task.command.isprintable()
    usage(text)
    try:
        identify("guest", text, text, "x")
    except Refusal:
        pass
