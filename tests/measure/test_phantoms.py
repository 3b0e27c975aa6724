"""Decoders with weights set by hand: every planted head is found, and nothing else is."""

from pathlib import Path

import pytest
import torch

from civilwar.analysis import planted as found
from civilwar.measure import phantoms
from civilwar.training.phantoms import detection, loudness, phantom_run


def test_what_is_planted_is_what_attention_does() -> None:
    """Attention computed from the text alone, without hooks, metrics or labels."""
    config = phantoms.phantom_config()
    model = phantoms.phantom({planted.kind: 1.0 for planted in phantoms.PLANTED})
    text = phantoms.phantom_texts(config, 1, 64)
    model.blocks[0].attention.register_forward_hook(lambda module, inputs, _: seen.append(inputs[0]))
    seen: list[torch.Tensor] = []
    with torch.no_grad():
        model.hidden(text)
    attention = model.blocks[0].attention
    q, k = (
        part.unflatten(-1, (-1, 64)) for part in (seen[0] @ attention.weights()[0].T).split((512, 256, 256), -1)[:2]
    )
    q, k = attention.rope(attention.q_norm(q))[0], attention.rope(attention.k_norm(k))[0]
    for head, wanted in ((0, range(63)), (4, [0] * 63)):
        logits = q[:, head] @ k[:, head // 2].T
        logits = logits.masked_fill(torch.ones(64, 64).triu(1).bool(), -torch.inf)
        assert logits.argmax(-1)[1:].tolist() == list(wanted)
    assert (q[:, 1] @ k[:, 0].T).abs().max() < 1e-3


def test_every_planted_head_is_named_and_nothing_else_is() -> None:
    table = detection([0.0, 0.8], [3])
    strong = table[table["strength"] == 0.8]
    expected = strong["planted"].where(strong["planted"] != found.NOTHING, "gatherer")
    assert strong["kind"].tolist() == expected.tolist()
    assert set(table.loc[table["strength"] == 0, "kind"]) == {"gatherer"}
    curves = found.curves(table)
    assert found.least_found(curves).to_dict() == dict.fromkeys({p.kind for p in phantoms.PLANTED}, 0.8)
    assert found.false_alarms(table) == 0


def test_longer_keys_are_seen_as_long_as_they_are() -> None:
    table = loudness([1.3], [0])
    assert table.loc[table["loud"], "ratio"].tolist() == pytest.approx([1.3], rel=1e-3)
    assert table.loc[~table["loud"], "ratio"].tolist() == pytest.approx([1.0] * 7, rel=1e-3)


def test_a_phantom_is_a_run_like_any_other(tmp_path: Path) -> None:
    run = phantom_run(tmp_path / "phantom", phantoms.phantom({"sink": 1.0}))
    run.verify()
    assert (run.complete, run.last_step) == (True, 1)


def test_what_cannot_be_planted_is_refused() -> None:
    for strength, factor in (({"sink": 1.5}, 1.0), ({"mixed": 0.5}, 1.0), ({}, 0.0)):
        with pytest.raises(ValueError, match=r"expected cosines from 0 to 1 of previous_token, .*positive factor"):
            phantoms.phantom(strength, factor)
