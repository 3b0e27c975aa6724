"""What ``benchmarks/`` measured, as tables: speed against plain PyTorch and the usual way, growth, and faults."""

import statistics
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from civilwar import paths
from civilwar.errors import RunError
from civilwar.files import read_json

WAYS = {
    "plain": "plain PyTorch, no tracking",
    "untracked": "this package, no tracking",
    "tracked": "this package, every head tracked",
    "loops": "the usual way: float32, a loop over heads",
}


def measured(name: str, root: Path | None = None) -> dict[str, Any]:
    """The recorded result of one benchmark: ``training``, ``faults`` or ``book``. Raises RunError where it was not recorded."""
    file = (paths.measured() if root is None else root / "benchmarks") / f"{name}.json"
    if not file.is_file():
        raise RunError(f"{file} is not there: run `python benchmarks/{name}.py` to make it.")
    return read_json(file)


def ways(result: Mapping[str, Any]) -> pd.DataFrame:
    """One row a way of doing the same step.

    Columns: way; seconds (of the gradient, median), low, high; tokens_per_second, optimisers included; of_matrix_rate, the
    gradient's share of the machine's bfloat16 matrix rate, and of_matrix_rate_with_optimisers; times_plain, tokens per
    second over the plain way's.
    """
    times = result["ways"]
    optimisers = statistics.median(times["optimisers"])
    rate, flops, tokens = statistics.median(result["matrix_rate"]), result["flops_per_step"], result["tokens_per_step"]
    rows = []
    for way, name in WAYS.items():
        seconds = statistics.median(times[way])
        rows.append(
            {
                "way": name,
                "seconds": seconds,
                "low": min(times[way]),
                "high": max(times[way]),
                "tokens_per_second": tokens / (seconds + optimisers),
                "of_matrix_rate": flops / seconds / rate,
                "of_matrix_rate_with_optimisers": flops / (seconds + optimisers) / rate,
            }
        )
    table = pd.DataFrame(rows)
    return table.assign(times_plain=table["tokens_per_second"] / table["tokens_per_second"][0])


def in_words(table: pd.DataFrame) -> pd.DataFrame:
    """What a reader needs of `ways`, under names that need no key."""
    names = {
        "way": "way",
        "tokens_per_second": "tokens/s",
        "of_matrix_rate": "of matrix rate",
        "of_matrix_rate_with_optimisers": "with optimisers",
        "times_plain": "times plain",
    }
    return table[list(names)].rename(columns=names)


def summary(result: Mapping[str, Any]) -> dict[str, float | str]:
    """The page's numbers."""
    times = result["ways"]
    median = {name: statistics.median(values) for name, values in times.items()}
    tracked = median["tracked"] + median["optimisers"]
    snapshots = result["n_snapshots"] * statistics.median(result["snapshots"])
    table = ways(result).set_index("way")
    own, usual = table.loc[WAYS["tracked"]], table.loc[WAYS["loops"]]
    return {
        "speed_machine": result["machine"]["name"],
        "speed_threads": result["machine"]["threads"],
        "speed_repetitions": result["repetitions"],
        "speed_matrix_gflops": statistics.median(result["matrix_rate"]) / 1e9,
        "speed_tokens_per_second": own["tokens_per_second"],
        "speed_gradient_percent": 100 * table.loc[WAYS["untracked"], "of_matrix_rate"],
        "speed_step_percent": 100 * table.loc[WAYS["untracked"], "of_matrix_rate_with_optimisers"],
        "speed_times_plain": own["times_plain"],
        "speed_times_usual": own["tokens_per_second"] / usual["tokens_per_second"],
        # paired by turns, since the machine's own speed drifts
        "speed_tracking_percent": 100
        * statistics.median(
            (a - b) / (b + median["optimisers"]) for a, b in zip(times["tracked"], times["untracked"], strict=True)
        ),
        "speed_snapshot_percent": 100 * snapshots / (snapshots + result["n_steps"] * tracked),
        "speed_snapshot_seconds": statistics.median(result["snapshots"]),
        "speed_peak_gib": result["peak_memory"] / 2**30,
    }


def growth(result: Mapping[str, Any]) -> pd.DataFrame:
    """What grows with what: axis, value, seconds (tracked), tracking (share of the untracked gradient)."""
    return pd.DataFrame(
        [
            {
                "axis": row["axis"],
                "value": row["value"],
                "seconds": statistics.median(row["tracked"]),
                "tracking": statistics.median(a / b - 1 for a, b in zip(row["tracked"], row["untracked"], strict=True)),
            }
            for row in result["growth"]
        ]
    )


def pages(result: Mapping[str, Any]) -> pd.DataFrame:
    """The heaviest pages of the built book: page, megabytes of its own, and of its inspector's code, run and one layer."""
    rows = [
        {"page": page, "megabytes": weight["page"] / 1e6, "inspector": weight["inspector"] / 1e6}
        for page, weight in result["pages"].items()
    ]
    table = pd.DataFrame(rows)
    return table.assign(both=table["megabytes"] + table["inspector"]).sort_values("both", ascending=False)


def book_summary(result: Mapping[str, Any]) -> dict[str, float | str]:
    """What the page says of the built book."""
    return {
        "book_run": result["run"],
        "book_build_seconds": result["build_seconds"],
        "book_first_frame_ms": statistics.median(result["first_frame_ms"]),
        "book_scrub_ms": result["scrub_ms"]["95"],
        "book_heaviest_megabytes": pages(result)["both"].max(),
    }


def faults(result: Mapping[str, Any]) -> pd.DataFrame:
    """One row a fault: fault, times, exit status, what the user is told, what was lost."""
    rows = [
        {
            "what was done": row["fault"],
            "times": row["times"],
            "exit": row["status"],
            "what is said": row["sentence"],
            "lost": row["lost"],
        }
        for row in result["faults"]
    ]
    return pd.DataFrame(rows)


def n_lost(result: Mapping[str, Any]) -> int:
    """Faults after which something recorded was not there, or not as it should be."""
    return sum(not row["good"] for row in result["faults"])
