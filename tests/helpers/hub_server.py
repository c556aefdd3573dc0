"""A stand-in of the Hugging Face Hub's HTTP interface, as far as its client asks for it: repositories in memory, at a local address.

Files of a commit come inline (uploadMode "regular"); the Hub itself takes large ones by another way, which the client chooses.
"""

import base64
import hashlib
import json
import re
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

COMMIT = "0123456789abcdef0123456789abcdef01234567"
TOKEN = "hf_of_a_test"


class Hub(ThreadingHTTPServer):
    """repositories: {OWNER/NAME: {path: bytes}}. asked: every (method, path) in order."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Answers)
        self.repositories: dict[str, dict[str, bytes]] = {}
        self.asked: list[tuple[str, str]] = []

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


@contextmanager
def hub_running():
    """A Hub that answers until the block ends."""
    with Hub() as hub:
        thread = threading.Thread(target=hub.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        try:
            yield hub
        finally:
            hub.shutdown()
            thread.join()


class Answers(BaseHTTPRequestHandler):
    """One request."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if "chunked" in self.headers.get("Transfer-Encoding", ""):
            body = b"".join(iter(self._chunk, b""))
        self.server.asked.append(("POST", self.path))
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            return self._json({"error": "Invalid username or password."}, 401)
        if self.path == "/api/repos/create":
            asked = json.loads(body)
            name = "/".join(filter(None, (asked.get("organization"), asked["name"])))
            self.server.repositories.setdefault(name, {})
            return self._json({"url": f"{self.server.address}/{name}", "id": name})
        if self.path == "/api/validate-yaml":
            return self._json({"errors": [], "warnings": []})
        if found := re.fullmatch(r"/api/models/(.+/.+)/preupload/main", self.path):
            files = [{"path": f["path"], "uploadMode": "regular", "shouldIgnore": False} for f in json.loads(body)["files"]]
            return self._json({"files": files})
        if found := re.fullmatch(r"/api/models/(.+/.+)/commit/main", self.path):
            for line in body.decode().splitlines():
                entry = json.loads(line)
                if entry["key"] == "file":
                    self.server.repositories[found[1]][entry["value"]["path"]] = base64.b64decode(entry["value"]["content"])
            return self._json({"success": True, "commitOid": COMMIT, "commitUrl": f"{self.server.address}/{found[1]}/commit/{COMMIT}"})
        return self._json({"error": "not found"}, 404)

    def do_HEAD(self):
        self._get(body=False)

    def do_GET(self):
        self._get(body=True)

    def _get(self, body: bool):
        self.server.asked.append(("GET" if body else "HEAD", self.path))
        path = self.path.partition("?")[0]
        if path == "/api/whoami-v2":
            known = self.headers.get("Authorization") == f"Bearer {TOKEN}"
            return self._json({"name": "me", "type": "user"} if known else {"error": "Invalid user token."}, 200 if known else 401)
        if found := re.fullmatch(r"/api/models/([^/]+/[^/]+)(/revision/.+|/tree/.+)?", path):
            files = self.server.repositories.get(found[1])
            if files is None:
                return self._json({"error": "Repository not found"}, 404, {"X-Error-Code": "RepoNotFound"})
            if (found[2] or "").startswith("/tree"):
                return self._json([{"type": "file", "path": p, "size": len(c), "oid": _etag(c)} for p, c in files.items()])
            return self._json({"id": found[1], "sha": COMMIT, "siblings": [{"rfilename": name} for name in files]})
        if found := re.fullmatch(r"/([^/]+/[^/]+)/resolve/[^/]+/(.+)", path):
            content = self.server.repositories.get(found[1], {}).get(found[2])
            if content is None:
                return self._json({"error": "Entry not found"}, 404, {"X-Error-Code": "EntryNotFound"})
            return self._send(content if body else b"", 200, {"ETag": f'"{_etag(content)}"', "X-Repo-Commit": COMMIT}, len(content))
        return self._json({"error": "not found"}, 404)

    def _chunk(self) -> bytes:
        size = int(self.rfile.readline(), 16)
        chunk = self.rfile.read(size)
        self.rfile.readline()
        return chunk

    def _json(self, values, code=200, headers=None):
        self._send(json.dumps(values).encode(), code, {"Content-Type": "application/json", **(headers or {})})

    def _send(self, content: bytes, code: int, headers: dict, length: int | None = None):
        self.send_response(code)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content) if length is None else length))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)


def _etag(content: bytes) -> str:
    return hashlib.sha1(content).hexdigest()
