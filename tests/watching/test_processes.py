"""Two processes under torchrun record what one does on all their batches."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd

from civilwar.runs.reader import Run

LOOP = """
import sys, foreign, torch, torch.distributed as dist, civilwar as cw
from torch.nn.parallel import DistributedDataParallel
torch.set_num_threads(1)
processes, out = int(sys.argv[1]), sys.argv[2]
rank = 0
model = foreign.made("Llama").train()
whole = model
if processes > 1:
    dist.init_process_group("gloo")
    rank = dist.get_rank()
    whole = DistributedDataParallel(model)
watch = cw.watch(whole, out, foreign.words(), foreign.TEXTS, full_every=2, snapshots=[0], flush_every=2)
optimizer = torch.optim.SGD(model.parameters(), 0.1)
for step, batch in enumerate(foreign.batches(3, texts=4)):
    part = batch.chunk(processes)[rank]
    with watch.step(step):
        loss = whole(input_ids=part, labels=part).loss
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()
watch.finish()
if processes > 1:
    dist.destroy_process_group()
"""


def test_two_processes_record_what_one_does(tmp_path: Path) -> None:
    script = tmp_path / "loop.py"
    script.write_text(LOOP, encoding="utf-8")
    tests = Path(__file__).parents[1]
    environment = os.environ | {"PYTHONPATH": f"{tests.parent}{os.pathsep}{tests}"}
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    for command in (
        [sys.executable, str(script), "1", str(tmp_path / "one")],
        [*torchrun, str(script), "2", str(tmp_path / "two")],
    ):
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr[-3000:]
    one, two = Run(tmp_path / "one"), Run(tmp_path / "two")
    for name in ("train", "step_kv_heads", "step_query_heads", "step_attention", "step_gradients", "probe_query_heads"):
        ours, theirs = one.table(name), two.table(name)
        pd.testing.assert_frame_equal(ours.select_dtypes("integer"), theirs.select_dtypes("integer"))
        for column in ours.select_dtypes("floating"):
            # the last batch is run once more by each process
            np.testing.assert_allclose(theirs[column], ours[column], rtol=1e-5, atol=1e-6, err_msg=f"{name}.{column}")
