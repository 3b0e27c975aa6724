"""Preregistration that a machine checks: one hash over what decides, and a list of the hashes that were ever in force.

The hash covers, and nothing else does:

- which deciding criteria each claim has, with role, side and threshold, and how each is decided;
- the code of their estimators, of the decision, and of every function and constant that they use, followed from name to name
  (`civilwar.evidence.following`), down to the metrics of snapshots and to which runs may speak;
- the plan, with what decides of each configuration, and the names of the kinds of head.

Comments, docstrings, layout, what an error says, criteria that are only shown, and the words of a rule are left out: they may
be mended at any time.

A run's manifest records the hash that was in force when its training began; none where what was in force was not registered. A
run with any other hash than the one in force now is exploratory, and so is one that began before that hash was registered.
Whoever changes what is hashed runs ``python -m civilwar.evidence.registration register --note "why"``, which adds a row to the
table of amendments: what changed, when, and which fresh runs had begun by then.
"""

import argparse
import hashlib
import json
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

from civilwar import paths
from civilwar.errors import RunError
from civilwar.evidence.following import Place, reached
from civilwar.evidence.rule import DECIDING
from civilwar.evidence.rules import RULES
from civilwar.files import read_json, write_json
from civilwar.names.kinds import KINDS
from civilwar.recipe import plan
from civilwar.runs.manifest import MANIFEST

#: The list of registrations, oldest first.
FILE = Path(__file__).with_name("registered.json")
#: What decides, whatever the claims are.
DECISION = (
    ("civilwar.evidence.decision", "verdict_of"),
    ("civilwar.evidence.claims", "decide"),
    ("civilwar.evidence.rungs", "open_evidence"),
)
#: What the deciding criteria were measured with, by its name in `civilwar.measure.metrics`.
MEASURED = (
    "vector_norm",
    "energy",
    "covariance_spectrum",
    "attention_logits",
    "causal_attention",
    "attention_at",
    "sink_alpha",
    "OF_ATTENTION[entropy_normalised]",
    "OF_ATTENTION[top_logit_spread]",
    "OF_ATTENTION[separator_mass]",
    "OF_ATTENTION[previous_token_score]",
    "OF_ATTENTION[nearby_mass]",
    "OF_REPEATED[induction_score]",
    "OF_REPEATED[duplicate_token_score]",
    "OF_KEYS[coordinate_participation_ratio]",
    "OF_KEYS[participation_ratio]",
    "OF_KEYS[effective_rank]",
)


# ---------------------------------------------------------------- the hash


def roots() -> tuple[Place, ...]:
    """Where following begins: the decision, the estimators of the criteria that decide, and what they were measured with."""
    deciding = [c.name for rule in RULES for c in rule.criteria if c.role in (*DECIDING, "construction")]
    return (
        *DECISION,
        *(("civilwar.evidence.estimators", f"ESTIMATORS[{name}]") for name in deciding),
        *(("civilwar.measure.metrics", name) for name in MEASURED),
    )


@cache
def parts() -> dict[str, str]:
    """Everything that is registered, by what it is, each as 12 hexadecimal digits of its SHA-256."""
    rules = {
        f"rule {rule.id}": [
            [c.name, c.role, c.side, c.threshold, c.worst] for c in rule.criteria if c.role != "context"
        ]
        for rule in RULES
    }
    code = {f"{module.removeprefix('civilwar.')}.{name}": text for (module, name), text in reached(roots()).items()}
    planned = {f"plan {name}": described for name, described in plan.described().items()}
    everything: dict[str, Any] = {**rules, **planned, **code, "kinds of head": list(KINDS)}
    return {name: _digest(value)[:12] for name, value in sorted(everything.items())}


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def current() -> str:
    """The hash of what is in force now: 16 hexadecimal digits."""
    return _digest(parts())[:16]


def registrations() -> list[dict[str, Any]]:
    """Every registration, oldest first: hash, date (UTC), note, fresh_runs, changed and parts."""
    stored = read_json(FILE) if FILE.is_file() else {"registrations": []}
    return list(stored["registrations"])


def is_registered() -> bool:
    """Whether what is in force now is what was registered last."""
    done = registrations()
    return bool(done) and done[-1]["hash"] == current()


def in_force() -> dict[str, Any] | None:
    """The registration of what is in force now; None where that is not what was registered last."""
    return registrations()[-1] if is_registered() else None


def in_force_hash() -> str | None:
    """The hash that a run records which begins now: None where what is in force is not registered."""
    now = in_force()
    return None if now is None else str(now["hash"])


def began_under(manifest: Mapping[str, Any], registration: Mapping[str, Any] | None) -> bool:
    """Whether a run's training began under a registration and after it, by what its manifest says."""
    if registration is None or manifest.get("rules") != registration["hash"]:
        return False
    sittings = manifest.get("sittings", [])
    first = sittings[0].get("started") if sittings else None
    return first is not None and datetime.fromisoformat(first) >= datetime.fromisoformat(registration["date"])


def changed(before: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """Names of the parts that are in one only, or differ."""
    return sorted(name for name in {*before, *now} if before.get(name) != now.get(name))


def fresh_runs() -> list[str]:
    """Planned runs whose training has begun, this machine's or recorded, by folder."""
    planned = {config.default_name for group in plan.GROUPS.values() for config in group.planned()}
    return sorted(
        name for name in planned if any((root / name / MANIFEST).is_file() for root in (paths.runs(), paths.recorded()))
    )


def register(note: str) -> dict[str, Any]:
    """Register what is in force now, with a note that says why. Returns the new row; the last where nothing changed."""
    done = registrations()
    now = parts()
    if done and done[-1]["hash"] == current():
        return done[-1]
    row = {
        "hash": current(),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "note": note,
        "fresh_runs": fresh_runs(),
        "changed": changed(done[-1]["parts"], now) if done else [],
        "parts": now,
    }
    # what an older row's parts were, its successor's ``changed`` says
    older = [{**old, "parts": {}} for old in done]
    write_json(FILE, {"registrations": [*older, row]})
    return row


def main(arguments: list[str] | None = None) -> int:
    """``check`` says whether what is in force is registered, and what differs; ``register`` registers it."""
    parser = argparse.ArgumentParser(prog="python -m civilwar.evidence.registration", description=main.__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("check", help="status 1 where rules, code or plan differ from what was registered last")
    asked = commands.add_parser("register", help="register what is in force now")
    asked.add_argument("--note", required=True, help="what changed, and why")
    options = parser.parse_args(arguments)
    try:
        if options.command == "register":
            row = register(options.note)
            print(f"{row['hash']} registered {row['date']}: {row['note']}")
            return 0
        if is_registered():
            print(f"{current()} is registered ({registrations()[-1]['note']}).")
            return 0
        before = registrations()[-1]["parts"] if registrations() else {}
        print(f"{current()} is not registered. It differs in: {', '.join(changed(before, parts()))}.")
        return 1
    except (OSError, RunError) as error:
        print(error, file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
