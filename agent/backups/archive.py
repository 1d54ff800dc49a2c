"""Read a backup: unpack it beside the data and verify all of it, before anything is changed."""

import hashlib
import json
import os
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any, cast

from django.conf import settings
from packaging.version import InvalidVersion, Version

from agent.backups.create import DATABASE, FORMAT, MANIFEST, MB, MEDIA, SECRETS, run_postgres
from agent.server.version import newest_migrations
from whatsapp_agent.errors import InvalidInput
from whatsapp_agent.storage.input_file import open_input
from whatsapp_agent.storage.sealed_file import MAGIC, SealedReader
from whatsapp_agent.version import VERSION

UNPACKED = "restore-"  # the beginning of the directories' names


@dataclass(frozen=True, slots=True)
class Archive:
    """A verified archive, unpacked into a private directory."""

    directory: Path
    manifest: dict[str, Any]
    secrets: dict[str, str]


@contextmanager
def verified(path: Path, *, passphrase: str = "", report: Callable[[str], None] = lambda _: None) -> Iterator[Archive]:
    """Unpack the archive beside the data, verify it, and report how far it is.

    Raises InvalidInput if it cannot be restored here.
    """
    settings.DATA_DIR.mkdir(mode=0o700, parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=settings.DATA_DIR, prefix=UNPACKED) as name, open_input(path) as file:
        directory = Path(name)
        is_sealed = file.read(len(MAGIC)) == MAGIC
        if is_sealed and not passphrase:
            raise InvalidInput("This backup is encrypted: give its passphrase.")
        if not is_sealed:
            file.seek(0)
        source = SealedReader(file, passphrase) if is_sealed else file
        try:
            digests = _unpack(cast(IO[bytes], source), directory, report=report)
        except (tarfile.TarError, EOFError) as exc:
            raise InvalidInput(f"{path} is not a whole backup: {exc}.") from exc
        manifest = _checked_manifest(directory, digests, path=path)
        lines = (directory / SECRETS).read_text().splitlines()
        yield Archive(directory, manifest, dict(line.split("=", 1) for line in lines if "=" in line))


def _unpack(source: IO[bytes], directory: Path, *, report: Callable[[str], None]) -> dict[str, str]:
    digests: dict[str, str] = {}
    size = 0
    with tarfile.open(mode="r|", fileobj=source) as archive:
        for entry in archive:
            name = PurePosixPath(entry.name)
            is_ours = entry.name in {DATABASE, SECRETS, MANIFEST} or entry.name.startswith(MEDIA)
            leads_out = name.is_absolute() or ".." in name.parts or "\\" in entry.name or "\0" in entry.name
            if not entry.isfile() or not is_ours or leads_out or entry.name in digests:
                raise InvalidInput(f"The archive is refused: {entry.name!r} does not belong into a backup.")
            target = directory / name
            target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            content, digest = archive.extractfile(entry), hashlib.sha256()
            assert content is not None
            with os.fdopen(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as copy:
                while data := content.read(MB):
                    digest.update(data)
                    copy.write(data)
                    size += len(data)
                    report(f"{size / MB:,.0f} MB verified")
            digests[entry.name] = digest.hexdigest()
    while source.read(MB):  # to the end, so that a shortened encrypted file is noticed
        pass
    return digests


def _checked_manifest(directory: Path, digests: dict[str, str], *, path: Path) -> dict[str, Any]:
    digests.pop(MANIFEST, None)
    try:
        manifest = json.loads((directory / MANIFEST).read_bytes())
        expected, version = dict(manifest["sha256"]), Version(manifest["version"])
        migrations = dict(manifest["migrations"])
    except FileNotFoundError as exc:
        raise InvalidInput(f"{path} is not a whole backup: its end is missing.") from exc
    except (ValueError, KeyError, TypeError, InvalidVersion) as exc:
        raise InvalidInput(f"{path} is not a backup of this project.") from exc
    if manifest.get("format") != FORMAT or version > Version(VERSION):
        raise InvalidInput(
            f"The backup is of version {version}, newer than this one ({VERSION}). Install that version."
        )
    known = newest_migrations()
    if any(int(name[:4]) > int(known[app][:4]) for app, name in migrations.items() if app in known) or (
        set(migrations) - set(known)
    ):
        raise InvalidInput("The backup's database is newer than this version. Install the version it was made with.")
    if expected != digests or not {DATABASE, SECRETS} <= set(digests):
        raise InvalidInput(f"{path} is damaged: its contents do not match its manifest.")
    run_postgres("pg_restore", "--list", str(directory / DATABASE), connect=False, stdout=-3)
    return cast(dict[str, Any], manifest)
