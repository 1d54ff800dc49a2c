"""`manage.py why MESSAGE`: explain what became of a message."""

from typing import Any

from django.core.management.base import CommandParser

from messaging.maintenance.explanation import explain, find_messages
from whatsapp_agent.terminal import OperatorCommand


class Command(OperatorCommand):
    help = "Explain which rule answered, delayed or ignored a message, with its turn. Prints no message text."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("message", metavar="MESSAGE", help="our id of the message, or the bridge's")
        parser.add_argument("--json", action="store_true", help="print JSON")

    def handle(self, *, message: str, json: bool, **_options: Any) -> None:
        found = [explain(each) for each in find_messages(message)]
        if json:
            self.print_json(found)
            return
        for each in found:
            self._print(each)

    def _print(self, found: dict[str, Any]) -> None:
        self.stdout.write(
            f"{found['direction'].capitalize()} {found['kind']} {found['message']}: {found['status']}\n"
            f"  session {found['session']}, conversation {found['conversation']}, at {found['said_at']:%F %T} UTC"
        )
        for reason in found["reasons"]:
            self.stdout.write(f"  - {reason}")
        if (turn := found["turn"]) is not None:
            self.stdout.write(
                f"  turn {turn['id']}: {turn['outcome']}, {turn['agent_profile']} version {turn['profile_version']}, "
                f"model {turn['model'] or '-'}, {turn['prompt_tokens']} + {turn['completion_tokens']} tokens, "
                f"{turn['model_ms']} ms of the model"
            )
            for call in turn["tool_calls"]:
                self.stdout.write(f"    tool {call['name']}: {call['status']}")
            for run in turn["commands"]:
                self.stdout.write(f"    command {run['name']}: {run['status']}")
            for reply in turn["replies"]:
                self.stdout.write(f"    reply {reply['id']}: {reply['status']}")
