"""The alert that nobody else could raise: web processes find that no worker is left, and mail it once."""

import time
from pathlib import Path

from tests.support.application import Application
from tests.support.fake_smtp import FakeSmtp


def test_web_processes_mail_once_that_no_worker_works(tmp_path: Path, prepared_data: Path) -> None:
    with (
        FakeSmtp() as smtp,
        Application(
            tmp_path / "data",
            prepared=prepared_data,
            REDIS_URL="redis://127.0.0.1:9/0",  # so the engine is in workers, and there is none
            WEB_PROCESSES=2,
            EMAIL_URL=f"smtp://127.0.0.1:{smtp.port}",
            EMAIL_FROM="agent@example.com",
            ALERT_EMAILS="chief@example.com",
        ) as application,
    ):
        give_up_at = time.monotonic() + 60
        while not smtp.mails:
            assert time.monotonic() < give_up_at, application.log.read_text()[-2000:]
            time.sleep(0.2)
        assert application.rows("SELECT rule, recovered_at FROM agent_alert") == [("no_worker", None)]
        time.sleep(6)  # another round of mails, of each process
        assert [(mail.recipients, mail.subject) for mail in smtp.mails] == [
            (["chief@example.com"], "[WhatsApp Agent] Alert: No process takes turns and sends")
        ]
