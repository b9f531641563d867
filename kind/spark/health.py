"""What Kubernetes and Prometheus ask: /healthz, /readyz and /metrics over HTTP, from a thread of its own.

Live while the loop turns, whatever Kafka does; ready while batches are committed. It asks Spark nothing: the loop tells
it what it has seen.
"""

import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

# How long the loop may stand still: it looks many times a second.
STILL = 60
METRICS = """\
# HELP fireworks_generate_readings_total Readings written
# TYPE fireworks_generate_readings_total counter
fireworks_generate_readings_total {readings}
# HELP fireworks_generate_batches_total Batches written
# TYPE fireworks_generate_batches_total counter
fireworks_generate_batches_total {batches}
"""


class Health:
    """What the loop has last told."""

    def __init__(self, patience):
        """`patience`: how many seconds without a batch are too many."""
        self.patience = patience
        self.waits_for = "Spark to start"
        self.turned = None
        self.committed = None
        self.batches = 0
        self.readings = 0

    def turns(self):
        """The loop has turned."""
        self.turned = time.monotonic()

    def commits(self, batches, readings):
        """So much is committed in all."""
        self.committed = time.monotonic()
        self.batches, self.readings = batches, readings

    def is_live(self):
        return self.turned is None or time.monotonic() - self.turned < STILL

    def unready(self):
        """Why it isn't ready, if it isn't."""
        if self.committed is None:
            return f"waiting for {self.waits_for}"
        since = time.monotonic() - self.committed
        return f"no batch for {since:.0f} s" if since > self.patience else None

    def answer(self, path):
        """Status and text."""
        if path == "/healthz":
            return (200, "ok\n") if self.is_live() else (503, "the loop stands still\n")
        if path == "/readyz":
            why = self.unready()
            return (200, "ok\n") if why is None else (503, f"{why}\n")
        if path == "/metrics":
            return 200, METRICS.format(readings=self.readings, batches=self.batches)
        return 404, "there is /metrics, /healthz and /readyz\n"

    def serve(self, listen):
        """Answers until the process ends."""
        health = self

        class Answers(BaseHTTPRequestHandler):
            timeout = 10

            def do_GET(self):
                status, text = health.answer(self.path)
                body = text.encode()
                self.send_response(status)
                self.send_header("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        server = ThreadingHTTPServer(listen, Answers)
        threading.Thread(target=server.serve_forever, daemon=True).start()
