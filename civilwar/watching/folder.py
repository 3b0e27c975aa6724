"""The folder of a watched run: opened, resumed at a step, filled a part at a time, finished."""

import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from civilwar.errors import RunError, RunMismatch
from civilwar.files import write_json
from civilwar.recipe.watched import WatchedConfig
from civilwar.runs.manifest import MANIFEST, PROVENANCE
from civilwar.runs.reader import Run
from civilwar.runs.records import Records
from civilwar.runs.schema import PROBE
from civilwar.runs.writer import RunWriter
from civilwar.training import machine


class Folder:
    """Where one process, of several the first, writes what was heard."""

    def __init__(self, path: Path, config: WatchedConfig, device: torch.device, probe: dict[str, Any]) -> None:
        """Raises RunMismatch where the folder has a finished run, or one of another model or of other texts."""
        self.path = path.resolve()
        self._writer = RunWriter(self.path, config)
        self._device, self._probe = device, probe
        self._begun = time.monotonic()
        self._resumes = (self.path / MANIFEST).is_file()
        self._writer.__enter__()
        try:
            if self._resumes and Run(self.path).complete:
                raise RunMismatch(f"{self.path} has a run that is finished: give the new one another name.")
            if not self._resumes:
                self._describe(0)
        except BaseException:
            self.close()
            raise

    def begin(self, step: int) -> None:
        """The first step of this process: what was recorded of later ones belongs to a training that was given up."""
        if self._resumes:
            self._writer.cut_parts_after(step - 1)
            self._describe(step)

    def write(self, step: int, records: Records) -> None:
        """A part with rows up to ``step``."""
        self._writer.write_part(step, records)

    def note(self, **entries: Any) -> None:
        """Keep more entries in the manifest."""
        self._writer.write_manifest(**entries)

    def finish(self) -> Run:
        """Join the parts, and close."""
        try:
            seconds = round(time.monotonic() - self._begun, 2)
            return self._writer.finish(
                finished=datetime.now(UTC).isoformat(timespec="seconds"), timings={"wall_seconds": seconds}
            )
        finally:
            self.close()

    def close(self) -> None:
        """Let others write."""
        self._writer.__exit__()

    def _describe(self, step: int) -> None:
        now = {"from_step": step, "started": datetime.now(UTC).isoformat(timespec="seconds")}
        now |= machine.facts(self._device)
        try:
            before = [one for one in Run(self.path).sittings if one["from_step"] < step] if self._resumes else []
        except RunError:
            before = []
        sittings = [*before, now]
        write_json(self.path / PROBE, self._probe)
        self._writer.write_manifest(
            status="running",
            sittings=sittings,
            # how a watched model computes is not known
            **{name: known[name] for known in reversed(sittings) for name in PROVENANCE if name in known},
            n_parameters=self._writer.config.model.n_parameters,
            resumed_at=[later["from_step"] for later in sittings[1:]],
        )
