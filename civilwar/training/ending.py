"""What only the trained model can tell: experiments at the end of a run, before its weights are all that is left."""

import torch

from civilwar.analysis import taxonomy
from civilwar.corpus.corpus import Batches, Corpus
from civilwar.measure import experiments
from civilwar.measure.content import head_content
from civilwar.measure.prober import Prober, ProbeTexts
from civilwar.model.decoder import Decoder
from civilwar.recipe.config import RunConfig
from civilwar.runs.reader import Run
from civilwar.runs.records import Records


def check_enough_text(corpus: Corpus, config: RunConfig) -> None:
    """Raise CorpusError where the experiments would find too little text: at the start, not after hours of training."""
    corpus.validation_texts(max(config.probe.experiment_texts, config.probe.content_texts), config.model.context)


def experiment(
    run: Run,
    model: Decoder,
    corpus: Corpus,
    batches: Batches,
    texts: ProbeTexts,
    prober: Prober,
    autocast: torch.autocast,
) -> Records:
    """Cut the trained model's keys, silence its heads, and read what each head's output tells.

    Args:
        run: as recorded so far, from which the kinds of its heads are read.
        model: in the state after the last step; left in evaluation mode.
        corpus: held-out texts.
        batches: the batch after the last update is training text that was not trained on.
        texts: of the probe.
        prober: of the same model.
        autocast: the precision of training.
    """
    config = run.recipe
    device = next(model.parameters()).device
    model.eval()
    bench = experiments.Bench(
        model,
        config,
        corpus.validation_texts(config.probe.experiment_texts, config.model.context).to(device),
        batches.batch(config.train.steps)[0].to(device),
        texts.repeated,
        texts.separator_ids,
        autocast,
    )
    kinds = taxonomy.heads_by_kind(taxonomy.labels(run, config.train.steps, draws=0))
    return Records(
        {
            "capacity": experiments.capacity(bench),
            "ablation": experiments.ablation(bench, kinds),
            "key_energy": experiments.key_energy(bench),
            "shuffled_query_heads": prober.measure_shuffled(autocast),
            "head_content": head_content(bench, corpus),
        }
    )
