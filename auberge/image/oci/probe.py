"""Whether an overlay can be mounted here, found out by mounting one (mount_namespaces(7)).

`python -m auberge.image.oci.probe DIRECTORY host|user` prints options that work, or `no: WHY`. It
is a process of its own, because nobody gets out of a user namespace again.
"""

import ctypes
import os
import subprocess
import sys

from auberge.image.oci.beneath import remove_tree

CLONE_NEWNS, CLONE_NEWUSER = 0x00020000, 0x10000000
MS_REC, MS_PRIVATE = 0x4000, 1 << 18

TRIALS = {
    "user": ("userxattr,volatile", "userxattr"),
    "host": ("index=off,redirect_dir=off,metacopy=off,volatile", "index=off", ""),
}
"""Best first: `volatile` (Linux 5.10) spares writing what is thrown away; without the features,
what a container changes is all in its upper directory, in a form that others read."""


def probe(directory: str, in_user_namespace: bool) -> str:
    """What a process found out that did the same as a container's will."""
    scratch = os.path.join(directory, f".probe-{os.getpid()}")
    for name in ("lower", "upper", "work", "root"):
        os.makedirs(os.path.join(scratch, name))
    try:
        who = "user" if in_user_namespace else "host"
        command = [sys.executable, "-m", "auberge.image.oci.probe", scratch, who]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        return done.stdout.strip() if done.returncode == 0 else "no: the trial failed"
    finally:
        remove_tree(scratch)


def main() -> None:
    """Try, best first, in namespaces of this process's own."""
    scratch, who = sys.argv[1:]
    libc = ctypes.CDLL(None, use_errno=True)
    uid, gid = os.geteuid(), os.getegid()
    if libc.unshare(CLONE_NEWNS | (CLONE_NEWUSER if who == "user" else 0)):
        print(f"no: {os.strerror(ctypes.get_errno())}")
        return
    if who == "user":
        for name, line in (
            ("setgroups", "deny"),
            ("uid_map", f"0 {uid} 1"),
            ("gid_map", f"0 {gid} 1"),
        ):
            with open(f"/proc/self/{name}", "w", encoding="ascii") as file:
                file.write(line)
    libc.mount(b"none", b"/", None, MS_REC | MS_PRIVATE, None)
    os.chdir(scratch)
    for options in TRIALS[who]:
        data = "lowerdir=lower,upperdir=upper,workdir=work" + (f",{options}" if options else "")
        if not libc.mount(b"overlay", b"root", b"overlay", 0, data.encode()):
            os.mkdir("root/written")
            print(options)
            return
    print(f"no: {os.strerror(ctypes.get_errno())}")


if __name__ == "__main__":
    main()
