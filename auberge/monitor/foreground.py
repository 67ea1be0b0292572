"""A guest that somebody waits for: this process is its supervisor, and keeps its record.

Other processes see it (`auberge ps`) and may `exec` in it, as with those that have a supervisor of
their own; only what it writes is nobody's but the one's who waits.
"""

from auberge.container.light import TYPE_CHECKING, Sequence
from auberge.container.processes import SIGKILL
from auberge.monitor import guests, roster
from auberge.monitor.guest import Guest, make
from auberge.monitor.options import Options
from auberge.monitor.supervisor import ended, new_record, started
from auberge.refusal import Refusal

if TYPE_CHECKING:
    from auberge.monitor.door import Entrance


class Foreground:
    """One guest of options whose isolation is chosen; `end` whatever happens after `start`."""

    def __init__(self, options: Options) -> None:
        """Take its name; raises Refusal if another guest has it."""
        self._record = new_record(options)
        self._folder = guests.create(self._record)
        self.name = self._record.name
        self._entrance: Entrance | None = None
        try:
            self.guest: Guest = make(options, self._folder.path)
        except BaseException:
            self._folder.remove()
            raise

    def start(self, streams: Sequence[int]) -> int | None:
        """As the guest's own; what fails leaves nothing behind."""
        try:
            master = self.guest.start(streams)
            self._open()
            self._record = started(self._record, self.guest)
            self._folder.save(self._record)
        except BaseException:
            self._close()
            roster.remove(self._folder)
            raise
        return master

    def _open(self) -> None:
        """Let others speak to a machine, which is in this process; a container they find."""
        if self.guest.isolation != "machine":
            return
        from auberge.monitor.door import Entrance
        from auberge.monitor.names import KEEPER, listen, socket_path

        self._entrance = Entrance(self.guest, listen(self.name, KEEPER))
        self._record = self._record._replace(socket=socket_path(self.name, KEEPER))

    def _close(self) -> None:
        if self._entrance is not None:
            from auberge.monitor.names import KEEPER, leave

            self._entrance.close()
            self._entrance = None
            leave(self.name, KEEPER)

    def end(self) -> int:
        """End it if it runs; its status. It stays for `commit` and `rm`, if it was to stay."""
        status = self.guest.wait(0)
        if status is None:
            try:
                self.guest.signal(SIGKILL, everyone=True)
            except Refusal:  # it has just ended
                pass
            status = self.guest.wait()
        assert status is not None
        self._close()
        if self._record.remove:
            roster.remove(self._folder)
            return status
        try:
            self._record = ended(self._record, status, self.guest.oom_killed)
            self._folder.save(self._record)
            roster.let_go(self._folder, self._record)
        except Refusal:
            if self._folder_is_there():  # else it was removed meanwhile: `auberge rm -f`
                raise
        return status

    def _folder_is_there(self) -> bool:
        try:
            self._folder.load()
        except Refusal:
            return False
        return True
