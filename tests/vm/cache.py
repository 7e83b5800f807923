# SPDX-License-Identifier: LGPL-2.1-or-later
"""Where images and kernels are kept between runs: outside the tree. What they were made from is in their names."""
import contextlib
import fcntl
import glob
import hashlib
import os
import shutil

NAME = "virtdisk-tests"


def candidates(uid, environment):
    """Folders to look in, best first; the first is also written to."""
    own = os.path.join(environment.get("XDG_CACHE_HOME") or os.path.join(environment.get("HOME", "/"), ".cache"), NAME)
    system = os.path.join("/var/cache", NAME)
    chosen = environment.get("VIRTDISK_TESTS_CACHE")
    if chosen:
        return [chosen]
    return [system] if uid == 0 else [own, system]


def key(*parts):
    """A short name for these strings or bytes; another list, script or suite has another."""
    digest = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        digest.update(b"%d:" % len(data) + data)
    return digest.hexdigest()[:16]


def contents(*paths):
    for path in paths:
        with open(path, "rb") as file:
            yield file.read()


def find(kind, name):
    """The finished folder, or None."""
    for folder in candidates(os.getuid(), os.environ):
        path = os.path.join(folder, f"{kind}-{name}")
        if os.path.isdir(path):
            return path
    return None


@contextlib.contextmanager
def locked(path, waiting=None):
    """Holds an exclusive lock on a file or folder that exists; waiting() is called if it must be waited for."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if waiting:
                waiting()
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield descriptor
    finally:
        os.close(descriptor)


def make(kind, name, build):
    """Has build(folder) fill a folder, and gives it its name when it is complete. Older ones of its kind go."""
    top = candidates(os.getuid(), os.environ)[0]
    os.makedirs(top, mode=0o755, exist_ok=True)
    with locked(top):
        found = find(kind, name)
        if found:
            return found
        unfinished = os.path.join(top, f"{kind}-{name}.unfinished")
        shutil.rmtree(unfinished, ignore_errors=True)
        os.mkdir(unfinished)
        try:
            build(unfinished)
            path = os.path.join(top, f"{kind}-{name}")
            os.rename(unfinished, path)
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)
        for old in glob.glob(os.path.join(top, f"{kind}-*")):
            if old != path:
                shutil.rmtree(old, ignore_errors=True)
        return path
