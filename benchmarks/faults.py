"""What runs survive: `python benchmarks/faults.py` does it to them, some minutes on any machine.

Every fault is done to real runs of the smoke preset, through the command line wherever a user would meet it there. A row says
what that user sees, the exit status and the one sentence, and whether the tables, once the run has been resumed, equal those
of an uninterrupted run byte for byte. Prints the table, writes ``data/benchmarks/faults.json``, from which the book's page is
made, and exits with 1 if any outcome is not what it should be.
"""

import os
import platform
import pty
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import jupyter_client
import kills
import torch

from civilwar import paths
from civilwar.files import read_json, sha256, write_json
from civilwar.runs.manifest import MANIFEST, read_manifest, write_manifest

FAULTY = Path(__file__).with_name("faulty.py")
CORPUS = "docstrings:networkx"
RESULT = "benchmarks/faults.json"
# a shell's background jobs, and all that they start, ignore the signal of Ctrl-C
IN_TERMINAL = """import fcntl, os, signal, sys, termios
signal.signal(signal.SIGINT, signal.SIG_DFL)
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execv(sys.argv[1], sys.argv[1:])"""
#: Problems printed of each row.
MOST_SHOWN = 8
#: Full disks for each of training, caches and recording.
FULL_TIMES = 12


@dataclass
class Outcome:
    """One row of the table."""

    fault: str
    times: int
    status: str
    """Exit status of the command, as a shell shows it; of several, all that occurred."""
    sentence: str
    """What the command said, paths shortened to names."""
    lost: str
    """``nothing`` where the tables after resuming equal the uninterrupted run's."""
    good: bool
    """Whether all of it is as it should be."""


class Workshop:
    """A folder of runs, an uninterrupted one among them, and ways of running the command line there."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.runs = folder, folder / "runs"
        self.environment = os.environ | {
            "CIVILWAR_RUNS": str(self.runs),
            "CIVILWAR_CACHE": str(folder / "cache"),
            "OMP_NUM_THREADS": "1",
        }
        status, said = self.train("uninterrupted")
        if status:
            raise SystemExit(f"the uninterrupted run failed: {said}")
        self.uninterrupted = self.tables("uninterrupted")

    def command(self, name: str, fault: str = "none", argument: int = 0) -> list[str]:
        """``civilwar train`` of the smoke preset with a fault built in."""
        return [sys.executable, str(FAULTY), fault, str(argument), CORPUS, name]

    def train(self, name: str, fault: str = "none", argument: int = 0) -> tuple[int, str]:
        """Exit status, as a shell shows it, and what was said on the error stream."""
        return self.run(self.command(name, fault, argument))

    def run(self, command: list[str]) -> tuple[int, str]:
        """The same of any command."""
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True, check=False)
        return shell_status(done.returncode), self.shortened(done.stderr)

    def shortened(self, text: str) -> str:
        """Paths of this folder without it."""
        return text.strip().replace(f"{self.runs}/", "").replace(f"{self.folder}/", "")

    def tables(self, name: str) -> dict[str, str]:
        """Checksums of all tables and arrays of a complete run."""
        folder = self.runs / name
        files = [*folder.glob("tables/*"), *folder.glob("arrays/*")]
        return {file.relative_to(folder).as_posix(): sha256(file) for file in files}

    def whole_again(self, name: str) -> bool:
        """Run the command once more, without a fault: does it end like the uninterrupted run?"""
        status, _ = self.train(name)
        return status == 0 and self.tables(name) == self.uninterrupted

    def stopped(self, name: str) -> Path:
        """A run that was killed after its second checkpoint, that of step 5."""
        with subprocess.Popen(self.command(name, "hold", 60), env=self.environment, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            # it is held a little after that
            process.stdout.readline()
            process.kill()
        return self.runs / name


def shell_status(code: int) -> int:
    """128 + the signal's number, as shells do."""
    return 128 - code if code < 0 else code


def one_sentence(text: str, pattern: str) -> bool:
    """Whether a message is a single line that says what is expected."""
    return len(text.splitlines()) == 1 and re.search(pattern, text) is not None


def flip(file: Path) -> None:
    """Turn one bit in the middle."""
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 4
    file.write_bytes(content)


def cut(file: Path) -> None:
    """Keep the first half."""
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


# ---------------------------------------------------------------- the faults


def series(
    do: Callable[[kills.Commands, str], kills.Tally], fault: str, wanted: set[int]
) -> Callable[[Workshop], Outcome]:
    """A row of many interruptions or harms, done in a folder of their own."""

    def row(shop: Workshop) -> Outcome:
        commands = kills.Commands(Path(tempfile.mkdtemp(dir=shop.folder)))
        try:
            tally = do(commands, kills.write_text(commands.folder / "texts"))
        finally:
            commands.close()
        for problem in tally.wrong[:MOST_SHOWN]:
            print(f"    {problem[:300]}", flush=True)
        sentence = tally.sentence.replace(f"{commands.runs}/", "").replace(f"{commands.folder}/", "")
        return outcome(fault, tally.times, tally.statuses, sentence, not tally.wrong, wanted)

    return row


def kills_of(command: str, fault: str) -> Callable[[Workshop], Outcome]:
    """A row of `kills.KILLED`."""
    return series(lambda commands, corpus: kills.KILLED[command](commands, kills.TIMES[command], corpus), fault, {137})


def full_disk(shop: Workshop) -> Outcome:
    """No file may grow beyond a limit."""
    statuses, whole, sentence = set(), True, ""
    for limit in (300, 20_000, 100_000):
        name = f"full-{limit}"
        status, sentence = shop.train(name, "limit", limit)
        statuses.add(status)
        whole &= one_sentence(sentence, r"could not be written: .* goes on from the checkpoint of step \d+\.$")
        whole &= shop.whole_again(name)
    return outcome("the disk refuses to write: a table, a larger table, the state", 3, statuses, sentence, whole, {1})


def damaged_checkpoint(harm: Callable[[Path], None], how: str) -> Callable[[Workshop], Outcome]:
    """The newest checkpoint's state is cut short or altered."""

    def do(shop: Workshop) -> Outcome:
        path = shop.stopped(f"checkpoint-{how.split()[0]}")
        newest = max((path / "checkpoints").glob("[0-9]*"))
        harm(newest / "state.pt")
        status, sentence = shop.train(path.name)
        said = one_sentence(sentence, r"checkpoint .* is damaged.*Remove that folder to go on from step \d+")
        shutil.rmtree(newest)  # as the sentence says
        return outcome(
            f"the newest checkpoint is {how}", 1, {status}, sentence, said and shop.whole_again(path.name), {1}
        )

    return do


def damaged_manifest(harm: Callable[[Path], None], how: str, says: str) -> Callable[[Workshop], Outcome]:
    """The manifest of an unfinished run is cut short or altered."""

    def do(shop: Workshop) -> Outcome:
        path = shop.stopped(f"manifest-{how.split()[0]}")
        file = path / MANIFEST
        copy = file.read_bytes()
        harm(file)
        harmed = file.read_bytes()
        status, sentence = shop.train(path.name)
        said = one_sentence(sentence, rf"manifest\.json {says}.*Restore it") and file.read_bytes() == harmed
        file.write_bytes(copy)
        return outcome(f"the manifest is {how}", 1, {status}, sentence, said and shop.whole_again(path.name), {1})

    return do


def damaged_part(shop: Workshop) -> Outcome:
    """A table of an unfinished run is cut short, then altered."""
    statuses, whole, sentence = set(), True, ""
    for number, harm in enumerate((cut, flip)):
        path = shop.stopped(f"part-{number}")
        file = min((path / "parts").glob("*/tables/step_kv_heads.parquet"))
        copy = file.read_bytes()
        harm(file)
        status, sentence = shop.train(path.name)
        statuses.add(status)
        whole &= one_sentence(sentence, r"step_kv_heads\.parquet is missing, was cut short or altered")
        file.write_bytes(copy)
        whole &= shop.whole_again(path.name)
    return outcome("a table of an unfinished run is cut short, or has a flipped bit", 2, statuses, sentence, whole, {1})


def damaged_table(shop: Workshop) -> Outcome:
    """A table of a complete run has a flipped bit, and somebody wants to record it."""
    shutil.copytree(shop.runs / "uninterrupted", shop.runs / "table")
    file = shop.runs / "table" / "tables" / "step_kv_heads.parquet"
    copy = file.read_bytes()
    flip(file)
    status, sentence = shop.run([sys.executable, "-m", "civilwar.cli", "record", "table", "--publish"])
    said = one_sentence(sentence, r"step_kv_heads\.parquet differs from the checksum")
    file.write_bytes(copy)
    return outcome(
        "a table of a complete run has a flipped bit, and is to be recorded",
        1,
        {status},
        sentence,
        said and shop.whole_again("table"),
        {1},
    )


def damaged_cache(shop: Workshop) -> Outcome:
    """The token cache is cut short, then altered."""
    statuses, whole, sentence = set(), True, ""
    for number, harm in enumerate((cut, flip)):
        (file,) = (shop.folder / "cache").glob("tokens-*/tokens.safetensors")
        harm(file)
        status, sentence = shop.train(f"cache-{number}")
        statuses.add(status)
        whole &= one_sentence(sentence, r"cache entry .* is damaged \(tokens\.safetensors has changed\)\. Remove that")
        shutil.rmtree(file.parent)  # as the sentence says
        whole &= shop.whole_again(f"cache-{number}")
    return outcome("the token cache is cut short, or has a flipped bit", 2, statuses, sentence, whole, {1})


def second_writer(shop: Workshop) -> Outcome:
    """The same run is started twice at once."""
    with subprocess.Popen(shop.command("twice", "hold", 60), env=shop.environment, stdout=subprocess.PIPE) as first:
        assert first.stdout is not None
        first.stdout.readline()
        status, sentence = shop.train("twice")
        first.kill()
    said = one_sentence(sentence, r"is being written by another process")
    return outcome(
        "a second process writes the same run", 1, {status}, sentence, said and shop.whole_again("twice"), {1}
    )


def older_schema(shop: Workshop) -> Outcome:
    """The folder holds a run of an older version of the tables."""
    path = shop.stopped("older")
    file = path / MANIFEST
    copy = file.read_text()
    entries = read_manifest(path)
    entries["config"]["schema_version"] -= 1
    write_manifest(path, entries)
    status, sentence = shop.train(path.name)
    said = one_sentence(sentence, r"schema_version")
    file.write_text(copy)
    return outcome(
        "the folder holds a run of an older schema", 1, {status}, sentence, said and shop.whole_again(path.name), {1}
    )


def not_a_number(shop: Workshop) -> Outcome:
    """The loss becomes NaN."""
    status, sentence = shop.train("nan", "nan", 10)
    said = one_sentence(sentence, r"the loss is nan at step 1[0-4] .*checkpoint of step \d+")
    rows = shop.run(
        [
            sys.executable,
            "-c",
            "from civilwar.runs.reader import open_run\n"
            "a, b = (open_run(n).table('train') for n in ('nan', 'uninterrupted'))\n"
            "assert a.loss[:10].equals(b.loss[:10]) and a.loss[10:].isna().all(), a",
        ]
    )
    return outcome(
        "the loss becomes NaN", 1, {status}, sentence, said and rows[0] == 0, {1}, "nothing up to the step named"
    )


def ctrl_c_in_a_terminal(shop: Workshop) -> Outcome:
    """Ctrl-C, typed into a terminal."""
    main, child = pty.openpty()
    # a session of its own, with the pseudo-terminal as its own: ^C then reaches it as it does a user's
    process = subprocess.Popen(
        [sys.executable, "-c", IN_TERMINAL, *shop.command("ctrl-c", "interrupt", 10)],
        env=shop.environment,
        stdin=child,
        stdout=child,
        stderr=child,
        start_new_session=True,
    )
    os.close(child)
    seen = b""
    while b"READY" not in seen:
        seen += os.read(main, 1024)
    os.write(main, b"\x03")
    process.wait()
    os.set_blocking(main, False)
    said = os.read(main, 4096).decode().replace("^C", "").strip()
    os.close(main)
    good = one_sentence(said, r"ctrl-c was interrupted; .* goes on from the checkpoint of step \d+\.$")
    return outcome(
        "Ctrl-C in a terminal", 1, {shell_status(process.returncode)}, said, good and shop.whole_again("ctrl-c"), {130}
    )


def interrupt_in_a_notebook(shop: Workshop) -> Outcome:
    """The stop button of a notebook, then the same cell again."""
    prepare = (
        f"import sys; sys.path.insert(0, {str(FAULTY.parent)!r})\n"
        "import faulty; from civilwar.training import loop as train; from civilwar.recipe.config import make_config\n"
        "update = train.Session.update\n"
        "faulty.after_updates(10, lambda session: faulty.wait(60, 'READY'))\n"
    )
    cell = f"train.train(make_config('smoke', corpus={CORPUS!r}), 'notebook', 'cpu', 3, progress=False)"
    manager = jupyter_client.KernelManager(kernel_name="python3")
    manager.start_kernel(env=shop.environment)
    client = manager.blocking_client()
    client.start_channels()
    client.wait_for_ready()
    try:
        client.execute(prepare + cell)
        while (message := client.get_iopub_msg())["content"].get("text", "") != "READY\n":
            if message["msg_type"] == "error":
                raise RuntimeError(message["content"])
        manager.interrupt_kernel()
        reply = client.get_shell_msg()["content"]
        # the same kernel, the same cell, but nobody waits any more
        client.execute("train.Session.update = update\n" + cell)
        again = client.get_shell_msg()["content"]["status"]
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
    said = reply.get("evalue", "")
    whole = one_sentence(said, r"notebook was interrupted; .* goes on from the checkpoint of step \d+\.$")
    whole &= reply.get("ename") == "KeyboardInterrupt" and again == "ok"
    whole &= shop.tables("notebook") == shop.uninterrupted
    return outcome("interrupt in a notebook, then the same cell again", 1, set(), said, whole, set())


def outcome(
    fault: str, times: int, statuses: set[int], sentence: str, whole: bool, wanted: set[int], lost: str = "nothing"
) -> Outcome:
    """A row, with its judgement."""
    status = ", ".join(str(status) for status in sorted(statuses)) or "–"
    good = whole and statuses == wanted
    return Outcome(
        fault, times, status, sentence.removeprefix("civilwar: ") or "–", lost if whole else "see the run", good
    )


AT_A_CALL = "kill -9 at a system call"
FAULTS: dict[str, Callable[[Workshop], Outcome]] = {
    "kills_training": kills_of("training", f"{AT_A_CALL} of a training run; one in five killed again while it resumed"),
    "kills_caches": kills_of("caches", f"{AT_A_CALL} while tokenizer and tokens are cached"),
    "kills_recording": kills_of(
        "recording", f"{AT_A_CALL} of civilwar record, half of them while it replaces a recording"
    ),
    "kills_sweep": kills_of("sweep", f"{AT_A_CALL} of a sweep of two runs"),
    "kills_papermill": kills_of("papermill", f"{AT_A_CALL} while a notebook is executed over an older execution"),
    "kills_book": kills_of(
        "book", f"{AT_A_CALL}, or with all that it started, while a book is built over an older one"
    ),
    "full_everywhere": series(
        lambda commands, corpus: kills.full_disk(commands, FULL_TIMES, corpus),
        "the disk is full from some system call on: training, caches, recording; then there is room again",
        # from the last calls on nothing more is written, and the command is done
        {0, 1},
    ),
    "damaged_files": series(
        kills.damaged_files, "each file of a complete run and of a recording: bits flipped, cut, emptied, removed", {1}
    ),
    "damaged_unfinished": series(
        kills.damaged_unfinished,
        "files of an unfinished run likewise; its parts and checkpoints removed, copied, renamed",
        {0, 1},
    ),
    "full_disk": full_disk,
    "checkpoint_cut": damaged_checkpoint(cut, "cut short"),
    "checkpoint_flipped": damaged_checkpoint(flip, "altered in one bit"),
    "manifest_cut": damaged_manifest(cut, "cut short", "cannot be read as JSON"),
    "manifest_flipped": damaged_manifest(flip, "altered in one bit", "(was altered|cannot be read as JSON)"),
    "part": damaged_part,
    "table": damaged_table,
    "cache": damaged_cache,
    "second_writer": second_writer,
    "older_schema": older_schema,
    "nan": not_a_number,
    "ctrl_c": ctrl_c_in_a_terminal,
    "notebook": interrupt_in_a_notebook,
}


#: Rows that are done in a folder of their own.
SERIES = (*(f"kills_{command}" for command in kills.TIMES), "full_everywhere", "damaged_files", "damaged_unfinished")


@contextmanager
def workshop() -> Iterator[Workshop]:
    """A folder that goes again."""
    with tempfile.TemporaryDirectory() as folder:
        yield Workshop(Path(folder).resolve())


def main() -> int:
    """Do all of them, or those named, and record them; those that have a folder of their own two at a time."""
    chosen = sys.argv[1:] or list(FAULTS)

    def do(name: str, shop: Workshop) -> Outcome:
        row = FAULTS[name](shop)
        judged = "ok " if row.good else "BAD"
        print(f"{judged} {row.fault} (x{row.times}): exit {row.status}; {row.sentence}", flush=True)
        return row

    with workshop() as shop:
        apart = [name for name in chosen if name in SERIES]
        with ThreadPoolExecutor(2) as pool:
            rows = dict(zip(apart, pool.map(lambda name: do(name, shop), apart), strict=True))
        rows |= {name: do(name, shop) for name in chosen if name not in SERIES}
    file = paths.recorded() / RESULT
    before = {row["name"]: row for row in read_json(file)["faults"]} if file.is_file() else {}
    recorded = {name: row for name, row in before.items() if name in FAULTS} | {
        name: {"name": name} | asdict(row) for name, row in rows.items()
    }
    if recorded.keys() == FAULTS.keys():
        versions = {"python": platform.python_version(), "torch": torch.__version__.partition("+")[0]}
        # a list, so that they stand in the page in the order of this file
        faults = [recorded[name] for name in FAULTS]
        write_json(file, {"versions": versions, "system": platform.system(), "faults": faults})
    return 0 if all(row.good for row in rows.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
