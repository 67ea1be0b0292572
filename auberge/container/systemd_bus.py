"""systemd's manager over D-Bus (org.freedesktop.systemd1(5)): calls, answers and one signal.

Messages are jeepney's; the conversation is ours, since it differs by who listens: a bus, or systemd
itself on its private socket. Who we are, the other side asks of the kernel (D-Bus Specification,
"EXTERNAL"): in a user namespace our own number would be the wrong one. Whatever goes wrong is a
Refusal, or an Unanswered if the other side said no.
"""

import os
import socket
import time

from auberge.container.light import TYPE_CHECKING, Sequence
from auberge.refusal import Refusal, reason

if TYPE_CHECKING:
    from jeepney import Message

NAME = "org.freedesktop.systemd1"
MANAGER = f"{NAME}.Manager"
PATH = "/org/freedesktop/systemd1"
PATIENCE = 30.0  # seconds for an answer, or a job
LARGEST = 1 << 20  # bytes of a message that we take: systemd's have some hundred
_LINE = 512  # bytes of a line of the greeting
_BUS = ("/org/freedesktop/DBus", "org.freedesktop.DBus", "org.freedesktop.DBus")


class Unanswered(Refusal):
    """The other side's error, by its name."""

    def __init__(self, name: str, text: str) -> None:
        super().__init__(text)
        self.name = name


def addresses(of_user: bool) -> list[tuple[str, bool]]:
    """Where the manager may be asked, the best first: a socket's path, and whether it is systemd's
    own instead of a bus. The user's, or else the host's. Raises Refusal."""
    variable = "DBUS_SESSION_BUS_ADDRESS" if of_user else "DBUS_SYSTEM_BUS_ADDRESS"
    given = os.environ.get(variable, "")
    if given:
        return [(_socket_of(given, variable), False)]
    if not of_user:
        return [("/run/dbus/system_bus_socket", False), ("/run/systemd/private", True)]
    runtime = os.environ.get("XDG_RUNTIME_DIR", "")
    if not runtime.startswith("/"):
        raise Refusal(
            "--systemd-cgroup: the user's systemd is not known: XDG_RUNTIME_DIR is not set; log "
            "in, or leave the option out"
        )
    return [(f"{runtime}/bus", False), (f"{runtime}/systemd/private", True)]


def _socket_of(given: str, variable: str) -> str:
    """The first socket of an address of D-Bus ("Server Addresses")."""
    for one in given.split(";"):
        kind, _, rest = one.partition(":")
        pairs = dict([pair.partition("=")[::2] for pair in rest.split(",")])
        for key, before in (("path", ""), ("abstract", "\0")):
            if kind == "unix" and pairs.get(key):
                return before + _unescaped(pairs[key])
    raise Refusal(f"{variable}: {given!r} is no unix socket; write as unix:path=/run/...")


def _unescaped(text: str) -> str:
    first, *rest = text.split("%")
    try:
        found = os.fsencode(first) + b"".join(
            [bytes.fromhex(part[:2]) + os.fsencode(part[2:]) for part in rest]
        )
    except ValueError:
        return text
    return os.fsdecode(found)


class Bus:
    """A conversation with a manager; a context, which ends it."""

    def __init__(self, of_user: bool, patience: float = PATIENCE) -> None:
        """Raises Refusal if nobody answers."""
        try:
            from jeepney import Parser
        except ImportError:
            raise Refusal(
                "--systemd-cgroup: the package jeepney is missing; "
                "install auberge[containers], or leave the option out"
            ) from None
        self._parser = Parser()
        self._patience = patience
        self._serial = 0
        self._signals: list[Message] = []
        self._owner = ""  # of systemd's name on the bus: a signal may be anybody's
        self._taken = 0  # bytes since the last whole message
        self._socket, self._direct = self._connected(addresses(of_user))
        try:
            self._greet()
            if not self._direct:
                self.call("Hello", "", (), _BUS)
        except BaseException:
            self._socket.close()
            raise

    def _connected(self, places: Sequence[tuple[str, bool]]) -> tuple[socket.socket, bool]:
        failures: list[str] = []
        for path, direct in places:
            made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            try:
                made.settimeout(self._patience)
                made.connect(path)
                return made, direct
            except (OSError, ValueError) as error:  # ValueError: NUL inside
                made.close()
                why = reason(error) if isinstance(error, OSError) else str(error).lower()
                failures.append(f"{path.replace(chr(0), '@')}: {why}")
        raise Refusal(
            f"--systemd-cgroup: no bus with systemd: {'; '.join(failures)}; start systemd and "
            "dbus there, or leave the option out"
        )

    def __enter__(self) -> "Bus":
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    # -- bytes ----------------------------------------------------------------------------------

    def _greet(self) -> None:
        """D-Bus Specification, "Authentication Protocol"."""
        deadline = time.monotonic() + self._patience
        # All at once, as sd-bus does: when systemd itself reads BEGIN together with a message, it
        # does not look at that before more comes.
        self._send(b"\0AUTH EXTERNAL\r\nDATA\r\nBEGIN\r\n")
        if self._line(deadline) != b"DATA":
            raise self._strange("it does not ask who we are")
        if not self._line(deadline).startswith(b"OK "):
            raise Refusal(
                "--systemd-cgroup: the bus does not let this user in; be root, or the user whose "
                "bus it is"
            )

    def _line(self, deadline: float) -> bytes:
        line = b""
        while not line.endswith(b"\r\n"):  # byte by byte: what follows is not ours to take
            if len(line) > _LINE:
                raise self._strange("a line without end")
            line += self._receive(1, deadline)
        return line[:-2]

    def _send(self, data: bytes) -> None:
        try:
            self._socket.settimeout(self._patience)
            self._socket.sendall(data)
        except OSError as error:
            raise self._gone(error) from None

    def _receive(self, most: int, deadline: float) -> bytes:
        left = deadline - time.monotonic()
        try:
            if left <= 0:
                raise TimeoutError
            self._socket.settimeout(left)
            data = self._socket.recv(most)
        except TimeoutError:
            raise Refusal(
                f"systemd: no answer in {self._patience:.0f} seconds; see `systemctl status`, and "
                "try again"
            ) from None
        except OSError as error:
            raise self._gone(error) from None
        if not data:
            raise Refusal("systemd: the bus has ended the conversation; try again")
        return data

    def _gone(self, error: OSError) -> Refusal:
        return Refusal(f"systemd: the bus is gone: {reason(error)}; try again")

    def _strange(self, what: str) -> Refusal:
        return Refusal(f"systemd: {what}; is that socket a bus?")

    def _next(self, deadline: float) -> "Message":
        """The next message."""
        while True:
            try:
                message = self._parser.get_next_message()
            except Exception:  # it may be anything: jeepney leaves nonsense to what falls over it
                raise self._strange("a message that is none of D-Bus") from None
            if message is not None:
                self._taken = 0
                return message
            data = self._receive(4096, deadline)
            self._taken += len(data)
            if self._taken > LARGEST:
                raise self._strange(f"a message of more than {LARGEST} bytes")
            self._parser.add_data(data)

    # -- messages -------------------------------------------------------------------------------

    def call(
        self, method: str, signature: str, body: tuple[object, ...],
        to: tuple[str, str, str] = (PATH, NAME, MANAGER),
    ) -> tuple[object, ...]:  # fmt: skip
        """Call a method and wait for its answer; raises Unanswered with the error's name."""
        from jeepney import DBusAddress, HeaderFields, MessageType, new_method_call

        path, name, interface = to
        self._serial += 1
        try:
            address = DBusAddress(path, name, interface)
            message = new_method_call(address, method, signature or None, body)
            if self._direct:
                del message.header.fields[HeaderFields.destination]
            data = message.serialise(serial=self._serial)
        except Exception as error:  # struct.error, TypeError, ValueError: by what a value lacks
            raise Refusal(f"systemd: {method}: a value does not fit: {error}; correct it") from None
        self._send(data)
        deadline = time.monotonic() + self._patience
        while True:
            found = self._next(deadline)
            fields = found.header.fields
            if found.header.message_type == MessageType.signal:
                self._signals.append(found)
                del self._signals[:-1000]
            elif fields.get(HeaderFields.reply_serial) == self._serial:
                break
        if name == NAME:
            self._owner = str(fields.get(HeaderFields.sender, ""))
        if found.header.message_type == MessageType.error:
            error_name = str(fields.get(HeaderFields.error_name, ""))
            text = found.body[0] if found.body and isinstance(found.body[0], str) else error_name
            raise Unanswered(error_name, f"systemd: {method}: {_told(text)}; {_help(error_name)}")
        return tuple(found.body)

    def get(self, path: str, interface: str, name: str) -> object:
        """A property's value (org.freedesktop.DBus.Properties)."""
        to = (path, NAME, "org.freedesktop.DBus.Properties")
        answer = self.call("Get", "ss", (interface, name), to)
        value = answer[0] if len(answer) == 1 else None
        if not isinstance(value, tuple) or len(value) != 2:
            raise self._strange(f"no value of {name}")
        return value[1]

    def unit(self, name: str) -> str:
        """The path of a unit that is loaded; raises Unanswered if there is none."""
        answer = self.call("GetUnit", "s", (name,))
        if len(answer) != 1 or not isinstance(answer[0], str):
            raise self._strange(f"no path of {name}")
        return answer[0]

    # -- jobs -----------------------------------------------------------------------------------

    def listen(self) -> None:
        """Have systemd tell of jobs that end, before one is asked for."""
        if not self._direct:  # on its own socket systemd tells whoever is there
            rule = f"type='signal',sender='{NAME}',interface='{MANAGER}',member='JobRemoved'"
            self.call("AddMatch", "s", (rule,), _BUS)
        self.call("Subscribe", "", ())

    def job(self, method: str, signature: str, body: tuple[object, ...]) -> str:
        """Call a method that answers with a job, and wait for its end: its result, as `done`."""
        answer = self.call(method, signature, body)
        if len(answer) != 1 or not isinstance(answer[0], str):
            raise self._strange(f"{method} answers with no job")
        deadline = time.monotonic() + self._patience
        while True:
            for signal in self._signals:
                told = signal.body
                if self._is_job_removed(signal) and len(told) == 4 and told[1] == answer[0]:
                    return str(told[3])
            self._signals = [self._next(deadline)]

    def _is_job_removed(self, message: "Message") -> bool:
        from jeepney import HeaderFields

        fields = message.header.fields
        return (
            fields.get(HeaderFields.member) == "JobRemoved"
            and fields.get(HeaderFields.interface) == MANAGER
            and (self._direct or str(fields.get(HeaderFields.sender, "")) == self._owner)
        )


def _told(text: str) -> str:
    """The other side's words, as part of one line."""
    line = " ".join(text[:300].split()).rstrip(".")
    return line[:1].lower() + line[1:] if line[1:2].islower() else line


def _help(name: str) -> str:
    if name.endswith((".AccessDenied", ".AuthFailed", ".InteractiveAuthorizationRequired")):
        return "be root, or leave --systemd-cgroup out"
    if name.endswith((".ServiceUnknown", ".NameHasNoOwner", ".NoReply", ".Disconnected")):
        return "start systemd, or leave --systemd-cgroup out"
    if name.endswith(".UnitExists"):
        return "choose another linux.cgroupsPath"
    return "correct config.json, or see `systemctl status`"
