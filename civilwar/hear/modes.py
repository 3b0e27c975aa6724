"""A look at a model that is in the middle of something: evaluation mode for a moment, and every module as it was after."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Every module in evaluation mode and without gradients; afterwards each in its own mode, and random numbers as before."""
    modes = [(module, module.training) for module in model.modules()]
    devices = [] if not torch.cuda.is_available() else list(range(torch.cuda.device_count()))
    with torch.random.fork_rng(devices), torch.no_grad():
        for module, _ in modes:
            # not train(), which would set what is below too, frozen parts among it
            module.training = False
        try:
            yield
        finally:
            for module, mode in modes:
                module.training = mode
