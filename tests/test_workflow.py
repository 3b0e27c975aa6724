"""The GitHub workflow, as far as it can be read without GitHub: it runs what exists and publishes what was tested."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from civilwar import paths

ROOT = paths.repository()


# BaseLoader keeps "on" a word: YAML 1.1, which PyYAML reads, takes it for true
def load(name: str) -> dict[str, Any]:
    read: dict[str, Any] = yaml.load((ROOT / ".github" / name).read_text(encoding="utf-8"), yaml.BaseLoader)
    return read


WORKFLOW, SUPPLY = load("workflows/book.yml"), load("workflows/supply.yml")
TEST, DEPLOY = (WORKFLOW["jobs"][name] for name in ("test", "deploy"))


def steps(key: str, workflow: dict[str, Any] = WORKFLOW) -> list[str]:
    return [step[key] for job in workflow["jobs"].values() for step in job["steps"] if key in step]


def unknown_commands(commands: list[str]) -> list[str]:
    """Those that are no target of the Makefile; asked of make itself, which only says what it would run."""
    return [
        line
        for command in commands
        for line in command.splitlines()
        if not re.fullmatch(r"make [a-z]+", line)
        or subprocess.run([*line.split(), "--dry-run"], cwd=ROOT, capture_output=True, check=False).returncode
    ]


def test_every_command_is_a_target_of_the_makefile() -> None:
    assert steps("run") == ["make test", "make html"]
    assert steps("run", SUPPLY) == ["make audit", "make wheel"]
    assert unknown_commands([*steps("run"), *steps("run", SUPPLY)]) == []


def test_an_unknown_command_is_noticed() -> None:
    wrong = ["make everything", "jupyter-book build book/"]
    assert unknown_commands(["make test\n" + "\n".join(wrong)]) == wrong


def test_actions_are_github_s_own_at_a_commit_whose_version_stands_beside_it() -> None:
    used = [*steps("uses"), *steps("uses", SUPPLY)]
    assert len(used) == 10
    assert all(re.fullmatch(r"actions/[a-z-]+@[0-9a-f]{40}", name) for name in used)
    for file in (ROOT / ".github" / "workflows").iterdir():
        text = file.read_text(encoding="utf-8")
        pinned = re.findall(r"uses: \S+@[0-9a-f]{40} # v\d+\.\d+\.\d+$", text, re.MULTILINE)
        assert len(pinned) == text.count("uses:")
    # one commit of each, so that an update changes all
    assert len(set(used)) == len({name.split("@")[0] for name in used})


def test_no_checkout_leaves_a_token_behind() -> None:
    checkouts = [
        step
        for workflow in (WORKFLOW, SUPPLY)
        for job in workflow["jobs"].values()
        for step in job["steps"]
        if step.get("uses", "").startswith("actions/checkout@")
    ]
    assert [step["with"] for step in checkouts] == [{"persist-credentials": "false"}] * 3


def test_the_workflows_have_no_known_slip() -> None:
    """What `make audit` asks, as far as it needs no network."""
    program = Path(sys.executable).with_name("zizmor")
    done = subprocess.run(
        [program, "--offline", "--pedantic", ROOT / ".github"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout


def test_only_wheels_of_main_are_signed_and_nothing_else_may_be() -> None:
    wheel = SUPPLY["jobs"]["wheel"]
    assert wheel["if"] == "github.event_name == 'push' && github.ref == 'refs/heads/main'"
    assert wheel["permissions"] == {"contents": "read", "id-token": "write", "attestations": "write"}
    assert SUPPLY["permissions"] == {"contents": "read"}
    assert "permissions" not in SUPPLY["jobs"]["audit"]
    uses = [step.get("uses", step.get("run", "")).split("@")[0] for step in wheel["steps"]]
    assert (
        uses.index("make wheel") < uses.index("actions/attest-build-provenance") < uses.index("actions/upload-artifact")
    )


def test_the_bot_looks_after_actions_and_packages() -> None:
    updates = load("dependabot.yml")["updates"]
    assert [update["package-ecosystem"] for update in updates] == ["github-actions", "pip"]


def test_pushes_to_main_and_pull_requests_are_tested_with_the_lock_s_python() -> None:
    assert WORKFLOW["on"] == {"push": {"branches": ["main"]}, "pull_request": ""}
    (python,) = (step["with"] for step in TEST["steps"] if step.get("uses", "").startswith("actions/setup-python"))
    assert python["python-version"] == "3.11"
    assert (ROOT / python["cache-dependency-path"]).is_file()


def test_only_main_is_published_and_only_after_the_tests() -> None:
    assert DEPLOY["needs"] == "test"
    assert DEPLOY["if"] == "github.event_name == 'push' && github.ref == 'refs/heads/main'"
    uploads = [step.get("with", {}).get("path") for step in TEST["steps"] if "upload" in step.get("uses", "")]
    assert uploads == ["_build/html"]


@pytest.mark.parametrize(
    ("where", "permissions"),
    [(WORKFLOW, {"contents": "read"}), (DEPLOY, {"pages": "write", "id-token": "write"})],
    ids=["workflow", "deploy"],
)
def test_nothing_may_write_but_the_deployment(where: dict[str, Any], permissions: dict[str, str]) -> None:
    assert where["permissions"] == permissions
    assert "permissions" not in TEST


def test_no_job_needs_a_gpu() -> None:
    jobs = [*WORKFLOW["jobs"].values(), *SUPPLY["jobs"].values()]
    assert {job["runs-on"] for job in jobs} == {"ubuntu-24.04"}
