"""The page's colours: text can be read, and series are told apart also with the common kinds of colour blindness."""

from __future__ import annotations

import re
from itertools import combinations

import numpy as np
import pytest

from timestore_assets.service.page import FOLDER

LIGHT, DARK = (FOLDER / "styles" / "theme.css").read_text(encoding="utf-8").split("@media (prefers-color-scheme: dark)")
THEMES = {name: dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", text)) for name, text in (("light", LIGHT), ("dark", DARK))}
# https://www.inf.ufrgs.br/~oliveira/pubs_files/CVD_Simulation/CVD_Simulation.html (severity 1.0), on linear RGB
SEEN_BY = {
    "everybody": np.eye(3),
    "deuteranopes": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "protanopes": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "tritanopes": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}
TO_XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
WHITE = np.array([0.9505, 1.0, 1.089])
TOLD_APART = 12.0
"""Distance in CIELAB; about 2 is the least that is noticed side by side."""


def linear(colour: str) -> np.ndarray:
    parts = np.array([int(colour[place : place + 2], 16) for place in (1, 3, 5)]) / 255
    return np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)


def lab(rgb: np.ndarray) -> np.ndarray:
    ratios = TO_XYZ @ np.clip(rgb, 0, 1) / WHITE
    f = np.where(ratios > 0.008856, np.cbrt(ratios), 7.787 * ratios + 16 / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def contrast(one: str, other: str) -> float:
    dark, light = sorted(float(TO_XYZ[1] @ linear(colour)) for colour in (one, other))
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("people", SEEN_BY)
@pytest.mark.parametrize("theme", THEMES)
def test_series_with_the_same_dashes_are_told_apart(theme: str, people: str) -> None:
    seen = [lab(np.array(SEEN_BY[people]) @ linear(THEMES[theme][f"s{number}"])) for number in range(8)]
    same_dashes = [(i, j) for i, j in combinations(range(8), 2) if (i < 4) == (j < 4)]
    assert min(float(np.linalg.norm(seen[i] - seen[j])) for i, j in same_dashes) > TOLD_APART


@pytest.mark.parametrize("theme", THEMES)
def test_text_can_be_read_and_marks_can_be_seen(theme: str) -> None:
    colours = THEMES[theme]
    marks = [*(f"s{number}" for number in range(8)), "open", "sealed", "stale", "expired"]
    assert min(contrast(colours[mark], colours["surface"]) for mark in marks) > 3
    texts = [("ink", "surface"), ("soft", "surface"), ("soft", "ground"), ("accent", "surface"), ("accent", "accent-soft")]
    texts += [("warn", "surface"), ("warn", "warn-soft"), ("bad", "bad-soft")]
    assert min(contrast(colours[text], colours[ground]) for text, ground in texts) > 4.5
