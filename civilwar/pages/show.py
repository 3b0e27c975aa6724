"""What the phase notebooks call: open (or train) the run, show a figure with its data, glue a number.

A figure goes into the page as SVG whose ink is the page's own text colour, with an alternative text, a caption, and its
data as CSV behind a link. Everything travels inside the page, so it works offline and from a file.
"""

import html
import io
import math
import re
from collections.abc import Callable, Mapping, Sequence
from inspect import signature
from numbers import Integral
from urllib.parse import quote

import matplotlib.pyplot as plt
import pandas as pd
from IPython import get_ipython
from IPython.display import HTML, display
from matplotlib.figure import Figure
from myst_nb import glue as myst_glue

from civilwar.errors import RunError
from civilwar.inspector.widget import HeadInspector
from civilwar.pages.parameters import unknown_parameters
from civilwar.plots.style import INK, use_style
from civilwar.recipe.config import DEFAULT_CORPUS, ConfigError, make_config
from civilwar.runs.reader import Run, check_name, check_same_config, find_run

AUTO = "auto"
#: Where the book lists the runs that its figures were drawn from, with their manifests.
RUNS_PAGE = "08_verdicts.html#runs"
#: ``cuda:1`` is the second of several.
DEVICES = re.compile(r"auto|cuda(:\d)?|mps|cpu")
#: Bytes in a folder's name, the limit of every common file system.
LONGEST_NAME = 255


def open_phase(
    run: str = AUTO,
    preset: str = "laptop",
    variant: str = "baseline",
    seed: int = 0,
    corpus: str = DEFAULT_CORPUS,
    device: str = AUTO,
) -> Run:
    """The run a notebook is about: opened if it exists and is complete, trained (or its training finished) if not.

    Args:
        run: the run's name; ``auto`` names it after preset, variant and seed.
        preset: ``smoke``, ``laptop`` or ``paper``.
        variant: ``baseline`` or one of the controls.
        seed: of initialisation and data order.
        corpus: ``docstrings``, ``path:FOLDER_OR_FILE`` or ``hub:NAME[:CONFIG]``.
        device: used only for training: ``auto``, ``cpu``, ``cuda`` or ``mps``.

    Raises ConfigError for a wrong value, naming the valid ones, and for a parameter of papermill's that the notebook does
    not have; RunMismatch where the run of that name is another one.
    """
    use_style()
    _refuse_unknown_parameters()
    config = make_config(preset, variant, seed, corpus)
    # checked here too, since a run that exists needs no device and would let a slip pass
    if not isinstance(device, str) or not DEVICES.fullmatch(device):
        raise ConfigError(f"device = {device!r}: expected one of auto, cuda, cuda:NUMBER, mps, cpu.")
    name = config.default_name if run == AUTO else _checked_name(run)
    path = find_run(name)
    if path is not None:
        found = Run(path)
        check_same_config(found.config, config, path)
        if found.complete:
            return found
    # torch is loaded only where there is something to train
    from civilwar.training.loop import train

    return train(config, name, device)


def _refuse_unknown_parameters() -> None:
    kernel = get_ipython()
    cells = kernel.user_ns.get("In", []) if kernel else []
    for name, value in unknown_parameters(cells).items():
        known = ", ".join(signature(open_phase).parameters)
        raise ConfigError(f"{name} = {value}: expected a parameter that the notebook has, which are {known}.")


def _checked_name(run: str) -> str:
    try:
        # what no folder can be called would fail inside the file system, in words that name no parameter
        if isinstance(run, str) and len(run.encode()) <= LONGEST_NAME:
            return check_name(run)
    except (RunError, UnicodeEncodeError):
        pass
    raise ConfigError(
        f"run = {run!r}: expected auto, or a name of at most {LONGEST_NAME} letters, digits, dots, dashes and underscores."
    )


def glue(**numbers: float | int | str | None) -> None:
    """Make numbers available to the prose of this page and, through ``{number}``, of all others.

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
        myst_glue(key, plain, display=False)


def glue_run(run: Run) -> None:
    """Glue what a page says about the run itself: its name, size, corpus, machine and cost."""
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
        n_parameters=int(manifest["n_parameters"]),
        d_head=config.model.d_head,
        corpus_documents=int(corpus["documents"]),
        corpus_megabytes=corpus["bytes"] / 1e6,
        corpus_tokens_millions=corpus["train_tokens"] / 1e6,
        device_name=str(manifest["device"]["name"]),
        wall_minutes=timings.get("wall_seconds", math.nan) / 60,
        tokens_per_second=timings.get("tokens_per_second", math.nan),
        n_sittings=1 + len(manifest.get("resumed_at", [])),
        first_loss=float(loss.iloc[0]),
        final_loss=float(loss.tail(16).mean()),
        validation_loss=float(run.table("probe_loss").groupby("step")["loss"].mean().iloc[-1]),
    )


def show(
    figure: Figure,
    data: pd.DataFrame | Mapping[str, pd.DataFrame],
    name: str,
    title: str,
    alt: str,
    caption: str = "",
    *,
    runs: Sequence[Run],
) -> None:
    """Display a figure with its take-away as title, a caption, and its data a click away; glue it under ``name``.

    Args:
        figure: closed afterwards.
        data: what was drawn; several tables become several links.
        name: of the glued figure and of the downloaded files.
        title: the take-away, one sentence.
        alt: what the picture shows, for those who cannot see it.
        caption: how to read it.
        runs: what it was drawn from; none where it shows no run.
    """
    tables = {"": data} if isinstance(data, pd.DataFrame) else dict(data)
    links = " ".join([*(csv_link(name, suffix, table) for suffix, table in tables.items()), _runs_link(runs)])
    page = HTML(
        f'<figure class="cw-figure" id="{html.escape(name)}">'
        f'<p class="cw-title">{html.escape(typographic(title))}</p>'
        f"{_inline_svg(figure, alt)}"
        f"<figcaption>{html.escape(caption)}</figcaption>"
        f'<p class="cw-links">{links}</p></figure>'
    )
    plt.close(figure)
    # displayed and glued at once: a second output would double the page
    myst_glue(f"picture_{name}", page, display=True)


def _runs_link(runs: Sequence[Run]) -> str:
    """One run by its name and the first digits of its configuration's hash, several by their number."""
    distinct = {run.name: run.config.hash for run in runs}
    if not distinct:
        return ""
    (name, config_hash), *others = distinct.items()
    said = f"{len(distinct)} runs" if others else f"Run {name} · {config_hash[:8]}"
    return f'<a class="cw-runs" href="{RUNS_PAGE}">{html.escape(said)}</a>'


def show_inspector(inspector: HeadInspector, name: str) -> None:
    """Display a head inspector: alive in a kernel, and as an element that the book's script brings to life; glued.

    The widget and the element are two forms of one output: a notebook shows the first, a published page keeps the second.
    """
    figure = inspector.still()
    page = inspector.to_html(_inline_svg(figure, inspector.description()))
    plt.close(figure)
    myst_glue(f"picture_{name}", _TwoForms(inspector, f'<div id="{html.escape(name)}">{page}</div>'), display=True)


class _TwoForms:
    """A widget and the HTML that stands for it in a page without a kernel."""

    def __init__(self, widget: HeadInspector, page: str) -> None:
        self._widget, self._page = widget, page

    def _repr_mimebundle_(self, **options: object) -> tuple[dict[str, object], dict[str, object]]:
        # anywidget gives None where there is no front end at all
        data, metadata = self._widget._repr_mimebundle_() or ({}, {})
        return {**data, "text/html": self._page}, metadata


def show_table(
    table: pd.DataFrame, name: str, title: str, decimals: Mapping[str, int] | int = 2, words: bool = False
) -> None:
    """Display a small table with a title and its data as CSV, and glue it; undefined values are shown as a dash.

    ``words``: its cells are text to read, so they begin on the left and wrap.
    """
    formats = {
        column: _number(decimals if isinstance(decimals, int) else decimals.get(str(column), 2))
        for column in table.columns
        if pd.api.types.is_float_dtype(table[column])
    }
    text = [column for column in table.columns if not pd.api.types.is_numeric_dtype(table[column])]
    if words:
        # a table of words may hold a command's options, so only before decimal fractions
        formats |= dict.fromkeys(text, lambda cell: typographic(str(cell), before=r"\d+\.\d"))
    body = table.style.format(formats, na_rep="–", escape="html").format_index(escape="html", axis="columns")
    body = body.hide(axis="index").set_uuid(name).set_td_classes(pd.DataFrame("cw-text", table.index, text))
    body.set_table_attributes(f'class="cw-table{" cw-words" if words else ""} dataframe"')
    page = HTML(
        f'<figure class="cw-figure"><p class="cw-title">{html.escape(title)}</p><div class="cw-scroll">{body.to_html()}</div>'
        f'<p class="cw-links">{csv_link(name, "", table)}</p></figure>'
    )
    myst_glue(f"picture_{name}", page, display=True)


def _number(decimals: int) -> Callable[[object], str]:
    """A formatter of table cells."""
    return lambda value: typographic(f"{value:.{decimals}f}")


def say(text: str) -> None:
    """Display one paragraph, in place of a figure that cannot be drawn."""
    display(HTML(f'<p class="cw-note">{html.escape(typographic(text))}</p>'))


def typographic(text: str, before: str = r"\d") -> str:
    """Minus signs before numbers (what ``before`` matches), instead of the hyphens that Python's format writes."""
    return re.sub(rf"(?<![\w.])-(?={before})", "\N{MINUS SIGN}", text)


def _inline_svg(figure: Figure, alt: str) -> str:
    buffer = io.StringIO()
    # no date: the same run gives the same page, byte for byte
    figure.savefig(buffer, format="svg", bbox_inches="tight", metadata={"Date": None, "Creator": None})
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    # a hundredth of a point cannot be seen; a millionth of one makes a page of many lines half as large again
    svg = re.sub(r'(?<= [dxy]=")[^"]+', lambda given: re.sub(r"(\.\d\d)\d+", r"\1", given.group()), svg)
    svg = svg.replace(INK, "currentColor")
    head, _, rest = svg.partition(">")
    return f'{head} role="img" aria-label="{html.escape(alt)}">{rest}'


def csv_link(name: str, suffix: str, table: pd.DataFrame) -> str:
    """A link that downloads ``table`` as CSV, the data inside the page."""
    file = f"{name}_{suffix}.csv" if suffix else f"{name}.csv"
    # for numbers an eighth longer than the file itself; as base64 it would be a third
    content = quote(table.to_csv(index=False, float_format="%.5g"), safe=",")
    label = f"Data: {suffix} (CSV)" if suffix else "Data (CSV)"
    return f'<a download="{html.escape(file)}" href="data:text/csv;charset=utf-8,{content}">{html.escape(label)}</a>'
