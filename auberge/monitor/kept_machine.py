"""A machine as its supervisor keeps it: it is in this very process, beside the keeper."""

import os
import threading
from contextlib import suppress

from auberge.container.light import TYPE_CHECKING
from auberge.container.signals import stop_number
from auberge.monitor import roster
from auberge.monitor.door import Door
from auberge.monitor.guest import Guest
from auberge.monitor.guests import Folder
from auberge.monitor.supervisor import ended
from auberge.refusal import Refusal

if TYPE_CHECKING:
    from _socket import socket as Socket


class KeptMachine:
    """See keeper.Kept."""

    def __init__(self, folder: Folder, guest: Guest) -> None:
        self._folder, self._guest, self._door = folder, guest, Door(guest)
        self._record = folder.load()
        self._ended, self._tells = os.pipe()
        threading.Thread(target=self._wait, name="end", daemon=True).start()

    def _wait(self) -> None:
        try:
            self._guest.wait()
        finally:
            os.close(self._tells)

    def fileno(self) -> int:
        return self._ended

    def resize(self, rows: int, columns: int) -> None:
        with suppress(Refusal):
            self._guest.resize(rows, columns)

    def stop(self) -> None:
        number = stop_number(self._record.stop_signal)

        def ask() -> None:
            with suppress(Refusal):
                self._guest.signal(number)

        # the keeper's thread, which may hold what this needs, is where signals arrive
        threading.Thread(target=ask, name="stop", daemon=True).start()

    def answer(self, question: dict[str, object], client: "Socket") -> bool:
        return self._door.answer(question, client)

    def end(self) -> int:
        status = self._guest.wait()
        assert status is not None
        record = ended(self._record, status, self._guest.oom_killed)
        try:
            self._folder.save(record)
            self._guest.remove() if record.remove else None
            with suppress(FileNotFoundError):
                os.unlink(self._record.socket)
            if record.remove:
                roster.remove(self._folder)
        except (Refusal, OSError) as failure:
            if os.path.isdir(self._folder.path):  # and was not removed by others
                with suppress(Refusal):  # a full disk: who waits is told all the same
                    self._folder.save(record._replace(error=str(failure)))
        return status
