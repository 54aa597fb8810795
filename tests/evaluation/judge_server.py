"""A judge of OpenAI's kind on a free local port, that does what a test tells it."""

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

Say = Callable[
    [str], object
]  # from the last message to: the reply's text, (status, body or address), or None: never answer


@contextmanager
def judge_server(say: Say) -> Iterator[tuple[str, list[dict[str, object]]]]:
    """Yield the address and the requests as they come, each with the key that was sent."""
    asked: list[dict[str, object]] = []
    over = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            asked.append({**request, "path": self.path, "key": self.headers.get("Authorization")})
            said = say(request["messages"][-1]["content"])
            if said is None:
                over.wait()
                return
            status, body = said if isinstance(said, tuple) else (200, completion(said))
            self.send_response(status)
            if 300 <= status < 400:
                self.send_header("Location", body)
                body = b""
            self.end_headers()
            whole = body if isinstance(body, bytes | tuple) else json.dumps(body).encode()
            parts = whole if isinstance(whole, tuple) else (whole,)
            for part in parts:  # a tuple: with a moment between them
                with suppress(OSError):  # who asked may be gone
                    self.wfile.write(part)
                    over.wait(0.02 if parts[1:] else 0)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1", asked
    finally:
        over.set()
        server.shutdown()
        server.server_close()
        thread.join()


def completion(text: object) -> Mapping[str, object]:
    """A chat completion that says ``text``."""
    return {"choices": [{"message": {"role": "assistant", "content": text}}]}
