"""Serve the built book on this machine alone (behind `make serve`): python book/tools/serve.py FOLDER PORT."""

import sys
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer


class Handler(SimpleHTTPRequestHandler):
    """Never cached by the browser, so that a rebuilt page shows at once; silent, so that errors are seen."""

    def end_headers(self) -> None:
        self.send_header("Cache-Control", "no-store")
        super().end_headers()

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        pass


class Server(ThreadingHTTPServer):
    """A browser that goes to the next page before the last one has arrived hangs up, which is no error to report."""

    def handle_error(self, request: object, client_address: object) -> None:
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


def main(folder: str, port: int) -> int:
    try:
        server = Server(("127.0.0.1", port), partial(Handler, directory=folder))
    except OSError as error:
        print(f"port {port}: {error.strerror}; choose another: make serve PORT={port + 1}", file=sys.stderr)
        return 1
    print(f"The book is at http://127.0.0.1:{server.server_port}/ (this machine only). Stop with Ctrl-C.", flush=True)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        print()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], int(sys.argv[2])))
