"""Replace an installation by a backup: all of it or nothing, also if this process is killed in the middle.

The database is replaced in one transaction, which also writes the restore's id into it; only then are media and secrets
moved into place. Meanwhile DATA_DIR/restore holds them with the id: while it exists nothing starts
(`Environment.prepare_secrets`), and whether the database has the id decides whether an interrupted restore is finished
or undone.
"""

import fcntl
import json
import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import uuid4

from django.conf import settings
from django.db import connection
from django.utils.translation import gettext_noop

from agent.backups.archive import UNPACKED, Archive
from agent.backups.create import DATABASE, MB, SECRET_NAMES, SECRETS, run_postgres, running_postgres
from agent.server.startup import database_location
from whatsapp_agent import env
from whatsapp_agent.errors import Conflict
from whatsapp_agent.postgres import embedded
from whatsapp_agent.storage.private_files import restrict

STATE = "restore.json"
BEFORE, MEDIA = "before", "media"
# What a restore may create in DATA_DIR.
CREATED = (MEDIA, SECRETS, "postgres", "postgres.new", "postgres.users", "postgres.lock")
# Everything of the schema but what belongs to an extension. The lock lasts as long as the transaction.
EMPTY_DATABASE = """
BEGIN;
SELECT pg_advisory_xact_lock(hashtextextended('restore', 0));
DO $$ DECLARE item record; BEGIN
    FOR item IN SELECT tablename FROM pg_tables WHERE schemaname = current_schema() LOOP
        EXECUTE format('DROP TABLE IF EXISTS %I CASCADE', item.tablename);
    END LOOP;
    FOR item IN SELECT oid::regprocedure AS name FROM pg_proc
                 WHERE pronamespace = current_schema()::regnamespace
                   AND NOT EXISTS (SELECT FROM pg_depend WHERE objid = pg_proc.oid AND deptype = 'e') LOOP
        EXECUTE format('DROP FUNCTION IF EXISTS %s CASCADE', item.name);
    END LOOP;
END $$;
CREATE EXTENSION IF NOT EXISTS vector;
"""
# What was to be sent when the backup was made has most likely been sent since: a person decides. What waited for an
# answer is answered only if it is as recent as a message must be that arrives now. Nobody holds a lease. The backup may
# be of any earlier version: these columns exist since the first migrations.
SETTLE = """
SET search_path = public;
UPDATE messaging_conversation SET lease_token = NULL, lease_expires_at = NULL WHERE lease_token IS NOT NULL;
UPDATE messaging_message SET status = 'unconfirmed', error_code = 'restored',
       error = 'Restored from a backup: it may have been sent since.'
 WHERE direction = 'outbound' AND status IN ('queued', 'sending');
UPDATE messaging_message SET status = 'handled', unanswered = 'stale'
  FROM sessions_app_whatsappsession session
  JOIN sessions_app_agentprofile profile ON profile.id = session.agent_profile_id
 WHERE session.id = session_id AND direction = 'inbound' AND messaging_message.status = 'received'
   AND said_at < now() - make_interval(secs => profile.max_answer_age_s);
UPDATE messaging_conversation SET due_at = NULL, burst_started_at = NULL
 WHERE (due_at IS NOT NULL OR burst_started_at IS NOT NULL)
   AND NOT EXISTS (SELECT FROM messaging_message
                    WHERE conversation_id = messaging_conversation.id AND status = 'received');
SELECT 'restore {id} ' || :missing AS comment \\gset
COMMENT ON TABLE messaging_message IS :'comment';
COMMIT;
"""
# A file can be deleted between the database's snapshot, which has its row, and the copies of the files.
MEDIA_HAS_ERRORS_SINCE = "0023_received_media"
MISSING, MISSING_ERROR = "not_in_backup", gettext_noop("The file was not in the backup that was restored.")
# ANALYZE and NOT EXISTS: with NOT IN each row is compared with every name, once the names fill `work_mem`.
MARK_MISSING_FILES = """
CREATE TEMP TABLE stored_file (name) ON COMMIT DROP AS SELECT '' WHERE false;
COPY stored_file FROM STDIN;
{names}\\.
ANALYZE stored_file;
WITH marked AS (
    UPDATE public.messaging_media
       SET file = '', preview = '', status = 'failed', error_code = '{code}', error = '{error}', next_try_at = NULL
     WHERE file <> '' AND NOT EXISTS (SELECT FROM stored_file WHERE name = file)
    RETURNING 1
)
SELECT count(*) AS missing FROM marked \\gset
UPDATE public.messaging_media SET preview = ''
 WHERE preview <> '' AND NOT EXISTS (SELECT FROM stored_file WHERE name = preview);
"""
COPY_ESCAPES = str.maketrans({"\n": "\\n", "\r": "\\r", "\t": "\\t"})  # an archive's names have no backslash
WAIT_FOR_RESTORE = "SELECT pg_advisory_xact_lock(hashtextextended('restore', 0))"
SELECT_RESTORED = "SELECT obj_description(to_regclass('messaging_message'), 'pg_class')"


@contextmanager
def one_restore() -> Iterator[list[str]]:
    """Let no other restore run into DATA_DIR; yield what it holds. Raises Conflict."""
    data_dir = Path(settings.DATA_DIR)
    is_new = not data_dir.exists()
    data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    lock = os.open(data_dir, os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        for left in data_dir.glob(f"{UNPACKED}*"):  # by a restore that was killed before it changed anything
            shutil.rmtree(left)
        yield sorted(path.name for path in data_dir.iterdir())
    except BlockingIOError as exc:
        raise Conflict(f"Another restore or a first start is running in {data_dir}.") from exc
    finally:
        os.close(lock)
        if is_new:
            with suppress(OSError):  # it is not empty
                data_dir.rmdir()


def check_target(archive: Archive, *, replace: bool) -> None:
    """Raise Conflict if the database holds data, is in use, or if the environment sets other secrets."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT to_regclass('messaging_message')")
        has_tables = cursor.fetchone()[0] is not None
        cursor.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() "
            "AND backend_type = 'client backend'"
        )
        users = cursor.fetchone()[0]
    if users:
        raise Conflict(f"The database is in use ({users} connections). Stop the application first.")
    if has_tables and not replace:
        raise Conflict("The database holds an installation already. Restore into an empty one, or add --replace.")
    is_given = settings.ENVIRONMENT.source("SECRET_KEY") != str(settings.DATA_DIR / SECRETS)
    if is_given and archive.secrets.get("SECRET_KEY") != settings.SECRET_KEY:
        raise Conflict(
            "SECRET_KEY differs from that of the backup, whose credentials could not be read. Set the secrets of the "
            "backup: restore FILE --secrets NEW_FILE writes them."
        )


def restore(
    archive: Archive, *, found: Sequence[str], replace: bool, report: Callable[[str], None] = lambda _: None
) -> int:
    """Replace database, media and secrets by the archive's; `found` is what DATA_DIR held before. Report how far it is.

    Return how many media have no file, because a backup did not hold it. If it fails, everything is as it was. Raises
    Conflict or BackupFailed.
    """
    directory, restore_id = archive.directory, uuid4().hex
    has_errors = archive.manifest["migrations"].get("messaging", "") >= MEDIA_HAS_ERRORS_SINCE
    secrets = "".join(
        f"{name}={archive.secrets[name]}\n"
        for name in (*SECRET_NAMES, "SECRET_KEY_FALLBACKS")
        if archive.secrets.get(name)
    )
    (directory / SECRETS).write_text(secrets)
    (directory / MEDIA).mkdir(exist_ok=True)
    state = {"id": restore_id, "found": list(found), "database": database_location()}
    (directory / STATE).write_text(json.dumps(state))
    os.sync()  # before the database says that it is restored
    under_way = directory.rename(settings.DATA_DIR / env.RESTORE)
    try:
        check_target(archive, replace=replace)
        _replace_database(under_way, restore_id, has_errors=has_errors, report=report)
    except BaseException:
        if not settle():
            raise
    else:
        settle()
    return _missing_files(restore_id) or 0


def settle() -> bool:
    """Finish a restore that has replaced the database, or undo what it has done; return whether it is finished."""
    under_way = settings.DATA_DIR / env.RESTORE
    state = json.loads((under_way / STATE).read_text())
    if state["database"] != database_location():
        raise Conflict(f"That restore was into {state['database']}. Set DATABASE_URL and DATA_DIR as they were then.")
    ignored = {signal.SIGINT, signal.SIGTERM}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ignored)
    try:
        is_restored = _missing_files(state["id"]) is not None
        if is_restored:
            _place_files(under_way)
        else:
            leave_as_found(state["found"])
        done = under_way.rename(under_way.with_name(f"{UNPACKED}{state['id']}"))
        shutil.rmtree(done)
        return is_restored
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _missing_files(restore_id: str) -> int | None:
    """Return how many media this restore has marked as missing; None if it has not replaced the database.

    Waits until no restore is replacing it any more.
    """
    connection.close()
    if settings.EMBEDDED and not (settings.DATA_DIR / "postgres").exists():
        return None
    with connection.cursor() as cursor:
        cursor.execute(WAIT_FOR_RESTORE)
        cursor.execute(SELECT_RESTORED)
        comment = (cursor.fetchone()[0] or "").split()
    return int(comment[2]) if comment[:2] == ["restore", restore_id] else None


def _place_files(under_way: Path) -> None:
    """Move media and secrets into place. Done again after an interruption, it goes on where it stopped."""
    data_dir, before = Path(settings.DATA_DIR), under_way / BEFORE
    before.mkdir(exist_ok=True)
    for name in [MEDIA, *([SECRETS] if settings.EMBEDDED else [])]:
        if (under_way / name).exists():
            if (data_dir / name).exists():
                (data_dir / name).rename(before / name)
            (under_way / name).rename(data_dir / name)
    restrict(data_dir, but=("postgres",))
    os.sync()


def leave_as_found(found: Sequence[str]) -> None:
    """Remove what a restore or its check has created in DATA_DIR."""
    data_dir = Path(settings.DATA_DIR)
    created = [name for name in CREATED if name not in found and (data_dir / name).exists()]
    if "postgres" in created:
        connection.close()
        if not embedded.stop(data_dir / "postgres"):
            return  # somebody else uses it
    for name in created:
        path = data_dir / name
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


def _replace_database(under_way: Path, restore_id: str, *, has_errors: bool, report: Callable[[str], None]) -> None:
    """Replace the database in one transaction, which ends in nothing unless this process lives to commit it."""
    dump, toc, wanted = (under_way / name for name in (DATABASE, "toc", "wanted"))
    with toc.open("wb") as file:
        run_postgres("pg_restore", "--list", str(dump), connect=False, stdout=file)
    lines = toc.read_text().splitlines(keepends=True)
    wanted.write_text("".join(line for line in lines if " EXTENSION " not in line and " SCHEMA " not in line))
    script = ("pg_restore", "--no-owner", "--no-privileges", f"--use-list={wanted}", "--file=-", str(dump))
    session = ("psql", "--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1", "--set=missing=0", "--file=-")
    with running_postgres(*session, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL) as psql:
        assert psql.stdin is not None
        with suppress(BrokenPipeError):  # its exit code and output say why
            psql.stdin.write(EMPTY_DATABASE.encode())
            with running_postgres(*script, connect=False, stdout=subprocess.PIPE) as reading:
                assert reading.stdout is not None
                size = 0
                while chunk := reading.stdout.read(MB):
                    psql.stdin.write(chunk)
                    size += len(chunk)
                    report(f"{size / MB:,.0f} MB of the database")
            if has_errors:
                psql.stdin.write(_mark_missing_files(under_way / MEDIA).encode())
            psql.stdin.write(SETTLE.format(id=restore_id).encode())
        with suppress(BrokenPipeError):
            psql.stdin.close()
        while psql.poll() is None:
            report("indexes")
            with suppress(subprocess.TimeoutExpired):
                psql.wait(timeout=1)
    connection.close()


def _mark_missing_files(media: Path) -> str:
    files = (path.relative_to(media).as_posix() for path in media.rglob("*") if path.is_file())
    names = "".join(f"{name.translate(COPY_ESCAPES)}\n" for name in files)
    return MARK_MISSING_FILES.format(names=names, code=MISSING, error=MISSING_ERROR)
