"""A mail server that records what it is given.

with FakeSmtp() as smtp:
    settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", smtp.port
    smtp.refuses = True   # answers 451 to every message from now on
    smtp.mails[0].subject
"""

import socketserver
import threading
from email import message_from_bytes
from email.policy import default
from typing import Any, NamedTuple, Self


class Mail(NamedTuple):
    recipients: list[str]
    subject: str
    text: str


class FakeSmtp:
    def __init__(self) -> None:
        self.mails: list[Mail] = []
        self.refuses = False
        fake = self

        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                fake._serve(self.rfile, self.wfile)

        self._server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _serve(self, reader: Any, writer: Any) -> None:
        writer.write(b"220 fake\r\n")
        recipients: list[str] = []
        while line := reader.readline():
            verb = line[:4].upper()
            if verb == b"RCPT":
                recipients.append(line.partition(b"<")[2].partition(b">")[0].decode())
            if verb == b"DATA" and not self.refuses:
                writer.write(b"354 go on\r\n")
                body = b""
                while (part := reader.readline()) != b".\r\n":
                    body += part
                mail = message_from_bytes(body, policy=default)
                self.mails.append(Mail(recipients, str(mail["Subject"]), mail.get_content()))
                recipients = []
            answers = {b"QUIT": b"221 bye\r\n", b"DATA": b"451 later\r\n" if self.refuses else b"250 taken\r\n"}
            writer.write(answers.get(verb, b"250 ok\r\n"))
            if verb == b"QUIT":
                return
