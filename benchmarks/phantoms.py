"""The positive controls: `python benchmarks/phantoms.py`, two minutes.

What was planted in decoders by hand, and what was found. Writes data/benchmarks/phantoms.json.
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

from civilwar import paths
from civilwar.files import write_json
from civilwar.training.phantoms import detection, loudness

STRENGTHS = (0.0, 0.025, 0.05, 0.075, 0.1, 0.125, 0.15, 0.2, 0.25, 0.3, 0.4, 0.6, 0.8, 1.0)
FACTORS = (1.0, 1.02, 1.05, 1.1, 1.2, 1.5)
SEEDS = (0, 1, 2)


def main() -> None:
    """Measure every phantom, and keep what came out."""
    heads, keys = detection(STRENGTHS, SEEDS), loudness(FACTORS, SEEDS)
    found = {name: table.round(4).to_dict("list") for name, table in (("heads", heads), ("keys", keys))}
    target = paths.recorded() / "benchmarks" / "phantoms.json"
    write_json(target, found)
    print(target)


if __name__ == "__main__":
    main()
