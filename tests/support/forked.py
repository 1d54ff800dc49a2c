"""Run many management commands in processes of their own, from one process that has loaded everything already.

`python -m tests.support.forked` reads requests from its standard input, a line of JSON each, and answers with another.
"""

import ctypes
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple, Self

from tests.support.application import ROOT, SECRETS

LIMIT_S = 120


class Done(NamedTuple):
    code: int
    out: str
    err: str


class Forked:
    """The client: what runs in the test."""

    def __init__(self, data_dir: Path, **environment: str) -> None:
        own = {name: value for name, value in os.environ.items() if name not in {*SECRETS, "DATABASE_URL"}}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.forked"], cwd=ROOT, text=True, stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, env=own | {"DATA_DIR": str(data_dir)} | environment,
        )  # fmt: skip

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(timeout=LIMIT_S)
        self._process.stdout.close()  # type: ignore[union-attr]

    def run(
        self,
        *arguments: object,
        given: str = "",
        max_file_bytes: int | None = None,
        output: str = "",
        interrupt_at: str = "",
        without_rights: bool = False,
    ) -> Done:
        """Run `manage.py` with these arguments.

        `given` is its standard input, `output` a file for its standard output, `max_file_bytes` what a file may have,
        as on a full disk. As soon as it calls the function `interrupt_at` (`module.name`) it is stopped as by Ctrl-C.
        `without_rights` lets the modes of files and folders hold for it although it is root.
        """
        request = {
            "arguments": [os.fsdecode(each) if isinstance(each, bytes) else str(each) for each in arguments],
            "given": given, "max_file_bytes": max_file_bytes, "output": output, "interrupt_at": interrupt_at,
            "without_rights": without_rights,
        }  # fmt: skip
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        return Done(*json.loads(self._process.stdout.readline()))


def _child(request: dict[str, Any], files: list[int]) -> None:
    """Become the command, with these files as its standard input, output and error output."""
    for number, file in enumerate(files):
        os.dup2(file, number)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.alarm(LIMIT_S)
    if request["max_file_bytes"] is not None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # the error EFBIG instead
        resource.setrlimit(resource.RLIMIT_FSIZE, (request["max_file_bytes"], resource.RLIM_INFINITY))
    if request["without_rights"]:
        _drop_rights()
    if request["interrupt_at"]:
        _interrupt_at(request["interrupt_at"])
    sys.stdin, sys.stdout, sys.stderr = (
        os.fdopen(number, mode, errors="surrogateescape") for number, mode in enumerate("rww")
    )
    sys.argv = ["manage.py", *request["arguments"]]
    from whatsapp_agent.__main__ import main

    main()


def _drop_rights() -> None:
    """Give up root's capabilities to read and write what the modes of files forbid (capabilities(7)).

    It is connected to the database before: the socket of the embedded server belongs to another user.
    """
    from django.db import connection

    connection.ensure_connection()
    libc = ctypes.CDLL(None, use_errno=True)
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)  # version 3, this process
    sets = (ctypes.c_uint32 * 6)()  # effective, permitted, inheritable; twice, for the lower and the higher bits
    if libc.capget(header, sets) == 0:
        for number in (0, 1):
            sets[number] &= ~(1 << 1 | 1 << 2)  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
        if libc.capset(header, sets) == 0:
            return
    raise OSError(ctypes.get_errno(), "The capabilities cannot be dropped")


def _interrupt_at(name: str) -> None:
    """Send ourselves SIGINT when the function is called: at the same place each time, however fast the machine is."""
    module, _, function = name.rpartition(".")
    file = module.replace(".", "/") + ".py"

    def profile(frame: Any, event: str, _argument: Any) -> None:
        if event == "call" and frame.f_code.co_name == function and frame.f_code.co_filename.endswith(file):
            sys.setprofile(None)
            os.kill(os.getpid(), signal.SIGINT)

    sys.setprofile(profile)


def _serve() -> None:
    import django

    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "whatsapp_agent.settings")
    django.setup()
    from django.db import connection

    connection.ensure_connection()  # the embedded server runs until this process ends
    connection.close()
    answers = os.fdopen(os.dup(1), "w")
    for line in sys.stdin:
        request = json.loads(line)
        reading, writing = os.pipe()  # `max_file_bytes` does not hold for a pipe
        with tempfile.TemporaryFile() as given, tempfile.TemporaryFile() as out, os.fdopen(reading, "rb") as err:
            given.write(request["given"].encode())
            given.seek(0)
            target = Path(request["output"]).open("wb") if request["output"] else out  # noqa: SIM115
            if (child := os.fork()) == 0:
                code = 1
                try:
                    _child(request, [given.fileno(), target.fileno(), writing])
                    code = 0
                except SystemExit as exc:
                    if isinstance(exc.code, str):
                        sys.stderr.write(f"{exc.code}\n")
                    code = exc.code if isinstance(exc.code, int) else 0 if exc.code is None else 1
                except BaseException:  # noqa: BLE001  as Python itself does
                    import traceback

                    traceback.print_exc()
                finally:
                    sys.stderr.flush()
                    os._exit(code)
            os.close(writing)
            errors = err.read()
            _, status = os.waitpid(child, 0)
            out.seek(0)
            texts = [text.decode(errors="replace") for text in (out.read(), errors)]
        answers.write(json.dumps([os.waitstatus_to_exitcode(status), *texts]) + "\n")
        answers.flush()


if __name__ == "__main__":
    _serve()
