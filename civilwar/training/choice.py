"""In which ways a run is computed on this machine: measured once for each shape, and followed on resuming.

``CIVILWAR_COMPILE`` says whether what lies between the matrix products is compiled: ``auto`` (the default) compiles on a CPU
where a C++ compiler is found and the run is long enough to gain from it; ``1`` always, ``0`` never.
"""

import functools
import hashlib
import os
import platform
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

import torch

from civilwar import paths
from civilwar.errors import RunDamaged, RunMismatch
from civilwar.files import read_json, write_json
from civilwar.measure import kernels
from civilwar.model import attention
from civilwar.model.ways import Ways, compiled
from civilwar.recipe.config import ModelConfig, RunConfig
from civilwar.recipe.cost import flops_per_step
from civilwar.training.machine import processor_name

COMPILE = "CIVILWAR_COMPILE"
#: Arithmetic of a whole run below which compiling takes longer than it saves.
WORTH_COMPILING = 1e13
#: Below so many tokens all ways are as fast as each other.
SHORTEST_BLOCKS = 128
REPETITIONS = 5


class BadSetting(ValueError):
    """An environment variable has a value that means nothing."""


@dataclass(frozen=True)
class Choice:
    """Ways, and why they were taken, in words."""

    ways: Ways
    because: str

    def facts(self) -> dict[str, Any]:
        """As it stands in a manifest and a checkpoint."""
        return asdict(self.ways) | {"because": self.because}


def choose(config: RunConfig, device: torch.device, tokens_per_pass: int) -> Choice:
    """The fastest ways for a new run.

    Raises BadSetting where `COMPILE` is none of its three values, or is 1 where nothing can be compiled.
    """
    compiles, because = _compile(config, device)
    if device.type != "cpu":
        return Choice(Ways(compiled=compiles), because)
    texts = max(1, tokens_per_pass // config.model.context)
    bfloat16 = config.train.precision != "float32"
    in_range = SHORTEST_BLOCKS <= config.model.context < attention.LIBRARY_FROM
    return Choice(
        Ways(
            compiled=compiles,
            attention_in_blocks=bfloat16
            and in_range
            and _measured("attention", config.model, texts, _attention_in_blocks),
            probe_by_convolution=in_range and _measured("probe", config.model, 1, _probe_by_convolution),
        ),
        because,
    )


def follow(stored: Mapping[str, Any], run: object) -> Choice:
    """The ways of the checkpoint that a run goes on from, whatever is fastest now.

    Raises RunMismatch where it was compiled and nothing can be compiled here; RunDamaged where an entry is missing or no yes
    or no.
    """
    ways = Ways(**{field.name: stored[field.name] for field in fields(Ways)})
    if not all(isinstance(value, bool) for value in asdict(ways).values()):
        raise RunDamaged(
            f"the checkpoint of {run} does not say how it was computed. Remove the run and train it again."
        )
    if ways.compiled and (trouble := cannot_compile()):
        raise RunMismatch(
            f"{run} was begun with compiled code, whose numbers differ in their last digits, and here {trouble}. Install a "
            f"C++ compiler, or train under another name with {COMPILE}=0."
        )
    return Choice(ways, "as the run was begun")


def _compile(config: RunConfig, device: torch.device) -> tuple[bool, str]:
    asked = os.environ.get(COMPILE, "auto")
    if asked not in ("0", "1", "auto"):
        raise BadSetting(f"{COMPILE}={asked!r}: expected 0, 1 or auto. Correct it, or unset it.")
    if asked == "0":
        return False, f"not compiled, since {COMPILE} is 0"
    if asked == "auto" and device.type != "cpu":
        return False, f"not compiled, since {COMPILE} is auto and the device is no CPU"
    if asked == "auto" and flops_per_step(config) * config.train.steps < WORTH_COMPILING:
        return False, "not compiled, since so short a run would not gain from it"
    trouble = cannot_compile()
    if trouble and asked == "1":
        raise BadSetting(f"{COMPILE}=1, but {trouble}. Install a C++ compiler, or unset {COMPILE}.")
    return not trouble, f"not compiled, since {trouble}" if trouble else "compiled"


@functools.cache
def cannot_compile() -> str | None:
    """Why nothing can be compiled on this machine, in one line; None where it works, which is found out by trying."""
    # beside the tokens, so that another process and another day need not compile again
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(paths.cache() / "compiled"))
    from torch._inductor import config as inductor

    # no pool of helpers that outlives a killed run
    inductor.compile_threads = 1
    try:
        compiled(_one_more)(torch.zeros(1024))
    except Exception as error:  # whatever it is: a missing compiler has several names, and a full disk others
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        return f"compiling does not work ({first})"
    return None


def _one_more(x: torch.Tensor) -> torch.Tensor:
    return x.square() + 1


# ---------------------------------------------------------------- what is faster


def _measured(what: str, model: ModelConfig, texts: int, measure: Callable[[ModelConfig, int], bool]) -> bool:
    """The answer for this processor, library and shape: as it was found the first time, so that it stays what it is."""
    shape = (texts, model.n_query_heads, model.n_kv_heads, model.context, model.d_head)
    place = f"{what} {' '.join(map(str, shape))}"
    known = f"{processor_name()}|{platform.system()}|torch {torch.__version__}"
    file = paths.cache() / f"speed-{hashlib.sha256(known.encode()).hexdigest()[:12]}.json"
    try:
        answers = read_json(file)
    except RunDamaged:
        answers = {"machine": known}
    if not isinstance(answers.get(place), bool):
        answers[place] = measure(model, texts)
        try:
            write_json(file, answers)
        except OSError:
            # measured again next time; a run keeps to what its checkpoint says
            return answers[place]
    return bool(answers[place])


def _attention_in_blocks(model: ModelConfig, texts: int) -> bool:
    """Whether a training pass attends faster in blocks than by the library's kernel."""
    generator = torch.Generator().manual_seed(0)
    q, k, v = (
        torch.randn(texts, heads, model.context, model.d_head, generator=generator).bfloat16().requires_grad_()
        for heads in (model.n_query_heads, model.n_kv_heads, model.n_kv_heads)
    )

    def step(in_blocks: bool) -> None:
        with torch.enable_grad():
            attention.attend(q, k, v, in_blocks).sum().backward()

    return _faster(lambda: step(True), lambda: step(False))


def _probe_by_convolution(model: ModelConfig, texts: int) -> bool:
    """Whether a convolution makes a text's attention logits faster than a batched product."""
    q, k = (torch.randn(model.n_query_heads, n, model.d_head) for n in (kernels.QUERY_BLOCK, model.context))

    def product(by_convolution: bool) -> None:
        kernels.logits_by_query(q, k, by_convolution)

    return torch.backends.mkldnn.is_available() and _faster(lambda: product(True), lambda: product(False))


def _faster(one: Callable[[], None], other: Callable[[], None]) -> bool:
    """Whether ``one`` takes less time of a single thread than ``other``, taking turns; what others do here hardly matters."""
    spent: tuple[list[float], list[float]] = ([], [])
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for _ in range(REPETITIONS + 1):
            for times, work in zip(spent, (one, other), strict=True):
                begun = time.thread_time()
                work()
                times.append(time.thread_time() - begun)
    finally:
        torch.set_num_threads(threads)
    # the first one counts for nothing: it finds its way
    return min(spent[0][1:]) < min(spent[1][1:])
