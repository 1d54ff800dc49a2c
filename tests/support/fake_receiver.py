"""A small web server of a third party: it records requests and returns a configured answer.

with Receiver() as receiver:
    receiver.answer = Answer(500)   # to all requests from now on; `answers` sets it per path
    receiver.requests[0].body
"""

import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self


@dataclass
class Answer:
    status: int = 200
    body: bytes = b"ok"
    headers: dict[str, str] = field(default_factory=dict)
    delay_s: float = 0.0
    drip_s: float = 0.0  # pause between the bytes of the headers


@dataclass
class RecordedRequest:
    method: str
    path: str
    headers: dict[str, str]
    body: bytes


class Receiver:
    def __init__(self) -> None:
        self.answer = Answer()
        self.answers: dict[str, Answer] = {}
        self.requests: list[RecordedRequest] = []
        self._lock = threading.Lock()
        self._at_once = self.most_at_once = 0
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def _take(self) -> None:
                length = int(self.headers.get("Content-Length") or 0)
                receiver._take(
                    self, RecordedRequest(self.command, self.path, dict(self.headers), self.rfile.read(length))
                )

            do_GET = do_POST = _take

            def log_message(self, *args: Any) -> None:
                pass

        return Handler

    def _take(self, handler: BaseHTTPRequestHandler, request: RecordedRequest) -> None:
        with self._lock:
            self.requests.append(request)
            self._at_once += 1
            self.most_at_once = max(self.most_at_once, self._at_once)
            answer = self.answers.get(request.path, self.answer)
        time.sleep(answer.delay_s)
        with self._lock:
            self._at_once -= 1
        head = [f"HTTP/1.1 {answer.status} X", f"Content-Length: {len(answer.body)}"]
        head += [f"{name}: {value}" for name, value in answer.headers.items()]
        sent = ("\r\n".join(head) + "\r\n\r\n").encode()
        try:
            if answer.drip_s:
                for number in range(len(sent)):
                    handler.wfile.write(sent[number : number + 1])
                    time.sleep(answer.drip_s)
            else:
                handler.wfile.write(sent)
            handler.wfile.write(answer.body)
        except OSError:  # the client closed the connection
            handler.close_connection = True

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=[0.02], daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
