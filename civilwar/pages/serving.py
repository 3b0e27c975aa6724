"""Serve a built book to this machine's browser, at an address that is surely ours."""

import errno
import functools
import http.server
from pathlib import Path
from typing import Any

#: Ports that are tried, from the one asked for on.
TRIED = 50


class _Quiet(http.server.SimpleHTTPRequestHandler):
    """Serves files and says nothing of each."""

    def log_message(self, format: str, *arguments: Any) -> None:
        pass

    def end_headers(self) -> None:
        # or a page that was built anew is shown as it was
        self.send_header("Cache-Control", "no-cache")
        super().end_headers()


class _Server(http.server.ThreadingHTTPServer):
    # a port that another server listens on is taken, on every system
    allow_reuse_address = False
    daemon_threads = True


def bind(pages: Path, port: int) -> http.server.ThreadingHTTPServer:
    """A server of a folder on 127.0.0.1, at ``port`` or the next free one. It has the port when this returns.

    Raises OSError where none of `TRIED` ports is free.
    """
    handler = functools.partial(_Quiet, directory=str(pages))
    for candidate in range(port, min(port + TRIED, 2**16)):
        try:
            return _Server(("127.0.0.1", candidate), handler)
        except OSError as error:
            if error.errno not in (errno.EADDRINUSE, errno.EACCES):
                raise
    raise OSError(f"no port from {port} to {port + TRIED - 1} is free: name another with --port.")


def address(server: http.server.ThreadingHTTPServer) -> str:
    """What to type into a browser."""
    return f"http://127.0.0.1:{server.server_address[1]}/"
