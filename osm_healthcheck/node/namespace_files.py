"""When namespace files come and go, as the kernel tells it (inotify).

``man 7 inotify``; Python has no binding of its own.
"""

import asyncio
import ctypes
import os
import struct
from pathlib import Path

_IN_CREATE, _IN_DELETE, _IN_MOVED_TO, _IN_MOVED_FROM = 0x100, 0x200, 0x80, 0x40
_IN_ONLYDIR = 0x01000000
_CHANGES = _IN_CREATE | _IN_DELETE | _IN_MOVED_TO | _IN_MOVED_FROM
_HEAD = struct.Struct("iIII")


class FolderWatch:
    """Sets ``changed`` whenever a file comes into ``folder`` or leaves it.

    Raises:
        OSError: where the folder cannot be watched.
    """

    def __init__(self, folder: Path, changed: asyncio.Event) -> None:
        self._changed = changed
        libc = ctypes.CDLL(None, use_errno=True)
        self._descriptor: int = libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        mask = _CHANGES | _IN_ONLYDIR
        if (
            self._descriptor < 0
            or libc.inotify_add_watch(self._descriptor, os.fsencode(folder), mask) < 0
        ):
            code = ctypes.get_errno()
            self.close()
            raise OSError(code, os.strerror(code), str(folder))
        asyncio.get_running_loop().add_reader(self._descriptor, self._read)

    def close(self) -> None:
        """Watch no more."""
        if self._descriptor >= 0:
            asyncio.get_running_loop().remove_reader(self._descriptor)
            os.close(self._descriptor)
            self._descriptor = -1

    def _read(self) -> None:
        # which files these were is looked up by whoever is woken; they only have to be read
        try:
            data = os.read(self._descriptor, 64 * 1024)
        except BlockingIOError:
            return
        if len(data) >= _HEAD.size:
            self._changed.set()
