"""`manage.py rotate_secrets`: new secrets in the place of those that may have become known."""

from typing import Any

from django.core.management.base import CommandError, CommandParser

from agent.backups.rotation import (
    check_key_holders,
    count_outdated,
    encrypt_again,
    end_tokens,
    finish_rotation,
    may_renew_webhook_secret,
    rotate_webhook_secret,
    start_rotation,
)
from sessions_app.bridges import end_former_secret
from sessions_app.management.commands.sync_sessions import ensure_bridges, find_bridge
from sessions_app.models import Bridge
from whatsapp_agent.errors import AppError
from whatsapp_agent.terminal import OperatorCommand


class Command(OperatorCommand):
    help = (
        "Replace secrets. SECRET_KEY, in steps: without an option, restart, --encrypt, --finish, restart. "
        "--webhooks: the bridges' webhook addresses. --tokens: ADMIN_TOKEN_SECRET, which signs access tokens."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        what = parser.add_mutually_exclusive_group()
        what.add_argument("--webhooks", action="store_true", help="new webhook addresses, told to the bridges")
        what.add_argument("--tokens", action="store_true", help="a new ADMIN_TOKEN_SECRET: every token ends")
        step = parser.add_mutually_exclusive_group()
        step.add_argument("--encrypt", action="store_true", help="encrypt stored secrets with the new key")
        step.add_argument("--finish", action="store_true", help="accept earlier keys, or webhook addresses, no longer")
        parser.add_argument("--force", action="store_true", help="although processes run with the former SECRET_KEY")
        parser.add_argument("--bridge", metavar="SLUG", help="with --webhooks: this bridge alone")
        parser.add_argument("--dry-run", action="store_true", help="say what would be replaced, and replace nothing")
        parser.add_argument("--json", action="store_true", help="print JSON")

    def handle(self, *, webhooks: bool, tokens: bool, bridge: str | None, json: bool, **options: Any) -> None:
        if bridge and not webhooks:
            raise CommandError("--bridge goes with --webhooks.")
        if (webhooks and options["encrypt"]) or (tokens and (options["encrypt"] or options["finish"])):
            raise CommandError("--encrypt and --finish are steps of SECRET_KEY; --finish goes with --webhooks, too.")
        if options["force"] and (webhooks or tokens or not (options["encrypt"] or options["finish"])):
            raise CommandError("--force goes with the steps of SECRET_KEY: --encrypt and --finish.")
        if (options["encrypt"] or options["finish"]) and not (webhooks or options["dry_run"] or options["force"]):
            check_key_holders()
        self._facts: dict[str, Any] | None = {"dry_run": options["dry_run"]} if json else None
        try:
            self._rotate(bridge, webhooks=webhooks, tokens=tokens, **options)
        finally:
            if self._facts is not None:
                self.print_json(self._facts)

    def _rotate(self, bridge: str | None, *, webhooks: bool, tokens: bool, **options: Any) -> None:
        if webhooks:
            self._webhooks(bridge, finish=options["finish"], dry_run=options["dry_run"])
        elif tokens:
            self._tokens(dry_run=options["dry_run"])
        else:
            self._secret_key(encrypt=options["encrypt"], finish=options["finish"], dry_run=options["dry_run"])

    def _say(self, text: str, **facts: Any) -> None:
        """Print a line, or with --json add what it says."""
        if self._facts is None:
            self.stdout.write(text)
        else:
            self._facts |= facts

    def _secret_key(self, *, encrypt: bool, finish: bool, dry_run: bool) -> None:
        if dry_run:
            count = count_outdated()
            self._say(f"{count} values are encrypted with an earlier key.", outdated=count)
        elif encrypt:
            count = sum(1 for _ in self.progress(encrypt_again(), what="values"))
            self._say(f"Encrypted {count} values with the present key. Then: rotate_secrets --finish.", encrypted=count)
        elif finish:
            finish_rotation()
            self._say("Earlier keys are accepted no longer, once everything is restarted.", finished=True)
        else:
            path = start_rotation()
            self._say(
                f"Wrote a new SECRET_KEY into {path}; the former is accepted, too. Restart everything, then run "
                "rotate_secrets --encrypt.",
                file=path,
            )

    def _tokens(self, *, dry_run: bool) -> None:
        if dry_run:
            self._say("ADMIN_TOKEN_SECRET would be replaced, and every access and refresh token would end.")
            return
        path = end_tokens()
        self._say(
            f"Wrote a new ADMIN_TOKEN_SECRET into {path}. Restart everything: from then on every access and refresh "
            "token given before is refused, and whoever uses one logs in again. API keys and the admin's log-ins stay.",
            file=path,
        )

    def _webhooks(self, slug: str | None, *, finish: bool, dry_run: bool) -> None:
        ensure_bridges()
        bridges = [find_bridge(slug)] if slug else list(Bridge.objects.order_by("slug"))
        failed = []
        for bridge in bridges:
            try:
                self._webhook(bridge, finish=finish, dry_run=dry_run)
            except AppError as exc:
                self.stderr.write(f"{bridge.slug}: {exc}")
                failed.append(bridge.slug)
        if failed:
            raise CommandError(
                f"Not told the new address: {', '.join(failed)}. The former is accepted meanwhile. Run this again, or "
                "configure it at the bridge by hand."
            )

    def _webhook(self, bridge: Bridge, *, finish: bool, dry_run: bool) -> None:
        if finish and dry_run:
            state = "would be accepted no longer" if bridge.accepted_former_secret else "is none that is accepted"
            self._say_of(bridge, f"{bridge.slug}: its former webhook address {state}.")
        elif finish:
            was = "is accepted no longer" if end_former_secret(bridge) else "was not accepted any more"
            self._say_of(bridge, f"{bridge.slug}: its former webhook address {was}.")
        elif dry_run:
            if bridge.accepted_former_secret:
                line = "it was given a new webhook address before, and would be told it again."
            elif may_renew_webhook_secret(bridge):
                line = "it would get a new webhook address."
            else:
                line = "its secret is WHATSAPP_WEBHOOK_SECRET of the environment, and would stay."
            self._say_of(bridge, f"{bridge.slug}: {line}")
        else:
            for line in rotate_webhook_secret(bridge):
                self._say_of(bridge, line)

    def _say_of(self, bridge: Bridge, line: str) -> None:
        if self._facts is None:
            self.stdout.write(line)
        else:
            self._facts.setdefault("bridges", {}).setdefault(bridge.slug, []).append(line)
