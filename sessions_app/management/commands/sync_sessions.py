"""`manage.py sync_sessions`: reconcile our sessions with those of the bridges, and fetch missed messages."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import CommandError
from django.db import OperationalError, ProgrammingError

from sessions_app import bridges, services
from sessions_app.links import reconciliation
from sessions_app.links.catching_up import fetch_missed
from sessions_app.models import Bridge
from whatsapp_agent.errors import BridgeFailed
from whatsapp_agent.postgres.embedded import NotStarted
from whatsapp_agent.terminal import OperatorCommand

CHANGE_LABELS = {"added": "added", "updated": "changed", "missing": "no longer at the bridge"}


class Command(OperatorCommand):
    help = "Reconcile the sessions here with those of the bridges, and store the messages that we missed."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--bridge", metavar="SLUG", help="Only this bridge.")
        parser.add_argument("--json", action="store_true", help="print JSON")

    def handle(self, *, bridge: str | None, json: bool, **_options: Any) -> None:
        ensure_bridges()
        self._results: dict[str, dict[str, Any]] | None = {} if json else None
        bridges = [find_bridge(bridge)] if bridge else list(Bridge.objects.order_by("slug"))
        try:
            failed = [each.slug for each in bridges if not self._reconcile(each)]
        except KeyboardInterrupt:
            text = "Stopped. What is printed above is done; a running server asks for the rest by itself."
            raise CommandError(text, returncode=130) from None
        finally:
            if self._results is not None:
                self.print_json(self._results)
        if failed:
            raise CommandError(f"Not reconciled: {', '.join(failed)}. Is the bridge running? See manage.py doctor.")

    def _say(self, text: str) -> None:
        if self._results is None:
            self.stdout.write(text)

    def _reconcile(self, bridge: Bridge) -> bool:
        result: dict[str, Any] = {"reconciled": False}
        if self._results is not None:
            self._results[bridge.slug] = result
        if not bridges.adapter_for(bridge).stores_sessions:
            self._say(f"{bridge}: stores no sessions itself; nothing to do.")
            result["reconciled"] = True
            return True
        try:
            report = reconciliation.sync_bridge(bridge)
        except BridgeFailed as exc:
            self.stderr.write(f"{bridge}: {exc}")
            return False
        result |= {**report, "reconciled": True, "missed_messages": {}}
        for change, names in report.items():
            for name in names:
                status = bridge.sessions.get(name=name).get_status_display()
                self._say(f"{bridge}: {name} {CHANGE_LABELS[change]} ({status})")
        has_changed = any(report.values())
        for name, count in self.progress(fetch_missed(bridge), what="numbers asked for missed messages"):
            result["missed_messages"][name] = count
            if count == 0:
                continue
            has_changed = True
            text = f"had missed {count} {'message' if count == 1 else 'messages'}"
            if count is None:
                text = "may have missed messages: the bridge did not list them"
            self._say(f"{bridge}: {name} {text}")
        if not has_changed:
            self._say(f"{bridge}: nothing has changed.")
        return True


def ensure_bridges() -> None:
    """Create or update the bridges of the environment. Raises CommandError if the database is not ready."""
    try:
        services.ensure_default_bridges()
    except ProgrammingError as exc:
        raise CommandError("The database has no tables yet. Run manage.py migrate or make run first.") from exc
    except OperationalError as exc:
        if isinstance(exc.__cause__, NotStarted):
            raise CommandError(str(exc.__cause__)) from exc
        raise CommandError("The database cannot be reached. See manage.py doctor.") from exc


def find_bridge(slug: str) -> Bridge:
    """Return the bridge with this slug. Raises CommandError, with the known slugs, if there is none."""
    bridge = Bridge.objects.filter(slug=slug).first()
    if bridge is None:
        known = ", ".join(Bridge.objects.order_by("slug").values_list("slug", flat=True))
        raise CommandError(f"There is no bridge {slug}. There are: {known}.")
    return bridge
