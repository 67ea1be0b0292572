"""A real systemd as the first process of namespaces of our own, with a bus, for one module's tests.

Its root is the host's with everything that it writes in memory; its cgroup is one of ours, which is
all that it sees of cgroups (v2 alone); its units are a few of Debian's. A user of it, 1234, has a
systemd too.
"""

import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

import pytest

from auberge.container.cgroups import Cgroup
from auberge.container.cgroups_layout import Node, read_layout

SYSTEMD = "/lib/systemd/systemd"
USER = 1234
UNITS = (
    "dbus.service dbus.socket sockets.target basic.target sysinit.target slices.target "
    "paths.target timers.target shutdown.target local-fs.target"
).split()
SCRIPT = r"""
set -e
base=$1; shared=$2; user=$3
mount --make-rprivate /
mount -t tmpfs tmpfs $base
mkdir $base/up $base/work $base/root
mount -t overlay overlay -o lowerdir=/,upperdir=$base/up,workdir=$base/work $base/root
cd $base/root
mount -t proc proc proc
mount -t sysfs -o ro sysfs sys
mount -t cgroup2 cgroup2 sys/fs/cgroup
mount -t tmpfs -o mode=755 tmpfs run
mount -t tmpfs -o mode=755 tmpfs dev
for name in null zero full random urandom tty; do
    touch dev/$name; mount --bind /dev/$name dev/$name
done
mkdir dev/shm dev/pts
mount -t devpts -o newinstance,ptmxmode=666 devpts dev/pts
ln -s pts/ptmx dev/ptmx
mkdir -p .$shared
above=$shared
while [ $above != / ]; do chmod a+rx .$above; above=$(dirname $above); done
mount --bind $shared .$shared
mkdir -p run/units/sockets.target.wants run/user/$user
chown $user:$user run/user/$user
for name in $UNITS; do cp lib/systemd/system/$name run/units/; done
ln -s ../dbus.socket run/units/sockets.target.wants/
cat > run/units/default.target <<END
[Unit]
Requires=basic.target
After=basic.target
END
cat > run/units/users.service <<END
[Service]
User=$user
Delegate=yes
Slice=user.slice
Type=notify
Environment=XDG_RUNTIME_DIR=/run/user/$user SYSTEMD_UNIT_PATH=/run/units
ExecStart=/lib/systemd/systemd --user --unit=basic.target
END
echo 0123456789abcdef0123456789abcdef > etc/machine-id
echo tester:x:$user:$user::/tmp:/bin/sh >> etc/passwd
echo tester:x:$user: >> etc/group
mkdir run/before
pivot_root . run/before  # no chroot: its processes could not make user namespaces
cd /
umount -l /run/before
exec /usr/bin/env -i container=auberge-test SYSTEMD_UNIT_PATH=/run/systemd/transient:/run/units \
    PATH=/usr/sbin:/usr/bin:/sbin:/bin /lib/systemd/systemd --system --show-status=no
"""


class World:
    """A systemd that runs; everything in `folder` is its own, too."""

    def __init__(self, folder, cgroup):
        self.folder, self.cgroup = folder, cgroup
        (folder / "base").mkdir()
        (folder / "shared").mkdir()
        script = f"echo $$ > {cgroup}/cgroup.procs; exec unshare --mount --pid --fork --cgroup "
        script += '--uts --ipc --net bash -c "$SCRIPT" bash "$@"'
        words = ["sh", "-c", script, "sh", folder / "base", folder / "shared", str(USER)]
        environment = {**os.environ, "UNITS": " ".join(UNITS), "SCRIPT": SCRIPT}
        self.log = open(folder / "log", "w")
        self.process = subprocess.Popen(
            words, env=environment, stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log
        )
        self.pid = 0
        deadline = time.monotonic() + 60
        while not self.is_up():
            if time.monotonic() > deadline or self.process.poll() is not None:
                said = (folder / "log").read_text()[-500:]
                self.end()
                pytest.skip(f"systemd does not start in a namespace here: {said}")
            time.sleep(0.05)

    def is_up(self):
        """Whether it has begun to answer."""
        path = f"/proc/{self.process.pid}/task/{self.process.pid}/children"
        try:
            children = Path(path).read_text().split()
            self.pid = int(children[0]) if children else 0
            if not self.pid or Path(f"/proc/{self.pid}/comm").read_text() != "systemd\n":
                return False
        except FileNotFoundError:
            return False
        return self.call("systemctl", "is-active", "default.target").stdout == "active\n"

    def call(self, *words, scope="work", user=0, **environment):
        """Run a command in it, in the cgroup `scope` of it."""
        into = f"{self.cgroup}/{scope}"
        os.makedirs(into, exist_ok=True)
        # -C and cgroup.procs: `nsenter` takes the namespace, not the place
        script = f'echo $$ > {into}/cgroup.procs && exec nsenter -t {self.pid} -a -r "$@"'
        more = ["setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups"] if user else []
        # files: what a detached container is given would hold a pipe open
        with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as errors:
            done = subprocess.run(
                ["sh", "-c", script, "sh", *more, *map(str, words)],
                env={**os.environ, "PYTHONPATH": os.getcwd(), "PYTHONDONTWRITEBYTECODE": "1",
                     **environment},
                stdout=out, stderr=errors, timeout=60, stdin=subprocess.DEVNULL,
            )  # fmt: skip
            out.seek(0)
            errors.seek(0)
            done.stdout, done.stderr = out.read(), errors.read()
        return done

    def show(self, unit, *names):
        """Properties of a unit, as systemd says they are."""
        done = self.call("systemctl", "show", unit, f"--property={','.join(names)}")
        return dict(line.partition("=")[::2] for line in done.stdout.splitlines())

    def end(self):
        """End it and all that is in it."""
        if self.pid:
            try:
                os.kill(self.pid, 9)
            except ProcessLookupError:
                pass
        self.process.kill()
        self.process.wait()
        self.log.close()
        Cgroup([Node(2, (), os.path.dirname(self.cgroup), self.cgroup)]).delete()


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A systemd; the test is skipped where there can be none."""
    if os.geteuid() != 0:
        pytest.skip("only root can start a systemd of its own")
    for program, package in ((SYSTEMD, "systemd"), ("dbus-daemon", "dbus-daemon")):
        if shutil.which(program) is None:
            pytest.skip(f"no {program} here; apt install {package}")
    second = [h.mount for h in read_layout().hierarchies if h.version == 2]
    if not second:
        pytest.skip("this host has no cgroup v2, which systemd needs")
    cgroup = f"{second[0]}/auberge-test-systemd-{os.getpid()}"
    os.mkdir(cgroup)
    made = World(tmp_path_factory.mktemp("systemd"), cgroup)
    yield made
    made.end()
