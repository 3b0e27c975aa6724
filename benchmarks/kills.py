"""Kills, full disks and damage at every place where they could hurt: what `faults.py` does by the hundred.

A command is interrupted right before one of the system calls by which it changes a file (`interrupts.c`), the calls spread
evenly over all that it makes; then the same command is run again and must end as if nothing had happened. Files are damaged one
after the other; then the command must refuse in one sentence, or end with exactly the same tables.
"""

import itertools
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import nbformat

from civilwar.files import sha256

HERE = Path(__file__).parent
TEXT = "# Heads\n\nA head attends to what came before it; some attend to the first token only. {}\n\n"
#: As a shell shows SIGKILL.
KILLED_STATUS = 137
#: How often each command is killed. Those of `KILLED` that are not here are rehearsed by the tests, and not recorded.
TIMES = {
    "training": 80,
    "caches": 20,
    "recording": 60,
    "papermill": 20,
    "book": 20,
    "sweep": 12,
}


@dataclass
class Result:
    """How one command ended."""

    status: int
    seen: int
    """Counted calls, 0 where it did not live to its end."""
    said: str


class Commands:
    """Commands in a folder of their own, interrupted or not."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.runs, self.cache, self.recorded = folder / "runs", folder / "cache", folder / "recorded"
        library = folder / "interrupts.so"
        subprocess.run(
            ["cc", "-shared", "-fPIC", "-O1", "-o", str(library), str(HERE / "interrupts.c"), "-ldl"], check=True
        )
        environment = os.environ | {"LD_PRELOAD": str(library), "OMP_NUM_THREADS": "1"}
        self._server = subprocess.Popen(
            [sys.executable, str(HERE / "interrupted.py")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )

    def close(self) -> None:
        """End the server."""
        # its pipes are closed with it, and it ends where its input does
        with self._server:
            pass

    def run(
        self, task: str, *arguments: str, below: Path, n: int = 0, full: bool = False, seconds: float = 0
    ) -> Result:
        """Do a task, interrupted at the ``n``-th counted call below a folder, or after some seconds, or not at all."""
        # not in the folder whose disk may be full
        output = self.folder.with_name(f"{self.folder.name}.txt")
        places = {"CIVILWAR_RUNS": self.runs, "CIVILWAR_CACHE": self.cache, "RECORDED": self.recorded}
        order = {
            "task": task,
            "arguments": arguments,
            "environment": {name: str(place) for name, place in places.items()},
            "output": str(output),
            # the slash keeps a neighbour whose name begins alike out of it
            "below": f"{below}/",
            "n": n,
            "full": full,
            "seconds": seconds,
        }
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        below.mkdir(parents=True, exist_ok=True)
        self._server.stdin.write(json.dumps(order) + "\n")
        self._server.stdin.flush()
        answer = json.loads(self._server.stdout.readline())
        return Result(**answer, said=output.read_text(encoding="utf-8", errors="replace").strip())


@dataclass
class Tally:
    """What a series of interruptions came to."""

    times: int = 0
    statuses: set[int] = field(default_factory=set)
    sentence: str = ""
    """The last one said."""
    wrong: list[str] = field(default_factory=list)
    """What was lost, or silently wrong, or said in more than one line."""

    def add(self, result: Result, *problems: str | None) -> None:
        """Count one interruption."""
        self.times += 1
        self.statuses.add(result.status)
        if result.status != KILLED_STATUS:  # what is on the screen of a killed command is no sentence about it
            self.sentence = result.said
        self.wrong += [problem for problem in problems if problem]

    def says_one_sentence(self, result: Result) -> str | None:
        """A problem where an error is not one line."""
        lines = result.said.splitlines()
        good = len(lines) == 1 and lines[0].startswith("civilwar: ") and "Traceback" not in result.said
        return None if result.status == 0 or good else f"status {result.status}: {result.said}"


def spread(total: int, times: int, seed: int = 0) -> list[int]:
    """``times`` of the numbers 1 to ``total``, one from each of as many equal stretches."""
    draw = random.Random(seed)
    bounds = [1 + total * i // times for i in range(times + 1)]
    return [draw.randrange(low, max(high, low + 1)) for low, high in itertools.pairwise(bounds)]


def content(folder: Path, ignore: tuple[str, ...] = ()) -> dict[str, str]:
    """Path -> checksum of every file below a folder; names in ``ignore`` left out."""
    return {
        file.relative_to(folder).as_posix(): sha256(file)
        for file in sorted(folder.rglob("*"))
        if file.is_file() and file.name not in ignore
    }


def measured(folder: Path) -> dict[str, str]:
    """Path -> checksum of a run's tables and arrays; of other files, only that they are there."""
    return {
        name: total if name.startswith(("tables/", "arrays/")) else ""
        for name, total in content(folder, (".lock",)).items()
    }


def write_text(folder: Path) -> str:
    """A small corpus, and how the command line names it."""
    folder.mkdir(parents=True)
    draw = random.Random(2)
    known = ["".join(draw.choices("abcdefghijklmnoprstuvw", k=draw.randrange(2, 9))) for _ in range(900)]
    for number in range(60):
        words = " ".join(draw.choices(known, k=400))
        (folder / f"{number:02d}.txt").write_text(TEXT.format(words), encoding="utf-8")
    return f"path:{folder}"


# ---------------------------------------------------------------- killed


def training(commands: Commands, times: int, corpus: str) -> Tally:
    """A run is killed anywhere, one in five once more while it resumes; the same command then finishes it."""
    whole = commands.run("train", "whole", corpus, below=commands.runs)
    wanted = measured(commands.runs / "whole")
    tally = Tally()
    for number, n in enumerate(spread(whole.seen, times)):
        name = f"killed-{number}"
        killed = commands.run("train", name, corpus, below=commands.runs, n=n)
        if number % 5 == 0:
            commands.run("train", name, corpus, below=commands.runs, n=1 + n // 3)
        again = commands.run("train", name, corpus, below=commands.runs)
        tally.add(killed, differs(again, measured(commands.runs / name), wanted, f"call {n}"))
        shutil.rmtree(commands.runs / name)
    return tally


def differs(again: Result, there: dict[str, str], wanted: dict[str, str], where: str) -> str | None:
    """A problem where the command that was run again did not end as an uninterrupted one does."""
    if again.status == 0 and there == wanted:
        return None
    odd = sorted(name for name in there | wanted if there.get(name) != wanted.get(name))
    return f"{where}: status {again.status}, {odd[:4]} differ; {again.said}"


def caches(commands: Commands, times: int, corpus: str) -> Tally:
    """Making the caches of a corpus is killed anywhere."""
    shutil.rmtree(commands.cache, ignore_errors=True)
    whole = commands.run("tokens", corpus, below=commands.cache)
    wanted = content(commands.cache, (".lock",))
    tally = Tally()
    for n in spread(whole.seen, times):
        shutil.rmtree(commands.cache)
        killed = commands.run("tokens", corpus, below=commands.cache, n=n)
        again = commands.run("tokens", corpus, below=commands.cache)
        tally.add(killed, differs(again, content(commands.cache, (".lock",)), wanted, f"call {n}"))
    return tally


def recording(commands: Commands, times: int, corpus: str) -> Tally:
    """Recording is killed anywhere, half of the times while it replaces an older recording, which must not be lost."""
    commands.run("train", "whole", corpus, below=commands.runs)
    target = commands.recorded / "whole"
    tally = Tally()
    for replaces in (False, True):
        shutil.rmtree(commands.recorded, ignore_errors=True)
        if replaces:
            commands.run("cli", "record", "whole", "--publish", below=commands.recorded)
        whole = commands.run("cli", "record", "whole", "--publish", below=commands.recorded)
        wanted = content(target)
        for n in spread(whole.seen, times // 2):
            if not replaces:
                shutil.rmtree(commands.recorded)
            killed = commands.run("cli", "record", "whole", "--publish", below=commands.recorded, n=n)
            # whichever of the two stands there: never none, never a mixture
            survived = not replaces or any(_verifies(commands, path) for path in _candidates(commands.recorded))
            again = commands.run("cli", "record", "whole", "--publish", below=commands.recorded)
            there = content(commands.recorded, (".lock",))
            expected = {f"whole/{name}": total for name, total in wanted.items()}
            tally.add(
                killed,
                None if survived else f"call {n}: no whole recording is left",
                differs(again, {k: v for k, v in there.items() if not k.endswith(".lock")}, expected, f"call {n}"),
            )
    return tally


def _candidates(folder: Path) -> list[Path]:
    return [file.parent for file in folder.rglob("manifest.json")]


def _verifies(commands: Commands, path: Path) -> bool:
    return commands.run("verify", str(path), below=commands.folder).status == 0


def papermill(commands: Commands, times: int, corpus: str) -> Tally:
    """Executing a notebook over an older execution of it is killed anywhere: the old one or the new one stands there."""
    folder = commands.folder / "notebooks"
    folder.mkdir(exist_ok=True)
    source, target = folder / "source.ipynb", folder / "executed" / "source.ipynb"
    cells = [nbformat.v4.new_code_cell(f"print({number})", id=f"cell-{number}") for number in range(3)]
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=kernel), source)
    commands.run("execute", str(source), str(target), below=target.parent)
    old = target.read_bytes()
    cells[0]["source"] = "print('new')"
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=kernel), source)
    whole = commands.run("execute", str(source), str(target), below=target.parent)
    new = target.read_bytes()
    tally = Tally()
    for n in spread(whole.seen, times):
        target.write_bytes(old)
        killed = commands.run("execute", str(source), str(target), below=target.parent, n=n)
        left = target.read_bytes() if target.exists() else b""
        again = commands.run("execute", str(source), str(target), below=target.parent)
        good = again.status == 0 and target.read_bytes() == new and list(target.parent.iterdir()) == [target]
        tally.add(
            killed,
            None if left in (old, new) else f"call {n}: {len(left)} bytes of a notebook are left",
            None if good else f"call {n}: {again.said}; {sorted(p.name for p in target.parent.iterdir())}",
        )
    return tally


def book(commands: Commands, times: int, corpus: str) -> Tally:
    """Building a book over an older one is killed, by itself or with all that it started: one whole book stands there."""
    source = commands.folder / "site" / "book"
    source.mkdir(parents=True)
    (source.parent / "_config.yml").write_text("title: t\nexecute:\n  execute_notebooks: 'off'\n", encoding="utf-8")
    (source / "_toc.yml").write_text("format: jb-book\nroot: index\nchapters:\n- file: second\n", encoding="utf-8")
    (source / "second.md").write_text("# Second\n", encoding="utf-8")

    def build(text: str, **interruption: float) -> Result:
        (source / "index.md").write_text(f"# {text}\n", encoding="utf-8")
        return commands.run("build", str(source), below=source.parent, **interruption)  # type: ignore[arg-type]

    build("Old")
    begun = os.times().elapsed
    whole = build("Old")
    takes = os.times().elapsed - begun
    pages = set(content(source.parent / "_build"))
    tally = Tally()
    for number, n in enumerate(spread(whole.seen, times)):
        seconds = takes * (number + 1) / (times + 1)
        killed = build("New", seconds=seconds) if number % 2 else build("New", n=n)
        left = source.parent / "_build"
        first = left / "html" / "index.html"
        there = pages <= set(content(left)) if left.exists() else False
        titled = first.exists() and any(f"<h1>{word}<" in first.read_text(encoding="utf-8") for word in ("Old", "New"))
        again = build("Old")
        tally.add(
            killed,
            None
            if there and titled
            else f"{'after' if number % 2 else 'at'} {seconds if number % 2 else n}: no whole book",
            None if again.status == 0 and set(content(left)) == pages else f"{n}: {again.said[-300:]}",
        )
    return tally


def sweep(commands: Commands, times: int, corpus: str) -> Tally:
    """A sweep of two runs is killed anywhere, while it trains, records or takes weights away."""

    def clean() -> None:
        for folder in (commands.runs, commands.recorded):
            shutil.rmtree(folder, ignore_errors=True)

    clean()
    whole = commands.run("sweep", corpus, below=commands.folder)
    recorded = {file.parent.name: measured(file.parent) for file in commands.recorded.glob("*/manifest.json")}
    tally = Tally()
    if len(recorded) != 2:
        tally.wrong.append(f"the uninterrupted sweep: {whole.said}")
    for n in spread(whole.seen, times):
        clean()
        killed = commands.run("sweep", corpus, below=commands.folder, n=n)
        again = commands.run("sweep", corpus, below=commands.folder)
        there = {file.parent.name: measured(file.parent) for file in commands.recorded.glob("*/manifest.json")}
        tally.add(killed, None if again.status == 0 and there == recorded else f"call {n}: {again.said}")
    return tally


def exporting(commands: Commands, times: int, corpus: str) -> Tally:
    """Exporting a run to a zip is killed anywhere: there is no such file, or the whole of it."""
    commands.run("train", "whole", corpus, below=commands.runs)
    target = commands.folder / "out" / "whole.zip"
    order = ("cli", "export", "whole", str(target))
    whole = commands.run(*order, below=target.parent)
    wanted = sha256(target)
    tally = Tally()
    for n in spread(whole.seen, times):
        shutil.rmtree(target.parent)
        killed = commands.run(*order, below=target.parent, n=n)
        half = target.exists() and sha256(target) != wanted
        # one that is there whole is not overwritten
        again = commands.run(*order, below=target.parent)
        fine = again.status == 0 or (again.status == 1 and "is there already" in again.said)
        left = [file.name for file in target.parent.iterdir()]
        tally.add(
            killed,
            f"call {n}: half a file is left" if half else None,
            None if fine and left == [target.name] and sha256(target) == wanted else f"call {n}: {again.said}; {left}",
        )
    return tally


def deleting(commands: Commands, times: int, corpus: str) -> Tally:
    """Deleting a run is killed anywhere: it is there, whole, or gone; and the same command leaves nothing of it."""
    commands.run("train", "whole", corpus, below=commands.runs)
    path, kept = commands.runs / "doomed", commands.folder / "whole"
    shutil.move(commands.runs / "whole", kept)
    shutil.copytree(kept, path)
    order = ("cli", "delete", "doomed", "--yes")
    whole = commands.run(*order, below=commands.runs)
    wanted = content(kept, (".lock",))
    tally = Tally()
    for n in spread(whole.seen, times):
        shutil.rmtree(path, ignore_errors=True)
        shutil.copytree(kept, path)
        killed = commands.run(*order, below=commands.runs, n=n)
        half = path.exists() and content(path, (".lock",)) != wanted
        again = commands.run(*order, below=commands.runs)
        fine = again.status == 0 or (again.status == 1 and "no run 'doomed'" in again.said)
        left = [entry.name for entry in commands.runs.iterdir()]
        tally.add(
            killed,
            f"call {n}: half a run is left" if half else None,
            None if fine and not left else f"call {n}: {again.said}; {left}",
        )
    return tally


def reproducing(commands: Commands, times: int, corpus: str) -> Tally:
    """A reader's own book is assembled over an older one and killed anywhere: one whole book stands there."""
    build = commands.folder / "build"

    def reproduce(text: str, n: int = 0) -> Result:
        return commands.run("reproduce", str(commands.folder), corpus, text, below=build, n=n)

    reproduce("old")
    whole = reproduce("new")
    site = build / "site"
    new = content(site)
    again = reproduce("old")
    old = content(site)
    tally = Tally()
    if again.status or old == new:
        tally.wrong.append(f"the uninterrupted ones: {again.said}")
    for n in spread(whole.seen, times):
        killed = reproduce("new", n)
        left = content(site) if site.exists() else {}
        again = reproduce("old")
        strays = [entry.name for entry in build.iterdir() if entry.name.startswith(".")]
        tally.add(
            killed,
            None if left in (old, new) else f"call {n}: no whole book",
            None if again.status == 0 and content(site) == old and not strays else f"call {n}: {again.said}; {strays}",
        )
    return tally


KILLED: dict[str, Callable[[Commands, int, str], Tally]] = {
    "training": training,
    "caches": caches,
    "recording": recording,
    "papermill": papermill,
    "book": book,
    "sweep": sweep,
    "exporting": exporting,
    "deleting": deleting,
    "reproducing": reproducing,
}

# ---------------------------------------------------------------- full


def full_disk(commands: Commands, times: int, corpus: str) -> Tally:
    """From some call on the disk is full, while a run trains, makes its caches or is recorded; then there is room again."""
    whole = commands.run("train", "whole", corpus, below=commands.folder)
    wanted = measured(commands.runs / "whole")
    tally = Tally()
    for number, n in enumerate(spread(whole.seen, times)):
        name = f"full-{number}"
        refused = commands.run("train", name, corpus, below=commands.folder, n=n, full=True)
        again = commands.run("train", name, corpus, below=commands.folder)
        tally.add(
            refused,
            tally.says_one_sentence(refused),
            differs(again, measured(commands.runs / name), wanted, f"call {n}"),
        )
    shutil.rmtree(commands.cache)
    whole = commands.run("tokens", corpus, below=commands.cache)
    cached = content(commands.cache, (".lock",))
    for n in spread(whole.seen, times):
        shutil.rmtree(commands.cache)
        refused = commands.run("tokens", corpus, below=commands.cache, n=n, full=True)
        again = commands.run("tokens", corpus, below=commands.cache)
        tally.add(
            refused,
            tally.says_one_sentence(refused),
            differs(again, content(commands.cache, (".lock",)), cached, f"cache, call {n}"),
        )
    whole = commands.run("cli", "record", "whole", "--publish", below=commands.recorded)
    target = content(commands.recorded / "whole")
    for n in spread(whole.seen, times):
        refused = commands.run("cli", "record", "whole", "--publish", below=commands.recorded, n=n, full=True)
        problem = None if _verifies(commands, commands.recorded / "whole") else f"record, call {n}: lost"
        again = commands.run("cli", "record", "whole", "--publish", below=commands.recorded)
        there = content(commands.recorded / "whole")
        tally.add(
            refused, tally.says_one_sentence(refused), problem, differs(again, there, target, f"record, call {n}")
        )
    return tally


# ---------------------------------------------------------------- damaged


def _flip(file: Path, place: float) -> None:
    body = bytearray(file.read_bytes())
    body[min(int(len(body) * place), len(body) - 1)] ^= 1
    file.write_bytes(body)


HARMS: dict[str, Callable[[Path], None]] = {
    "a bit near its start flipped": lambda file: _flip(file, 0.02),
    "a bit in its middle flipped": lambda file: _flip(file, 0.5),
    "its last bit flipped": lambda file: _flip(file, 1.0),
    "cut in half": lambda file: os.truncate(file, file.stat().st_size // 2),
    "emptied": lambda file: os.truncate(file, 0),
    "removed": lambda file: file.unlink(),
}


def damaged_files(commands: Commands, corpus: str) -> Tally:
    """Every file of a complete run, and of a recording, is damaged in every way of `HARMS`; the run is then verified."""
    commands.run("train", "whole", corpus, below=commands.runs)
    commands.run("cli", "record", "whole", "--publish", below=commands.recorded)
    tally = Tally()
    for run in (commands.runs / "whole", commands.recorded / "whole"):
        for file in [file for file in sorted(run.rglob("*")) if file.is_file() and file.name != ".lock"]:
            for how, harm in HARMS.items():
                copy = file.read_bytes()
                harm(file)
                result = commands.run("verify", str(run), below=commands.folder)
                silent = f"{file.relative_to(commands.folder)}, {how}: not noticed" if result.status == 0 else None
                tally.add(result, silent, tally.says_one_sentence(result))
                file.write_bytes(copy)
    return tally


def damaged_unfinished(commands: Commands, corpus: str) -> Tally:
    """Every file of an unfinished run is damaged, parts are removed, copied and renamed; then the run goes on, or refuses."""
    whole = commands.run("train", "whole", corpus, below=commands.runs)
    wanted = measured(commands.runs / "whole")
    stopped = commands.folder / "stopped"
    commands.run("train", "stopped", corpus, below=commands.runs, n=whole.seen * 6 // 10)
    shutil.move(commands.runs / "stopped", stopped)
    tally = Tally()
    for what, harm in _harms_of_unfinished(stopped):
        path = commands.runs / "harmed"
        shutil.rmtree(path, ignore_errors=True)
        shutil.copytree(stopped, path)
        harm(path)
        result = commands.run("train", "harmed", corpus, below=commands.runs)
        fine = result.status == 1 or (result.status == 0 and measured(path) == wanted)
        tally.add(result, None if fine else f"{what}: {result.status} {result.said}", tally.says_one_sentence(result))
    shutil.rmtree(stopped)
    return tally


def _harms_of_unfinished(run: Path) -> Iterator[tuple[str, Callable[[Path], object]]]:
    parts = sorted(folder.name for folder in (run / "parts").iterdir() if not folder.name.startswith("."))
    ways = list(HARMS.items())
    for number, file in enumerate(file for file in sorted(run.rglob("*")) if file.is_file() and file.name != ".lock"):
        name = file.relative_to(run)
        if name.parts[0] == "parts" and name.parts[1] not in (parts[0], parts[-1]):
            continue
        # a data file in one way each, the few that hold everything together in every way
        for how, harm in [ways[number % len(ways)]] if file.suffix in (".parquet", ".safetensors") else ways:
            yield f"{name} {how}", lambda path, name=name, harm=harm: harm(path / name)
    for part in (parts[0], parts[-1]):
        yield f"part {part} removed", lambda path, part=part: shutil.rmtree(path / "parts" / part)
        for copied in (f"{part} (copy)", f"{int(part) + 1:06d}"):
            yield (
                f"part {part} copied to {copied}",
                lambda path, part=part, copied=copied: shutil.copytree(path / "parts" / part, path / "parts" / copied),
            )
    for state in sorted(folder.name for folder in (run / "checkpoints").iterdir()):
        yield (
            f"checkpoint {state} renamed",
            lambda path, state=state: (path / "checkpoints" / state).rename(
                path / "checkpoints" / f"{int(state) + 2:06d}"
            ),
        )


def main() -> int:
    """Do all of it with a tenth of the times, or those named: for trying out; `faults.py` records."""
    chosen = sys.argv[1:] or [*KILLED, "full_disk", "damaged_files", "damaged_unfinished"]
    good = True
    for name in chosen:
        with tempfile.TemporaryDirectory() as folder:
            commands = Commands(Path(folder).resolve())
            corpus = write_text(commands.folder / "texts")
            if name in KILLED:
                tally = KILLED[name](commands, max(4, TIMES.get(name, 0) // 10), corpus)
            else:
                tally = {
                    "full_disk": lambda c, t: full_disk(c, 6, t),
                    "damaged_files": damaged_files,
                    "damaged_unfinished": damaged_unfinished,
                }[name](commands, corpus)
            commands.close()
        good &= not tally.wrong
        print(f"{name}: x{tally.times}, exit {sorted(tally.statuses)}, {len(tally.wrong)} wrong", flush=True)
        print("\n".join(f"  {line}" for line in tally.wrong[:12]), flush=True)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
