"""Folders for the time of a piece of work. One that is killed leaves gigabytes behind; the next one removes them."""

import contextlib
import fcntl
import os
import shutil
import tempfile
from pathlib import Path

PREFIX = "work-"


@contextlib.contextmanager
def locked(path, how):
    """Holds a folder's lock, which ends with the process."""
    opened = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(opened, how)
        yield
    finally:
        os.close(opened)


def remove_stale(parent):
    """Removes the folders of those who have ended."""
    for path in Path(parent).glob(PREFIX + "*"):
        with contextlib.suppress(BlockingIOError, FileNotFoundError), locked(path, fcntl.LOCK_EX | fcntl.LOCK_NB):
            shutil.rmtree(path)


@contextlib.contextmanager
def folder(parent):
    """The path of a folder in the folder `parent`, which goes with the block, or with a later call."""
    with contextlib.ExitStack() as held:
        # Nobody sees a folder before it is locked.
        with locked(parent, fcntl.LOCK_EX):
            remove_stale(parent)
            path = tempfile.mkdtemp(prefix=PREFIX, dir=parent)
            held.enter_context(locked(path, fcntl.LOCK_EX))
        held.callback(shutil.rmtree, path)
        yield path
