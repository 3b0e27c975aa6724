"""Open the run that a notebook is about, or train it.

Wrong parameters are refused in one sentence before anything is trained.
"""

import os
import re
from inspect import signature
from pathlib import Path

from IPython import get_ipython

from civilwar.corpus.identity import check_same_text, checksum_here
from civilwar.errors import RunError
from civilwar.pages.lacking import say_what_is_lacking
from civilwar.pages.parameters import unknown_parameters
from civilwar.plots.style import use_style
from civilwar.recipe.config import DEFAULT_CORPUS, ConfigError, make_config
from civilwar.runs.manifest import MANIFEST
from civilwar.runs.reader import NAMED, Run, check_name, check_same_config, find_run, is_name

AUTO = "auto"
#: ``cuda:1`` is the second of several.
DEVICES = re.compile(r"auto|cuda(:\d)?|mps|cpu")


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
        run: the run's name, or the path of its folder; ``auto`` names it after preset, variant and seed. A run that was
            only watched (`civilwar.watching`) is opened as far as it has come, whatever the other parameters say.
        preset: ``smoke``, ``laptop`` or ``paper``.
        variant: ``baseline`` or one of the controls.
        seed: of initialisation and data order.
        corpus: ``docstrings``, ``path:FOLDER_OR_FILE`` or ``hub:NAME[:CONFIG]``.
        device: used only for training: ``auto``, ``cpu``, ``cuda`` or ``mps``.

    Raises ConfigError for a wrong value, naming the valid ones, and for a parameter of papermill's that the notebook does
    not have; RunMismatch where the run of that name is another one, or a file of its corpus was edited since.
    """
    use_style()
    _refuse_unknown_parameters()
    config = make_config(preset, variant, seed, corpus)
    # checked here too, since a run that exists needs no device and would let a slip pass
    if not isinstance(device, str) or not DEVICES.fullmatch(device):
        raise ConfigError(f"device = {device!r}: expected one of auto, cuda, cuda:NUMBER, mps, cpu.")
    path = _folder(run)
    name = config.default_name if run == AUTO else path.name if path is not None else _checked_name(run)
    path = path or find_run(name)
    if path is not None:
        found = Run(path)
        if found.watched:
            say_what_is_lacking()
            return found
        check_same_config(found.config, config, path)
        if found.complete:
            if corpus.startswith(("path:", "hub:")):
                # a file may have been edited since, a data set streamed anew; packages are known by what was recorded
                check_same_text(config.corpus, found.text_checksum, checksum_here(config.corpus), path)
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


def _folder(run: str) -> Path | None:
    """The folder of a run that was given by its path; None for anything else."""
    given = isinstance(run, str) and run != AUTO and not is_name(run)
    # unlike Path.is_file, this says no of what cannot be a path at all, as of a name too long for the file system
    return Path(run) if given and os.path.isfile(os.path.join(run, MANIFEST)) else None


def _checked_name(run: str) -> str:
    try:
        if isinstance(run, str):
            return check_name(run)
    except RunError:
        pass
    raise ConfigError(f"run = {run!r}: expected auto, or a name of {NAMED}.")
