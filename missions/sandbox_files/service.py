"""The sandbox service: a small real HTTP server that is as well as its configuration. Standard library only.

Usage: service.py FOLDER PORT. `GET /health` answers 200, or 500 with the problem, from what the files say
now.
"""

import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from status import status  # type: ignore[import-not-found]


class Answers(BaseHTTPRequestHandler):
    """Answers from the folder the server was given."""

    folder = Path()

    def do_GET(self) -> None:
        """`/health` and nothing else."""
        if self.path.partition("?")[0] != "/health":
            self._answer(404, {"error": "not found"})
            return
        found = status(self.folder)
        self._answer(200 if found["healthy"] else 500, found)

    def _answer(self, code: int, body: dict[str, object]) -> None:
        written = json.dumps(body).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(written)))
        self.end_headers()
        self.wfile.write(written)

    def log_message(self, *_: object) -> None:
        """Say nothing: whoever started the service has other things to print."""


def main(folder: Path, port: int) -> None:
    """Serve until ended."""
    Answers.folder = folder
    with ThreadingHTTPServer(("127.0.0.1", port), Answers) as server:
        server.serve_forever()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
