"""Command runs have a retention of their own."""

from typing import Any

from commands.models import CommandRun
from messaging.maintenance.retention import Kind, register


def _delete(ids: list[Any]) -> None:
    CommandRun.objects.filter(pk__in=ids).delete()


register(
    Kind(
        "command_runs",
        lambda before: CommandRun.objects.filter(created_at__lt=before).order_by("created_at"),
        _delete,
    )
)
