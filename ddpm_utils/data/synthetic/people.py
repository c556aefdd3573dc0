"""Whole garments for chapter 06: people in clothes, or clothes alone, before a background. Painted with garments.py.

A figure is described in chest widths: x from its middle to the right, y from the base of the neck (0) down to the feet (3); a `View` brings
it into the frame.
"""

import math
from typing import NamedTuple

import numpy as np

from ddpm_utils.data.synthetic import backgrounds, fabrics
from ddpm_utils.data.synthetic.fabrics import ellipse, polygon, smooth_noise, strokes
from ddpm_utils.data.synthetic.garments import Scene, buttons, empty_scene, folds, hair, pocket, seam, shadow

VIEWS = {  # name: (the y in the middle of the frame, the chest widths that the frame shows, how often)
    "portrait": (-0.35, 1.5, 0.06),
    "bust": (0.25, 2.0, 0.24),
    "torso": (0.75, 1.7, 0.34),
    "three-quarter": (0.6, 2.8, 0.16),
    "full": (1.1, 4.4, 0.08),
    "legs": (1.8, 2.3, 0.12),
}


class View(NamedTuple):
    """Which part of a figure the frame shows: its middle, how many chest widths it shows, and how it is turned."""

    centre: np.ndarray
    span: float
    turn: float

    def __call__(self, points) -> np.ndarray:
        """Frame coordinates (n, 2) of points given in chest widths."""
        c, s = math.cos(self.turn), math.sin(self.turn)
        return (np.atleast_2d(points) - self.centre) @ np.array([[c, s], [-s, c]]) / self.span + 0.5


def figure(rng: np.random.Generator, size: int) -> Scene:
    """A person in clothes, or the clothes alone, before a background, seen from near or far."""
    weights = [view[2] for view in VIEWS.values()]
    middle, span, _ = VIEWS[rng.choice(list(VIEWS), p=weights)]
    view = View(np.array([rng.normal(0, 0.15), middle + rng.normal(0, 0.12)]), span * rng.uniform(0.8, 1.25), rng.normal(0, 0.08))
    scene = empty_scene(rng, backgrounds.background(rng, size), 1 / view.span, 0.0)
    person = rng.random() < 0.8
    dress = rng.random() < 0.2
    skin = np.array([0.95, 0.76, 0.66], np.float32) * rng.uniform(0.4, 1) ** np.array([0.6, 1.0, 1.2], np.float32)
    top, bottom = fabrics.fabric(rng, size, scene.unit), fabrics.fabric(rng, size, scene.unit)
    tint = np.array([0.5, 0.35, 0.2], np.float32) * rng.uniform(0.1, 1.5)
    if person:
        scene.paint(polygon(size, view([[-0.3, -0.75], [0.3, -0.75], [0.36, rng.uniform(-0.2, 0.5)], [-0.36, -0.1]])), tint, False)
    _legs(rng, scene, view, skin, bottom, person=person, dress=dress)
    _torso(rng, scene, view, skin, top, person=person, dress=dress)
    if person:
        _head(rng, scene, view, skin, tint)
    scene.light_log += rng.uniform(0, 0.1) * smooth_noise(rng, size, max(0.15 * scene.unit, 0.03))
    if rng.random() < 0.2:
        shadow(rng, scene)
    scene.joints = [j for j in scene.joints if (np.abs(j - 0.5) < 0.6).all()]
    return scene


def limb(points: np.ndarray, widths: np.ndarray) -> np.ndarray:
    """The outline (2n, 2) of an arm or a leg around the polyline `points` (n, 2)."""
    along = np.gradient(points, axis=0)
    across = np.stack([-along[:, 1], along[:, 0]], 1) / np.linalg.norm(along, axis=1, keepdims=True)
    half = np.asarray(widths)[:, None] / 2
    return np.concatenate([points + half * across, (points - half * across)[::-1]])


def _legs(rng: np.random.Generator, scene: Scene, view: View, skin: np.ndarray, cloth: np.ndarray, *, person: bool, dress: bool) -> None:
    """Bare legs under a skirt or a dress, or trousers."""
    size, depth = scene.size, 0.06 * scene.unit
    skirt = dress or rng.random() < 0.25
    width = rng.uniform(0.3, 0.5)
    for side in (-1, 1):
        knee, ankle = side * rng.uniform(0.2, 0.28), side * rng.uniform(0.2, 0.32)
        leg = np.array([[side * 0.2, 1.2], [side * 0.21, 1.6], [knee, 2.15], [ankle, rng.uniform(2.7, 3.0)]])
        if skirt and person:
            scene.paint(polygon(size, view(limb(leg, [0.34, 0.3, 0.2, 0.12]))), skin, False, depth)
        if not skirt:
            scene.paint(polygon(size, view(limb(leg, [0.46, 0.42, width, 0.9 * width]))), cloth, True, depth)
            scene.joints += [view([knee, 2.15])[0], view([ankle, 2.7])[0]]
    if skirt and not dress:
        flare, hem = rng.uniform(0.35, 0.8), rng.uniform(1.7, 2.4)
        outline = polygon(size, view([[-0.36, 0.95], [0.36, 0.95], [flare, hem], [-flare, hem]]), 1)
        scene.paint(outline, cloth, True, depth)
        folds(rng, scene, outline, np.pi / 2)
    if not skirt:
        scene.joints.append(view([0, 1.55])[0])
        seam(rng, scene, view([[0, 0.9], [0.02, 1.3], [0, 1.55]]), True)
        seam(rng, scene, view([[0.4, 1.15], [0.25, 1.3], [0.2, 1.4]]), True)


def _torso(rng: np.random.Generator, scene: Scene, view: View, skin: np.ndarray, cloth: np.ndarray, *, person: bool, dress: bool) -> None:
    """Neck, arms, and a shirt or a dress with sleeves, collar, placket, pocket and hem."""
    size, depth = scene.size, 0.07 * scene.unit
    waist, hip = rng.uniform(0.33, 0.46), rng.uniform(0.4, 0.5)
    hem = rng.uniform(1.9, 2.5) if dress else rng.uniform(1.1, 1.6)
    hip = rng.uniform(0.5, 0.95) if dress else hip
    neckline = rng.choice([0.08, 0.15, 0.35])
    sleeve = rng.choice([0.0, 0.4, 0.75, 1.0], p=[0.12, 0.33, 0.15, 0.4])  # how much of the arm it covers
    if person:
        neck = view([[-0.14, -0.3], [0.14, -0.3], [0.2, 0.08], [0.1, 0.45], [-0.1, 0.45], [-0.2, 0.08]])
        scene.paint(polygon(size, neck), skin, False, depth)
    arms = _arms(rng, scene, view, skin if person else None, sleeve, waist)
    half = [[0.16, 0], [0.42, 0.08], [0.47, 0.2], [0.43, 0.5], [waist, 0.95], [hip, hem]]
    outline = polygon(size, view([[0, neckline], *half, *[[-x, y] for x, y in half[::-1]]]))
    scene.paint(outline, cloth, True, depth)
    folds(rng, scene, outline, np.pi / 2 + rng.normal(0, 0.3))
    if sleeve:
        for arm in arms:
            _sleeve(rng, scene, view, arm, sleeve, cloth)
    _fittings(rng, scene, view, cloth, neckline=neckline, hem=hem, hip=hip)


def _arms(rng: np.random.Generator, scene: Scene, view: View, skin: np.ndarray | None, sleeve: float, waist: float) -> list[np.ndarray]:
    """The arms as polylines (5, 2) from shoulder to wrist; painted bare unless skin is None, in which case nobody wears the clothes."""
    size, depth = scene.size, 0.07 * scene.unit
    arms = []
    for side in (-1, 1):
        out, bend = rng.normal(0.2, 0.15), rng.normal(-0.1, 0.5)
        shoulder = np.array([side * 0.37, 0.13])
        elbow = shoulder + 0.62 * np.array([side * math.sin(out), math.cos(out)])
        wrist = elbow + 0.55 * np.array([side * math.sin(out + bend), math.cos(out + bend)])
        arms.append(np.stack([shoulder, (shoulder + elbow) / 2, elbow, (elbow + wrist) / 2, wrist]))
        scene.joints += [view([side * 0.42, 0.5])[0], view(elbow)[0], view([side * waist, 1.0])[0]]
        if skin is not None and sleeve < 1:
            scene.paint(polygon(size, view(limb(arms[-1], [0.2, 0.18, 0.15, 0.14, 0.1]))), skin, False, depth)
        if skin is not None:
            scene.paint(ellipse(size, view(wrist + 0.1 * (wrist - elbow))[0], (0.075 / view.span, 0.09 / view.span)), skin, False, depth)
    return arms


def _sleeve(rng: np.random.Generator, scene: Scene, view: View, arm: np.ndarray, part: float, cloth: np.ndarray) -> None:
    """A sleeve over this part (0 .. 1) of an arm, with a cuff."""
    t = np.linspace(0, 4 * part, 5)
    covered = np.stack([np.interp(t, range(5), arm[:, axis]) for axis in (0, 1)], 1)
    wide = rng.uniform(0.95, 1.2) * np.interp(t, range(5), [0.26, 0.26, 0.22, 0.19, 0.16])
    scene.paint(polygon(scene.size, view(limb(covered, wide))), cloth, True, 0.07 * scene.unit)
    cuff = limb(covered, wide)[[4, 5]]
    seam(rng, scene, view(cuff + 0.06 * (covered[0] - covered[-1])), False)


def _fittings(rng: np.random.Generator, scene: Scene, view: View, cloth: np.ndarray, *, neckline: float, hem: float, hip: float) -> None:
    """Collar, placket with buttons, breast pocket, and the seam of the hem."""
    size, depth = scene.size, 0.07 * scene.unit
    if rng.random() < 0.5:
        grey = np.ones(3, np.float32) * rng.uniform(0.1, 0.95)
        collar = fabrics.mix(cloth, grey, np.full((size, size), rng.choice([0.0, 0.15, 0.8]), np.float32))
        for side in (-1, 1):
            tip = [side * rng.uniform(0.12, 0.25), neckline + rng.uniform(0.08, 0.2)]
            scene.paint(polygon(size, view([[side * 0.14, -0.07], [side * 0.22, 0.03], tip, [0, neckline]]), 0), collar, True, 0.3 * depth)
    if rng.random() < 0.5:
        placket = view(np.linspace([0.01, neckline + 0.02], [0.03, hem - 0.02], 7))
        seam(rng, scene, placket, bool(rng.random() < 0.5))
        buttons(rng, scene, placket + 0.04 * scene.unit, int(rng.integers(4, 9)), rng.uniform(0.016, 0.03) * scene.unit)
    if rng.random() < 0.3:
        pocket(rng, scene, view([0.12, 0.4])[0], 0.2 * scene.unit)
    seam(rng, scene, view(np.linspace([-hip, hem - 0.05], [hip, hem - 0.05], 5)), False)


def _head(rng: np.random.Generator, scene: Scene, view: View, skin: np.ndarray, tint: np.ndarray) -> None:
    """An oval with eyes, brows, nose and mouth; fringe and strands."""
    size = scene.size
    scene.paint(ellipse(size, view([0, -0.5])[0], (0.2 / view.span, 0.27 / view.span)), skin, False, 0.08 * scene.unit)
    for side in (-1, 1):
        scene.put(ellipse(size, view([side * 0.08, -0.54])[0], (0.032 / view.span, 0.016 / view.span)), tint * 0.4)
        scene.light_log -= 0.4 * strokes(size, [view([[side * 0.04, -0.6], [side * 0.12, -0.61]])], 0.02 / view.span)
        scene.light_log -= 0.2 * strokes(size, [view([[side * 0.03, -0.43], [side * 0.035, -0.4]])], 0.02 / view.span)
    scene.put(ellipse(size, view([0, -0.34])[0], (0.06 / view.span, 0.016 / view.span)), skin * np.array([0.85, 0.5, 0.5], np.float32))
    parting = [rng.uniform(-0.15, 0.15), rng.uniform(-0.72, -0.65)]
    fringe = [[-0.24, -0.5], [-0.22, -0.75], [0, -0.84], [0.22, -0.75], [0.24, -0.5], parting]
    scene.paint(polygon(size, view(fringe)), tint, False, 0.03 * scene.unit)
    if rng.random() < 0.6:
        hair(rng, scene, view([rng.choice([-0.24, 0.24]), -0.6])[0], rng.uniform(0.2, 0.7) / view.span, tint)
