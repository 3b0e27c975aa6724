"""Numbers for the prose: glued by a notebook under a name, written by `civilwar.pages.prose` and the book's ``{number}``."""

import math
import re
from numbers import Integral

from myst_nb import glue as myst_glue

from civilwar.errors import RunLacks
from civilwar.pages.sentences import duration, parameters_in_words
from civilwar.runs.reader import Run

#: What was glued in this process, which is one notebook's.
_GLUED: dict[str, float | int | str] = {}
#: How long a run took whose manifest does not say.
UNKNOWN_TIME = "a time that nobody recorded"


def glue(**numbers: float | int | str | None) -> None:
    """Make numbers available to the prose below and, through ``{number}``, to the book's other pages.

    Undefined numbers are glued as nan, never as 0.
    """
    for key, value in numbers.items():
        # plain Python numbers: NumPy's would be shown as np.float64(...)
        if isinstance(value, Integral):
            plain: float | int | str = int(value)
        elif isinstance(value, str):
            plain = value
        else:
            plain = math.nan if value is None else float(value)
        _GLUED[key] = plain
        myst_glue(key, plain, display=False)


def glued() -> dict[str, float | int | str]:
    """Name -> number, of all that this notebook has glued so far."""
    return dict(_GLUED)


def glue_run(run: Run) -> None:
    """Glue what a page says about the run itself: its name, size, corpus, machine and cost."""
    if run.watched:
        _glue_watched(run)
        return
    manifest, config = run.manifest, run.config
    corpus, timings = manifest["corpus"], manifest.get("timings", {})
    loss = run.table("train")["loss"]
    glue(
        run_name=run.name,
        run_status=str(manifest["status"]),
        commit=(manifest["commit"] or "unknown")[:12],
        config_hash=config.hash,
        n_steps=config.train.steps,
        n_tokens=config.n_tokens,
        run_size=parameters_in_words(config.model.n_parameters),
        n_parameters=int(manifest["n_parameters"]),
        d_head=config.model.d_head,
        corpus_documents=int(corpus["documents"]),
        corpus_megabytes=corpus["bytes"] / 1e6,
        corpus_tokens_millions=corpus["train_tokens"] / 1e6,
        device_name=str(manifest["device"]["name"]),
        run_took=duration(timings.get("wall_seconds", math.nan)) or UNKNOWN_TIME,
        wall_minutes=timings.get("wall_seconds", math.nan) / 60,
        tokens_per_second=timings.get("tokens_per_second", math.nan),
        n_sittings=1 + len(manifest.get("resumed_at", [])),
        first_loss=float(loss.iloc[0]),
        final_loss=float(loss.tail(16).mean()),
        validation_loss=float(run.table("probe_loss").groupby("step")["loss"].mean().iloc[-1]),
    )


def _glue_watched(run: Run) -> None:
    """The same of a run that was watched: what nobody told is undefined."""
    manifest, config = run.manifest, run.config
    unknown = dict.fromkeys(
        ("n_tokens", "corpus_documents", "corpus_megabytes", "corpus_tokens_millions", "tokens_per_second"), math.nan
    )
    loss = run.table("train")["loss"]
    try:
        held_out = float(run.table("probe_loss").groupby("step")["loss"].mean().iloc[-1])
    except RunLacks:
        held_out = math.nan
    glue(
        run_name=run.name,
        run_status=str(manifest["status"]),
        commit=(manifest["commit"] or "unknown")[:12],
        config_hash=config.hash,
        n_steps=config.train.steps,
        run_size=parameters_in_words(config.model.n_parameters),
        run_took=duration(manifest.get("timings", {}).get("wall_seconds", math.nan)) or UNKNOWN_TIME,
        n_parameters=config.model.n_parameters,
        d_head=config.model.d_head,
        device_name=str(manifest["device"]["name"]),
        wall_minutes=manifest.get("timings", {}).get("wall_seconds", math.nan) / 60,
        n_sittings=len(run.sittings),
        first_loss=float(loss.iloc[0]),
        final_loss=float(loss.tail(16).mean()),
        validation_loss=held_out,
        **unknown,
    )


def typographic(text: str, before: str = r"\d") -> str:
    """Minus signs before numbers (what ``before`` matches), instead of the hyphens that Python's format writes."""
    return re.sub(rf"(?<![\w.-])-(?={before})", "\N{MINUS SIGN}", text)
