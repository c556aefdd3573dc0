"""The protocol: what kaggle's own client sends, and the answers that it understands. Listens on the loopback device only.

The client is pointed here by `Emulator.environment`: its environment LOCALHOST makes it ask http://localhost/api/v1/SERVICE/METHOD, and
http_proxy brings that to this server's port.
"""

import base64
import json
import os
import signal
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

from emulator.account import Account, Limits
from emulator.datasets import Datasets
from emulator.refusing import Denied

METHODS = {
    "SaveKernel": Account.save_kernel,
    "GetKernel": Account.get_kernel,
    "GetKernelSessionStatus": Account.get_kernel_session_status,
    "ListKernelSessionOutput": Account.list_kernel_session_output,
    "GetAcceleratorQuotaStatistics": Account.get_accelerator_quota_statistics,
}
OF_DATASETS = {
    "StartBlobUpload": Datasets.start_blob_upload,
    "CreateDataset": Datasets.create_dataset,
    "CreateDatasetVersion": Datasets.create_dataset_version,
    "GetDataset": Datasets.get_dataset,
    "GetDatasetStatus": Datasets.get_dataset_status,
}


class Emulator:
    """`with Emulator(folder, datasets={"alice/pictures": path}) as kaggle:` serves until the end of the block.

    kaggle.calls lists all requests so far. kaggle.kill = (pid, n, "before" | "after") kills that process at the n-th request from now:
    before the server acts on it, or after that and before the answer is sent. kaggle.outage = n answers the next n requests with 503.
    """

    owner = "alice"

    def __init__(self, root: Path, limits: Limits | None = None, datasets=None, layout="flat", key="x" * 32, stand_in: Path | None = None):
        self.account = Account(root, self.owner, limits or Limits(), datasets or {}, layout, stand_in)
        self.key = self.accepted = key
        self.calls, self.kill, self.outage = [], None, 0
        self.lock = threading.Lock()
        handler = type("BoundHandler", (Handler,), {"emulator": self})
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *error):
        for slug in self.account.kernels:
            self.account.cancel(slug)
        self.account.wait()
        self.server.shutdown()
        self.server.server_close()

    def environment(self, home: Path) -> dict[str, str]:
        """What the client needs in its environment, beside PATH."""
        proxy = f"http://127.0.0.1:{self.server.server_port}"
        names = {"KAGGLE_API_ENVIRONMENT": "LOCALHOST", "KAGGLE_USERNAME": self.owner, "KAGGLE_KEY": self.key}
        return names | {"http_proxy": proxy, "no_proxy": "", "NO_PROXY": "", "HOME": str(home), "KAGGLE_CONFIG_DIR": str(home)}

    def kills(self, when: str) -> bool:
        """Kill the process that is to die at this request, if that is so."""
        if self.kill is None:
            return False
        pid, n, moment = self.kill
        if moment == when and n == 1:
            self.kill = None
            os.kill(pid, signal.SIGKILL)
            return True
        if when == "after":
            self.kill = (pid, n - 1, moment)
        return False


class Handler(BaseHTTPRequestHandler):
    """One request of the client."""

    emulator: Emulator
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        method = urlsplit(self.path).path.rsplit("/", 1)[-1]
        self._answer(method, json.loads(body or b"{}"))

    def do_PUT(self):
        """A file of a data set, at the address that StartBlobUpload gave."""
        length = self.headers.get("Content-Length")
        content = self.rfile.read(int(length)) if length else b"".join(iter(self._chunk, b""))
        self.emulator.account.datasets.receive(urlsplit(self.path).path.rsplit("/", 1)[-1], content)
        self._answer("upload", {"bytes": len(content)})

    def _chunk(self) -> bytes:
        """The next part of a body whose length isn't told; b"" at its end."""
        part = self.rfile.read(int(self.rfile.readline(), 16))
        self.rfile.readline()
        return part

    def do_GET(self):
        self._answer("download", unquote(urlsplit(self.path).path))

    def _answer(self, method: str, request) -> None:
        kaggle = self.emulator
        with kaggle.lock:
            killed = kaggle.kills("before")
            if not killed:
                kaggle.calls.append((method, request if method != "IntrospectToken" else {}))
                code, content, kind = self._content(method, request)
                killed = kaggle.kills("after")
        if killed:
            self.close_connection = True
            return
        try:
            self.send_response(code)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)
        except (BrokenPipeError, ConnectionResetError):  # the client was killed
            self.close_connection = True

    def _content(self, method: str, request) -> tuple[int, bytes, str]:
        """(HTTP status, content, its type)."""
        try:
            if self.emulator.outage:
                self.emulator.outage -= 1
                raise Denied(503, "Service Unavailable")
            if method == "download":
                return 200, self._file(request), "application/octet-stream"
            if method == "upload":
                return 200, b"", "application/octet-stream"
            if method == "IntrospectToken":
                known = request["token"] == self.emulator.accepted
                return (
                    200,
                    json.dumps({"active": known} | ({"username": self.emulator.owner} if known else {})).encode(),
                    "application/json",
                )
            login = f"{self.emulator.owner}:{self.emulator.accepted}".encode()
            if self.headers.get("Authorization") not in (f"Bearer {self.emulator.accepted}", f"Basic {base64.b64encode(login).decode()}"):
                raise Denied(401, "Unauthenticated")
            account = self.emulator.account
            if method in OF_DATASETS:
                return 200, json.dumps(OF_DATASETS[method](account.datasets, request)).encode(), "application/json"
            if method not in METHODS:
                raise Denied(404, f"the emulator knows no method {method}")
            return 200, json.dumps(METHODS[method](account, request)).encode(), "application/json"
        except Denied as denied:
            return denied.code, denied.body, "application/json"

    def _file(self, path: str) -> bytes:
        _, _, slug, number, name = path.split("/", 4)
        output = self.emulator.account.kernels[slug][int(number) - 1].output
        return (output / name).read_bytes()

    def log_message(self, *args):
        pass
