"""The data sets: those that a test puts there, and those that the client uploads. Archives among their files are unpacked, as by Kaggle."""

import gzip
import shutil
import time
import zipfile
from dataclasses import dataclass, field
from pathlib import Path

from emulator.refusing import Denied


@dataclass
class Uploaded:
    """A data set that came through the client. unpacking: seconds until it can be attached, from `since` on."""

    folder: Path
    subtitle: str
    unpacking: float
    version: int = 1
    since: float = field(default_factory=time.monotonic)

    @property
    def ready(self) -> bool:
        return time.monotonic() >= self.since + self.unpacking


class Datasets:
    """given: {OWNER/SLUG: folder} of all that can be read. unpacking: seconds that a new version isn't ready."""

    def __init__(self, root: Path, owner: str, given: dict[str, Path], unpacking: float = 0.2):
        self.root, self.owner, self.given, self.unpacking = Path(root), owner, given, unpacking
        self.uploaded: dict[str, Uploaded] = {}
        self.blobs: list[tuple[str, bytes]] = []  # (name, content)

    def folder_of(self, ref: str) -> Path | None:
        """What is mounted for OWNER/SLUG; None for a name that nobody knows, and for a version that isn't ready."""
        name = "/".join(ref.split("/")[:2])
        if name in self.uploaded:
            return self.uploaded[name].folder if self.uploaded[name].ready else None
        return self.given.get(name)

    # --- BlobApiService and DatasetApiService ---

    def start_blob_upload(self, request: dict) -> dict:
        self.blobs.append((request["name"], b""))
        token = str(len(self.blobs) - 1)
        return {"token": token, "createUrl": f"http://localhost/upload/{token}"}

    def receive(self, token: str, content: bytes) -> None:
        """What the client sends to the address that it got."""
        self.blobs[int(token)] = (self.blobs[int(token)][0], content)

    def create_dataset(self, request: dict) -> dict:
        ref = f"{request['ownerSlug']}/{request['slug']}"
        if request["ownerSlug"] != self.owner:
            raise Denied(403, "Permission 'datasets.create' was denied")
        if ref in self.uploaded or ref in self.given:
            return {"status": "error", "error": f'The requested title "{request["title"]}" is already in use by a dataset.'}
        if not 6 <= len(request["slug"]) <= 50:
            return {"status": "error", "error": "The dataset slug must be between 6 and 50 characters"}
        return self._store(ref, request, 1)

    def create_dataset_version(self, request: dict) -> dict:
        ref = f"{request['ownerSlug']}/{request['datasetSlug']}"
        return self._store(ref, request["body"], self._known(ref).version + 1)

    def get_dataset_status(self, request: dict) -> dict:
        known = self._known(f"{request['ownerSlug']}/{request['datasetSlug']}")
        return {"status": "READY" if known.ready else "BLOBS_RECEIVED"}

    def get_dataset(self, request: dict) -> dict:
        known = self._known(f"{request['ownerSlug']}/{request['datasetSlug']}")
        return {"subtitle": known.subtitle, "currentVersionNumber": known.version}

    def _known(self, ref: str) -> Uploaded:
        if ref not in self.uploaded:
            raise Denied(403, "Permission 'datasets.get' was denied")
        return self.uploaded[ref]

    def _store(self, ref: str, request: dict, version: int) -> dict:
        folder = self.root / ref / f"v{version}"
        folder.mkdir(parents=True)
        for file in request["files"]:
            name, content = self.blobs[int(file["token"])]
            (folder / name).write_bytes(content)
        self.uploaded[ref] = Uploaded(folder, request.get("subtitle") or "", self.unpacking, version)
        return {"ref": f"/{ref}", "url": f"https://www.kaggle.com/datasets/{ref}", "status": "ok"}


def unpack(folder: Path) -> None:
    """NAME.zip becomes the folder NAME, NAME.gz the file NAME."""
    for path in [path for path in folder.rglob("*") if path.suffix in (".zip", ".gz")]:
        if path.suffix == ".zip":
            with zipfile.ZipFile(path) as archive:
                archive.extractall(path.with_suffix(""))
        else:
            with gzip.open(path) as packed, open(path.with_suffix(""), "wb") as plain:
                shutil.copyfileobj(packed, plain)
        path.unlink()
