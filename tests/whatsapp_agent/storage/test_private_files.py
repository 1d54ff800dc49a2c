"""What holds data can be read by one user alone."""

import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.core.files.base import ContentFile

from whatsapp_agent.storage.private_files import NotOurs, PrivateStorage, restrict


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture
def data_dir(tmp_path) -> Path:
    """As an older version, or a careless copy, left it."""
    (tmp_path / "data" / "media" / "2026").mkdir(parents=True)
    (tmp_path / "data" / "media" / "2026" / "a.jpg").write_bytes(b"a")
    (tmp_path / "data" / "postgres").mkdir()
    for path in ("", "media", "media/2026", "postgres"):
        (tmp_path / "data" / path).chmod(0o755)
    (tmp_path / "data" / "media" / "2026" / "a.jpg").chmod(0o644)
    return tmp_path / "data"


def test_a_file_that_others_can_read_is_made_private(data_dir):
    restrict(data_dir, but=("postgres",))
    assert [mode(data_dir / path) for path in ("", "media", "media/2026")] == [0o700] * 3
    assert mode(data_dir / "media" / "2026" / "a.jpg") == 0o600
    assert mode(data_dir / "postgres") == 0o755


def test_a_shared_directory_keeps_its_mode_and_only_our_files_are_closed(data_dir):
    data_dir.chmod(0o1777)
    (data_dir / "somebody").mkdir(0o755)
    restrict(data_dir)
    assert (mode(data_dir), mode(data_dir / "somebody"), mode(data_dir / "media")) == (0o1777, 0o755, 0o700)


def test_a_stored_file_is_private(tmp_path):
    storage = PrivateStorage(location=tmp_path / "media")
    name = storage.save("2026/a.jpg", ContentFile(b"a"))
    assert mode(Path(storage.path(name))) == 0o600
    assert [mode(tmp_path / path) for path in ("media", "media/2026")] == [0o700] * 2


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_a_file_stored_by_root_belongs_to_the_owner_of_the_directory(data_dir):
    os.chown(data_dir, 12345, 12345)
    restrict(data_dir)
    storage = PrivateStorage(location=data_dir / "media")
    storage.save("2027/b.jpg", ContentFile(b"b"))
    for path in ("media", "media/2026/a.jpg", "media/2027", "media/2027/b.jpg"):
        assert (data_dir / path).stat().st_uid == 12345


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")
def test_files_of_another_user_are_named_with_the_remedy(data_dir):
    os.chown(data_dir / "media", 1, 1)
    os.chown(data_dir, 12345, 12345)
    for path in (data_dir, *data_dir.parents):
        path.chmod(mode(path) | 0o055)
    os.seteuid(12345)
    try:
        with pytest.raises(NotOurs, match="chown -R"):
            restrict(data_dir)
    finally:
        os.seteuid(0)


class FullDisk(ContentFile):
    """Content in the middle of which the disk is full."""

    def chunks(self, chunk_size: int | None = None) -> Iterator[bytes]:  # noqa: ARG002
        yield b"the first half"
        raise OSError(errno.ENOSPC, "No space left on device")


def test_a_file_for_which_the_disk_has_no_room_leaves_nothing(tmp_path: Path) -> None:
    storage = PrivateStorage(location=tmp_path / "media")
    storage.save("2026/11/photo.png", ContentFile(b"another photo"))
    with pytest.raises(OSError, match="No space left"):
        storage.save("2026/11/other.png", FullDisk(b""))
    assert [path.name for path in (tmp_path / "media" / "2026" / "11").iterdir()] == ["photo.png"]
