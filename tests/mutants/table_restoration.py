"""Mistakes in pairs, figures, restoration forms and the lift to a large photograph. Rows as in table_maths.py."""

from table_maths import PUBLISHED

FORMS = "tests/unit/restoration/test_formulations.py"
METRICS = "tests/unit/evaluation/test_image_metrics.py"
PAIRS = "tests/unit/data/test_pairs.py"
PAIR_FOLDERS = "tests/unit/data/test_pair_folders.py"
LIFT = "tests/unit/restoration/test_full_resolution.py"

RESTORATION = {
    "restoration/formulations.py": [
        ("the anchored chain leads away from the source", "x0 + eta * (source - x0)", "x0 + eta * (x0 - source)", FORMS),
        ("noise of the anchored chain grows with eta", "task.kappa * eta.sqrt() * eps", "task.kappa * eta * eps", FORMS),
        ("a step back forgets what x_t has already lost", "(etas[s] * (1 - etas[s] / etas[t])).sqrt()", "etas[s].sqrt()", FORMS),
        ("a step back keeps the wrong share of x_t", "kept = (etas[s] / etas[t]).to(x)", "kept = (1 - etas[s] / etas[t]).to(x)", FORMS),
        (
            "the network learns to add wrinkles",
            "residual = (x0 - source) / RESIDUAL_SCALE",
            "residual = (source - x0) / RESIDUAL_SCALE",
            FORMS,
            PUBLISHED,
        ),
        ("regression is given a timestep", 'torch.zeros_like(t) if task.form == "regression" else t', "t", FORMS),
        ("the gate has no ramp", "((mask - low) / (high - low)).clamp(0, 1)", "(mask > low).to(mask)", FORMS),
        ("the gate never closes", "(high - low)).clamp(0, 1)", "(high - low)).clamp(0.01, 1)", FORMS + " " + LIFT),
        ("retouched pixels weigh no more than others", "(1 + task.mask_weight * region)", "(1 + 0 * region)", FORMS),
        ("the result is the last sample, not the mean", "gate(mask) * drawn.mean(0)", "gate(mask) * drawn[-1]", FORMS),
    ],
    "training/tasks/restoration.py": [
        ("no pairs are moved to the first step", "if task.first_step_share is not None:", "if False:", FORMS),
        ("change masks are not mirrored with their images", "draw.pick(data.masks[..., None])", "data.masks[draw.rows][..., None]", FORMS),
    ],
    "data/pairs.py": [
        ("the change mask takes single pixels of noise", "ndimage.binary_opening(differs, np.ones((3, 3), bool))", "differs", PAIRS),
        ("differences of bytes wrap around", "source.astype(np.int16) - target.astype(np.int16)", "source - target", PAIRS),
        ("swapped folders are taken", "if rougher <= majority * len(ratios):", "if True:", PAIR_FOLDERS, PUBLISHED),
    ],
    "evaluation/image_metrics.py": [
        (
            "zeros outside the mask count",
            "np.square(a[mask].astype(np.float64) - b[mask]).mean()",
            "(np.square(a[mask].astype(np.float64) - b[mask]).sum() / a.size)",
            METRICS,
            PUBLISHED,
        ),
        ("PSNR for a data range of 1", "10 * np.log10(data_range**2 / mse)", "10 * np.log10(1 / mse)", METRICS, PUBLISHED),
    ],
    "restoration/full_resolution.py": [
        ("the image is lifted at the wrong strength", "residual * (strength * brightest / 2)", "residual * (strength * brightest)", LIFT),
        (
            "the last border has no tile",
            "max(1, count - 1)) for k in range(count)]",
            "max(1, count - 1)) for k in range(max(1, count - 1))]",
            LIFT,
            PUBLISHED,
        ),
        ("tiles are added instead of blended", "return blended / total", "return blended", LIFT),
        ("a user's mask is ignored", "strip = strip * torch.from_numpy(", "strip = strip + 0 * torch.from_numpy(", LIFT),
    ],
}
