"""The GitHub workflow, as far as it can be read without GitHub: it runs what exists and publishes what was tested."""

import re
import subprocess
from typing import Any

import pytest
import yaml

from civilwar import paths

ROOT = paths.repository()
# BaseLoader keeps "on" a word: YAML 1.1, which PyYAML reads, takes it for true
WORKFLOW = yaml.load((ROOT / ".github" / "workflows" / "book.yml").read_text(encoding="utf-8"), yaml.BaseLoader)
TEST, DEPLOY = (WORKFLOW["jobs"][name] for name in ("test", "deploy"))


def steps(key: str) -> list[str]:
    return [step[key] for job in WORKFLOW["jobs"].values() for step in job["steps"] if key in step]


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
    assert unknown_commands(steps("run")) == []


def test_an_unknown_command_is_noticed() -> None:
    wrong = ["make everything", "jupyter-book build book/"]
    assert unknown_commands(["make test\n" + "\n".join(wrong)]) == wrong


def test_actions_are_github_s_own_at_a_major_version() -> None:
    assert len(steps("uses")) == 4
    assert all(re.fullmatch(r"actions/[a-z-]+@v\d+", used) for used in steps("uses"))


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
    assert {job["runs-on"] for job in WORKFLOW["jobs"].values()} == {"ubuntu-24.04"}
