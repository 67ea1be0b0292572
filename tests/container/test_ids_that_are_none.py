"""Numbers that the kernel would take for others: for nobody, or for what 32 bits keep of them."""

import json

import pytest

LARGEST = 0xFFFF_FFFE


@pytest.mark.parametrize("field", ["uid", "gid", "additionalGids"])
def test_minus_one_is_no_user(bundle, field):
    number = LARGEST + 1
    bundle.process["user"] = {"uid": 7, "gid": 7}
    bundle.process["user"][field] = [number] if field == "additionalGids" else number
    where = f"$.process.user.{field}" + ("[0]" if field == "additionalGids" else "")
    done = bundle.run("ours", "id -u")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        f"auberge-oci: {bundle.path}/config.json: {where}: {number} is out of range; "
        f"write a number from 0 to {LARGEST}\n"
    )


@pytest.mark.slow
def test_the_largest_is_one(bundle):
    bundle.process["user"] = {"uid": LARGEST, "gid": LARGEST}
    assert bundle.said("ours", "id -u; id -g") == f"{LARGEST}\n{LARGEST}\n"


@pytest.mark.slow
def test_nor_are_they_for_one_more_process(bundle):
    bundle.create("ours", "sleep 100")
    assert bundle.call("ours", "start", bundle.name).returncode == 0
    for option, text in [
        ("user", "4294967295"), ("user", "4294967296"), ("user", "\u00b2"), ("user", "9" * 5000),
        ("user", "root"), ("user", "-1"), ("additional-gids", "4294967296"),
        ("additional-gids", "\u00b2"),
    ]:  # fmt: skip
        done = bundle.call("ours", "exec", f"--{option}", text, bundle.name, "id", "-u")
        assert (done.returncode, done.stdout) == (1, ""), text
        line = f"--{option}: {text!r} is no id; write a number up to {LARGEST}"
        assert done.stderr == f"auberge-oci: {line}\n"
    done = bundle.call("ours", "exec", "--user", "5:4294967296", bundle.name, "id")
    assert done.stderr.startswith("auberge-oci: --user: '4294967296' is no id;")
    done = bundle.call("ours", "exec", "--cap", "CAP_NOPE", bundle.name, "id")
    assert done.stderr == (
        "auberge-oci: --cap: 'CAP_NOPE' is no capability; write one of capabilities(7), "
        "such as 'CAP_CHOWN'\n"
    )
    process = bundle.path / "process.json"
    wanted = {"cwd": "/", "args": ["id", "-u"], "user": {"uid": LARGEST + 1, "gid": 0}}
    process.write_text(json.dumps(wanted))
    done = bundle.call("ours", "exec", "-p", str(process), bundle.name)
    assert (done.returncode, done.stdout) == (1, "")


def test_more_steps_than_there_is_room_for(bundle):
    bundle.linux["maskedPaths"] = [f"/{number}" for number in range(1000)]
    done = bundle.run("ours", "true")
    assert done.returncode == 1
    assert done.stderr.startswith("auberge-oci: config.json: asks for 2")
    assert done.stderr.endswith(" 21845 are the most; take some mounts or paths out\n")
