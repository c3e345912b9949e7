"""A real HTTP server on this machine that takes, refuses or swallows alarms."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

SECRET = "T0SECRET0B0SECRET"


@dataclass
class Receiver:
    """What a server was told, and what it answers."""

    url: str
    answers: list[int]
    """Status of each request; the last one stands for all that follow."""
    texts: list[str] = field(default_factory=list)
    """Of every request, also of those refused."""
    may_answer: threading.Event = field(default_factory=threading.Event)


@contextmanager
def receiving(*answers: int) -> Iterator[Receiver]:
    """A server at an address with a secret path; answers 200 unless told otherwise."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            assert self.path == f"/services/{SECRET}"
            receiver.texts.append(body["text"])
            receiver.may_answer.wait(60)
            number = min(len(receiver.texts), len(receiver.answers)) - 1
            self.send_response(receiver.answers[number])
            self.end_headers()

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    url = f"http://127.0.0.1:{server.server_port}/services/{SECRET}"
    receiver = Receiver(url, list(answers or (200,)))
    receiver.may_answer.set()
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield receiver
    finally:
        receiver.may_answer.set()
        server.shutdown()
        server.server_close()
