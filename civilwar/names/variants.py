"""The baseline and its controls: what each is called, and which fields of the configuration it changes.

To add a variant of knobs that the configuration has, add one record to `VARIANTS`: it can then be planned, trained, drawn and
read about. A variant of a new knob needs the knob too (`civilwar.recipe.config`).
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any


@dataclass(frozen=True)
class Variant:
    """One variant of the recipe."""

    key: str
    """Its short form: in a run's name, on the command line and in notebook parameters."""
    label: str
    """In figures and tables."""
    color: str
    """#rrggbb. A test asks for a contrast of at least 3 on the white and on the dark page, and for a difference from every
    other variant with every kind of colour vision: at least 20 in Lab, and 15 where there are more than eight."""
    says: str
    """What is changed, as a noun phrase."""
    changes: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    """Fields of `civilwar.recipe.config.ModelConfig` and `civilwar.recipe.config.TrainConfig`, and their values here."""

    def __post_init__(self) -> None:
        """Raises ValueError where a figure could not draw the variant, or a run's name hold its key."""
        if not re.fullmatch(r"[a-z][a-z0-9_]*", self.key):
            raise ValueError(f"variant {self.key!r}: expected lower-case letters, digits and underscores.")
        if not re.fullmatch(r"#[0-9a-f]{6}", self.color):
            raise ValueError(f"variant {self.key}: color = {self.color!r}: expected six digits as in #1a5fd0.")
        if not (self.label and self.says):
            raise ValueError(f"variant {self.key}: expected a label and a phrase that says what is changed.")


_RECORDS = (
    Variant(
        key="baseline",
        label="baseline",
        color="#1a5fd0",
        says="none",
    ),
    Variant(
        key="no_gain_decay",
        label="no decay on the gain",
        color="#cd8309",
        says="no weight decay on the gains of queries and keys",
        changes={"gain_weight_decay": 0.0},
    ),
    Variant(
        key="frozen_gain",
        label="frozen gain",
        color="#7f5e55",
        says="those gains stay 1",
        changes={"qk_norm": "frozen"},
    ),
    Variant(
        key="no_qk_norm",
        label="no QK norm",
        color="#6f9552",
        says="no RMSNorm on queries and keys",
        changes={"qk_norm": "none"},
    ),
    Variant(
        key="adamw_only",
        label="AdamW only",
        color="#f01799",
        says="AdamW, at its own learning rate for matrices, in place of Muon",
        changes={"matrix_optimizer": "adamw"},
    ),
    Variant(
        key="pure_bf16",
        label="pure bfloat16",
        color="#c71b20",
        says="parameters and optimiser state in bfloat16",
        changes={"precision": "bf16-pure"},
    ),
    Variant(
        key="separate_qkvo",
        label="separate q, k, v, o",
        color="#0e9ebb",
        says="q, k, v and o orthogonalised one by one",
        changes={"joint_qkvo": False},
    ),
    Variant(
        key="shuffled_rope",
        label="shuffled RoPE",
        color="#792bfc",
        says="RoPE frequencies dealt to the pairs in a random order, anew in each layer",
        changes={"rope_order": "shuffled"},
    ),
)

#: Key -> record, in the order of legends and tables: the baseline first.
VARIANTS: Mapping[str, Variant] = {variant.key: variant for variant in _RECORDS}
#: Key -> label.
LABELS: Mapping[str, str] = {variant.key: variant.label for variant in _RECORDS}
