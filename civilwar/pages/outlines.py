"""Outlines in a picture's text, without the points that no screen can show.

matplotlib leaves out such points of lines, but not of areas: a band over every step of a run would be half of a page.
"""

import re

import numpy as np

#: Points: what an outline may be off by. A screen's dot is several times as large.
TOLERANCE = 0.05
#: Pieces of straight lines, each end as matplotlib writes it.
_POLYLINE = re.compile(r"M [-\d.]+ [-\d.]+ \n(?:L [-\d.]+ [-\d.]+ \n){100,}")


def fewer_points(svg: str) -> str:
    """``svg`` with every long outline simplified to within ``TOLERANCE`` points; a point that stays is as it was."""
    return _POLYLINE.sub(_simplified, svg)


def _simplified(found: re.Match[str]) -> str:
    lines = found.group().splitlines(keepends=True)
    points = np.array([[float(number) for number in line.split()[1:]] for line in lines])
    return "".join(line for line, keep in zip(lines, kept(points), strict=True) if keep)


def kept(points: np.ndarray) -> np.ndarray:
    """[n] bool: the points that stay, by Douglas and Peucker's rule; the first and the last always do. ``points``: [n, 2]."""
    keep = np.zeros(len(points), dtype=bool)
    keep[[0, -1]] = True
    parts = [(0, len(points) - 1)]
    while parts:
        first, last = parts.pop()
        if last - first < 2:
            continue
        distances = _from_piece(points[first + 1 : last], points[first], points[last])
        farthest = int(distances.argmax())
        if distances[farthest] > TOLERANCE:
            middle = first + 1 + farthest
            keep[middle] = True
            parts += [(first, middle), (middle, last)]
    return keep


def _from_piece(points: np.ndarray, start: np.ndarray, end: np.ndarray) -> np.ndarray:
    """[n] distances of points from the piece of a line between two ends, which may be one point."""
    along = end - start
    length = float(along @ along)
    share = np.clip((points - start) @ along / length, 0, 1) if length else np.zeros(len(points))
    nearest = start + share[:, None] * along
    distances: np.ndarray = np.hypot(*(points - nearest).T)
    return distances
