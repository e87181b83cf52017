"""Notice when files are opened, by whatever library (inotify, Linux)."""

import ctypes
import os
import struct
from pathlib import Path

_IN_OPEN = 0x20


class Watch:
    """Reports which files of a folder were opened since the last question."""

    def __init__(self, folder: Path) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        self._descriptor = libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        if self._descriptor < 0 or libc.inotify_add_watch(self._descriptor, os.fsencode(folder), _IN_OPEN) < 0:
            raise OSError(ctypes.get_errno(), "inotify")

    def opened(self) -> list[str]:
        """Return the names of the files that were opened."""
        try:
            events = os.read(self._descriptor, 1 << 16)
        except BlockingIOError:
            return []
        names = []
        while events:
            _, _, _, length = struct.unpack_from("iIII", events)
            name = events[16 : 16 + length].rstrip(b"\0").decode()
            events = events[16 + length :]
            if name:
                names.append(name)
        return names
