"""What stands where in a model: its wrappers seen through, its modules by name, its layers by number."""

import re

from torch import nn


def unwrapped(model: nn.Module) -> nn.Module:
    """The model inside torch.compile, DataParallel, DistributedDataParallel and PEFT's wrappers, one in another."""
    while True:
        inside = _inside(model)
        if inside is None:
            return model
        model = inside


def _inside(model: nn.Module) -> nn.Module | None:
    kind = type(model)
    if "_orig_mod" in model._modules:
        return model._modules["_orig_mod"]
    if kind.__name__ in ("DataParallel", "DistributedDataParallel", "FullyShardedDataParallel"):
        return model._modules.get("module") or model._modules.get("_fsdp_wrapped_module")
    if kind.__module__.split(".")[0] == "peft":
        # a PeftModel holds a tuner, which holds the model
        return model._modules.get("base_model") or model._modules.get("model")
    return None


def names_of(model: nn.Module) -> dict[int, str]:
    """id of each module -> its qualified name, the first where it has several."""
    return {id(module): name for name, module in model.named_modules()}


def layer_of(name: str, module: nn.Module | None = None) -> int | None:
    """The layer's number: what the module says itself (``layer_idx``), else the first number in its name; else None."""
    told = getattr(module, "layer_idx", None)
    if isinstance(told, int):
        return told
    found = re.search(r"(?:^|\.)(\d+)(?:\.|$)", name)
    return int(found.group(1)) if found else None
