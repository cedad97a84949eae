"""An S3 server on loopback (moto) that fails on demand: `python -m tests.integration.storage.server` prints its port,
and lasts as long as its stdin.

`GET /faults?share=0.05&seed=1` makes it answer that share of requests with an error, drawn from the seed, and returns
how many of each kind there were since it was last asked; `kind=reset` has errors of that kind only, and `hold=1` lets
no body of a PUT through until `hold=0`.
"""

import json
import random
import socket
import struct
import sys
import threading
from collections import Counter
from urllib.parse import parse_qsl

from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import ThreadedWSGIServer, WSGIRequestHandler

KINDS = ("500", "503", "reset", "answer lost", "cut short")
ERROR = "<?xml version='1.0'?><Error><Code>{}</Code><Message>injected</Message></Error>"


class Faults:
    """The WSGI application `app`, a share of whose answers is replaced by errors of KINDS."""

    def __init__(self, app):
        self.app, self.share, self.kinds, self.rng, self.counts = app, 0.0, KINDS, random.Random(0), Counter()
        self.lock, self.open = threading.Lock(), threading.Event()
        self.open.set()

    def __call__(self, environ, start_response):
        if environ["PATH_INFO"] == "/faults":
            return self.settle(dict(parse_qsl(environ["QUERY_STRING"])), start_response)
        with self.lock:
            kind = self.rng.choice(self.kinds) if self.rng.random() < self.share else "none"
            self.counts[kind] += 1
        if environ["REQUEST_METHOD"] == "PUT":
            self.open.wait()
        if kind in ("500", "503"):
            environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
            body = ERROR.format("InternalError" if kind == "500" else "SlowDown").encode()
            start_response(
                f"{kind} injected", [("Content-Length", str(len(body))), ("Content-Type", "application/xml")]
            )
            return [b"" if environ["REQUEST_METHOD"] == "HEAD" else body]
        if kind == "reset":
            reset(environ)
        if kind == "none":
            return self.app(environ, start_response)
        answers = []
        body = b"".join(self.app(environ, lambda *answer: answers.append(answer)))
        if kind == "answer lost" or len(body) < 2:
            reset(environ)
        start_response(*answers[0])
        return self.cut(body, environ)

    def cut(self, body, environ):
        yield body[: len(body) // 2]
        reset(environ)

    def settle(self, options, start_response):
        with self.lock:
            counts, self.counts = dict(self.counts), Counter()
            self.share = float(options.get("share", self.share))
            self.kinds = [options["kind"]] if "kind" in options else KINDS
            if "seed" in options:
                self.rng = random.Random(int(options["seed"]))
            if "hold" in options:
                (self.open.clear if options["hold"] == "1" else self.open.set)()
        body = json.dumps(counts).encode()
        start_response("200 OK", [("Content-Length", str(len(body)))])
        return [body]


def reset(environ) -> None:
    """Have the connection closed with RST, whatever was sent."""
    environ["werkzeug.socket"].setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    raise ConnectionResetError("injected")


class Handler(WSGIRequestHandler):
    protocol_version = "HTTP/1.1"  # connections stay open between requests, as with S3

    def connection_dropped(self, error, environ=None):
        self.close_connection = True

    def log_request(self, *_):
        pass


class Server(ThreadedWSGIServer):
    daemon_threads = True

    def shutdown_request(self, request):
        self.close_request(request)  # without a FIN before it


if __name__ == "__main__":
    server = Server("127.0.0.1", 0, Faults(DomainDispatcherApplication(create_backend_app)), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(server.port, flush=True)
    sys.stdin.read()  # to its end, which comes with that of whoever started this
