"""The table of retouching: what copies, filters, perfect and random retouchers must score, and the command as people type it."""

import csv
import json
from dataclasses import asdict, replace

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.ndimage import gaussian_filter

from ddpm_utils import models
from ddpm_utils.__main__ import main
from ddpm_utils.config import FORMS, TrainConfig
from ddpm_utils.data.images import to_float, to_uint8
from ddpm_utils.data.pair_folders import SPLIT_FILE
from ddpm_utils.data.pairs import PairSet, change_mask, spread
from ddpm_utils.errors import InputError
from ddpm_utils.evaluation.retouching import Method, baselines, evaluate_rows, model_methods, table, verdicts
from ddpm_utils.models import Model, save_model, shipped
from ddpm_utils.restoration.formulations import gate, restore
from ddpm_utils.unet import UNet, UNetConfig

SIZE = 32


def make_pairs(n=3, unchanged=0, size=SIZE):
    """Cloth with a weave; the sources have a soft fold in their middle, but for the last `unchanged`."""
    rng = np.random.default_rng(1)
    weave = 150 + 8 * np.sin(np.arange(size) * 2)[:, None, None] + rng.normal(0, 2, (n, size, size, 3))
    fold = np.zeros((size, size, 1))
    fold[size // 4 : size // 2, size // 4 : -size // 4] = 40
    fold = gaussian_filter(fold, (2, 2, 0)) * (np.arange(n) < n - unchanged)[:, None, None, None]
    targets = weave.astype(np.uint8)
    sources = (targets - fold.round()).astype(np.uint8)
    return PairSet(targets, sources=sources, masks=np.stack([change_mask(a, b) for a, b in zip(sources, targets)]))


def make_model(form, seed=None, bias=None):
    """A fresh restoration model, which predicts zero; with a seed, one with random weights; bias: of the mask's logit."""
    sizes = UNetConfig(SIZE, 3, 8, (1, 2), 1, (), groups=4, condition_channels=3 if form else 0, extra_channels=1 if form else 0)
    config = TrainConfig(network=sizes, form=form, prediction="v", timesteps=100)
    network = UNet(sizes).eval()
    with torch.no_grad():
        if seed is not None:
            generator = torch.Generator().manual_seed(seed)
            for p in network.parameters():
                p.copy_(0.2 * torch.randn(p.shape, generator=generator))
            network.output_conv.weight[-1] *= 10  # so that the mask is open at some pixels and closed at others
        if bias is not None:
            network.output_conv.bias[-1] = bias
    return Model(network, config, (), {})


def figures(rows):
    """All figures but the seconds, NaN as None."""
    return [{k: None if v != v else v for k, v in asdict(r).items() if k != "seconds"} for r in rows]


def returning(outputs):
    return lambda sources, start: (outputs[start : start + len(sources)], None)


# --- rows ---


def test_the_copy_is_row_1_and_touches_nothing():
    pairs = make_pairs(4, unchanged=1)
    copy, *others = evaluate_rows(pairs, baselines())
    assert copy.name == "copy"
    assert len(others) == 3
    assert (copy.pairs, copy.changed, copy.steps, copy.identical, copy.false_changes) == (4, 3, 0, 1, 0)
    errors = np.square(pairs.sources[:3].astype(float) - pairs.images[:3])
    assert copy.psnr == pytest.approx((10 * np.log10(255**2 / errors.mean((1, 2, 3)))).mean(), abs=1e-10)
    inside = [e[m].mean() for e, m in zip(errors, pairs.masks)]
    assert copy.psnr_in == pytest.approx((10 * np.log10(255**2 / np.array(inside))).mean(), abs=1e-10)
    assert copy.psnr_in < copy.psnr < copy.psnr_out


def test_a_perfect_retoucher_is_exact_and_a_clumsy_one_is_not():
    pairs = make_pairs(4, unchanged=1)
    clumsy = np.where(pairs.masks[..., None], pairs.images, pairs.sources + 1).astype(np.uint8)
    tidy = np.where(pairs.masks[..., None], pairs.images, pairs.sources)
    outputs = {"perfect": pairs.images, "tidy": tidy, "clumsy": clumsy}
    copy, perfect, tidy, other = evaluate_rows(pairs, [Method(name, returning(images)) for name, images in outputs.items()])
    assert (perfect.psnr, perfect.psnr_in, perfect.gradient, perfect.false_changes) == (np.inf, np.inf, 1, 0)
    assert perfect.ssim == pytest.approx(1)
    assert perfect.psnr_out == np.inf
    assert 0 < copy.psnr_out < np.inf  # soft edges of the fold below the mask's threshold
    assert (tidy.psnr_in, tidy.psnr_out, tidy.identical, tidy.false_changes) == (np.inf, copy.psnr_out, 1, 0)
    assert (other.psnr_in, other.identical, other.false_changes) == (np.inf, 0, 1)
    assert "| perfect | exact | exact | exact |" in table([copy, perfect, other])


def test_pairs_without_a_change_count_only_as_false_changes():
    changed, both = make_pairs(3), make_pairs(4, unchanged=1)
    both = replace(
        both, **{name: np.concatenate([getattr(changed, name), getattr(both, name)[3:]]) for name in ("images", "sources", "masks")}
    )
    alone, together = evaluate_rows(changed, baselines()), evaluate_rows(both, baselines())
    for a, b in zip(figures(alone), figures(together)):
        assert a.pop("false_changes") is None
        assert (b.pop("false_changes") > 0.5) == (a["name"] != "copy")
        assert (a.pop("pairs"), b.pop("pairs")) == (3, 4)
        assert a == b
    assert "n = 4 pairs, 3 of them changed; the 1 with an empty change mask" in table(together)


def test_pairs_that_are_all_unchanged_have_no_psnr_but_false_changes():
    rows = evaluate_rows(make_pairs(2, unchanged=2), [*baselines(), *model_methods(make_model("anchored", seed=0))])
    assert all(np.isnan(r.psnr) and np.isnan(r.gradient) and r.changed == 0 for r in rows)
    assert [r.false_changes > 0 for r in rows[:4]] == [False, True, True, True]
    assert "nan" not in table(rows) + "".join(verdicts(rows))


def test_filters_smooth_and_leave_few_pixels_alone():
    copy, *filters = evaluate_rows(make_pairs(3), baselines())
    for row in filters:
        assert row.gradient < copy.gradient
        assert row.identical < 0.5
        assert np.isfinite(list(asdict(row).values())[3:8]).all()


def test_figures_do_not_depend_on_the_batches():
    pairs = make_pairs(20)
    rows = evaluate_rows(pairs, baselines()[:1])
    halves = [evaluate_rows(spread(pairs, 20), baselines()[:1])]
    for start in (0, 10):
        part = {name: getattr(pairs, name)[start : start + 10] for name in ("images", "sources", "masks")}
        halves.append(evaluate_rows(PairSet(**part), baselines()[:1]))
    assert figures(rows) == figures(halves[0])
    assert rows[1].psnr_in == pytest.approx((halves[1][1].psnr_in + halves[2][1].psnr_in) / 2, abs=1e-9)


# --- models ---


@pytest.mark.parametrize("form", ["regression", "residual", "anchored"])
def test_a_network_that_predicts_zero_or_keeps_its_gate_shut_is_a_copy(form):
    pairs = make_pairs(4, unchanged=1)
    silent = make_model(form, bias=-9.0) if form == "residual" else make_model(form)  # residual starts from noise, so its gate must be shut
    copy, *rows = figures(evaluate_rows(pairs, model_methods(silent, samples=2, steps=2)))
    for row in rows:
        assert {k: row[k] for k in ("psnr", "psnr_in", "identical", "false_changes")} == {
            k: copy[k] for k in ("psnr", "psnr_in", "identical", "false_changes")
        }


def test_names_and_steps_tell_the_form_and_the_samples():
    methods = [(m.name, m.steps) for form in FORMS for m in model_methods(make_model(form), samples=3)]
    assert methods == [
        ("regression", 1),
        ("palette", 50),
        ("palette, mean of 3", 150),
        ("residual", 10),
        ("residual, mean of 3", 30),
        ("anchored", 1),
        ("anchored, mean of 3", 3),
    ]
    assert [(m.name, m.steps) for m in model_methods(make_model("anchored"), "mine", steps=7, samples=1)] == [("mine", 7)]


def test_the_same_seed_gives_the_same_figures_and_another_gives_others():
    pairs = make_pairs(20)  # more than a batch

    def rows(seed):
        return figures(evaluate_rows(pairs, model_methods(make_model("anchored", seed=3), samples=1, seed=seed, steps=2)))

    first, again, other = rows(0), rows(0), rows(1)
    assert first == again
    assert first[1] != other[1]
    assert first[1]["psnr"] < first[0]["psnr"]  # a random network does harm


def test_a_mean_row_is_the_mean_of_that_many_samples_and_batches_draw_other_noise():
    model, sources = make_model("anchored", seed=3, bias=2.0), make_pairs(2).sources
    one, mean = model_methods(model, samples=3, steps=2, seed=5)
    drawn = [restore(model, to_float(sources), 2, 1, seed) for seed in (15, 16, 17)]
    gated = gate(torch.stack([d.mask for d in drawn]).mean(0))
    ungated = [torch.where(gate(d.mask) > 0, d.residual / gate(d.mask), 0) for d in drawn]
    everywhere = torch.stack([gate(d.mask) > 0 for d in drawn]).all(0).expand(-1, 3, -1, -1).permute(0, 2, 3, 1).numpy()
    expected = to_uint8(to_float(sources) + gated * torch.stack(ungated).mean(0))
    assert everywhere.mean() > 0.2
    assert np.abs(mean.retouch(sources, 0)[0].astype(int) - expected)[everywhere].max() <= 1  # rounding of a division
    assert (one.retouch(sources, 0)[0] != one.retouch(sources, 16)[0]).any()


def test_a_model_touches_only_pixels_of_its_predicted_mask():
    """There it touches all but those that it would change by less than half a level, which rounding takes away."""
    pairs, model = make_pairs(2), make_model("anchored", seed=3)
    for samples, method in zip((1, 2), model_methods(model, samples=2, steps=2)):
        outputs, where = method.retouch(pairs.sources, 0)
        touched = (outputs != pairs.sources).any(-1)
        assert 0 < touched.mean() < 1
        assert not (touched & ~where).any()
        levels = 127.5 * restore(model, to_float(pairs.sources), 2, samples, 0).residual.abs().amax(1).numpy()
        assert levels[where & ~touched].max(initial=0) <= 0.5 + 1e-3  # float32 around 255


def test_one_flat_target_does_not_spoil_the_gradient_ratio():
    pairs = make_pairs(3)
    flat = replace(pairs, images=pairs.images.copy())
    flat.images[2] = 150
    flat.images[2, 10, 10] = 151  # hardly any gradient: a ratio of thousands
    rows = [evaluate_rows(p, [])[0].gradient for p in (pairs, flat)]
    assert rows[1] < 2 * rows[0]


@pytest.mark.parametrize(("bias", "precision", "recall"), [(9.0, "share", 1), (-9.0, None, 0)])
def test_a_mask_that_says_everywhere_or_nowhere_has_the_precision_and_recall_of_that(bias, precision, recall):
    pairs = make_pairs(4, unchanged=1)
    _, row = figures(evaluate_rows(pairs, model_methods(make_model("regression", bias=bias))))
    share = pairs.masks.mean()
    assert row["recall"] == recall
    assert row["precision"] == (pytest.approx(share) if precision else None)
    assert row["iou"] == pytest.approx(share if precision else 0)


def test_verdicts_tell_what_models_gained_over_the_copy():
    pairs = make_pairs(3)
    rows = evaluate_rows(pairs, [*baselines(), *model_methods(make_model("anchored", seed=3), samples=2)])
    lines = verdicts(rows)
    assert [line.split(":")[0] for line in lines] == ["anchored", "anchored, mean of 2"]
    assert f"{rows[4].psnr_in - rows[0].psnr_in:+.2f} dB in the mask, {rows[4].psnr - rows[0].psnr:+.2f} dB in total" in lines[0]


def test_a_model_that_generates_from_noise_is_refused():
    with pytest.raises(InputError, match="generates images from noise"):
        model_methods(make_model(None))


def test_a_few_pairs_are_spread_over_all():
    pairs = PairSet(np.arange(10)[:, None, None, None], None, (), np.arange(10), np.arange(10))
    assert spread(pairs, 4).sources.tolist() == [0, 2, 5, 7]
    assert spread(pairs, 4).images.ravel().tolist() == [0, 2, 5, 7]
    assert spread(pairs, 11) is pairs


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"images": np.zeros((0, SIZE, SIZE, 3), np.uint8)}, "no pairs to evaluate"),
        ({"sources": np.zeros((3, 16, SIZE, 3), np.uint8)}, r"of one size, got \(3, 16, 32, 3\), \(3, 32, 32, 3\) and"),
        ({"masks": np.zeros((2, SIZE, SIZE), bool)}, r"of one size, .* and \(2, 32, 32\)"),
    ],
)
def test_pairs_that_do_not_fit_are_refused(changes, message):
    with pytest.raises(InputError, match=message):
        evaluate_rows(replace(make_pairs(3), **changes), [])
    with pytest.raises(InputError, match="at least 11 px wide and high"):
        evaluate_rows(make_pairs(3, size=10), [])


# --- the command ---


@pytest.fixture
def folder(tmp_path):
    pairs = make_pairs(3)
    for kind, images in (("src", pairs.sources), ("gt", pairs.images)):
        (tmp_path / "pairs" / kind).mkdir(parents=True)
        for i, image in enumerate(images):
            Image.fromarray(image).save(tmp_path / "pairs" / kind / f"{i}.png")
    return tmp_path / "pairs"


@pytest.fixture
def saved(tmp_path):
    def save(form, name=None, **options):
        model = make_model(form, **options)
        path = tmp_path / f"{name or form}.safetensors"
        save_model(model.network, model.config, (), path)
        return path

    return save


def run(*words):
    try:
        return main(["evaluate", *map(str, words), "--device", "cpu"])
    except SystemExit as stop:
        return stop.code


def test_the_command_measures_a_folder_of_pairs_with_two_models(folder, saved, tmp_path, capsys):
    paths = saved("anchored", seed=3), saved("regression", seed=3)
    for out in (tmp_path / "new" / "table.md", tmp_path / "table.csv"):
        assert run(*paths, "--data-path", folder, "--samples", 2, "--out", out) == 0
    said = capsys.readouterr().out
    for name in ("copy", "Gaussian, σ 1 px", "anchored", "anchored, mean of 2", "regression"):
        assert f"| {name} |" in said
    assert "n = 3 pairs, 3 of them changed" in said
    assert "no test split" in said
    assert (tmp_path / "new" / "table.md").read_text("utf-8") in said
    with (tmp_path / "table.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 1 + 3 + 2 + 1
    assert rows[0]["name"] == "copy"
    assert float(rows[0]["psnr_in"]) == evaluate_rows(make_pairs(3), [])[0].psnr_in  # PNG is lossless


def test_two_models_of_one_form_are_told_apart(folder, saved, capsys):
    paths = saved("regression", "a", seed=1), saved("regression", "b", seed=2)
    assert run(*paths, "--data-path", folder) == 0
    said = capsys.readouterr().out
    assert all(f"| regression ({path}) |" in said for path in paths)


def test_of_prepared_pairs_the_test_split_is_measured(folder, saved, capsys):
    (folder / "src").rename(folder / "source")
    (folder / "gt").rename(folder / "target")
    for kind in ("source", "target"):
        for i, name in enumerate(("a_00", "b_00", "b_01")):
            (folder / kind / f"{i}.png").rename(folder / kind / f"{name}.png")
    (folder / SPLIT_FILE).write_text(json.dumps({"size": SIZE, "train": {"a": 1}, "test": {"b": 2}}))
    assert run(saved("regression", seed=1), "--data-path", folder) == 0
    assert "data: 2 pairs of 32 px, from the test split" in capsys.readouterr().out


def test_synthetic_pairs_are_drawn_as_many_as_are_measured(saved, capsys):
    assert run(saved("anchored", seed=1), "--n", 2, "--samples", 1) == 0
    said = capsys.readouterr().out
    assert "data: 2 pairs of 32 px, from the test split" in said
    assert "n = 2 pairs" in said


def test_without_a_model_the_shipped_one_is_measured_or_its_absence_told(folder, capsys):
    assert run("--data-path", folder, "--img-size", SIZE) == 0
    said = capsys.readouterr().out
    try:
        shipped("retouch")
    except InputError:
        assert "there is no shipped model 'retouch'" in said
        assert "only the copy and the filters are measured" in said
    else:
        assert "mean of 8" in said


def test_a_shipped_model_goes_by_its_name(folder, saved, tmp_path, monkeypatch, capsys):
    saved("regression", "mine", seed=1)
    monkeypatch.setattr(models, "SHIPPED", tmp_path)
    assert run("mine", "--data-path", folder) == 0
    assert "| regression |" in capsys.readouterr().out
    assert run("yours", "--data-path", folder) == 2
    assert "there is no shipped model 'yours'" in capsys.readouterr().err


def test_bad_input_is_one_sentence_each(folder, saved, tmp_path, capsys):
    anchored = saved("anchored", seed=1)
    (tmp_path / "nothing" / "src").mkdir(parents=True)
    (tmp_path / "nothing" / "gt").mkdir()
    (tmp_path / "unequal" / "src").mkdir(parents=True)
    (tmp_path / "unequal" / "gt").mkdir()
    Image.new("RGB", (40, 40)).save(tmp_path / "unequal" / "src" / "0.png")
    Image.new("RGB", (41, 40)).save(tmp_path / "unequal" / "gt" / "0.png")
    for words, expected in (
        ((anchored, "--data-path", tmp_path / "nothing"), "no images in"),
        ((anchored, "--data-path", tmp_path / "unequal"), "the source has 40x40 pixels and the target 41x40"),
        ((anchored, "--data-path", tmp_path / "missing"), "there is no folder"),
        ((shipped("digits"), "--data-path", folder), "digits.safetensors': this model generates images from noise"),
        ((tmp_path / "no.safetensors", "--data-path", folder), "no model file"),
        ((anchored, "--data-path", folder, "--n", 0), "--n must be at least 1, got 0"),
        ((anchored, "--data-path", folder, "--samples", 0), "--samples must be at least 1, got 0"),
        ((anchored, "--data-path", folder, "--steps", 101), "steps must lie in 1 .. T=100, got 101"),
        ((anchored, "--data-path", folder, "--out", tmp_path / "table.txt"), "ends in .md or .csv"),
        ((anchored, "--data-path", folder, "--img-size", 8), "at least 11 px wide and high to be evaluated, got 8 x 8"),
    ):
        assert run(*words) == 2
        error = capsys.readouterr().err
        assert expected in error
        assert error.startswith("error: ")
        assert error.count("\n") == 1


def test_models_of_different_sizes_need_a_size(folder, saved, tmp_path, capsys):
    small = make_model("regression", seed=1)
    sizes = replace(small.config.network, image_size=16)
    save_model(small.network, replace(small.config, network=sizes), (), tmp_path / "small.safetensors")
    words = saved("anchored", seed=1), tmp_path / "small.safetensors", "--data-path", folder, "--samples", 1
    assert run(*words) == 2
    assert "different sizes (16, 32 px); choose one with --img-size" in capsys.readouterr().err
    assert run(*words, "--img-size", 16) == 0
