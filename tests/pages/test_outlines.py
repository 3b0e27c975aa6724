"""`civilwar.pages.outlines`: pictures without points that cannot be seen."""

import numpy as np

from civilwar.pages.outlines import TOLERANCE, fewer_points, kept


def path(points: np.ndarray) -> str:
    lines = [f"{'L' if i else 'M'} {x:.2f} {y:.2f} \n" for i, (x, y) in enumerate(points)]
    return f'<path d="{"".join(lines)}z\n"/>'


def test_a_smooth_band_keeps_few_points_and_its_form() -> None:
    x = np.linspace(0, 100, 1001)
    points = np.column_stack([x, 20 * np.sin(x / 30)])
    stay = points[kept(points)]
    assert len(stay) < 100
    off = np.abs(np.interp(x, stay[:, 0], stay[:, 1]) - points[:, 1])
    assert off.max() <= 2 * TOLERANCE
    assert fewer_points(path(points)).count("L ") < 100


def test_a_spike_stays() -> None:
    points = np.column_stack([np.linspace(0, 100, 1001), np.zeros(1001)])
    points[500, 1] = 1
    assert fewer_points(path(points)) == path(points[[0, 499, 500, 501, 1000]])


def test_an_outline_that_comes_back_to_its_first_point_stays_open() -> None:
    there = np.column_stack([np.linspace(0, 50, 200), np.zeros(200)])
    back = np.column_stack([there[::-1, 0], np.ones(200)])
    around = np.concatenate([there, back, there[:1]])
    assert kept(around).sum() == 5


def test_short_outlines_stay_as_they_are() -> None:
    few = path(np.zeros((50, 2)))
    assert fewer_points(few) == few
