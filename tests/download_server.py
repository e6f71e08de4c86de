"""A local HTTP server that can be told to misbehave."""

import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Site:
    """What the server does.

    Attributes:
        content: The bytes of every file.
        cuts: Bytes after which each of the next answers breaks off.
        statuses: Status codes of the next answers, before it serves the file.
        ranges: Whether it understands Range.
        etag: Its mark of the version.
        kind: Content-Type.
        asked: The Range headers of the requests so far.
        gate: Set for the answers to go on after their first bytes.
    """

    def __init__(self, content):
        self.content, self.cuts, self.statuses, self.asked = content, [], [], []
        self.ranges, self.etag, self.kind = True, '"one"', "application/octet-stream"
        self.gate = threading.Event()
        self.gate.set()
        self.url = ""


@contextmanager
def serving(content):
    """A running server; its `url` ends in a slash."""
    site = Site(content)

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *parts):
            pass

        def do_GET(self):
            asked = self.headers.get("Range")
            site.asked.append(asked)
            if site.statuses:
                return self.send_error(site.statuses.pop(0))
            if_range = self.headers.get("If-Range", site.etag)
            start = int(asked[6:-1]) if asked and site.ranges and if_range == site.etag else 0
            if start >= len(site.content):
                return self.send_error(416)
            body = site.content[start:]
            self.send_response(206 if start else 200)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Content-Type", site.kind)
            if site.etag:
                self.send_header("ETag", site.etag)
            self.end_headers()
            cut = site.cuts.pop(0) if site.cuts else len(body)
            self.wfile.write(body[: cut // 2])
            self.wfile.flush()
            site.gate.wait(10)
            self.wfile.write(body[cut // 2 : cut])
            return None

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.handle_error = lambda request, client_address: None  # clients that leave early are what is tested
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    site.url = f"http://127.0.0.1:{server.server_port}/"
    try:
        yield site
    finally:
        site.gate.set()
        server.shutdown()
        server.server_close()
