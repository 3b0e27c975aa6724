"""Which numbers repeat on another processor: `python benchmarks/processors.py`, some minutes a way on two quiet cores.

A matrix library adds a sum in the order that suits the processor's widest instructions, and what is added up in another order
differs in its last digits. So one machine stands in for others: the first 41 steps of the laptop preset are trained with the
instructions that this processor has, again with those, and then with the libraries held to what older processors have. Every
way is compared with the first, and the first with the run that ``data/`` has, measure by measure. The runs are kept in
``build/processors``, and one that is there is not trained again. Writes ``data/benchmarks/processors.csv``, from which the
book's page is made; with names of ways, of these only.
"""

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import torch

from civilwar import paths
from civilwar.analysis.compare import compare
from civilwar.analysis.processors import RESULT
from civilwar.corpus.corpus import load_corpus
from civilwar.files import atomic_path
from civilwar.recipe.config import make_config
from civilwar.runs.reader import Run
from civilwar.runs.records import Records
from civilwar.runs.writer import RunWriter
from civilwar.training.loop import Session
from civilwar.training.machine import processor_name

#: The run that is begun anew, and its last step here: the outsider who compared two processors stopped there.
RUN, LAST = "laptop-baseline-seed0", 40
#: What the libraries are told, way by way: oneDNN makes the matrix products, torch's own loops most else. Fewer instructions
#: for oneDNN would have it compute bfloat16 without any of its fast ways, which no processor that torch runs on does.
WAYS: dict[str, dict[str, str]] = {
    "this processor": {},
    "again": {},
    "products without bfloat16 instructions": {"ONEDNN_MAX_CPU_ISA": "AVX512_CORE"},
    "loops without AVX-512": {"ATEN_CPU_CAPABILITY": "avx2"},
}


def begin(path: Path) -> None:
    """Train the first steps and leave them as an unfinished run's part."""
    config = make_config("laptop")
    corpus = load_corpus(config.corpus, config.model.vocab_size)
    with RunWriter(path, config) as writer:
        session = Session(writer, config, corpus, torch.device("cpu"), checkpoint_every=LAST + 1)
        snapshots = {step for step in config.snapshot_steps() if step <= LAST}
        for step in range(LAST + 1):
            if step in snapshots:
                session.snapshot(step)
            session.loss(step, with_gradient=step < LAST)
            if step < LAST:
                session.update()
        writer.write_part(LAST, Records.concatenate([session.tracker.take(), *session.snapshots]))
        writer.write_manifest(status="running", corpus=corpus.facts())


def differences(way: str, beside: str, one: Run, other: Run) -> pd.DataFrame:
    """`civilwar.analysis.compare.compare`, with the two ways named."""
    return compare(one, other).assign(way=way, beside=beside)


def main() -> int:
    """Every way in a process of its own, since the libraries read their orders once, when they are loaded."""
    if sys.argv[1:2] == ["--begin"]:
        begin(Path(sys.argv[2]))
        return 0
    first, *every = WAYS
    others = sys.argv[1:] or every
    runs = {way: paths.built() / "processors" / re.sub(r"\W+", "-", way) for way in (first, *others)}
    for way, path in runs.items():
        if not (path / "parts" / f"{LAST:06d}").is_dir():
            started = time.perf_counter()
            subprocess.run([sys.executable, __file__, "--begin", str(path)], env=os.environ | WAYS[way], check=True)
            print(f"{way}: {time.perf_counter() - started:.0f} s", flush=True)
    rows = [differences(way, first, Run(runs[first]), Run(runs[way])) for way in others]
    rows.append(differences("as recorded", first, Run(runs[first]), Run(paths.recorded() / RUN)))
    table = pd.concat(rows, ignore_index=True).assign(processor=processor_name(), torch=torch.__version__.split("+")[0])
    with atomic_path(paths.recorded() / "benchmarks" / RESULT) as temporary:
        table.to_csv(temporary, index=False, float_format="%.6g", lineterminator="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
