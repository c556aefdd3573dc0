"""The classifier of noisy images: that it learns, that its gradient leads to its label, its file, and the commands that make and use it."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from runs import changed
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn

from ddpm_utils.__main__ import build_parser, main
from ddpm_utils.classifier import NoisyClassifier, load_classifier, save_classifier
from ddpm_utils.commands.arguments import flip_of
from ddpm_utils.config import Classification, Generation, TrainConfig
from ddpm_utils.data.images import ImageSet, to_float
from ddpm_utils.data.sources import load_images
from ddpm_utils.diffusion import q_sample
from ddpm_utils.errors import InputError
from ddpm_utils.guidance import classifier_guided, label_gradient, within_interval
from ddpm_utils.ideal import dataset_denoiser
from ddpm_utils.models import load_model, save_model
from ddpm_utils.sampling import dpm_solver, sample
from ddpm_utils.training.tasks.classification import ClassificationTask, accuracy_by_quarter, hold_out
from ddpm_utils.training.trainer import Trainer
from ddpm_utils.unet import UNet, UNetConfig

NETWORK = UNetConfig(
    image_size=8, channels=1, width=16, multipliers=(1, 2), blocks=1, attention=(), middle_attention=False, groups=8, classes=10
)
CONFIG = TrainConfig(
    network=NETWORK,
    task=Classification(timesteps=200),
    epochs=10,
    batch_size=128,
    lr=3e-3,
    warmup=20,
    lr_decay="cosine",
    ema_decay=0.0,
    flip=False,
)
GENERATES = TrainConfig(network=NETWORK, task=Generation(timesteps=200, prediction="v"))
SCHEDULE = CONFIG.noise_schedule()
LEARN, TEST = hold_out(load_images("digits"), 0.1, 0)


@pytest.fixture(scope="module")
def trained():
    """Ten passes over 1,617 digits of 8 x 8 pixels: 120 steps."""
    trainer = Trainer(ClassificationTask(CONFIG, TEST), LEARN)
    assert [s.step for s in trainer.run()] == list(range(1, 121))
    return trainer.average_network().requires_grad_(False)


def noisy_test_digits(t):
    x0 = to_float(TEST.images)
    t = torch.full((len(x0),), t)
    return q_sample(SCHEDULE, x0, t, torch.randn(x0.shape, generator=torch.Generator().manual_seed(0))), t, torch.from_numpy(TEST.labels)


# --- what it learns ---


def test_it_knows_digits_at_little_noise_and_fewer_the_more_there_is(trained):
    accuracy = accuracy_by_quarter(trained, CONFIG, TEST)
    assert accuracy[0] > 0.85
    assert accuracy == sorted(accuracy, reverse=True)
    assert accuracy[3] < 0.35  # hardly any digit is left to be seen there: chance is 0.1


def test_it_looks_at_t(trained):
    x, t, _ = noisy_test_digits(20)
    assert (trained.log_prob(x, t) - trained.log_prob(x, t + 100)).abs().mean() > 0.01


def test_log_prob_is_a_distribution(trained):
    x, t, _ = noisy_test_digits(50)
    assert (trained.log_prob(x, t).exp().sum(1) - 1).abs().max() < 1e-5


def test_training_depends_on_the_seed_alone():
    short = replace(CONFIG, epochs=1, batch_size=512)
    runs = []
    for before, config in ((1, short), (2, short), (1, replace(short, seed=1))):
        torch.manual_seed(before)
        trainer = Trainer(ClassificationTask(config, TEST), LEARN)
        runs.append([step.losses for step in trainer.run()] + [trainer.network.head.weight.detach()])
    assert all(torch.equal(a, b) for a, b in zip(runs[0], runs[1]))
    assert not torch.equal(runs[0][-1], runs[2][-1])


class Rigged(nn.Module):
    """Says 0 below timestep `until` and 1 from there on."""

    def __init__(self, until):
        super().__init__()
        self.head, self.until = nn.Linear(1, 2), until

    def forward(self, x, t):
        return nn.functional.one_hot((t >= self.until).long(), 2).float()


@pytest.mark.parametrize("T", [100, 101, 102, 103])
def test_accuracy_is_counted_in_the_quarter_where_it_happens(T):
    zeros = ImageSet(np.zeros((300, 2, 2, 1), np.uint8), np.zeros(300, np.int64), ("a", "b"))
    config = changed(CONFIG, timesteps=T)
    assert accuracy_by_quarter(Rigged(-(-T // 4)), config, zeros) == [1, 0, 0, 0]
    assert accuracy_by_quarter(Rigged(-(-3 * T // 4)), config, zeros) == [1, 1, 1, 0]


def test_what_is_held_out_is_not_learned_from():
    data = ImageSet(np.arange(50, dtype=np.uint8).reshape(50, 1, 1, 1), np.arange(50), ("a", "b"))
    learn, test = hold_out(data, 0.2, seed=3)
    assert (len(learn), len(test)) == (40, 10)
    assert sorted([*learn.labels, *test.labels]) == list(range(50))
    assert (test.images.ravel() == test.labels).all()
    assert list(hold_out(data, 0.2, seed=3)[1].labels) == list(test.labels)
    assert list(hold_out(data, 0.2, seed=4)[1].labels) != list(test.labels)


# --- its gradient ---


@pytest.mark.parametrize("t", [0, 60, 120])
def test_a_step_along_the_gradient_makes_the_label_likelier_and_against_it_less_likely(trained, t):
    x, t, _ = noisy_test_digits(t)
    wanted = torch.full((len(x),), 3)
    step = label_gradient(trained.log_prob, x, t, wanted)
    step = 0.1 * step / step.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
    here, there, back = (trained.log_prob(y, t)[:, 3] for y in (x, x + step, x - step))
    assert ((there > here) & (here > back)).float().mean() > 0.98


def test_the_gradient_is_that_of_differences(trained):
    network = NoisyClassifier(NETWORK).double()
    network.load_state_dict(trained.state_dict())
    x, t, label = (value[:3] for value in noisy_test_digits(40))
    x, h = x.double(), 1e-5
    gradient = label_gradient(network.log_prob, x, t, label)
    direction = torch.randn(x.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)

    def value(y):
        return network.log_prob(y, t).gather(1, label[:, None])[:, 0]

    slope = (value(x + h * direction) - value(x - h * direction)) / (2 * h)
    assert ((gradient * direction).sum((1, 2, 3)) - slope).abs().max() < 1e-6 * slope.abs().max().clamp(min=1)


def test_it_guides_a_perfect_model_without_labels_to_the_digits_asked_for(trained):
    """The ideal denoiser of all digits, guided; what comes out lies at a training image, whose label is the truth.

    Not at the first timesteps, where this schedule leaves nothing to be seen and the push is up to 4,000 times the gradient.
    """
    data = to_float(LEARN.images)
    label = torch.arange(60) % 10
    x_T = torch.randn(60, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    shares = []
    for scale in (0.0, 3.0, 10.0):
        plain = dataset_denoiser(SCHEDULE, data)
        guided = classifier_guided(plain, trained.log_prob, label, SCHEDULE, scale)
        x0 = sample(dpm_solver(within_interval(guided, plain, 0, 190), x_T, SCHEDULE, steps=25))
        nearest = torch.cdist(x0.flatten(1), data.flatten(1)).argmin(1)
        shares.append((torch.from_numpy(LEARN.labels)[nearest] == label).float().mean().item())
    assert shares[0] < 0.3
    assert shares[0] < shares[1] < shares[2]
    assert shares[2] > 0.7


# --- its file ---


@pytest.fixture
def file(trained, tmp_path):
    path = tmp_path / "classifier.safetensors"
    save_classifier(trained, CONFIG, LEARN.classes, [0.9, 0.7, 0.5, 0.2], path)
    return path


def test_a_file_holds_the_classifier_in_two_bytes_a_parameter(trained, file):
    again = load_classifier(file)
    assert (again.config, again.classes, again.accuracy) == (CONFIG, LEARN.classes, [0.9, 0.7, 0.5, 0.2])
    x, t, _ = noisy_test_digits(30)
    assert (again.network.log_prob(x, t) - trained.log_prob(x, t)).abs().max() < 0.05  # float16: 11 bits
    assert not again.network.training
    assert not any(p.requires_grad for p in again.network.parameters())
    assert file.stat().st_size < 200_000
    first = file.read_bytes()
    save_classifier(trained, CONFIG, LEARN.classes, [0.9, 0.7, 0.5, 0.2], file)
    assert file.read_bytes() == first


def test_a_classifier_is_no_model_and_a_model_no_classifier(file, tmp_path):
    with pytest.raises(InputError, match=r"not a model of this project \(it is a classifier, for `sample --classifier`"):
        load_model(file)
    save_model(UNet(NETWORK), GENERATES, LEARN.classes, tmp_path / "model.safetensors")
    with pytest.raises(InputError, match=r"not a classifier of this project.*train-classifier"):
        load_classifier(tmp_path / "model.safetensors")


@pytest.mark.parametrize("kind", ["missing", "foreign", "truncated", "text", "without its weights"])
def test_files_that_are_no_whole_classifier_are_refused(file, tmp_path, kind):
    path = tmp_path / "broken.safetensors"
    if kind == "foreign":
        save_file({"weight": torch.zeros(3)}, path)
    elif kind == "without its weights":
        with safe_open(file, "pt") as whole:
            save_file({"weight": torch.zeros(3)}, path, whole.metadata())
    elif kind != "missing":
        path.write_bytes(file.read_bytes()[:-100] if kind == "truncated" else b"<html>404 Not Found</html>")
    with pytest.raises(InputError, match=r"broken\.safetensors"):
        load_classifier(path)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"network": replace(NETWORK, dropout=0.1)}, "without dropout, it must be 0, got 0.1"),
        ({"network": replace(NETWORK, classes=None)}, "at least 2 classes, got None"),
        ({"network": replace(NETWORK, classes=9)}, "other labels"),
        ({"batch_size": 5000}, "larger than the data set"),
    ],
)
def test_runs_that_make_no_classifier_are_refused(changes, named):
    with pytest.raises(InputError, match=named):
        Trainer(ClassificationTask(replace(CONFIG, **changes), TEST), LEARN)


# --- the commands ---

SHORT = ["--width", "8", "--multipliers", "1", "2", "--timesteps", "50", "--batch-size", "256", "--epochs", "2", "--device", "cpu"]


def run(*words):
    """The exit code of `python -m ddpm_utils WORDS`."""
    try:
        return main([str(word) for word in words])
    except SystemExit as stop:
        return stop.code


def test_training_writes_a_log_and_a_classifier_and_says_its_accuracy_by_t(tmp_path, capsys):
    out = tmp_path / "run"
    assert run("train-classifier", "--data-path", "digits", "--out", out, "--log-every", 5, *SHORT) == 0
    printed = capsys.readouterr().out
    records = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    assert [r["step"] for r in records] == [5, 10, 12]
    classifier = load_classifier(out / "classifier.safetensors")
    assert " ".join(f"{share:.3f}" for share in classifier.accuracy) in printed
    assert "on 180 images held out, by quarter of t, least to most noise" in printed
    assert run("train-classifier", "--data-path", "digits", "--out", out, *SHORT) == 2
    assert "already holds a run (state-" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["--hold-out", "0"], "got 0.0"),
        (["--hold-out", "0.0001"], "0.0001"),
        (["--epochs", "0"], "epochs must be at least 1, got 0"),
        (["--log-every", "0"], "got 0"),
        (["--lr", "nan"], "nan"),
        (["--timesteps", "3", "--schedule", "sigmoid"], "timesteps must be at least 4, got 3"),
        (["--data-path", "nowhere"], "'nowhere'"),
        (["--out", "file.txt/run"], "'file.txt' is a file"),
    ],
)
def test_wrong_values_cost_one_sentence(tmp_path, monkeypatch, capsys, words, named):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file.txt").write_text("in the way")
    assert run("train-classifier", "--data-path", "digits", "--out", "run", *SHORT, *words) == 2
    error = capsys.readouterr().err
    assert named in error
    assert error.count("\n") == 1


@pytest.mark.parametrize("command", ["train", "train-classifier"])
def test_embedded_sets_of_any_number_are_not_mirrored_unless_asked(command):
    for words, mirrored in ((["toy-cars"], False), (["toy-cars:20"], False), (["photographs"], True), (["toy-cars:20", "--flip"], True)):
        args = build_parser().parse_args([command, "--data-path", *words])
        assert flip_of(args) is mirrored


def test_images_without_labels_are_refused(tmp_path, capsys, photographs):
    from PIL import Image

    for i, photo in enumerate(photographs):
        Image.fromarray(photo).save(tmp_path / f"{i}.png")
    assert run("train-classifier", "--data-path", tmp_path, "--out", tmp_path / "run", *SHORT) == 2
    assert "one folder a class" in capsys.readouterr().err


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """A model with labels, one without, and one of another schedule, all untrained but not silent."""
    folder = tmp_path_factory.mktemp("models")
    for name, config in (
        ("labelled", GENERATES),
        ("unlabelled", replace(GENERATES, network=replace(NETWORK, classes=None))),
        ("linear", changed(GENERATES, schedule="linear")),
    ):
        torch.manual_seed(0)
        network = UNet(config.network)
        for parameter in network.parameters():
            nn.init.normal_(parameter, std=0.2)
        save_model(network, config, LEARN.classes if config.network.classes else (), folder / f"{name}.safetensors")
    return folder


def sample_with(model, tmp_path, *words):
    code = run(
        "sample", model, "--n", 20, "--steps", 4, "--device", "cpu", "--out", tmp_path / "grid.png", "--images", tmp_path / "all", *words
    )
    return code, b"".join(p.read_bytes() for p in sorted((tmp_path / "all").glob("*.png")))


def test_sampling_takes_every_kind_of_guidance(models, file, tmp_path):
    labelled = models / "labelled.safetensors"
    pictures = set()
    for words in (
        [],
        ["--guidance", 9],
        ["--guidance", 9, "--guidance-rescale", 0.7],
        ["--guidance", 9, "--guidance-interval", 0, 150],
        ["--guidance", 9, "--classifier", file],
        ["--guidance", 9, "--bad-model", models / "unlabelled.safetensors"],
    ):
        code, images = sample_with(labelled, tmp_path, *words)
        assert code == 0
        pictures.add(images)
    assert len(pictures) == 6  # each does something, and something else
    same = sample_with(labelled, tmp_path, "--guidance", 9, "--guidance-interval", 0, 199)[1]
    assert same == sample_with(labelled, tmp_path, "--guidance", 9)[1]


def test_a_classifier_brings_labels_to_a_model_without(models, file, tmp_path, capsys):
    plain = models / "unlabelled.safetensors"
    assert sample_with(plain, tmp_path, "--label", "3")[0] == 2
    code, threes = sample_with(plain, tmp_path, "--label", "3", "--classifier", file, "--guidance", 5)
    assert code == 0
    assert threes != sample_with(plain, tmp_path, "--label", "4", "--classifier", file, "--guidance", 5)[1]


@pytest.mark.parametrize("guide", [("--classifier", "digits-classifier"), ("--bad-model", "digits-early")])
def test_shipped_guides_go_by_name(guide, tmp_path):
    code, guided = sample_with("digits", tmp_path, "--guidance", 3, *guide)
    assert code == 0
    assert guided != sample_with("digits", tmp_path)[1]


def test_guides_that_do_not_fit_cost_one_sentence(models, file, tmp_path, capsys):
    labelled, linear = models / "labelled.safetensors", models / "linear.safetensors"
    for words, named in (
        (["--classifier", labelled], "is not a classifier"),
        (["--bad-model", file], "is not a model"),
        (["--bad-model", linear], "schedule is 'linear', the model's is 'cosine'"),
        (["--classifier", file, "--bad-model", labelled], "not both"),
        (["--guidance", 2, "--guidance-interval", 0, 200], "must end by timestep 199"),
        (["--guidance", 2, "--guidance-interval", 9, 3], "got 9 and 3"),
        (["--guidance", 2, "--guidance-rescale", 1.5], "got 1.5"),
    ):
        capsys.readouterr()
        code, images = sample_with(labelled, tmp_path, *words)
        error = capsys.readouterr().err
        assert (code, images) == (2, b"")
        assert named in error
        assert error.count("\n") == 1


# --- its runs are runs like any other ---


def test_a_classifier_s_run_stops_at_its_limit_and_goes_on_to_the_same_bytes(tmp_path):
    words = ["train-classifier", "--data-path", "digits", *SHORT, "--precision", "fp32"]
    assert run(*words, "--out", tmp_path / "whole") == 0
    assert run(*words, "--out", tmp_path / "cut", "--max-epochs", 1, "--copy-to", tmp_path / "drive") == 0
    assert json.loads((tmp_path / "cut" / "status.json").read_text())["status"] == "stopped"
    assert run(*words, "--out", tmp_path / "new", "--copy-to", tmp_path / "drive", "--resume") == 0
    whole, cut = ((tmp_path / name / "classifier.safetensors").read_bytes() for name in ("whole", "new"))
    assert whole == cut


def test_the_averages_of_a_classifier_are_rebuilt_from_its_snapshots(tmp_path):
    words = ["--ema-sigmas", 0.05, 0.1, "--snapshot-every", 1, "--precision", "fp32"]
    assert run("train-classifier", "--data-path", "digits", *SHORT, *words, "--out", tmp_path) == 0
    assert run("ema", tmp_path, "--sigma", 0.07) == 0
    rebuilt = load_classifier(tmp_path / "classifier-sigma-0.07.safetensors")
    assert rebuilt.accuracy == []  # those of the snapshots are not its own
    assert rebuilt.config.ema_sigmas == (0.05, 0.1)
