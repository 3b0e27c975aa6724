"""Measurements by name, column -> tensor, from where they are made to the tables."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor


def stacked(measured: Sequence[Mapping[str, Tensor]], dim: int = 0) -> dict[str, Tensor]:
    """Measurements of several layers, texts or steps, all with the same names, along a new axis ``dim``."""
    return {name: torch.stack([one[name] for one in measured], dim=dim) for name in measured[0]}


def on_host(measured: Mapping[str, Tensor]) -> dict[str, np.ndarray]:
    """Measurements of one shape as arrays on the host. One copy for all, since each one waits for the device."""
    return dict(zip(measured, torch.stack(list(measured.values())).cpu().numpy(), strict=True))
