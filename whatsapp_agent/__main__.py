"""The command `whatsapp-agent`, and manage.py: Django's management commands, and `run`, another name for `up`."""

import gc
import os
import signal
import sys

from django.core.management import ManagementUtility, execute_from_command_line

from whatsapp_agent import env

# All others work with data that exists: in an empty DATA_DIR, most likely, somebody forgot to say which one.
MAY_CREATE_DATA = ("up", "link_session", "test")


def main() -> None:
    """Run the management command of the command line. What an operator can correct ends it with one line."""
    _open_streams()
    try:
        if signal.getsignal(signal.SIGINT) is signal.SIG_DFL:  # as manage.py leaves it
            signal.signal(signal.SIGINT, signal.default_int_handler)
        _run()
        sys.stdout.flush()
    except KeyboardInterrupt:
        sys.stderr.write("Stopped.\n")
        sys.exit(130)  # as shells do; a traceback would not help
    except BrokenPipeError:  # `| head` has read enough
        sys.exit(1)
    except Exception as exc:
        reason = _reason(exc)
        if reason is None or "--traceback" in sys.argv:
            raise
        sys.exit(reason)
    finally:
        _close_output()


def _open_streams() -> None:
    """Open what the caller has closed (`>&-`): the next connection would take its number, and be written to."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode))  # noqa: SIM115  for as long as the process runs


def _run() -> None:
    gc.disable()  # until all is loaded (agent.apps): nearly all of it stays, and a fifth of the time went there
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "whatsapp_agent.settings")
    command = sys.argv[1:2]
    if command == ["run"]:
        sys.argv[1:2] = command = ["up"]
    env.creates_data = command != [] and command[0] in MAY_CREATE_DATA
    env.restores_data = command == ["restore"]
    env.reads_secrets = env.restores_data and any(each.startswith("--sec") for each in sys.argv)
    if command == ["version"]:  # Django would print its own
        import django

        django.setup()
        ManagementUtility(sys.argv).fetch_command("version").run_from_argv(sys.argv)
    else:
        execute_from_command_line(sys.argv)


def _reason(exc: Exception) -> str | None:
    try:
        from whatsapp_agent.terminal import reason_of
    except Exception:  # noqa: BLE001  the settings could not be read, which is what `exc` says
        return None
    return reason_of(exc)


def _close_output() -> None:
    """Discard what could not be written, as to a full disk: Python would try again and print a traceback."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    main()
