"""What guidance gives and what it costs: label agreement, KID and coverage by scale, for three kinds of guidance of the shipped digits.

python tests/records/guidance_record.py [--n 500] [--record tests/records/guidance.md] [--pictures FOLDER]: prints a table, and writes it if asked to.
Takes about six minutes of one core, and more in proportion to n; there are enough real digits for --n 900.

The judge is no guide: `digits-judge` was trained with another seed and on another part of the digits than `digits-classifier`, which guides. A
support vector machine on pixels judges too, since networks of one kind may share their blind spots.
"""

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from sklearn.svm import SVC
from tqdm import tqdm

from ddpm_utils.classifier import Classifier, load_classifier
from ddpm_utils.data.images import to_uint8
from ddpm_utils.data.sources import load_images
from ddpm_utils.evaluation.distribution_metrics import coverage, kid_by_label, label_agreement
from ddpm_utils.evaluation.features import classifier_features
from ddpm_utils.figures import sample_grid
from ddpm_utils.generate import Guidance, generate, labels_in_rows, start_noise
from ddpm_utils.models import Model, load_model, shipped
from ddpm_utils.training.tasks.classification import hold_out

SCALES = (1, 1.5, 2, 3, 5, 8)
STEPS = 15  # of DPM-Solver++
NEIGHBOURS = 5  # of a real digit, to its neighbourhood's edge
BATCH = 250
BELOW = (0, 949)  # the steps that a classifier guides: above, its errors are divided by almost nothing
MIDDLE = (200, 599)
HELD_OUT, JUDGE_SEED = 0.4, 1  # as in digits-judge.toml


@dataclass(frozen=True)
class Row:
    """One line of the table: whose images, and how they were guided (None: without a label)."""

    name: str
    guidance: Guidance | None

    @property
    def cells(self) -> list[str]:
        """Name, scale and guided timesteps."""
        if self.guidance is None:
            return [self.name, "", ""]
        interval = self.guidance.interval
        return [self.name, f"{self.guidance.scale:g}", f"{interval[0]} to {interval[1]}" if interval else "all"]


class Judges:
    """Two readers of digits that guide nothing, the guide's own opinion, and the real digits that everything is compared with."""

    def __init__(self, guide: Classifier, n: int):
        self.guide, self.judge = guide, load_classifier(shipped("digits-judge"))
        learned, kept = hold_out(load_images("mnist5k"), HELD_OUT, JUDGE_SEED)
        self.svm = SVC(C=10).fit(pixels(learned.images), learned.labels)
        per = n // 10  # as many of each digit
        rows = [np.flatnonzero(kept.labels == digit) for digit in range(10)]
        count = min(map(len, rows)) // per if per else 0
        if n % 10 or n < 20 or count < 2:
            raise SystemExit(f"--n must be a multiple of 10, from 20 to {min(map(len, rows)) // 2 * 10}, got {n}")
        parts = [np.concatenate([r[k * per : (k + 1) * per] for r in rows]) for k in range(count)]
        self.labels = kept.labels[parts[0]]  # the same in all parts: sorted, n / 10 of each
        self.features = classifier_features(self.judge, kept.images[parts[0]])[0]
        self.others = [kept.images[part] for part in parts[1:]]

    def measure(self, images: np.ndarray) -> np.ndarray:
        """Of uint8 images (n, 28, 28, 1), made for these labels: agreement by judge, SVM and guide, KID, its error, coverage, density."""
        features, log_prob = classifier_features(self.judge, images)
        distance = kid_by_label(self.features, self.labels, features, self.labels)
        near = coverage(self.features, features, NEIGHBOURS)
        by_svm = np.mean(self.svm.predict(pixels(images)) == self.labels)
        by_judge, by_guide = (label_agreement(p, self.labels).share for p in (log_prob, classifier_features(self.guide, images)[1]))
        return np.array([by_judge, by_svm, by_guide, distance.mean, distance.error, near.coverage, near.density])


def formatted(values: np.ndarray) -> list[str]:
    """What `measure` returns, as a row of the table has it."""
    judge, svm, guide, distance, error, covered, density = values
    return [f"{judge:.1%}", f"{svm:.1%}", f"{guide:.1%}", f"{distance:.4f} ± {error:.4f}", f"{covered:.1%}", f"{density:.2f}"]


def pixels(images: np.ndarray) -> np.ndarray:
    """(n, 28, 28, 1) uint8 -> (n, 784) in [-1, 1]."""
    return images.reshape(len(images), -1) / 127.5 - 1


def all_rows(guide: Classifier, early: Model) -> list[Row]:
    """The table's rows, in order."""
    rows = [Row("none, without a label", None), Row("none", Guidance())]
    rows += [Row("classifier-free", Guidance(scale)) for scale in SCALES[1:]]
    rows += [Row("classifier-free", Guidance(5, MIDDLE))]
    rows += [Row("classifier-free, rescaled by 0.7", Guidance(8, rescale=0.7))]
    rows += [Row("by a classifier", Guidance(scale, BELOW, classifier=guide)) for scale in (*SCALES, 20)]
    rows += [Row("by a classifier", Guidance(8, classifier=guide))]
    rows += [Row("by an early model", Guidance(scale, bad=early)) for scale in SCALES[1:]]
    return rows


def draw(model: Model, row: Row, n: int) -> np.ndarray:
    """n digits of this row, uint8 (n, 28, 28, 1), sorted by label: the same noise and labels in every row."""
    x_T, labels = start_noise(model.config, n, seed=0), labels_in_rows(n, 10)
    images = []
    for start in range(0, n, BATCH):
        part = slice(start, start + BATCH)
        known = {"label": labels[part], "guidance": row.guidance} if row.guidance else {}
        *_, last = generate(model.network, model.config, x_T[part], sampler="dpm", steps=STEPS, **known)
        images.append(to_uint8(last.x))
    return np.concatenate(images)


def pictured(images: np.ndarray, labels: np.ndarray, path: Path) -> None:
    """The first ten of each class, a row a class."""
    sample_grid(images[[i for digit in range(10) for i in np.flatnonzero(labels == digit)[:10]]], 10).savefig(path)


def record(n: int, pictures: Path | None = None) -> str:
    """The record as Markdown; a picture of each row goes into the folder `pictures`, if given."""
    model, early, guide = load_model(shipped("digits")), load_model(shipped("digits-early")), load_classifier(shipped("digits-classifier"))
    judges = Judges(guide, n)
    real = np.mean([judges.measure(images) for images in judges.others], 0)
    lines = [[f"real digits (mean of {len(judges.others)} other sets)", "", "", *formatted(real)]]
    for number, row in enumerate(tqdm(all_rows(guide, early), desc="rows", disable=None)):
        images = draw(model, row, n)
        lines.append([*row.cells, *formatted(judges.measure(images))])
        if pictures:
            pictured(images, judges.labels, pictures / f"{number:02d} {' '.join(row.cells)}.png")
    head = ["guidance", "scale", "timesteps", "judge", "SVM", "guide", "KID", "coverage", "density"]
    table = [f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *lines)]
    return "\n".join([*introduction(n), "", *table, ""])


def introduction(n: int) -> list[str]:
    """What the record says above its table."""
    return [
        "# Guidance record",
        "",
        f"Written by `make guidance-record`. The shipped `digits`, DPM-Solver++ in {STEPS} steps, the same noise and labels in every row.",
        "",
        f"- n = {n} digits a row, as many of each class, against n = {n} real digits that the judge has not learned from. (The model was trained on",
        f"  all 5,000.) Two sets of {n} from one distribution have a coverage of {1 - 2**-NEIGHBOURS:.0%} on average, and a density of 1.",
        "- judge, SVM, guide: label agreement as read by `digits-judge` (a network that guides nothing), by a support vector machine on pixels, and",
        '  by `digits-classifier`, the guide of the rows "by a classifier", in which it grades its own work (and knows most real digits).',
        f"- KID within each class, averaged (± standard error over the classes), coverage and density (k = {NEIGHBOURS}): in the judge's features.",
        '- "none, without a label" is where the classifier starts from; the labels that it is read for are those that it would have been given.',
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--n", type=int, default=500, help="digits a row, a multiple of 10 (default %(default)s)")
    parser.add_argument("--record", type=Path)
    parser.add_argument("--pictures", type=Path, help="folder for a picture of every row")
    args = parser.parse_args()
    if args.pictures:
        args.pictures.mkdir(parents=True, exist_ok=True)
    text = record(args.n, args.pictures)
    print(text, end="")
    if args.record:
        args.record.write_text(text)


if __name__ == "__main__":
    torch.use_deterministic_algorithms(True)
    main()
