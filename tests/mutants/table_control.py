"""Mistakes in hints, ControlNet, and the measures of generated images. Rows as in table_maths.py."""

from table_maths import PUBLISHED

HINTS = "tests/unit/control/test_hints.py"
HINT_METRICS = "tests/unit/evaluation/test_hint_metrics.py"
ADHERENCE = "tests/unit/evaluation/test_control.py"
HINTED = "tests/unit/control/test_hinted_images.py"
CONTROLNET = "tests/unit/control/test_controlnet.py"
MEASURES = "tests/unit/evaluation/test_distribution_metrics.py"

CONTROL = {
    "control/hints.py": [
        ("grey is red", "LUMINANCE if images", "(1.0, 0.0, 0.0) if images", HINTS),
        ("a scribble's hand depends on the batch", "zlib.crc32((grey * 255).round().astype(np.uint8).tobytes())", "len(drawn)", HINTS),
    ],
    "evaluation/hint_metrics.py": [
        ("an edge may have several partners", "maximum_bipartite_matching(csr_array(near)) >= 0", "near.any(1)", HINT_METRICS),
        (
            "edges meet across a corner",
            "cdist(np.argwhere(found), np.argwhere(truth)) <= tolerance",
            "cdist(np.argwhere(found), np.argwhere(truth)) <= 1.5 * tolerance",
            HINT_METRICS,
        ),
        ("precision is recall", "for n in (n_found, n_truth,", "for n in (n_truth, n_truth,", HINT_METRICS),
        ("recall counts edges beside the ink", "met, ink = (hint & torch", "met, ink = (torch", HINT_METRICS),
        ("a class that is in neither picture counts as missed", "/ (either > 0).sum(0)", "/ classes", HINT_METRICS),
        ("union is counted as the sum of both", "(a | b).sum((2, 3)).double()", "(a.sum((2, 3)) + b.sum((2, 3))).double()", HINT_METRICS),
        (
            "depths correlate with their mean left in",
            "x.double().flatten(1) - x.double().flatten(1).mean(1, keepdim=True)",
            "x.double().flatten(1)",
            HINT_METRICS,
        ),
    ],
    "control/hinted_images.py": [
        ("hints lie in -1 .. 1", "(hint * 255).round()", "(hint * 127.5 + 127.5).round()", HINTED),
    ],
    "evaluation/control.py": [
        ("shuffled hints are the right ones", "right.roll(1, 0), hints, reader", "right, hints, reader", ADHERENCE),
        (
            "what all depths have in common counts as agreement",
            "found.depth - typical, hints[:, 0] - typical",
            "found.depth, hints[:, 0]",
            ADHERENCE,
        ),
        (
            "the row of real pictures shows the generated ones",
            "to_float(np.array(cars.images)), hints, reader",
            "right, hints, reader",
            ADHERENCE,
        ),
    ],
    "training/tasks/control.py": [
        ("the base is trained as well", "base.network.eval().requires_grad_(False)", "base.network.eval()", CONTROLNET, PUBLISHED),
        ("a control is trained on any base", "!= config.task.base:", "is None:", CONTROLNET),
        (
            "hints are kept where they should be dropped",
            "draw.chance(self.config.task.hint_dropout)",
            "~draw.chance(self.config.task.hint_dropout)",
            HINTED,
        ),
        ("hints do not follow their images", "draw.pick(data.hints)", "data.hints[draw.rows]", HINTED),
    ],
    "control/controlnet.py": [
        (
            "the ends of a control begin at random",
            "nn.init.zeros_(conv.weight)\n    nn.init.zeros_(conv.bias)\n    return conv",
            "return conv",
            CONTROLNET,
            PUBLISHED,
        ),
        (
            "the copy begins at random",
            '{**weights, "input_conv.weight": first}',
            '{**control.copy.state_dict(), "input_conv.weight": first}',
            CONTROLNET,
        ),
        (
            "the copy hears the hint from the first step",
            "weight.new_zeros(control.copy.input_conv.weight.shape)",
            "weight.detach().clone()",
            CONTROLNET,
        ),
        ("strength leaves the middle alone", "h = h + strength * middle", "h = h + middle", CONTROLNET),
        (
            "only the last control counts",
            "skips = [skip + strength * addition for skip, addition in zip(skips, additions)]",
            "skips = [strength * addition + s for s, addition in zip(base.encode(x, emb)[1], additions)]",
            CONTROLNET,
        ),
        ("a control replaces the skips", "[skip + strength * addition for skip", "[strength * addition for skip", CONTROLNET),
        (
            "the copy doesn't hear the label",
            "emb = self.copy.embed(t, label)",
            "emb = self.copy.embed(t, None if label is None else label * 0)",
            CONTROLNET,
        ),
        ("any base is taken", "if here != control.base_digest:", "if False:", CONTROLNET),
        (
            "the second half of a guided batch gets no hint",
            "hint.to(x).repeat(len(x) // len(hint), 1, 1, 1)",
            "torch.cat([hint.to(x), hint.new_zeros(len(x) - len(hint), *hint.shape[1:]).to(x)])",
            CONTROLNET,
        ),
    ],
    "evaluation/distribution_metrics.py": [
        ("an image is compared with itself", "(within_a.sum() - within_a.trace()) / (n * (n - 1))", "within_a.mean()", MEASURES, PUBLISHED),
        ("the kernel isn't divided by the number of features", "a @ b.T / a.shape[1]", "a @ b.T", MEASURES, PUBLISHED),
        ("subsets of KID are drawn with replacement", "size, replace=False", "size, replace=True", MEASURES),
        (
            "an image is its own nearest neighbour",
            "np.partition(among_real, k, axis=1)[:, k]",
            "np.partition(among_real, k - 1, axis=1)[:, k - 1]",
            MEASURES,
        ),
        ("KID by label compares all labels", "mmd2(real[real_label == name], generated[label == name])", "mmd2(real, generated)", MEASURES),
    ],
}
