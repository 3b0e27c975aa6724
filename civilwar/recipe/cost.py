"""What training costs in arithmetic, and what that would be on other machines: an estimate, and said to be one."""

import pandas as pd

from civilwar.recipe.config import RunConfig

#: Peak dense rates of 16-bit matrix products with 32-bit sums, TFLOP/s, from the makers' data sheets (no sparsity).
GPUS = {"T4": 65.0, "RTX 4090": 165.2, "A100": 312.0, "H100 SXM": 989.4}
#: Share of its peak that a GPU is assumed to reach on a model this small; larger ones reach 40 to 60%.
UTILISATION = 0.25


def flops_per_step(config: RunConfig) -> float:
    """6 x parameters a token, and attention's two products with their gradients over the causal half.

    The embedding counts as the matrix that makes the logits; looking a token up costs none. The optimisers, the tracker and
    the snapshots are not counted.
    """
    model = config.model
    width = model.n_query_heads * model.d_head
    # queries with keys and weights with values: 2 products, 2 operations each, forward and twice that backward
    attention = model.n_layers * 3 * 2 * 2 * (model.context / 2) * width
    return config.tokens_per_step * (6 * model.n_parameters + attention)


def flops(config: RunConfig) -> float:
    """Of the whole run's gradients."""
    return config.train.steps * flops_per_step(config)


def estimates(config: RunConfig) -> pd.DataFrame:
    """Minutes of pure training on common GPUs if each reached `UTILISATION` of its peak: gpu, peak_tflops, minutes."""
    rows = [
        {"gpu": gpu, "peak_tflops": peak, "minutes": flops(config) / (UTILISATION * peak * 1e12) / 60}
        for gpu, peak in GPUS.items()
    ]
    return pd.DataFrame(rows)
