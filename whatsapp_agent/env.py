"""How settings.py reads the environment: typed, validated, and with all mistakes reported together, by name."""

import fcntl
import json
import os
import re
import secrets
import sys
from collections.abc import Callable, MutableMapping, Sequence
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import unquote, urlsplit
from zoneinfo import available_timezones

import environ
from pydantic import Field, TypeAdapter, ValidationError

creates_data = True  # manage.py sets it to False for commands that only work with data that exists
restores_data = False  # manage.py sets it to True for `restore`, which brings secrets with it
reads_secrets = False  # and this one for `restore --secrets`, which reads those of a backup and changes nothing else

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
RESTORE = "restore"  # the directory in DATA_DIR that exists while a restore is under way, or was interrupted
GENERATED = ("SECRET_KEY", "ADMIN_TOKEN_SECRET", "WHATSAPP_WEBHOOK_SECRET", "ADMIN_PASSWORD")
IF_LOST = {
    "SECRET_KEY": "then give the bridges their keys again",
    "ADMIN_TOKEN_SECRET": "then all log in again",
    "WHATSAPP_WEBHOOK_SECRET": "then give the bridge its webhook address again",
}
DATABASE_URL_FORM = "it looks like postgres://user:password@host:5432/name (in a password write / as %2F, # as %23)"
UTC_ALIASES = {"Etc/UTC", "Etc/UCT", "Etc/Universal", "Etc/Zulu", "UCT", "Universal", "Zulu"}
MIN_SECRET_LENGTH = {
    "SECRET_KEY": 32,
    "ADMIN_TOKEN_SECRET": 32,
    "WHATSAPP_WEBHOOK_SECRET": 16,
    "ADMIN_PASSWORD": 8,
    "METRICS_TOKEN": 16,
}
# What a value must be, by pydantic's type of error.
EXPECTED = {
    "int_parsing": "a whole number",
    "int_parsing_size": "a whole number",
    "int_from_float": "a whole number",
    "float_parsing": "a number",
    "finite_number": "a finite number",
    "bool_parsing": "true or false",
    "greater_than_equal": "at least {ge:g}",
    "less_than_equal": "at most {le:g}",
    "literal_error": "one of {expected}",
}


class Environment:
    """Reads variables and collects mistakes; `stop_on_mistakes` reports all of them together."""

    def __init__(self, variables: MutableMapping[str, str] | None = None) -> None:
        self._variables = os.environ if variables is None else variables
        self._mistakes: list[str] = []
        self._read: set[str] = set()
        self._named_in_dotenv: list[str] = []
        self._sources: dict[str, str] = {}

    def mistake(self, name: str, what: str) -> None:
        """Record that variable `name` is wrong."""
        self._mistakes.append(f"{name} {what}")

    def _is_mistaken(self, name: str) -> bool:
        return any(line.startswith(f"{name} ") for line in self._mistakes)

    def stop_on_mistakes(self) -> None:
        """Exit with one line for each mistake recorded so far, if there is any."""
        if self._mistakes:
            lines = "\n".join(f"  - {line}" for line in self._mistakes)
            sys.exit(
                "The configuration has mistakes. Correct them in the environment or in .env, then start again:\n"
                + lines
            )

    # --- .env ----------------------------------------------------------------------------------------------------

    def read_dotenv(self, path: Path) -> None:
        """Read variables from .env; those of the environment win.

        Not by django-environ, which leaves out lines that it cannot read, and takes a comment behind a value, or a
        quote without an end, for a part of the value.
        """
        if not path.is_file():
            return
        try:
            lines = path.read_text(encoding="utf-8-sig").splitlines()
        except (OSError, ValueError) as exc:
            self.mistake(".env", f"cannot be read: {exc}")
            return
        for number, line in enumerate(lines, start=1):
            if not line.strip() or line.lstrip().startswith("#"):
                continue
            match = DOTENV_LINE.fullmatch(line)
            value = _dotenv_value(match["value"]) if match else None
            if match is None or value is None:  # not shown: half a secret may stand there
                self.mistake(
                    ".env", f"line {number} is not NAME=value" + ("; a quote in it has no end" if match else "")
                )
            else:
                self._named_in_dotenv.append(match["name"])
                if match["name"] not in self._variables:
                    self._give(match["name"], value, source=path)

    def _give(self, name: str, value: str, *, source: Path) -> None:
        self._variables[name] = value
        self._sources[name] = str(source)

    def unread_names(self) -> list[str]:
        """Return the names that .env sets and no setting reads: probably misspelled."""
        return [name for name in self._named_in_dotenv if name not in self._read]

    def source(self, name: str) -> str:
        """Return where the value of variable `name` comes from, as a person would look for it."""
        return self._sources.get(name, "the environment")

    # --- values --------------------------------------------------------------------------------------------------

    def text(self, name: str, *, default: str = "") -> str:
        self._read.add(name)
        return self._variables.get(name, "").strip() or default  # not django-environ's: it takes "$x" for variable x

    def integer(self, name: str, *, default: int, minimum: int | None = None, maximum: int | None = None) -> int:
        return int(self._check(name, int, self.text(name), default, ge=minimum, le=maximum))

    def number(self, name: str, *, default: float, minimum: float | None = None) -> float:
        return float(self._check(name, float, self.text(name), default, ge=minimum, allow_inf_nan=False))

    def boolean(self, name: str, *, default: bool) -> bool:
        return bool(self._check(name, bool, self.text(name), default))

    def choice(self, name: str, *, default: str, choices: Sequence[str], fold: Callable[[str], str] = str.lower) -> str:
        return str(self._check(name, Literal[tuple(choices)], fold(self.text(name)), default))

    def _check(self, name: str, kind: Any, given: Any, default: Any, **limits: Any) -> Any:
        """Return what was given as pydantic reads it; the default if that is nothing, or a mistake."""
        if not given:
            return default
        try:
            return TypeAdapter(Annotated[kind, Field(**limits)]).validate_python(given)
        except ValidationError as exc:
            problem = exc.errors()[0]
            expected = EXPECTED[problem["type"]].format(**problem.get("ctx", {}))
            self.mistake(name, f"is {problem['input']!r}; it must be {expected}")
            return default

    def names(self, name: str, *, default: list[str]) -> list[str]:
        """Read a comma-separated list."""
        return [part.strip() for part in self.text(name).split(",") if part.strip()] or default

    def names_among(self, name: str, *, default: list[str], choices: Sequence[str]) -> list[str]:
        """Read a comma-separated list whose items must be in `choices`."""
        given = list(dict.fromkeys(item.lower() for item in self.names(name, default=default)))
        return list(self._check(name, list[Literal[tuple(choices)]], given, default))  # type: ignore[misc]

    def url(self, name: str, *, schemes: Sequence[str]) -> str:
        """Read a URL; return it without a trailing slash, or empty."""
        given = self.text(name)
        if not given:
            return ""
        try:
            parts = urlsplit(given)
            usable = parts.scheme in schemes and bool(parts.hostname or parts.scheme == "unix") and " " not in given
            _ = parts.port  # raises ValueError when it is no port
        except ValueError:
            usable = False
        if not usable:
            self.mistake(name, f"is not a valid URL; it must look like {schemes[0]}://host:port")
            return ""
        return given.rstrip("/")

    def prices(self, name: str) -> dict[str, dict[str, float]]:
        """Read prices of a million tokens, like `gpt-6-luna=0.25/0.025/2, other=1/1/4`: prompt, cached, completion."""
        found = {}
        for given in self.names(name, default=[]):
            model, _, prices = given.rpartition("=")
            try:
                prompt, cached, completion = (float(price) for price in prices.split("/"))
                is_price = bool(model.strip()) and all(0 <= price < 1e9 for price in (prompt, cached, completion))
            except ValueError:
                is_price = False
            if not is_price:
                self.mistake(name, f"has {given!r}; it must look like gpt-6-luna=0.25/0.025/2")
                continue
            found[model.strip()] = {"prompt": prompt, "cached": cached, "completion": completion}
        return found

    def origins(self, name: str, *, default: list[str], any_origin: bool = False) -> list[str]:
        """Return web origins (scheme, host, perhaps a port) from a JSON list or a comma-separated one; or `*`."""
        given = [part.strip().rstrip("/") for part in self._list(name) if part.strip()]
        for origin in given:
            if not ((origin == "*" and any_origin) or _is_origin(origin)):
                self.mistake(name, f"has {origin!r}; an origin looks like https://app.example.com")
        return given or ([] if name in self._variables else default)

    def _list(self, name: str) -> list[str]:
        """Return the parts of a JSON list of strings, or of a comma-separated list."""
        given = self.text(name)
        if not given.startswith("["):
            return given.split(",")
        try:
            parts = json.loads(given)
        except (ValueError, RecursionError):
            parts = None
        if not isinstance(parts, list) or not all(isinstance(part, str) for part in parts):
            self.mistake(name, 'looks like a JSON list and is none; it must look like ["https://app.example.com"]')
            return []
        return parts

    def directory(self, name: str, *, default: Path) -> Path:
        path = Path(self.text(name) or default)
        try:
            path = path.expanduser().absolute()
            if path.exists() and not path.is_dir():
                self.mistake(name, f"is {path}, which is not a directory")
        except (OSError, RuntimeError) as exc:  # no permission to read it, or ~name of an unknown user
            self.mistake(name, f"cannot be used: {exc}")
        return path

    def database_url(self, name: str) -> str:
        """Read a PostgreSQL URL or empty. Errors leave the value out: it contains a password."""
        given = self.text(name)
        if not given:
            return ""
        try:
            parts = urlsplit(given)
            _ = parts.port  # raises ValueError when it is no port: often a password whose / or # is not escaped
        except ValueError:
            self.mistake(name, f"cannot be read; {DATABASE_URL_FORM}")
            return ""
        if parts.scheme not in {"postgres", "postgresql"}:
            self.mistake(
                name, f"has {parts.scheme or 'no scheme'}; only PostgreSQL is supported: {DATABASE_URL_FORM}, or empty"
            )
        elif not parts.path.strip("/"):
            self.mistake(name, f"names no database; {DATABASE_URL_FORM}")
        elif parts.fragment:
            self.mistake(name, f"has a # in it; {DATABASE_URL_FORM}")
        else:
            return given
        return ""

    def time_zone(self, name: str) -> str:
        """Read the name of a time zone; default: the machine's, or UTC if that is unknown."""
        given = self.text(name)
        if given and given not in available_timezones():
            self.mistake(name, f"is {given!r}; it must be a name like America/Sao_Paulo or UTC")
            return "UTC"
        return given or _machine_time_zone()

    # --- secrets -------------------------------------------------------------------------------------------------

    def prepare_secrets(self, *, data_dir: Path, generate: bool) -> None:
        """Read DATA_DIR/secrets.env into the environment; with `generate`, first write there what nobody has given.

        The file has mode 0600 and is moved into place, so that a crash leaves no partial file. Of processes that start
        at once, the first one generates. Where data exists already, a missing secret is a mistake: a new one would not
        fit. Where there is none and this process may not create any (`creates_data`), they last as long as the process.
        Nothing but `restore` runs where a restore is under way (`agent.backups.restore`).
        """
        if os.path.isdir(data_dir / RESTORE) and not restores_data:
            self.mistake(
                "DATA_DIR",
                f"{data_dir} holds a restore that is under way or was interrupted. Wait for it, or finish or undo it: "
                "manage.py restore --recover",
            )
        if not generate or self._is_mistaken("DATA_DIR"):
            return
        path = data_dir / "secrets.env"
        try:
            stored = _read_secrets(path)
            missing = [name for name in GENERATED if name not in stored and not self.text(name)]
            if missing and not restores_data and (data_dir / "postgres" / "PG_VERSION").is_file():
                lost = [name for name in missing if name in IF_LOST]
                for name in lost:
                    self.mistake(
                        name,
                        f"is missing in {path}, and the data there was made with it. Restore secrets.env from a "
                        f"backup; if there is none, set {name} to a new long random text, {IF_LOST[name]}",
                    )
                if lost:
                    return
            if missing and creates_data:
                data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
                stored = _complete_secrets(path, missing)
            elif missing:
                stored |= {name: _generate(name) for name in missing}
        except OSError as exc:
            self.mistake("DATA_DIR", f"cannot be used: {exc.strerror}: {exc.filename}")
            return
        for name, value in stored.items():
            if not self.text(name):
                self._give(name, value, source=path)

    def secret(self, name: str, *, is_required: bool = True) -> str:
        given = self.text(name)
        if not given and (not is_required or self._is_mistaken("DATA_DIR") or self._is_mistaken(name)):
            return ""  # with a mistaken DATA_DIR it would have been generated there; or its loss is a mistake already
        if not given and reads_secrets:
            return _generate(name)
        if not given:
            what = (
                "that of the backup, which restore FILE --secrets NEW_FILE writes"
                if restores_data
                else "a long random text"
            )
            self.mistake(name, f"is missing: with DATABASE_URL set no secret is generated; set it to {what}")
        elif len(given) < MIN_SECRET_LENGTH[name]:
            self.mistake(name, f"is too short: it needs at least {MIN_SECRET_LENGTH[name]} characters")
        return given


def _dotenv_value(written: str) -> str | None:
    """Return the value behind the =, without quotes and comment; None if it begins with a quote that has no end."""
    match = DOTENV_VALUE.fullmatch(written)
    if match is None:
        return None
    if match["double"] is not None:
        return re.sub(r'\\(["\\])', r"\1", match["double"])
    return match["bare"] if match["single"] is None else match["single"]


def _is_origin(origin: str) -> bool:
    try:
        parts = urlsplit(origin)
        _ = parts.port  # raises ValueError if it is not a port
    except ValueError:
        return False
    has_more = parts.path or parts.query or parts.fragment or parts.username is not None
    return parts.scheme in {"http", "https"} and bool(parts.hostname) and "*" not in origin and not has_more


def _socket_directory(given: str) -> str:
    """Return the directory that libpq's form `postgres://user@%2Frun%2Fpostgresql/name` has as its host, or empty."""
    host = urlsplit(given).netloc.rpartition("@")[2].partition(":")[0]  # not `.hostname`, which is lower case
    return unquote(host) if host.lower().startswith("%2f") else ""


def database(given: str, *, data_dir: Path, pool_size: int) -> dict[str, Any]:
    """Django's settings for the one database; without a URL, the embedded server under `data_dir`."""
    parsed: dict[str, Any] = (
        dict(environ.Env.db_url_config(given)) if given else {"NAME": "whatsapp_agent", "USER": "postgres"}
    )
    if socket_dir := _socket_directory(given):
        parsed["HOST"] = socket_dir
    # Notice a database that vanished within seconds; the system's default is a quarter of an hour.
    parsed["OPTIONS"] = {"connect_timeout": 10, "tcp_user_timeout": 30_000} | parsed.get("OPTIONS", {})
    return parsed | {
        "ENGINE": "whatsapp_agent.postgres",
        "EMBEDDED_IN": None if given else data_dir / "postgres",
        "POOL_SIZE": pool_size,
    }


def is_installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # one of the packages that it is in
        return False


def email(given: str) -> dict[str, Any]:
    """Django's settings for sending e-mail by the server of this URL."""
    return {"EMAIL_USE_TLS": False, "EMAIL_USE_SSL": False} | environ.Env.email_url_config(given or "smtp://localhost")


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
            file.write("# Generated at the first start. Anyone with this file has full access.\n")
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


def _machine_time_zone() -> str:
    candidates = [os.environ.get("TZ", "").lstrip(":")]
    with suppress(OSError, ValueError):
        candidates.append(Path("/etc/timezone").read_text(encoding="utf-8").strip())
    candidates.append(str(Path("/etc/localtime").resolve()).partition("zoneinfo/")[2])
    known = available_timezones()
    found = next((name for name in candidates if name in known), "UTC")
    return "UTC" if found in UTC_ALIASES else found
