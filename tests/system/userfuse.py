# SPDX-License-Identifier: LGPL-2.1-or-later
"""A user's FUSE server: one file on a mount of its own, and questions that it does not answer."""
import ctypes
import os
import select
import struct
import threading

GETATTR, READ, FLUSH, SETLK = 3, 15, 25, 32
_FORGET, _LOOKUP, _OPEN, _RELEASE, _INIT, _OPENDIR, _RELEASEDIR = 2, 1, 14, 18, 26, 27, 29
_INTERRUPT, _BATCH_FORGET, _GETLK = 36, 42, 31
_LOCKS = 1 << 1 | 1 << 10  # FUSE_POSIX_LOCKS, FUSE_FLOCK_LOCKS
_HEADER = struct.Struct("<IIQQIIII")  # struct fuse_in_header
_MS_NOSUID_NODEV, _MNT_DETACH = 6, 2
_libc = ctypes.CDLL(None, use_errno=True)


def _process_of(thread):
    try:
        with open(f"/proc/{thread}/status") as file:
            return next(int(line.split()[1]) for line in file if line.startswith("Tgid:"))
    except OSError:
        return None


class UserFuse:
    """point/name has the bytes of source, and belongs to user like the mount. held: operations that wait until
    release(); kept: what waits. Mounted as other users' files are with allow_other: root may look."""

    def __init__(self, point, user, name, source, locks=False):
        self._flags = _LOCKS if locks else 0
        self.uid, self.gid = user[:2]
        self.point, self.path = point, os.path.join(point, name)
        self.held, self.kept, self._name, self._process = set(), [], name.encode(), None
        self._lock, self._noticed = threading.Lock(), threading.Condition()
        with open(source, "rb") as file:
            self._data = file.read()
        os.mkdir(point)
        self._fd = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
        given = f"fd={self._fd},rootmode=40000,user_id={self.uid},group_id={self.gid},allow_other"
        if _libc.mount(b"user", point.encode(), b"fuse", _MS_NOSUID_NODEV, given.encode()) != 0:
            os.close(self._fd)
            raise OSError(ctypes.get_errno(), "mount")
        self._over, self._end = os.pipe()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def hold(self, *operations, process=None):
        """process: only what this one asks, by its id."""
        with self._lock:
            self.held, self._process = set(operations), process

    def wait_kept(self, n, deadline):
        """Until n questions wait at once -> whether they do."""
        with self._noticed:
            return self._noticed.wait_for(lambda: len(self.kept) >= n, deadline)

    def shorten(self, size):
        """Reading shows it; asking does not, for a while."""
        self._data = self._data[:size]

    def release(self):
        """All that waits is answered, and all that follows."""
        with self._lock:
            self.held, kept, self.kept = set(), self.kept, []
        for question in kept:
            self._answer(*question)

    def end(self):
        self.release()
        _libc.umount2(self.point.encode(), _MNT_DETACH)
        os.close(self._end)
        self._thread.join()
        # The end of the connection answers what may come still.
        os.close(self._fd)
        os.close(self._over)
        os.rmdir(self.point)

    def _serve(self):
        while self._over not in select.select([self._fd, self._over], [], [])[0]:
            try:
                question = os.read(self._fd, 1 << 18)
            except FileNotFoundError:  # taken back before it was read
                continue
            except OSError:
                return
            _, operation, unique, node, _, _, thread, _ = _HEADER.unpack_from(question)
            with self._lock:
                held = operation in self.held and self._process in (None, _process_of(thread))
                body = question[_HEADER.size:]
                if held:
                    self.kept.append((operation, unique, node, body))
            if not held:
                self._answer(operation, unique, node, body)
                continue
            with self._noticed:
                self._noticed.notify_all()

    def _reply(self, unique, data=b"", error=0):
        try:
            os.write(self._fd, struct.pack("<IiQ", 16 + len(data), -error, unique) + data)
        except OSError:
            pass  # who asked has gone

    def _attributes(self, node):
        folder = node == 1
        size = 0 if folder else len(self._data)
        return struct.pack("<6Q10I", node, size, size // 512, 0, 0, 0, 0, 0, 0, 0o40755 if folder else 0o100644, 1,
                           self.uid, self.gid, 0, 4096, 0)

    def _answer(self, operation, unique, node, body):
        if operation == _INIT:
            self._reply(unique, struct.pack("<4I2H2I2H8I", 7, 31, 65536, self._flags, 12, 10, 65536, 1, 16, *[0] * 9)[:64])
        elif operation == _LOOKUP and body.rstrip(b"\0") == self._name:
            self._reply(unique, struct.pack("<4Q2I", 2, 1, 1000, 1000, 0, 0) + self._attributes(2))
        elif operation == _LOOKUP:
            self._reply(unique, error=2)
        elif operation == GETATTR:
            self._reply(unique, struct.pack("<Q2I", 1000, 0, 0) + self._attributes(node))
        elif operation in (_OPEN, _OPENDIR):
            self._reply(unique, struct.pack("<Q2I", 1, 0, 0))
        elif operation == READ:
            _, offset, size = struct.unpack_from("<QQI", body)
            self._reply(unique, self._data[offset:offset + size])
        elif operation == _GETLK:
            self._reply(unique, struct.pack("<QQII", 0, 0, 2, 0))  # F_UNLCK
        elif operation in (_RELEASE, FLUSH, SETLK, _RELEASEDIR):
            self._reply(unique)
        elif operation not in (_FORGET, _INTERRUPT, _BATCH_FORGET):
            self._reply(unique, error=38)
