"""The decoder: causality, wiring, variants, and agreement with Qwen3 as transformers implements it."""

import dataclasses
import math
from typing import Any

import pytest
import torch
from jaxtyping import TypeCheckError
from torch import Tensor, nn

from civilwar.measure.hooks import QueriesKeys, watch_queries_keys
from civilwar.model.decoder import NORM_EPS, Attention, Decoder, Rope
from civilwar.model.loss import next_token_loss
from civilwar.names.variants import VARIANTS
from civilwar.recipe.config import PRESETS, ModelConfig, make_config
from civilwar.recipe.rope import standard_frequencies

# axes of different sizes, so that a mixed-up one does not fit
TINY = ModelConfig(
    n_layers=2, d_model=29, n_query_heads=6, n_kv_heads=3, d_head=10, d_ff=37, vocab_size=307, context=23
)


def random_tokens(config: ModelConfig, n_texts: int = 3, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(config.vocab_size, (n_texts, config.context), generator=generator)


def with_random_gains(model: Decoder, seed: int = 1) -> Decoder:
    """As after training: gains of both signs' size, 0.3 to 1.7, in every norm."""
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in model.named_parameters():
        if "norm" in name:
            parameter.data = 0.3 + 1.4 * torch.rand(parameter.shape, generator=generator)
    return model


def queries_keys(model: Decoder, tokens: Tensor) -> list[QueriesKeys]:
    seen: list[QueriesKeys] = []
    with torch.no_grad(), watch_queries_keys(model, seen.append):
        model(tokens)
    return seen


# ---------------------------------------------------------------- size and types


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("preset", PRESETS)
def test_the_configuration_counts_the_parameters_right(preset: str, variant: str) -> None:
    config = make_config(preset, variant).model
    with torch.device("meta"):
        model = Decoder(config)
    trained = {parameter for parameter in model.parameters() if parameter.requires_grad}
    assert sum(parameter.numel() for parameter in trained) == config.n_parameters


def test_the_paper_model_has_exactly_the_report_s_parameters() -> None:
    with torch.device("meta"):
        model = Decoder(PRESETS["paper"][0])
    assert sum(parameter.numel() for parameter in model.parameters()) == 88_630_528
    # one 1536 x 512 matrix of q, k, v and o per layer
    joint = [p.shape for name, p in model.named_parameters() if "qkvo" in name]
    assert joint == [(1536, 512)] * 22


def test_a_tensor_of_the_wrong_shape_is_refused_while_tests_run() -> None:
    model = Decoder(TINY)
    with pytest.raises(TypeCheckError, match="batch pos"):
        model(torch.zeros(5, dtype=torch.long))
    with pytest.raises(TypeCheckError):
        next_token_loss(torch.zeros(2, 5, 7), torch.zeros(2, 4, dtype=torch.long))


def test_more_tokens_than_the_context_are_refused() -> None:
    with pytest.raises(ValueError, match="24 tokens, but the model's context is 23"):
        Decoder(TINY)(torch.zeros(1, 24, dtype=torch.long))


# ---------------------------------------------------------------- what it computes


def test_editing_later_tokens_leaves_earlier_logits_alone() -> None:
    model, tokens = with_random_gains(Decoder(TINY)), random_tokens(TINY)
    with torch.no_grad():
        before = model(tokens)
        for cut in (1, 7, 22):
            edited = tokens.clone()
            edited[:, cut:] = (edited[:, cut:] + 1) % TINY.vocab_size
            after = model(edited)
            torch.testing.assert_close(after[:, :cut], before[:, :cut], rtol=1e-5, atol=1e-6)
            assert (after[:, cut:] - before[:, cut:]).abs().amax(-1).min() > 1e-3


def test_a_text_s_logits_do_not_depend_on_the_rest_of_the_batch() -> None:
    model, tokens = Decoder(TINY), random_tokens(TINY)
    with torch.no_grad():
        torch.testing.assert_close(model(tokens)[1:2], model(tokens[1:2]), rtol=1e-5, atol=1e-6)


def test_near_zero_logits_cost_ln_of_the_vocabulary() -> None:
    model, tokens = Decoder(TINY), random_tokens(TINY)
    model.embedding.weight.data *= 1e-7
    with torch.no_grad():
        loss = next_token_loss(model(tokens), tokens)
    torch.testing.assert_close(loss, torch.full_like(loss, math.log(TINY.vocab_size)), rtol=1e-5, atol=0)


def test_the_loss_is_each_position_s_cross_entropy_in_float32() -> None:
    logits = torch.randn(2, 3, 5, generator=torch.Generator().manual_seed(0)).bfloat16()
    targets = torch.tensor([[0, 4, 2], [3, 1, 1]])
    loss = next_token_loss(logits, targets)
    assert loss.dtype == torch.float32
    for b in range(2):
        for t in range(3):
            row = logits[b, t].double()
            expected = -(row[targets[b, t]] - row.exp().sum().log())
            assert loss[b, t].item() == pytest.approx(expected.item(), abs=1e-5)


def test_embedding_and_unembedding_are_one_matrix_and_the_input_is_scaled() -> None:
    model, tokens = Decoder(TINY), random_tokens(TINY)
    captured: dict[str, Tensor] = {}
    model.final_norm.register_forward_hook(lambda module, args, output: captured.update(end=output))
    model.blocks[0].register_forward_pre_hook(lambda module, args: captured.update(start=args[0]))
    with torch.no_grad():
        logits = model(tokens)
    torch.testing.assert_close(logits, captured["end"] @ model.embedding.weight.T)
    torch.testing.assert_close(captured["start"], model.embedding.weight[tokens] * math.sqrt(29))
    assert [name for name, p in model.named_parameters() if 307 in p.shape] == ["embedding.weight"]


def test_the_mlp_squares_its_rectified_units() -> None:
    mlp = Decoder(TINY).blocks[0].mlp
    x = torch.randn(1, 2, 29, generator=torch.Generator().manual_seed(0))
    hidden = (x @ mlp.up.weight.T).clamp_min(0) ** 2
    torch.testing.assert_close(mlp(x), hidden @ mlp.down.weight.T)


def test_initial_matrices_are_normal_with_the_recipe_s_spread_and_gains_are_one() -> None:
    for name, parameter in Decoder(make_config("laptop").model, seed=4).named_parameters():
        if parameter.ndim == 2:
            assert parameter.mean().item() == pytest.approx(0, abs=4e-4), name
            assert parameter.std().item() == pytest.approx(0.02, rel=0.01), name
        else:
            assert (parameter == 1).all(), name


def test_the_seed_decides_the_initial_weights() -> None:
    one, same, other = Decoder(TINY, 3), Decoder(TINY, 3), Decoder(TINY, 4)
    for (name, a), b, c in zip(one.named_parameters(), same.parameters(), other.parameters(), strict=True):
        assert torch.equal(a, b), name
        assert a.ndim == 1 or not torch.equal(a, c), name


# ---------------------------------------------------------------- attention


@pytest.mark.parametrize(("kv_head", "its_query_heads"), [(0, {0, 1}), (1, {2, 3}), (2, {4, 5})])
@pytest.mark.parametrize("part", ["k", "v"])
def test_query_head_h_reads_kv_head_h_over_group(part: str, kv_head: int, its_query_heads: set[int]) -> None:
    attention = Attention(TINY, standard_frequencies(TINY))
    generator = torch.Generator().manual_seed(0)
    nn.init.normal_(attention.qkvo[0], std=0.3, generator=generator)
    x = torch.randn(1, 11, 29, generator=generator)
    # rows of q, k, v and transposed o in the joint matrix
    first_k, first_v, first_o = 60, 90, 120
    start = (first_k if part == "k" else first_v) + 10 * kv_head

    def outputs_by_head() -> Tensor:
        whole = attention.qkvo[0].data.clone()
        outputs = []
        for head in range(6):
            attention.qkvo[0].data[first_o:] = 0
            attention.qkvo[0].data[first_o + 10 * head : first_o + 10 * (head + 1)] = whole[
                first_o + 10 * head : first_o + 10 * (head + 1)
            ]
            outputs.append(attention(x))
        attention.qkvo[0].data = whole
        return torch.stack(outputs)

    with torch.no_grad():
        before = outputs_by_head()
        attention.qkvo[0].data[start : start + 10] = torch.randn(10, 29, generator=generator)
        moved = (outputs_by_head() - before).abs().amax((1, 2, 3)) > 1e-4
    assert set(moved.nonzero().flatten().tolist()) == its_query_heads


@pytest.mark.parametrize("d_head", [16, 64])
def test_every_key_starts_at_norm_sqrt_d_head(d_head: int) -> None:
    # C01: true by construction
    config = dataclasses.replace(TINY, d_head=d_head, d_model=128)
    for event in queries_keys(Decoder(config), random_tokens(config)):
        for vectors in (event.queries, event.keys):
            norm = vectors.norm(dim=-1)
            torch.testing.assert_close(norm, torch.full_like(norm, math.sqrt(d_head)), rtol=1e-4, atol=0)


def test_with_a_shared_gain_norm_is_energy_on_the_gain() -> None:
    model, tokens = with_random_gains(Decoder(TINY)), random_tokens(TINY)
    for block in model.blocks:
        # the identity does not ask for positive gains
        block.attention.k_norm.weight.data[::3] *= -1
    events = queries_keys(model, tokens)
    assert len(events) == TINY.n_layers
    for block, event in zip(model.blocks, events, strict=True):
        gain = block.attention.k_norm.weight.detach().double()
        before = event.keys_before_norm.double()
        xhat = before / (before.square().mean(-1, keepdim=True) + NORM_EPS).sqrt()
        norm = event.keys.double().norm(dim=-1)
        torch.testing.assert_close(norm.square(), (gain.square() * xhat.square()).sum(-1), rtol=1e-5, atol=0)
        # eps shortens a key by less than a part in a thousand here
        assert (norm >= math.sqrt(10) * gain.abs().min() * (1 - 1e-3)).all()
        assert (norm <= math.sqrt(10) * gain.abs().max() * (1 + 1e-6)).all()
        # and the bounds are not idle: heads and tokens differ
        assert norm.std() > 0.05


# ---------------------------------------------------------------- RoPE


def test_rope_turns_pair_i_by_position_times_frequency() -> None:
    frequencies = standard_frequencies(TINY)
    x = torch.randn(2, 23, 3, 10, generator=torch.Generator().manual_seed(0))
    turned = Rope(frequencies, 23)(x)
    pairs = torch.view_as_complex(x.double().unflatten(-1, (5, 2)))
    for position in (0, 1, 22):
        turn = torch.exp(1j * position * torch.tensor(frequencies))
        expected = torch.view_as_real(pairs[:, position] * turn).flatten(-2)
        torch.testing.assert_close(turned[:, position].double(), expected, rtol=1e-5, atol=1e-5)
    assert torch.equal(turned[:, 0], x[:, 0])


def test_rope_leaves_norms_alone() -> None:
    x = torch.randn(2, 23, 3, 10, generator=torch.Generator().manual_seed(0))
    turned = Rope(standard_frequencies(TINY), 23)(x)
    assert (turned - x)[:, 1:].abs().amax(-1).min() > 1e-3
    torch.testing.assert_close(turned.norm(dim=-1), x.norm(dim=-1))


def test_rope_makes_a_logit_depend_on_the_distance_alone() -> None:
    generator = torch.Generator().manual_seed(0)
    query, key = (torch.randn(10, generator=generator).expand(1, 23, 1, 10) for _ in range(2))
    rope = Rope(standard_frequencies(TINY), 23)
    logits = rope(query)[0, :, 0] @ rope(key)[0, :, 0].T
    for distance in range(-22, 23):
        diagonal = logits.diagonal(distance)
        torch.testing.assert_close(diagonal, diagonal[:1].expand_as(diagonal), rtol=1e-4, atol=1e-4)
    assert logits[0].std() > 0.1


# ---------------------------------------------------------------- variants


def copy_weights(source: Decoder, target: Decoder) -> None:
    """From a joint model to one with separate q, k, v and o."""
    stored = source.state_dict()
    for layer, block in enumerate(target.blocks):
        joint = stored.pop(f"blocks.{layer}.attention.qkvo.0")
        for index, part in enumerate(joint.split(block.attention.widths)):
            stored[f"blocks.{layer}.attention.qkvo.{index}"] = part
    target.load_state_dict(stored)


def test_joint_and_separate_matrices_compute_the_same() -> None:
    joint, separate = with_random_gains(Decoder(TINY)), Decoder(dataclasses.replace(TINY, joint_qkvo=False), seed=9)
    copy_weights(joint, separate)
    tokens = random_tokens(TINY)
    outputs = []
    for model in (joint, separate):
        logits = model(tokens)
        next_token_loss(logits, tokens).mean().backward()
        outputs.append(logits.detach())
    torch.testing.assert_close(outputs[0], outputs[1])
    for a, b in zip(joint.blocks, separate.blocks, strict=True):
        torch.testing.assert_close(a.attention.qkvo[0].grad, torch.cat([p.grad for p in b.attention.qkvo]))


@pytest.mark.parametrize("preset", ["smoke", "laptop"])
def test_separate_matrices_start_from_the_baseline_s_numbers(preset: str) -> None:
    # so that step 0 is no difference between the two; rests on torch filling 16 normal numbers at a time
    joint, separate = (Decoder(make_config(preset, variant).model, 5) for variant in ("baseline", "separate_qkvo"))
    for a, b in zip(joint.blocks, separate.blocks, strict=True):
        assert torch.equal(torch.cat(a.attention.weights()), torch.cat(b.attention.weights()))
        assert torch.equal(a.mlp.down.weight, b.mlp.down.weight)


def test_every_layer_keeps_its_own_frequencies_when_they_are_shuffled() -> None:
    config = dataclasses.replace(TINY, rope_order="shuffled")
    model = Decoder(config, seed=2)
    standard = {round(f, 9) for f in standard_frequencies(config).tolist()}
    angles = [torch.atan2(block.attention.rope.sin[1], block.attention.rope.cos[1]) for block in model.blocks]
    for layer in angles:
        assert {round(f, 6) for f in layer.tolist()} == {round(f, 6) for f in standard}
    assert not torch.equal(angles[0], angles[1])
    # the shuffle is no part of the weights' random numbers
    assert torch.equal(model.embedding.weight, Decoder(TINY, seed=2).embedding.weight)


def test_a_frozen_gain_is_there_and_is_not_trained() -> None:
    model = Decoder(dataclasses.replace(TINY, qk_norm="frozen"))
    frozen = {name for name, parameter in model.named_parameters() if not parameter.requires_grad}
    assert frozen == {f"blocks.{layer}.attention.{x}_norm.weight" for layer in (0, 1) for x in "qk"}
    tokens = random_tokens(TINY)
    with torch.no_grad():
        torch.testing.assert_close(model(tokens), Decoder(TINY)(tokens))


def test_without_qk_norm_keys_pass_through_identities() -> None:
    model = Decoder(dataclasses.replace(TINY, qk_norm="none"))
    events = queries_keys(model, random_tokens(TINY))
    assert len(events) == 2
    for event in events:
        assert torch.equal(event.keys, event.keys_before_norm)
        assert event.keys.norm(dim=-1).std() > 0.01


def test_pure_bfloat16_is_bfloat16_throughout_but_for_the_loss() -> None:
    model, tokens = Decoder(TINY).to(torch.bfloat16), random_tokens(TINY)
    seen: list[torch.dtype] = []
    for block in model.blocks:
        block.attention.k_norm.register_forward_hook(lambda module, args, output: seen.append(output.dtype))
    logits = model(tokens)
    assert {parameter.dtype for parameter in model.parameters()} == {*seen, logits.dtype} == {torch.bfloat16}
    assert next_token_loss(logits, tokens).dtype == torch.float32


def test_under_autocast_parameters_and_norms_stay_in_float32() -> None:
    model, tokens = Decoder(TINY), random_tokens(TINY)
    seen: dict[str, torch.dtype] = {}
    model.blocks[0].attention.k_norm.register_forward_hook(lambda module, args, output: seen.update(norm=output.dtype))
    model.blocks[0].mlp.up.register_forward_hook(lambda module, args, output: seen.update(product=output.dtype))
    model.blocks[0].register_forward_hook(lambda module, args, output: seen.update(residual=output.dtype))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = next_token_loss(model(tokens), tokens).mean()
    loss.backward()
    assert seen == {"norm": torch.float32, "product": torch.bfloat16, "residual": torch.float32}
    assert {p.dtype for p in model.parameters()} == {p.grad.dtype for p in model.parameters()} == {torch.float32}


# ---------------------------------------------------------------- an independent implementation


def qwen3_like(model: Decoder) -> Any:
    """Qwen3 of the transformers library with our weights.

    Its RoPE pairs dimension i with i + d_head/2, ours 2i with 2i + 1: rows of q and k and their gains are permuted. Its
    gated MLP, with a rectifier and the up matrix as gate, is squared ReLU.
    """
    from transformers import Qwen3Config, Qwen3ForCausalLM

    ours = model.config
    theirs = Qwen3ForCausalLM(
        Qwen3Config(
            vocab_size=ours.vocab_size,
            hidden_size=ours.d_model,
            intermediate_size=ours.d_ff,
            num_hidden_layers=ours.n_layers,
            num_attention_heads=ours.n_query_heads,
            num_key_value_heads=ours.n_kv_heads,
            head_dim=ours.d_head,
            hidden_act="relu",
            max_position_embeddings=ours.context,
            rms_norm_eps=NORM_EPS,
            rope_parameters={"rope_type": "default", "rope_theta": ours.rope_base},
            tie_word_embeddings=True,
            attn_implementation="eager",
        )
    )
    order = torch.cat([torch.arange(0, ours.d_head, 2), torch.arange(1, ours.d_head, 2)])

    def permuted(matrix: Tensor) -> Tensor:
        return matrix.unflatten(0, (-1, ours.d_head))[:, order].flatten(0, 1)

    state = {"model.embed_tokens.weight": model.embedding.weight, "lm_head.weight": model.embedding.weight}
    state["model.norm.weight"] = model.final_norm.weight
    for layer, block in enumerate(model.blocks):
        q, k, v, o = torch.cat(block.attention.weights()).split(block.attention.widths)
        state |= {
            f"model.layers.{layer}.{name}.weight": value
            for name, value in {
                "self_attn.q_proj": permuted(q),
                "self_attn.k_proj": permuted(k),
                "self_attn.v_proj": v,
                "self_attn.o_proj": o.T,
                "self_attn.q_norm": block.attention.q_norm.weight[order],
                "self_attn.k_norm": block.attention.k_norm.weight[order],
                "mlp.gate_proj": block.mlp.up.weight,
                "mlp.up_proj": block.mlp.up.weight,
                "mlp.down_proj": block.mlp.down.weight,
                "input_layernorm": block.attention_norm.weight,
                "post_attention_layernorm": block.mlp_norm.weight,
            }.items()
        }
    theirs.load_state_dict({name: value.detach().clone() for name, value in state.items()}, strict=True)
    return theirs.eval()


@pytest.mark.parametrize("joint", [True, False])
def test_agrees_with_qwen3_of_transformers(joint: bool) -> None:
    config = dataclasses.replace(TINY, n_layers=3, joint_qkvo=joint)
    model = with_random_gains(Decoder(config, seed=6))
    for block in model.blocks:
        # large enough for attention to be far from uniform
        for parameter in block.attention.qkvo:
            parameter.data *= 20
    theirs, tokens = qwen3_like(model), random_tokens(config)
    with torch.no_grad():
        ours = model(tokens)
        inputs = model.embedding(tokens) * math.sqrt(config.d_model)
        output = theirs(inputs_embeds=inputs, output_attentions=True)
    torch.testing.assert_close(ours, output.logits, rtol=1e-4, atol=1e-5)
    assert ours.std() > 0.1
    # not agreement by near-uniform attention, whose largest weight would be 0.06
    assert output.attentions[0].amax(-1)[..., 10:].mean() > 0.2
