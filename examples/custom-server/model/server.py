"""A server with routes of its own, of the standard library: it streams the words of a prompt one by one."""

import argparse
import json
import os
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        if self.path == "/ready":
            self.answer({"status": "ready"})
        elif self.path == "/v1/models":
            self.answer({"object": "list", "data": [{"id": "echo", "object": "model"}]})
        elif self.path == "/secret":
            self.answer({"characters": len(read_secret("api_key", "nobody-set-one"))})
        else:
            self.answer({"error": f"there is no {self.path}"}, status=404)

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        if self.path != "/generate":
            self.answer({"error": f"there is no {self.path}"}, status=404)
            return
        self.send_response(200)
        self.send_header("content-type", "text/plain; charset=utf-8")
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        for word in body["prompt"].split():
            self.chunk(f"{word} ")
            time.sleep(0.05)
        self.chunk("")

    def answer(self, value, status=200):
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def chunk(self, text):
        data = text.encode()
        self.wfile.write(b"%x\r\n%b\r\n" % (len(data), data))
        self.wfile.flush()

    def log_message(self, text, *values):
        if self.path != "/ready":  # asked again and again
            print(text % values, flush=True)


def read_secret(name, default):
    """A secret is a file of the folder TRUSS_SECRETS_DIR, in a container /secrets."""
    file = Path(os.environ["TRUSS_SECRETS_DIR"], name)
    return file.read_text().strip() if file.is_file() else default


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    port = parser.parse_args().port
    print(f"listening on {port}", flush=True)
    Server(("127.0.0.1", port), Handler).serve_forever()
