"""How settings.py reads the environment: typed, validated, and with all mistakes reported together, by name."""

import fcntl
import json
import os
import re
import secrets
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import unquote, urlsplit
from zoneinfo import available_timezones

import environ

env = environ.Env()
_mistakes: list[str] = []
_read: set[str] = set()
_named_in_dotenv: list[str] = []
_sources: dict[str, str] = {}
creates_data = True  # manage.py sets it to False for commands that only work with data that exists

DOTENV_LINE = re.compile(r"\s*(?:export\s+)?(?P<name>[A-Za-z_][A-Za-z0-9_]*)\s*=(?P<value>.*)")
# As shells and container tools read it: a comment behind a value, after a space, is no part of it.
DOTENV_VALUE = re.compile(
    r"""\s*+(?:'(?P<single>[^']*)'|"(?P<double>(?:[^"\\]|\\.)*)"|(?P<bare>(?!['"]).*?))\s*(?:(?<=\s)#.*)?"""
)

# Those PostgreSQL 14 has a stemmer for; newer ones have a few more, which are not everywhere.
STEMMED_LANGUAGES = (
    "arabic", "armenian", "basque", "catalan", "danish", "dutch", "english", "finnish", "french", "german", "greek",
    "hindi", "hungarian", "indonesian", "irish", "italian", "lithuanian", "nepali", "norwegian", "portuguese",
    "romanian", "russian", "serbian", "spanish", "swedish", "tamil", "turkish", "yiddish",
)  # fmt: skip
GENERATED = ("SECRET_KEY", "ADMIN_TOKEN_SECRET", "WHATSAPP_WEBHOOK_SECRET", "ADMIN_PASSWORD")
IF_LOST = (
    "The data beside it was made with the one that was there: restore secrets.env from a backup. If it is lost, set a "
    "new long random one: with a new SECRET_KEY give the bridges their keys again; with a new ADMIN_TOKEN_SECRET all "
    "log in again; with a new WHATSAPP_WEBHOOK_SECRET tell it to the bridge"
)
DATABASE_URL_FORM = "it looks like postgres://user:password@host:5432/name (in a password write / as %2F, # as %23)"
UTC_ALIASES = {"Etc/UTC", "Etc/UCT", "Etc/Universal", "Etc/Zulu", "UCT", "Universal", "Zulu"}
MIN_SECRET_LENGTH = {"SECRET_KEY": 32, "ADMIN_TOKEN_SECRET": 32, "WHATSAPP_WEBHOOK_SECRET": 16, "ADMIN_PASSWORD": 8}


def mistake(name: str, what: str) -> None:
    """Record that variable `name` is wrong; `stop_on_mistakes` reports all of them together."""
    _mistakes.append(f"{name} {what}")


def _is_mistaken(name: str) -> bool:
    return any(line.startswith(f"{name} ") for line in _mistakes)


def stop_on_mistakes() -> None:
    """Exit with one line for each mistake recorded so far, if there is any."""
    if _mistakes:
        _stop(_mistakes)


def _stop(lines: list[str]) -> NoReturn:
    text = "\n".join(f"  - {line}" for line in lines)
    sys.exit(f"The configuration has mistakes. Correct them in the environment or in .env, then start again:\n{text}")


def read_dotenv(path: Path) -> None:
    """Read variables from .env; those of the environment win."""
    if not path.is_file():
        return
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, ValueError) as exc:
        mistake(".env", f"cannot be read: {exc}")
        return
    for number, line in enumerate(lines, start=1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        match = DOTENV_LINE.fullmatch(line)
        value = _dotenv_value(match["value"]) if match else None
        if match is None or value is None:  # not shown: half a secret may stand there
            mistake(".env", f"line {number} is not NAME=value" + ("; a quote in it has no end" if match else ""))
        else:
            _named_in_dotenv.append(match["name"])
            if match["name"] not in os.environ:
                os.environ[match["name"]] = value
                _sources[match["name"]] = str(path)


def _dotenv_value(written: str) -> str | None:
    """Return the value behind the =, without quotes and comment; None if it begins with a quote that has no end."""
    match = DOTENV_VALUE.fullmatch(written)
    if match is None:
        return None
    if match["double"] is not None:
        return re.sub(r'\\(["\\])', r"\1", match["double"])
    return match["bare"] if match["single"] is None else match["single"]


def unread_names() -> list[str]:
    """Return the names that .env sets and no setting reads: probably misspelled."""
    return [name for name in _named_in_dotenv if name not in _read]


def text(name: str, *, default: str = "") -> str:
    _read.add(name)
    return os.environ.get(name, "").strip() or default  # not env.str(): it takes "$x" for the variable x


def names(name: str, *, default: list[str]) -> list[str]:
    """Read a comma-separated list."""
    return [part.strip() for part in text(name).split(",") if part.strip()] or default


def names_among(name: str, *, default: list[str], choices: Sequence[str]) -> list[str]:
    """Read a comma-separated list whose items must be in `choices`."""
    given = list(dict.fromkeys(item.lower() for item in names(name, default=default)))
    if unknown := [item for item in given if item not in choices]:
        mistake(name, f"names {', '.join(unknown)}; it may name {', '.join(choices)}")
        return default
    return given


def integer(name: str, *, default: int, minimum: int | None = None, maximum: int | None = None) -> int:
    return int(_bounded(name, int, "a whole number", default, minimum, maximum))


def number(name: str, *, default: float, minimum: float | None = None, maximum: float | None = None) -> float:
    return float(_bounded(name, float, "a number", default, minimum, maximum))


def _bounded(
    name: str,
    parse: Callable[[str], float],
    expected: str,
    default: float,
    minimum: float | None,
    maximum: float | None,
) -> float:
    given = text(name)
    if not given:
        return default
    try:
        value = parse(given)
    except ValueError:
        mistake(name, f"is {given!r}; it must be {expected}")
        return default
    # `not (a <= b)` rather than `a > b`: NaN compares false with everything and must not pass.
    if minimum is not None and not minimum <= value:
        mistake(name, f"is {given}; it must be at least {minimum:g}")
        return default
    if (maximum is not None and not value <= maximum) or value == float("inf"):
        mistake(name, f"is {given}; it must be at most {maximum if maximum is not None else 'a finite number'}")
        return default
    return value


def boolean(name: str, *, default: bool) -> bool:
    given = text(name).lower()
    if not given:
        return default
    if given in {"true", "on", "yes", "1", "y", "ok", "t"}:
        return True
    if given in {"false", "off", "no", "0", "n", "f"}:
        return False
    mistake(name, f"is {given!r}; it must be true or false")
    return default


def choice(name: str, *, default: str, choices: Sequence[str], fold: Callable[[str], str] = str.lower) -> str:
    value = fold(text(name) or default)
    if value not in choices:
        mistake(name, f"is {value!r}; it must be one of {', '.join(choices)}")
        return default
    return value


def url(name: str, *, schemes: Sequence[str]) -> str:
    """Read a URL; return it without a trailing slash, or empty."""
    given = text(name)
    if not given:
        return ""
    try:
        parts = urlsplit(given)
        usable = parts.scheme in schemes and bool(parts.hostname or parts.scheme == "unix") and " " not in given
        _ = parts.port  # raises ValueError when it is no port
    except ValueError:
        usable = False
    if not usable:
        mistake(name, f"is not a valid URL; it must look like {schemes[0]}://host:port")
        return ""
    return given.rstrip("/")


def origins(name: str, *, default: list[str], any_origin: bool = False) -> list[str]:
    """Return web origins (scheme, host, perhaps a port) from a JSON list or a comma-separated one; or `*`."""
    given = [part.strip().rstrip("/") for part in _list(name) if part.strip()]
    for origin in given:
        if not ((origin == "*" and any_origin) or _is_origin(origin)):
            mistake(name, f"has {origin!r}; an origin looks like https://app.example.com")
    return given or ([] if name in os.environ else default)


def _list(name: str) -> list[str]:
    """Return the parts of a JSON list of strings, or of a comma-separated list."""
    given = text(name)
    if not given.startswith("["):
        return given.split(",")
    try:
        parts = json.loads(given)
    except (ValueError, RecursionError):
        parts = None
    if not isinstance(parts, list) or not all(isinstance(part, str) for part in parts):
        mistake(name, 'looks like a JSON list and is none; it must look like ["https://app.example.com"]')
        return []
    return parts


def _is_origin(origin: str) -> bool:
    try:
        parts = urlsplit(origin)
        _ = parts.port  # raises ValueError if it is not a port
    except ValueError:
        return False
    has_more = parts.path or parts.query or parts.fragment or parts.username is not None
    return parts.scheme in {"http", "https"} and bool(parts.hostname) and "*" not in origin and not has_more


def directory(name: str, *, default: Path) -> Path:
    path = Path(text(name) or default)
    try:
        path = path.expanduser().absolute()
        if path.exists() and not path.is_dir():
            mistake(name, f"is {path}, which is not a directory")
    except (OSError, RuntimeError) as exc:  # no permission to read it, or ~name of an unknown user
        mistake(name, f"cannot be used: {exc}")
    return path


def database_url(name: str) -> str:
    """Read a PostgreSQL URL or empty. Errors leave the value out: it contains a password."""
    given = text(name)
    if not given:
        return ""
    try:
        parts = urlsplit(given)
        _ = parts.port  # raises ValueError when it is no port: often a password whose / or # is not escaped
    except ValueError:
        mistake(name, f"cannot be read; {DATABASE_URL_FORM}")
        return ""
    if parts.scheme not in {"postgres", "postgresql"}:
        mistake(name, f"has {parts.scheme or 'no scheme'}; only PostgreSQL is supported: {DATABASE_URL_FORM}, or empty")
    elif not parts.path.strip("/"):
        mistake(name, f"names no database; {DATABASE_URL_FORM}")
    elif parts.fragment:
        mistake(name, f"has a # in it; {DATABASE_URL_FORM}")
    else:
        return given
    return ""


def _socket_directory(given: str) -> str:
    """Return the directory that libpq's form `postgres://user@%2Frun%2Fpostgresql/name` has as its host, or empty."""
    host = urlsplit(given).netloc.rpartition("@")[2].partition(":")[0]  # not `.hostname`, which is lower case
    return unquote(host) if host.lower().startswith("%2f") else ""


def database(given: str, *, data_dir: Path, pool_size: int) -> dict[str, Any]:
    """Django's settings for the one database; without a URL, the embedded server under `data_dir`."""
    parsed: dict[str, Any] = dict(env.db_url_config(given)) if given else {"NAME": "whatsapp_agent", "USER": "postgres"}
    if socket_dir := _socket_directory(given):
        parsed["HOST"] = socket_dir
    # Notice a database that vanished within seconds; the system's default is a quarter of an hour.
    parsed["OPTIONS"] = {"connect_timeout": 10, "tcp_user_timeout": 30_000} | parsed.get("OPTIONS", {})
    return parsed | {
        "ENGINE": "whatsapp_agent.postgres",
        "EMBEDDED_IN": None if given else data_dir / "postgres",
        "POOL_SIZE": pool_size,
    }


def prepare_secrets(*, data_dir: Path, generate: bool) -> None:
    """Read DATA_DIR/secrets.env into the environment; with `generate`, first write there what nobody has given.

    The file has mode 0600 and is moved into place, so that a crash leaves no partial file. Of processes that start
    at once, the first one generates. Where data exists already, a missing secret is a mistake: a new one would not fit.
    Where there is none and this process may not create any (`creates_data`), the secrets last as long as the process.
    """
    if not generate or _is_mistaken("DATA_DIR"):
        return
    path = data_dir / "secrets.env"
    try:
        stored = _read_secrets(path)
        missing = [name for name in GENERATED if name not in stored and not text(name)]
        if missing and (data_dir / "postgres" / "PG_VERSION").is_file():
            lost = [name for name in missing if name != "ADMIN_PASSWORD"]
            for name in lost:
                mistake(name, f"is missing: {path} has {'no such line' if stored else 'none, or is gone'}. {IF_LOST}")
            if lost:
                return
        if missing and creates_data:
            data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
            stored = _complete_secrets(path, missing)
        elif missing:
            stored |= {name: _generate(name) for name in missing}
    except OSError as exc:
        mistake("DATA_DIR", f"cannot be used: {exc.strerror}: {exc.filename}")
        return
    for name, value in stored.items():
        if not text(name):
            os.environ[name] = value
            _sources[name] = str(path)


def source(name: str) -> str:
    """Return where the value of variable `name` comes from, as a person would look for it."""
    return _sources.get(name, "the environment")


def stored_secret(name: str, *, data_dir: Path) -> str:
    """Return what DATA_DIR/secrets.env has under this name, whatever the environment gives; may be empty."""
    try:
        return _read_secrets(data_dir / "secrets.env").get(name, "")
    except OSError:
        return ""


def _generate(name: str) -> str:
    return secrets.token_urlsafe(18 if name == "ADMIN_PASSWORD" else 48)


def _complete_secrets(path: Path, missing: list[str]) -> dict[str, str]:
    lock = os.open(path.parent, os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        whole = {name: _generate(name) for name in missing} | _read_secrets(path)
        draft = path.with_suffix(".new")
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            file.write("# Generated at the first start. Whoever has this file has everything.\n")
            file.writelines(f"{name}={value}\n" for name, value in whole.items())
            file.flush()
            os.fsync(file.fileno())
        if os.geteuid() == 0:
            owner = path.parent.stat()
            os.chown(draft, owner.st_uid, owner.st_gid)
        draft.replace(path)
        return whole
    finally:
        os.close(lock)


def _read_secrets(path: Path) -> dict[str, str]:
    if not path.is_file():
        return {}
    lines = (line.strip() for line in path.read_text().splitlines())
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#") and "=" in line)


def time_zone(name: str) -> str:
    """Read the name of a time zone; default: the machine's, or UTC if that cannot be told."""
    given = text(name)
    if given and given not in available_timezones():
        mistake(name, f"is {given!r}; it must be a name like America/Sao_Paulo or UTC")
        return "UTC"
    return given or _machine_time_zone()


def _machine_time_zone() -> str:
    candidates = [os.environ.get("TZ", "").lstrip(":")]
    with suppress(OSError, ValueError):
        candidates.append(Path("/etc/timezone").read_text(encoding="utf-8").strip())
    candidates.append(str(Path("/etc/localtime").resolve()).partition("zoneinfo/")[2])
    known = available_timezones()
    found = next((name for name in candidates if name in known), "UTC")
    return "UTC" if found in UTC_ALIASES else found


def secret(name: str, *, is_required: bool = True) -> str:
    given = text(name)
    if not given and (not is_required or _is_mistaken("DATA_DIR")):
        return ""  # with a mistaken DATA_DIR it would have been generated there
    if not given:
        mistake(name, "is missing: with DATABASE_URL set no secret is generated; set it to a long random text")
    elif len(given) < MIN_SECRET_LENGTH[name]:
        mistake(name, f"is too short: it needs at least {MIN_SECRET_LENGTH[name]} characters")
    return given


def jwt(*, key: str, minutes: int) -> dict[str, Any]:
    """simplejwt: short access tokens, refresh tokens that rotate and are blacklisted when used."""
    return {
        "SIGNING_KEY": key,
        "ALGORITHM": "HS256",
        "ISSUER": "whatsapp-agent",
        "AUDIENCE": "whatsapp-agent-api",
        "ACCESS_TOKEN_LIFETIME": timedelta(minutes=minutes),
        "REFRESH_TOKEN_LIFETIME": timedelta(days=7),
        "ROTATE_REFRESH_TOKENS": True,
        "BLACKLIST_AFTER_ROTATION": True,
        "UPDATE_LAST_LOGIN": True,
        "LEEWAY": timedelta(seconds=30),  # for clocks that differ: `iat` may be so far ahead
        "CHECK_REVOKE_TOKEN": True,  # a changed password ends the tokens given before
    }
