"""A seccomp agent: it hears where filters ask, and answers (seccomp_unotify(2))."""

import errno
import fcntl
import json
import os
import select
import socket
import struct
import threading

RECEIVE, SEND = 0xC0502100, 0xC0182101  # SECCOMP_IOCTL_NOTIF_RECV, _SEND
CONTINUE = 1  # SECCOMP_USER_NOTIF_FLAG_CONTINUE
NUMBERS = {  # asm/unistd_64.h, and what arm64 has instead
    "x86_64": {"getcwd": 79, "mkdir": 83, "sync": 162, "uname": 63, "read": 0},
    "aarch64": {"getcwd": 17, "mkdir": 34, "sync": 81, "uname": 160, "read": 63},
}[os.uname().machine]


class Agent:
    """Answers on a socket until its `with` ends: `answers` are a result by the call's name, an
    errno if it is negative, and None to let the kernel go on."""

    def __init__(self, path, answers):
        self.path = str(path)
        self._answers = {NUMBERS[name]: answer for name, answer in answers.items()}
        self.states = []  # what was sent, parsed
        self.asked = []  # process and number of each call
        self.connections = []
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.bind(self.path)
        self._socket.listen()
        self._stop, self._stopping = os.pipe()
        self._thread = threading.Thread(target=self._serve)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        os.close(self._stopping)
        self._thread.join()
        for each in (self._socket, *self.connections):
            each.close()
        os.close(self._stop)

    def _serve(self):
        poll, listeners = select.poll(), []
        poll.register(self._socket, select.POLLIN)
        poll.register(self._stop, select.POLLIN)
        while True:
            for fd, events in poll.poll():
                if fd == self._stop:
                    for listener in listeners:
                        os.close(listener)
                    return
                if fd == self._socket.fileno():
                    listeners += (found := self._accept())
                    for listener in found:
                        poll.register(listener, select.POLLIN)
                elif events & select.POLLIN:
                    self._answer(fd)
                else:  # all that the filter was for have ended
                    poll.unregister(fd)

    def _accept(self):
        connection, _ = self._socket.accept()
        message, fds, _, _ = socket.recv_fds(connection, 1 << 20, 8)
        self.connections.append(connection)
        self.states.append(json.loads(message) | {"found": len(fds)})
        return fds

    def _answer(self, listener):
        request = bytearray(80)
        try:
            fcntl.ioctl(listener, RECEIVE, request)
        except FileNotFoundError:  # it was killed meanwhile
            return
        number, pid, _, call = struct.unpack_from("<QIIi", request)
        self.asked.append((pid, call))
        answer = self._answers.get(call)
        value, error, flags = 0, 0, 0
        if answer is None:
            flags = CONTINUE
        elif answer < 0:
            error = answer
        else:
            value = answer
        try:
            fcntl.ioctl(listener, SEND, struct.pack("<QqiI", number, value, error, flags))
        except OSError as failure:
            assert failure.errno == errno.ENOENT
