"""The table of retouching: what copies, filters, perfect and random retouchers must score."""

from dataclasses import asdict, replace

import numpy as np
import pytest
import torch
from retouchers import SIZE, make_model, make_pairs

from ddpm_utils.choices import FORMS
from ddpm_utils.data.images import to_float, to_uint8
from ddpm_utils.data.pairs import PairSet, spread
from ddpm_utils.errors import InputError
from ddpm_utils.evaluation.retouching import Method, baselines, evaluate_rows, model_methods, table, verdicts
from ddpm_utils.restoration.formulations import gate, restore


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
    assert len(others) == 4
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
    rows = evaluate_rows(make_pairs(2, unchanged=2), [*baselines(), *model_methods(make_model("resshift", seed=0))])
    assert all(np.isnan(r.psnr) and np.isnan(r.gradient) and r.changed == 0 for r in rows)
    assert [r.false_changes > 0 for r in rows[:5]] == [False, True, True, True, True]
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


@pytest.mark.parametrize("form", ["regression", "residual", "resshift"])
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
        ("resshift", 1),
        ("resshift, mean of 3", 3),
    ]
    assert [(m.name, m.steps) for m in model_methods(make_model("resshift"), "mine", steps=7, samples=1)] == [("mine", 7)]


def test_the_same_seed_gives_the_same_figures_and_another_gives_others():
    pairs = make_pairs(20)  # more than a batch

    def rows(seed):
        return figures(evaluate_rows(pairs, model_methods(make_model("resshift", seed=3), samples=1, seed=seed, steps=2)))

    first, again, other = rows(0), rows(0), rows(1)
    assert first == again
    assert first[1] != other[1]
    assert first[1]["psnr"] < first[0]["psnr"]  # a random network does harm


def test_a_mean_row_is_the_mean_of_that_many_samples_and_batches_draw_other_noise():
    model, sources = make_model("resshift", seed=3, bias=2.0), make_pairs(2).sources
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
    pairs, model = make_pairs(2), make_model("resshift", seed=3)
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
    rows = evaluate_rows(pairs, [*baselines(), *model_methods(make_model("resshift", seed=3), samples=2)])
    lines = verdicts(rows)
    assert [line.split(":")[0] for line in lines] == ["resshift", "resshift, mean of 2"]
    assert f"{rows[5].psnr_in - rows[0].psnr_in:+.2f} dB in the mask, {rows[5].psnr - rows[0].psnr:+.2f} dB in total" in lines[0]


def test_a_model_that_generates_from_noise_is_refused():
    with pytest.raises(InputError, match="generates images from noise"):
        model_methods(make_model(None))


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
