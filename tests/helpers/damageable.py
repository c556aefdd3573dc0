"""Every file that is read back, small, with what reading it gives: `KINDS` is {name: maker}, a maker(folder) gives a `Kept`."""

import hashlib
import shutil
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from functools import cache
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
from image_folders import write_all
from networks import as_if_trained, stirred
from retouched import smoothed_pairs, write_pairs

from ddpm_utils.__main__ import main
from ddpm_utils.classifier import NoisyClassifier, load_classifier, save_classifier
from ddpm_utils.config import Classification, Generation, TrainConfig
from ddpm_utils.control.controlnet import ControlNet, load_control, save_control
from ddpm_utils.data import sources
from ddpm_utils.data.images import ImageSet
from ddpm_utils.data.pair_folders import load_pairs
from ddpm_utils.models import load_model, save_model
from ddpm_utils.training.backup import refuse_loss, saved_step
from ddpm_utils.training.checkpoints import load_state, save_state
from ddpm_utils.training.log import records_up_to
from ddpm_utils.training.tasks.generation import GenerationTask
from ddpm_utils.training.trainer import Trainer
from ddpm_utils.unet_config import UNetConfig

SMALL = UNetConfig(8, 1, 4, (1,), 1, (), groups=2, classes=3, middle_attention=False)
RUN = TrainConfig(network=SMALL, task=Generation(timesteps=20), batch_size=4, epochs=2)
NAMES = ("a", "b", "c")
TRAIN = ["train", "--data-path", "digits", "--img-size", "4", "--width", "4", "--multipliers", "1", "--blocks", "1", "--batch-size", "512"]
TRAIN += ["--precision", "fp32", "--timesteps", "20", "--epochs", "2", "--sample-every", "0", "--log-every", "1", "--device", "cpu"]


@dataclass(frozen=True)
class Kept:
    """A file that is read back. read: what a program makes of it, to be compared; what it says goes to the terminal."""

    path: Path
    read: Callable[[], Any]
    restore: Callable[[], None] = lambda: None  # beside the file itself, what reading it damaged may have changed


def digest(*values: Any) -> str:
    """Of tensors, arrays and anything that has a repr."""
    total = hashlib.sha256()
    for value in values:
        data = value.detach().contiguous().numpy() if isinstance(value, torch.Tensor) else value
        total.update(np.ascontiguousarray(data).tobytes() if isinstance(data, np.ndarray) else repr(data).encode())
    return total.hexdigest()


def of_network(network: torch.nn.Module, *more: Any) -> str:
    return digest(*(item for pair in network.state_dict().items() for item in pair), *more)


# --- weights and states ---


def model(folder: Path) -> Kept:
    save_model(as_if_trained(SMALL), RUN, NAMES, path := folder / "model.safetensors")

    def read() -> str:
        loaded = load_model(path)
        return of_network(loaded.network, loaded.config.to_json(), loaded.classes, loaded.snapshot)

    return Kept(path, read)


def classifier(folder: Path) -> Kept:
    run = TrainConfig(network=SMALL, task=Classification(timesteps=20))
    save_classifier(stirred(NoisyClassifier(SMALL)), run, NAMES, [0.5] * 4, path := folder / "classifier.safetensors")

    def read() -> str:
        loaded = load_classifier(path)
        return of_network(loaded.network, loaded.classes, loaded.accuracy)

    return Kept(path, read)


def control(folder: Path) -> Kept:
    save_control(stirred(ControlNet.on(as_if_trained(SMALL), 1, "canny")), path := folder / "control.safetensors")

    def read() -> str:
        loaded = load_control(path)
        return of_network(loaded, loaded.hint, loaded.base_digest)

    return Kept(path, read)


def state(folder: Path) -> Kept:
    data = ImageSet(np.random.default_rng(0).integers(0, 256, (8, 8, 8, 1), np.uint8), np.arange(8) % 3, NAMES)
    trainer = Trainer(GenerationTask(RUN), data)
    list(trainer.run(2))
    save_state(trainer, path := folder / "state-00000002.pt")

    def read() -> str:
        again = Trainer(GenerationTask(RUN), data)
        before = load_state(again, path)
        moments = [m for p in again.network.parameters() for m in again.optimizer.state[p].values()]
        return of_network(again.network, *again.averages[0].shadow, *moments, again.step, before)

    return Kept(path, read)


# --- the decoded cache ---


def images_in_cache(name: str) -> Callable[[Path], Kept]:
    """A file of the entry of a folder of images."""

    def make(folder: Path) -> Kept:
        write_all(folder / "photos", np.random.default_rng(0).integers(0, 256, (3, 9, 9, 3), np.uint8), ".png")
        return in_cache(folder, name, lambda: digest(sources.load_images(folder / "photos", 8).images))

    return make


def pairs_in_cache(name: str) -> Callable[[Path], Kept]:
    """A file of the entry of two folders of pairs."""

    def make(folder: Path) -> Kept:
        pair_folders(folder)

        def read() -> str:
            pairs = load_pairs(folder / "src", 16, folder / "gt")
            return digest(pairs.images, pairs.sources, pairs.masks)

        return in_cache(folder, name, read)

    return make


def in_cache(folder: Path, name: str, read: Callable[[], str]) -> Kept:
    quietly(read)
    [entry] = [path for path in (folder / "cache").iterdir() if path.is_dir()]
    return Kept(entry / name, read, restoring(entry))


def digits_in_cache(folder: Path) -> Kept:
    """The embedded digits, as they are kept; ten of them here."""
    path = sources.cache_folder() / "mnist5k.npz"
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    np.savez_compressed(path, images=rng.integers(0, 256, (10, 28, 28), np.uint8), labels=np.arange(10))
    return Kept(path, lambda: None if (kept := sources._kept_digits(path)) is None else digest(*kept))


# --- what prepare-pairs keeps ---


def pair_folders(folder: Path) -> tuple[Path, Path]:
    rng = np.random.default_rng(0)
    photographs = [np.kron(rng.integers(40, 216, (6, 6, 3), np.uint8), np.ones((8, 8, 1), np.uint8)) for _ in range(3)]
    return write_pairs(folder, smoothed_pairs(photographs), ending=".png")


def prepared(name: str) -> Callable[[Path], Kept]:
    """A file of a folder that prepare-pairs wrote. What the pairs are, or, where they can't be read, what the command run again gives."""

    def make(folder: Path) -> Kept:
        command = ["prepare-pairs", *map(str, pair_folders(folder)), str(folder / "out"), "--size", "16", "--crops", "2"]
        assert quietly(lambda: main(command)) == 0

        def read() -> str:
            if main(command) != 0:
                return "refused"
            return of_prepared(folder / "out")

        [path] = list((folder / "out").glob(name))[:1]
        return Kept(path, read, restoring(folder / "out"))

    return make


def of_prepared(folder: Path) -> str:
    pairs = [load_pairs(folder, split=split) for split in ("train", "test")]
    return digest(*(array for part in pairs for array in (part.images, part.sources, part.masks)))


def in_training(name: str) -> Callable[[Path], Kept]:
    """A file of such a folder, as training reads it."""

    def make(folder: Path) -> Kept:
        kept = prepared(name)(folder)

        return Kept(kept.path, lambda: of_prepared(folder / "out"))

    return make


# --- what a run keeps ---


@cache
def finished_run(folder: Path) -> Path:
    assert quietly(lambda: main([*TRAIN, "--out", str(folder / "run")])) == 0
    return folder / "run"


def log(folder: Path) -> Kept:
    """The log, as a resumed run takes it up."""
    path = finished_run(folder) / "log.jsonl"
    last = saved_step(path.parent)

    def read() -> str:
        records, lacks = records_up_to(path, last, every=1)
        print(lacks)
        return digest(records)

    return Kept(path, read)


def identity(name: str) -> Callable[[Path], Kept]:
    """A file by which a copy is known: whether the run may go on into it, and whether a newer copy is kept from it."""

    def make(folder: Path) -> Kept:
        run, copy, newer = finished_run(folder), folder / "copy", folder / "newer"
        for place in (copy, newer):
            shutil.copytree(run, place)
        for path in (*newer.glob("state-*.pt"), run / sorted(p.name for p in run.glob("state-*.pt"))[-1]):
            path.unlink()  # the newer copy was freed of its states, and the run is a step behind it

        def read() -> str:
            told = []
            for place in (copy, newer):
                shutil.copyfile(folder / "damaged", place / name)
                told.append(quietly(lambda place=place: outcome_of(lambda: refuse_loss(run, place, "choose another"))))
            return str(told)

        return Kept(folder / "damaged", read) if shutil.copyfile(run / name, folder / "damaged") else None

    return make


# --- helpers ---


def outcome_of(action: Callable[[], Any]) -> str:
    from ddpm_utils.errors import InputError

    try:
        action()
    except InputError:
        return "refused"
    return "allowed"


def restoring(folder: Path) -> Callable[[], None]:
    """Puts a folder back as it is now."""
    whole = folder.with_name(f"{folder.name}.whole")
    shutil.copytree(folder, whole)

    def restore() -> None:
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(whole, folder)

    return restore


def quietly(action: Callable[[], Any]) -> Any:
    """Its result, with nothing on the terminal."""
    with redirect_stdout(StringIO()), redirect_stderr(StringIO()):
        return action()
