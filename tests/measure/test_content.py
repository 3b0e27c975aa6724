"""What can be read from a head's output: properties on texts by hand, the classifier against scikit-learn."""

import dataclasses
import math

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.linear_model import Ridge
from sklearn.metrics import balanced_accuracy_score
from torch import Tensor

from civilwar.corpus.corpus import Corpus, Tokens, load_corpus
from civilwar.measure import content
from civilwar.measure.content import head_content, inside_brackets, packages
from civilwar.measure.experiments import Bench
from civilwar.model.decoder import Decoder
from civilwar.recipe.config import RunConfig

# ---------------------------------------------------------------- properties


@pytest.mark.parametrize(
    ("tokens", "states"),
    [
        ("a ( b ) c", "0 0 1 1 0"),
        ("( [ x ] y ) z", "0 1 1 1 1 1 0"),
        # one token may hold several brackets, and counts its own from the next token on
        ("f(x, [1 ]) z", "0 1 1 0"),
        ("f() z (( a ) b ) c", "0 0 0 1 1 1 1 0"),
        # one that matches none is passed over, be it stray or of another kind
        (") a ( b ] c ) d", "0 0 0 1 1 1 1 0"),
        ("( [ a ) b ] c ) d", "0 1 1 1 1 1 1 1 0"),
        ("{ a } b", "0 1 1 0"),
        ("< a > b", "0 0 0 0"),
        ("", ""),
    ],
)
def test_a_token_is_inside_while_a_bracket_opened_before_it_is_open(tokens: str, states: str) -> None:
    split = tokens.split()
    assert inside_brackets(split, [False] * len(split)) == [int(state) for state in states.split()]


def test_a_new_document_closes_all_brackets() -> None:
    tokens = ["(", "[", "a", "b", "]", "c", "(", "d"]
    new = [False, False, False, True, False, False, False, False]
    assert inside_brackets(tokens, new) == [0, 1, 1, 0, 0, 0, 0, 1]


@pytest.fixture(scope="module")
def corpus(smoke_config: RunConfig) -> Corpus:
    return load_corpus(smoke_config.corpus, smoke_config.model.vocab_size)


def validated(corpus: Corpus, ids: np.ndarray, starts: list[int], modules: list[str]) -> Corpus:
    """The corpus with other validation documents."""
    return dataclasses.replace(corpus, validation=Tokens(ids, np.array(starts, dtype=np.int64), tuple(modules)))


def test_every_token_is_of_the_package_of_its_document(corpus: Corpus) -> None:
    modules = ["sympy.core.add", "numpy", "sympyx.core", "numpy.linalg", "sympy"]
    other = validated(corpus, np.zeros(17, dtype=np.uint16), [0, 3, 4, 9, 11], modules)
    label, names = packages(other, 13)
    assert names == ["numpy", "sympy", "sympyx"]
    assert [names[i] for i in label] == ["sympy"] * 3 + ["numpy"] + ["sympyx"] * 5 + ["numpy"] * 2 + ["sympy"] * 2


def test_brackets_and_packages_are_those_of_the_very_tokens_that_the_model_reads(corpus: Corpus) -> None:
    context = 64
    properties = content._properties(corpus, 5, context)
    texts = corpus.validation_texts(5, context)[:, :-1]
    assert {name: labels.shape for name, labels in properties.items()} == {"brackets": (5, 64), "package": (5, 64)}
    # document by document, from their own tokens
    expected: list[int] = []
    read: list[int] = []
    for index in range(len(corpus.validation.starts)):
        document = corpus.validation.document(index).tolist()
        open_at = 0
        stack: list[str] = []
        for token in corpus.token_strings(document):
            expected.append(int(open_at > 0))
            for character in token:
                if character in "([{":
                    stack.append(")]}"["([{".index(character)])
                elif stack and stack[-1] == character:
                    stack.pop()
            open_at = len(stack)
        read += document
    assert texts.flatten().tolist() == read[:320]
    assert properties["brackets"].flatten().tolist() == expected[:320]
    assert 0.02 < np.mean(expected[:320]) < 0.98


# ---------------------------------------------------------------- the classifier


def blobs(n: int, shares: tuple[float, ...], seed: int, apart: float) -> tuple[Tensor, Tensor]:
    """Classes 2, 5, 8, … of unequal sizes around centres of their own, in 7 dimensions of unequal scales."""
    random = np.random.default_rng(seed)
    centres = np.random.default_rng(9).normal(size=(len(shares), 7))
    y = random.choice(len(shares), size=n, p=shares)
    x = (random.normal(size=(n, 7)) + apart * centres[y]) * np.array([1, 30, 0.01, 1, 5, 1, 1]) + 3
    return torch.from_numpy(x), torch.from_numpy(3 * y + 2)


@pytest.mark.parametrize("apart", [0.0, 0.4, 3.0])
@pytest.mark.parametrize("shares", [(0.9, 0.1), (0.6, 0.3, 0.1)])
def test_the_classifier_is_a_ridge_regression_in_which_every_class_weighs_the_same(
    shares: tuple[float, ...], apart: float
) -> None:
    (x, y), (x_test, y_test) = blobs(611, shares, 0, apart), blobs(409, shares, 1, apart)
    classes = [3 * i + 2 for i in range(len(shares))]
    found = content._balanced_accuracy(x, y, x_test, y_test, classes)

    mean, scale = x.numpy().mean(0), x.numpy().std(0, ddof=1)
    design, design_test = (np.c_[(side.numpy() - mean) / scale, np.ones(len(side))] for side in (x, x_test))
    indicator = (y.numpy()[:, None] == classes).astype(float)
    weight = (indicator / (len(classes) * indicator.sum(0))).sum(1)
    ridge = Ridge(alpha=content.PENALTY, fit_intercept=False).fit(design, indicator, sample_weight=weight)
    answers = np.array(classes)[ridge.predict(design_test).argmax(1)]
    assert found == pytest.approx(balanced_accuracy_score(y_test.numpy(), answers))
    if apart == 3:
        assert found > 0.95


def test_always_answering_the_commonest_class_is_no_better_than_chance() -> None:
    x, y = blobs(2000, (0.95, 0.05), 3, 0.0)
    accuracy = content._balanced_accuracy(x[:1000], y[:1000], x[1000:], y[1000:], [2, 5])
    assert accuracy == pytest.approx(0.5, abs=0.12)
    assert content._balanced_accuracy(x[:1000] * 0, y[:1000], x[1000:] * 0, y[1000:], [2, 5]) == 0.5


def test_tokens_of_other_classes_are_left_out() -> None:
    (x, y), (x_test, y_test) = blobs(900, (0.4, 0.3, 0.3), 0, 0.4), blobs(500, (0.4, 0.3, 0.3), 1, 0.4)
    some, some_test = y != 5, y_test != 5
    expected = content._balanced_accuracy(x[some], y[some], x_test[some_test], y_test[some_test], [2, 8])
    assert content._balanced_accuracy(x, y, x_test, y_test, [2, 8]) == expected


def test_a_class_needs_enough_tokens_on_both_sides() -> None:
    fit = torch.tensor([0] * 50 + [1] * 49 + [2] * 200 + [4] * 99)
    test = torch.tensor([0] * 50 + [1] * 99 + [2] * 49 + [3] * 99 + [4] * 50)
    assert content._common_classes(fit, test) == [0, 4]
    assert content._common_classes(fit, fit) == [0, 2, 4]
    assert content._common_classes(fit[:99], test) == [0]


# ---------------------------------------------------------------- heads

N_TEXTS, CONTEXT, LAYERS, HEADS = 24, 64, 2, 4


@pytest.fixture
def bench(smoke_config: RunConfig, corpus: Corpus) -> Bench:
    texts = corpus.validation_texts(2, CONTEXT)
    return Bench(
        Decoder(smoke_config.model, 0),
        smoke_config,
        texts,
        texts[:, :-1],
        texts[:, :-1],
        torch.from_numpy(corpus.separator_ids),
        torch.autocast("cpu", enabled=False),
    )


def several_packages(corpus: Corpus) -> Corpus:
    """The same texts, said to be of two packages turn by turn."""
    tokens = corpus.validation
    modules = [f"{'ab'[i % 2]}.m{i}" for i in range(len(tokens.starts))]
    return validated(corpus, tokens.ids, tokens.starts.tolist(), modules)


def plant(bench: Bench, layer: int, signals: dict[int, Tensor]) -> None:
    """Put noise in place of all head outputs, and signals [text, pos], one text per pass, on top in some heads."""
    generator = torch.Generator().manual_seed(0)
    for at, block in enumerate(bench.model.blocks):
        text = iter(range(N_TEXTS))

        def replace(module: object, args: object, output: Tensor, at: int = at, text: object = text) -> Tensor:
            noise = torch.randn(output.shape, generator=generator)
            number = next(text)
            for head, signal in signals.items() if at == layer else ():
                noise[0, :, head, 3] += 4 * signal[number].float()
            return noise

        block.attention.head_outputs.register_forward_hook(replace)


def table_of(bench: Bench, corpus: Corpus) -> pd.DataFrame:
    table = head_content(bench, corpus)
    assert list(table) == ["layer", "query_head", "property", "accuracy", "chance"]
    assert not table.duplicated(["layer", "query_head", "property"]).any()
    return table.set_index(["property", "layer", "query_head"]).sort_index()


def test_a_property_planted_in_a_head_is_found_there_and_all_else_is_chance(bench: Bench, corpus: Corpus) -> None:
    corpus = several_packages(corpus)
    properties = content._properties(corpus, N_TEXTS, CONTEXT)
    plant(bench, 1, {2: properties["brackets"], 0: properties["package"]})
    table = table_of(bench, corpus)
    assert len(table) == 2 * LAYERS * HEADS
    assert (table["chance"] == 0.5).all()
    assert table["accuracy"]["brackets", 1, 2] > 0.9
    assert table["accuracy"]["package", 1, 0] > 0.9
    rest = table.drop([("brackets", 1, 2), ("package", 1, 0)])["accuracy"]
    assert rest.between(0.4, 0.6).all()
    assert rest.mean() == pytest.approx(0.5, abs=0.03)


def test_what_holds_only_on_the_texts_fitted_to_is_no_better_than_chance(bench: Bench, corpus: Corpus) -> None:
    brackets = content._properties(corpus, N_TEXTS, CONTEXT)["brackets"].clone()
    brackets[N_TEXTS // 2 :] = 0
    plant(bench, 0, {1: brackets})
    assert table_of(bench, corpus)["accuracy"]["brackets", 0, 1] == pytest.approx(0.5, abs=0.1)


def test_a_property_of_which_the_source_knows_too_little_has_no_rows(bench: Bench, corpus: Corpus) -> None:
    # all of one package, as the smoke corpus is
    table = table_of(bench, corpus)
    assert table.index.unique("property").tolist() == ["brackets"]
    assert len(table) == LAYERS * HEADS
    tokens = corpus.validation
    no_brackets = validated(corpus, tokens.ids * 0 + 1, [0], ["a"])
    empty = head_content(bench, no_brackets)
    assert len(empty) == 0
    assert list(empty) == ["layer", "query_head", "property", "accuracy", "chance"]


def test_chance_is_one_over_the_number_of_classes(bench: Bench, corpus: Corpus) -> None:
    tokens = corpus.validation
    starts = list(range(0, len(tokens.ids), 31))
    three = validated(corpus, tokens.ids, starts, [f"{'abc'[i % 3]}.m" for i in range(len(starts))])
    plant(bench, 0, {})
    table = table_of(bench, three)
    assert table.loc["package", "chance"].unique().tolist() == [1 / 3]
    assert table.loc["brackets", "chance"].unique().tolist() == [1 / 2]
    assert table.loc["package", "accuracy"].mean() == pytest.approx(1 / 3, abs=0.06)


def test_every_head_s_own_output_is_read(bench: Bench, corpus: Corpus) -> None:
    texts = corpus.validation_texts(3, CONTEXT)[:, :-1]
    seen: dict[int, list[Tensor]] = {0: [], 1: []}
    for layer, block in enumerate(bench.model.blocks):

        def keep(module: object, args: object, output: Tensor, layer: int = layer) -> None:
            seen[layer].append(output.detach().clone())

        block.attention.head_outputs.register_forward_hook(keep)
    outputs = content._outputs(bench, texts)
    assert [layer.shape for layer in outputs] == [(3, CONTEXT, HEADS, 16)] * LAYERS
    for layer, found in enumerate(outputs):
        # kept in half the memory: three digits
        torch.testing.assert_close(found.float(), torch.cat(seen[layer]), rtol=2**-8, atol=0)
    # each text by itself
    alone = content._outputs(bench, texts[1:2])
    assert all(torch.equal(one[0], many[1]) for one, many in zip(alone, outputs, strict=True))


def test_reading_leaves_the_model_as_it_was(bench: Bench, corpus: Corpus) -> None:
    before = {name: value.clone() for name, value in bench.model.state_dict().items()}
    table = head_content(bench, corpus)
    assert all(torch.equal(value, before[name]) for name, value in bench.model.state_dict().items())
    assert all(not module._forward_hooks for module in bench.model.modules())
    assert all(parameter.grad is None for parameter in bench.model.parameters())
    assert all(math.isfinite(value) for value in table["accuracy"])
    pd.testing.assert_frame_equal(head_content(bench, corpus), table)
