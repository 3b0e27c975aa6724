"""What a run is made of: model, training and corpus as frozen dataclasses, the presets, and their hash.

A configuration is checked when it is made, so a contradiction is reported with the field's name before anything is
trained. Learning rates and weight decay are the same in every preset because the claims under test are about steps.
"""

import dataclasses
import hashlib
import json
import os
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from civilwar.names.variants import VARIANTS

QKNorm = Literal["learned", "frozen", "none"]
RopeOrder = Literal["standard", "shuffled"]
MatrixOptimizer = Literal["muon", "adamw"]
Precision = Literal["bf16-autocast", "bf16-pure", "float32"]

#: Raised by one whenever a recorded table changes its meaning; part of the configuration's hash.
SCHEMA_VERSION = 2
#: More fits no tensor, and no machine.
LARGEST_INT = 2**31 - 1
#: Four times the largest in use; the tokenizer's library ends the process over one that fits no memory.
LARGEST_VOCABULARY = 2**20
#: No learning rate, momentum or decay comes near. float32 holds it, and what it makes of a model is seen as a divergence.
LARGEST_RATE = 1e30
#: RoPE's base, a hundred thousand times the largest in use.
LARGEST_BASE = 1e12


class ConfigError(ValueError):
    """A configuration contradicts itself. The message names the field, the value, and what is accepted."""


def _require(condition: bool, field_name: str, value: object, expected: str) -> None:
    if not condition:
        raise ConfigError(f"{field_name} = {value!r}: expected {expected}.")


def _is_int(value: object, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= LARGEST_INT


def _is_rate(value: object) -> bool:
    # false for nan
    if not isinstance(value, int | float) or isinstance(value, bool):
        return False
    return 0 <= value <= LARGEST_RATE


def _is_text(value: object) -> bool:
    # half a surrogate pair, which Python makes of a file name it cannot decode, could not be written down
    return isinstance(value, str) and bool(value) and not any("\ud800" <= character <= "\udfff" for character in value)


def _require_positive_int(owner: object, *names: str) -> None:
    for name in names:
        value = getattr(owner, name)
        _require(_is_int(value, 1), name, value, f"an integer of at least 1 and at most {LARGEST_INT}")


def _require_rate(owner: object, *names: str) -> None:
    for name in names:
        value = getattr(owner, name)
        _require(_is_rate(value), name, value, f"a finite number of at least 0 and at most {LARGEST_RATE:g}")


def _require_choice(owner: object, **choices: Any) -> None:
    for name, literal in choices.items():
        value = getattr(owner, name)
        good = isinstance(value, str) and value in get_args(literal)
        _require(good, name, value, "one of " + ", ".join(get_args(literal)))


@dataclass(frozen=True)
class ModelConfig:
    """Shape and wiring of the decoder (`civilwar.model.decoder`)."""

    n_layers: int
    d_model: int
    n_query_heads: int
    n_kv_heads: int
    """Grouped-query attention: ``n_query_heads / n_kv_heads`` query heads share one key and value head."""
    d_head: int
    d_ff: int
    vocab_size: int
    context: int
    """Tokens in a training sequence."""
    rope_base: float = 10_000.0
    qk_norm: QKNorm = "learned"
    """``learned``: RMSNorm with one gain of ``d_head`` numbers shared by all heads of the layer; ``frozen``: that gain
    stays 1; ``none``: identities in place of both norms."""
    rope_order: RopeOrder = "standard"
    """``shuffled`` deals the RoPE frequencies to each layer's dimension pairs in a random order (C12's control)."""
    joint_qkvo: bool = True
    """Keep q, k, v and o of a layer as one matrix, which Muon then orthogonalises jointly, as in the report's code."""

    def __post_init__(self) -> None:
        _require_positive_int(
            self, "n_layers", "d_model", "n_query_heads", "n_kv_heads", "d_head", "d_ff", "vocab_size", "context"
        )
        _require(
            self.n_query_heads % self.n_kv_heads == 0,
            "n_kv_heads",
            self.n_kv_heads,
            f"a divisor of n_query_heads = {self.n_query_heads}",
        )
        _require(self.d_head % 2 == 0, "d_head", self.d_head, "an even number, since RoPE rotates pairs of dimensions")
        _require(
            self.context >= 16, "context", self.context, "at least 16 tokens, or attention has nothing to choose from"
        )
        _require(
            300 <= self.vocab_size <= LARGEST_VOCABULARY,
            "vocab_size",
            self.vocab_size,
            f"at least 300 (256 bytes, the separator and some merges) and at most {LARGEST_VOCABULARY:,}",
        )
        base = self.rope_base
        good = isinstance(base, int | float) and not isinstance(base, bool) and 1 < base <= LARGEST_BASE
        _require(good, "rope_base", base, f"a number above 1 and at most {LARGEST_BASE:,.0f}")
        _require_choice(self, qk_norm=QKNorm, rope_order=RopeOrder)
        _require(isinstance(self.joint_qkvo, bool), "joint_qkvo", self.joint_qkvo, "True or False")

    @property
    def group_size(self) -> int:
        """Query heads per KV head."""
        return self.n_query_heads // self.n_kv_heads

    @property
    def n_parameters(self) -> int:
        """Trained numbers, the tied embedding counted once and a frozen gain not at all."""
        attention = 2 * (self.n_query_heads + self.n_kv_heads) * self.d_head * self.d_model
        gains = 2 * self.d_model + (2 * self.d_head if self.qk_norm == "learned" else 0)
        block = attention + 2 * self.d_model * self.d_ff + gains
        return self.n_layers * block + self.vocab_size * self.d_model + self.d_model


@dataclass(frozen=True)
class TrainConfig:
    """How the decoder is trained (`civilwar.training.loop`): constant schedule, no warm-up, no clipping."""

    steps: int
    """Number of parameter updates. Step ``t`` names the state after ``t`` updates, so steps run from 0 to ``steps``."""
    batch_size: int
    """Sequences per step."""
    muon_lr: float = 0.024
    muon_momentum: float = 0.95
    adamw_lr: float = 0.006
    """For the embedding and every gain."""
    weight_decay: float = 0.2
    """AdamW's decoupled decay on the embedding and on the gains before attention, before the MLP and at the end."""
    gain_weight_decay: float = 0.2
    """The same for the gains of q_norm and k_norm, which the report is about. 0 is a control."""
    adamw_betas: tuple[float, float] = (0.9, 0.999)
    matrix_optimizer: MatrixOptimizer = "muon"
    matrix_adamw_lr: float = 0.001
    """Only where ``matrix_optimizer`` is ``adamw``: the rate of the smallest Pythia models (Biderman et al. 2023)."""
    precision: Precision = "bf16-autocast"
    """``bf16-autocast``: float32 parameters and optimiser state, bfloat16 matrix products; ``bf16-pure``: all bfloat16;
    ``float32``: all float32."""

    def __post_init__(self) -> None:
        _require_positive_int(self, "steps", "batch_size")
        _require_rate(
            self, "muon_lr", "muon_momentum", "adamw_lr", "weight_decay", "gain_weight_decay", "matrix_adamw_lr"
        )
        _require(self.muon_momentum < 1, "muon_momentum", self.muon_momentum, "a number below 1")
        betas = self.adamw_betas
        # a tuple: a list would be equal to no stored configuration
        betas_good = isinstance(betas, tuple) and len(betas) == 2 and all(_is_rate(beta) and beta < 1 for beta in betas)
        _require(betas_good, "adamw_betas", betas, "a tuple of two numbers in [0, 1)")
        _require_choice(self, matrix_optimizer=MatrixOptimizer, precision=Precision)


@dataclass(frozen=True)
class ProbeConfig:
    """The fixed held-out texts on which heads are measured at every snapshot, and the quantities swept over."""

    n_texts: int = 8
    """Held-out texts of one context length each."""
    n_repeated: int = 4
    """Sequences of random tokens that repeat once, for the induction score."""
    short_tokens: int = 48
    """Length of the two short texts whose attention patterns are stored whole."""
    report_tokens: int = 128
    """The report measured entropy on this many tokens."""
    sink_horizons: tuple[int, ...] = (16, 32, 64, 128, 256, 512)
    """T in Gu et al.'s alpha_k: queries up to T are averaged. Horizons beyond the context are left out."""
    sink_positions: tuple[int, ...] = (1, 2, 3, 4)
    """k in alpha_k, counted from 1: the candidate sink tokens."""
    experiment_texts: int = 4
    """Held-out texts on which the trained model is cut and ablated (`civilwar.measure.experiments`)."""
    capacity_ranks: tuple[int, ...] = (1, 2, 4, 8, 10, 16, 24, 32, 48)
    """Key dimensions that are kept; 10 of 64 is the report's 15%. Ranks of d_head or more are left out."""
    random_draws: int = 5
    """Random subspaces, and random groups of heads, that a chosen one is compared with."""
    content_texts: int = 32
    """Held-out texts for what can be read from a head's output: one half to fit, the other to test."""

    def __post_init__(self) -> None:
        _require_positive_int(
            self, "n_texts", "n_repeated", "short_tokens", "report_tokens", "experiment_texts", "random_draws"
        )
        _require_positive_int(self, "content_texts")
        _require(self.content_texts >= 2, "content_texts", self.content_texts, "at least 2: one to fit, one to test")
        _require(self.short_tokens >= 8, "short_tokens", self.short_tokens, "at least 8 tokens")
        for name in ("sink_horizons", "sink_positions", "capacity_ranks"):
            values = getattr(self, name)
            good = isinstance(values, tuple) and len(values) > 0 and all(_is_int(value, 1) for value in values)
            _require(good, name, values, "a tuple of one or more integers of at least 1")
        _require(1 in self.sink_positions, "sink_positions", self.sink_positions, "1, the first token, among them")
        highest, first_horizon = max(self.sink_positions), min(self.sink_horizons)
        _require(
            highest <= first_horizon, "sink_positions", self.sink_positions, f"positions of at most {first_horizon}"
        )


@dataclass(frozen=True)
class RunConfig:
    """Everything that decides a run's numbers, bar the machine. Its hash names the run's content."""

    preset: str
    variant: str
    seed: int
    corpus: str
    model: ModelConfig
    train: TrainConfig
    probe: ProbeConfig = field(default_factory=ProbeConfig)
    schema_version: int = SCHEMA_VERSION

    def __post_init__(self) -> None:
        for name in ("preset", "variant"):
            _require(_is_text(getattr(self, name)), name, getattr(self, name), "a name")
        _require(_is_int(self.seed, 0), "seed", self.seed, f"an integer from 0 to {LARGEST_INT}")
        named = _is_text(self.corpus) and not self.corpus.isspace()
        _require(named, "corpus", self.corpus, "docstrings, source, prose, path:FOLDER_OR_FILE or hub:NAME, in UTF-8")
        for name, kind in (("model", ModelConfig), ("train", TrainConfig), ("probe", ProbeConfig)):
            _require(isinstance(getattr(self, name), kind), name, getattr(self, name), f"a {kind.__name__}")
        _require(_is_int(self.schema_version, 0), "schema_version", self.schema_version, "an integer of at least 0")
        within = f"at most the context of {self.model.context} tokens"
        for name in ("short_tokens", "report_tokens"):
            value = getattr(self.probe, name)
            _require(value <= self.model.context, name, value, within)
        horizons = self.probe.sink_horizons
        _require(min(horizons) <= self.model.context, "sink_horizons", horizons, f"one that is {within}")
        ranks, d_head = self.probe.capacity_ranks, self.model.d_head
        _require(min(ranks) < d_head, "capacity_ranks", ranks, f"one that is below d_head = {d_head}")

    @property
    def tokens_per_step(self) -> int:
        """Training tokens in one step."""
        return self.train.batch_size * self.model.context

    @property
    def n_tokens(self) -> int:
        """Training tokens in the whole run."""
        return self.tokens_per_step * self.train.steps

    @property
    def sink_horizon(self) -> int:
        """The T at which a head counts as a sink or not: 64 as in Gu et al. 2024, or the nearest recorded."""
        return min((h for h in self.probe.sink_horizons if h <= self.model.context), key=lambda h: abs(h - 64))

    @property
    def default_name(self) -> str:
        """The folder's name when none is given."""
        name = f"{self.preset}-{self.variant}-seed{self.seed}"
        if self.goes_on:
            name += f"-{self.train.steps}steps"
        if self.corpus == DEFAULT_CORPUS:
            return name
        if self.corpus in NAMED_CORPORA:
            return f"{name}-{self.corpus}"
        return f"{name}-{hashlib.sha256(self.corpus.encode()).hexdigest()[:6]}"

    def snapshot_steps(self) -> list[int]:
        """Steps at which the probe is measured.

        0, 1, 2, 4, then every 8 to 160 and every 32 after (log-spaced first, as in Pythia), and the report's four
        moments: start, a quarter, half and the end of the run. A run that goes on after its preset's end has the preset's
        four as well, so that it begins as the shorter one, and every 128 from there.
        """
        last = self.train.steps
        regular = {0, 1, 2, 4, *range(8, 161, 8), *range(160, last + 1, 32)}
        if self.goes_on:
            end = PRESETS[self.preset][1].steps
            regular = {step for step in regular if step <= end or step % 128 == 0} | {end // 4, end // 2, end}
        return sorted(step for step in regular | set(self.moments().values()) if step <= last)

    @property
    def goes_on(self) -> bool:
        """Whether the run is its preset's, made longer: it begins as that one, row by row, and goes on after its end."""
        return self.preset in PRESETS and self.train.steps > PRESETS[self.preset][1].steps

    @property
    def passes(self) -> int:
        """How many times the training text may be read: twice where it is known to be short, or the run is a longer one."""
        return 2 if self.goes_on or self.corpus == "prose" else 1

    def moments(self) -> dict[str, int]:
        """The report's four moments and the steps they fall on."""
        last = self.train.steps
        return {"start": 0, "early": last // 4, "mid": last // 2, "late": last}

    def as_dict(self) -> dict[str, Any]:
        """Plain nested dictionary, as stored in the manifest."""
        as_json: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(self)))
        return as_json

    @classmethod
    def from_dict(cls, stored: dict[str, Any]) -> "RunConfig":
        """Inverse of `as_dict`. Raises ConfigError for fields this version does not know."""
        _require(isinstance(stored, dict), "config", stored, "a dictionary of fields")
        try:
            parts = dict(stored)
            for name in ("model", "train", "probe"):
                _require(isinstance(parts[name], dict), name, parts[name], "a dictionary of fields")
                # JSON makes lists of tuples
                parts[name] = {key: tuple(v) if isinstance(v, list) else v for key, v in parts[name].items()}
            parts["model"] = ModelConfig(**parts["model"])
            # every version stored the betas: without them something is wrong
            parts["train"] = TrainConfig(**{"adamw_betas": None} | parts["train"])
            parts["probe"] = ProbeConfig(**parts["probe"])
            return cls(**parts)
        except (KeyError, TypeError) as error:
            raise ConfigError(f"stored configuration does not fit this version of civilwar: {error}.") from error

    @property
    def hash(self) -> str:
        """SHA-256 over the canonical JSON of everything above, as 16 hexadecimal digits."""
        canonical = json.dumps(self.as_dict(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()[:16]


DEFAULT_CORPUS = "docstrings"
#: Texts that packages bring, besides: Python source, and the King James Bible.
NAMED_CORPORA = ("source", "prose")

PRESETS: dict[str, tuple[ModelConfig, TrainConfig, ProbeConfig]] = {
    # seconds: for tests
    "smoke": (
        ModelConfig(
            n_layers=2, d_model=32, n_query_heads=4, n_kv_heads=2, d_head=16, d_ff=64, vocab_size=512, context=64
        ),
        TrainConfig(steps=24, batch_size=4),
        ProbeConfig(
            n_texts=3,
            n_repeated=2,
            short_tokens=16,
            report_tokens=32,
            sink_horizons=(16, 32, 64),
            experiment_texts=2,
            capacity_ranks=(1, 2, 4, 8),
            random_draws=2,
            content_texts=24,
        ),
    ),
    # minutes on two cores: what `make reproduce` trains
    "laptop": (
        ModelConfig(
            n_layers=6, d_model=256, n_query_heads=8, n_kv_heads=4, d_head=64, d_ff=1024, vocab_size=8_192, context=512
        ),
        TrainConfig(steps=489, batch_size=4),
        ProbeConfig(content_texts=64),
    ),
    # about an hour on two cores: 25 million parameters, between the two that it stands between
    "middle": (
        ModelConfig(
            n_layers=12,
            d_model=384,
            n_query_heads=8,
            n_kv_heads=4,
            d_head=64,
            d_ff=1536,
            vocab_size=12_288,
            context=1024,
        ),
        TrainConfig(steps=489, batch_size=4),
        ProbeConfig(content_texts=64),
    ),
    # hours on two cores, minutes on a GPU: the report's own scale
    "paper": (
        ModelConfig(
            n_layers=22,
            d_model=512,
            n_query_heads=8,
            n_kv_heads=4,
            d_head=64,
            d_ff=2048,
            vocab_size=49_152,
            context=2048,
        ),
        TrainConfig(steps=489, batch_size=4),
        # as many long texts as keep all snapshots a twentieth of the run; twice the laptop's tokens even so
        ProbeConfig(n_texts=4),
    ),
}


def make_config(
    preset: str = "laptop",
    variant: str = "baseline",
    seed: int = 0,
    corpus: str = DEFAULT_CORPUS,
    steps: int | None = None,
) -> RunConfig:
    """The configuration of a preset with a variant's fields changed, and another number of steps where one is given.

    ``path:`` followed by a relative path means the one from here, so it is written out in the configuration: in another
    folder it would be another text.

    Raises ConfigError naming the valid values when a name is unknown.
    """
    _require(isinstance(preset, str) and preset in PRESETS, "preset", preset, "one of " + ", ".join(PRESETS))
    _require(isinstance(variant, str) and variant in VARIANTS, "variant", variant, "one of " + ", ".join(VARIANTS))
    model, train, probe = PRESETS[preset]
    changes = VARIANTS[variant].changes
    model_fields = {f.name for f in dataclasses.fields(ModelConfig)}
    model = dataclasses.replace(model, **{k: v for k, v in changes.items() if k in model_fields})
    train = dataclasses.replace(train, **{k: v for k, v in changes.items() if k not in model_fields})
    if steps is not None:
        train = dataclasses.replace(train, steps=steps)
    return RunConfig(
        preset=preset, variant=variant, seed=seed, corpus=_located(corpus), model=model, train=train, probe=probe
    )


def _located(corpus: str) -> str:
    """The corpus with a path from the root where it is one; anything else, wrong values too, as it is."""
    kind, _, written = corpus.partition(":") if isinstance(corpus, str) else ("", "", "")
    if kind != "path" or not written.strip():
        return corpus
    return f"path:{os.path.abspath(os.path.expanduser(written))}"
