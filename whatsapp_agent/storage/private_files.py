"""Files that hold data are for one user alone: directories 0700, files 0600, all of them DATA_DIR's owner's."""

import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from django.core.files.storage import FileSystemStorage

DIRECTORY_MODE = 0o700
FILE_MODE = 0o600
OURS = ("media", "secrets.env", "static")


class NotOurs(Exception):
    """A file in DATA_DIR that this user cannot use; the text says what to do."""


class PrivateStorage(FileSystemStorage):
    """Stored files. What root stores belongs to the owner of the directory it is stored in.

    A file is stored whole or not at all; Django leaves what it has written when the disk is full.
    """

    def __init__(self, **options: Any) -> None:
        modes = {"file_permissions_mode": FILE_MODE, "directory_permissions_mode": DIRECTORY_MODE}
        super().__init__(**modes | options)

    def _save(self, name: str, content: IO[Any]) -> str:
        root = Path(self.location)
        if not root.exists():
            root.mkdir(DIRECTORY_MODE, parents=True)
            _give(root, root.parent.stat())
        is_new = not self.exists(name)  # no other file gets this name: it is made of a random id
        try:
            saved = str(super()._save(name, content))  # type: ignore[misc]  # not in the stubs
        except BaseException:
            if is_new:
                Path(self.path(name)).unlink(missing_ok=True)
            raise
        if os.geteuid() == 0:
            path = Path(self.path(saved))
            owner = root.stat()
            for created in (path, *path.parents):
                if created == root:
                    break
                _give(created, owner)
        return saved


def restrict(data_dir: Path, *, but: tuple[str, ...] = ()) -> None:
    """Close DATA_DIR to other users, with all in it but the named entries. Raises NotOurs.

    A directory that everyone may write to, such as /tmp, is not ours to close: only what we made in it is.
    """
    data_dir.mkdir(DIRECTORY_MODE, parents=True, exist_ok=True)
    owner = data_dir.stat()
    is_shared = bool(owner.st_mode & stat.S_IWOTH)
    if not is_shared:
        _close(data_dir, owner, owner)
    for path in _below(data_dir, only=OURS if is_shared else None, but=but):
        with suppress(FileNotFoundError):  # deleted meanwhile by another process
            _close(path, path.lstat(), owner)


def _below(data_dir: Path, *, only: tuple[str, ...] | None, but: tuple[str, ...]) -> Iterator[Path]:
    for entry in data_dir.iterdir():
        if entry.name not in but and (only is None or entry.name in only) and not entry.is_symlink():
            yield entry
            if entry.is_dir():
                yield from (path for path in entry.rglob("*") if not path.is_symlink())


def _close(path: Path, now: os.stat_result, owner: os.stat_result) -> None:
    wanted = DIRECTORY_MODE if stat.S_ISDIR(now.st_mode) else FILE_MODE
    if os.geteuid() not in {0, now.st_uid}:
        raise NotOurs(f"{path} belongs to another user. Give it to this one: sudo chown -R $USER '{path}'")
    if stat.S_IMODE(now.st_mode) != wanted:
        path.chmod(wanted)
    if os.geteuid() == 0 and now.st_uid != owner.st_uid:
        _give(path, owner)


def _give(path: Path, owner: os.stat_result) -> None:
    if os.geteuid() == 0:
        os.chown(path, owner.st_uid, owner.st_gid)
