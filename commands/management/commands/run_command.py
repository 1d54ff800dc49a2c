"""`manage.py run_command NAME`: run a chat command in a conversation."""

import json
from argparse import ArgumentParser
from typing import Any
from uuid import UUID

from django.core.management.base import BaseCommand, CommandError, CommandParser

from commands.models import CommandRun
from commands.parsing import names_only
from commands.registry import By, Caller, UnknownCommand, get
from commands.run import run
from messaging.models import Conversation


class Command(BaseCommand):
    help = "Run a chat command in a conversation, with the rights of an administrator."

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> CommandParser:
        """Allow options before, between and after the arguments, which argparse does not by default."""
        parser = super().create_parser(prog_name, subcommand, **kwargs)
        parser.parse_args = parser.parse_intermixed_args  # type: ignore[method-assign]
        return parser

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("name", help="The command, like summarize; `help` lists all.")
        parser.add_argument("--conversation", required=True, type=UUID, help="The id of the conversation.")
        parser.add_argument("--json", action="store_true", help="Print the result as JSON.")
        parser.add_argument("words", nargs="*", metavar="key=value", help="Arguments by name, or as typed in a chat.")

    def handle(self, *, name: str, conversation: UUID, words: list[str], **options: Any) -> None:
        try:
            command = get(name)
        except UnknownCommand as exc:
            raise CommandError(str(exc)) from None
        related = ("contact", "session__bridge", "session__agent_profile")
        row = Conversation.objects.select_related(*related).filter(pk=conversation).first()
        if row is None:
            raise CommandError("Conversation not found.")
        result = run(
            command,
            arguments=names_only(command, words) if words else {},
            caller=Caller(by=By.ADMIN),
            conversation=row,
            surface=CommandRun.Surface.CLI,
        )
        if result.status != CommandRun.Status.DONE:
            raise CommandError(result.text)
        self.stdout.write(json.dumps(result.data, ensure_ascii=False, indent=2) if options["json"] else result.text)
