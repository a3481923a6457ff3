"""deploy/systemd: units that systemd takes, how exposed the service is, and commands that the program takes."""

import re
import subprocess
import sys
from pathlib import Path

import click
import pytest

from tests.commands import parsed
from tests.programs import Programs

FOLDER = Path(__file__).parents[1] / "deploy" / "systemd"
SERVICE, TIMER = "dgmmis-reprocess@.service", "dgmmis-reprocess@.timer"

EXPOSURE = 15
"""Tenths, of 100; what is left is the network of the machine itself, and code that is compiled as it runs."""

needs_systemd = Programs(("systemd-analyze",), "systemd").needed


@pytest.fixture
def units(tmp_path: Path) -> Path:
    """The units, with a program that is there."""
    for name in (SERVICE, TIMER):
        text = (FOLDER / name).read_text()
        (tmp_path / name).write_text(text.replace("/opt/dgmmis/bin/dgmmis", sys.executable))
    return tmp_path


def analysed(*words: str | Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(["systemd-analyze", *words], capture_output=True, text=True, timeout=60, check=False)


def verified(units: Path) -> str:
    """What systemd has to say against them."""
    done = analysed("verify", units / SERVICE, units / TIMER)
    return done.stderr.strip() or ("" if done.returncode == 0 else "refused")


@needs_systemd
def test_systemd_takes_the_units(units: Path) -> None:
    assert verified(units) == ""


@needs_systemd
@pytest.mark.parametrize(
    ("name", "line", "wrong", "complaint"),
    [
        (SERVICE, "Type=exec", "Type=oneshot", "RestartForceExitStatus= set, which isn't allowed"),
        (SERVICE, "NoNewPrivileges=yes", "NoNewPrivilegs=yes", "NoNewPrivilegs"),
        (SERVICE, "RestartSec=5min", "RestartSec=5mins7", "Failed to parse"),
        (TIMER, "OnCalendar=*-*-* 03:00:00", "OnCalendar=*-*-* 33:00:00", "Failed to parse calendar"),
    ],
)
def test_a_planted_error_is_found(units: Path, name: str, line: str, wrong: str, complaint: str) -> None:
    path = units / name
    assert line in path.read_text()
    path.write_text(path.read_text().replace(line, wrong))
    assert complaint in verified(units)


@needs_systemd
def test_the_service_is_exposed_to_little(units: Path) -> None:
    """And the threshold is one that can be missed: without the filter of system calls, say."""
    judge = ("security", "--offline=true", "--no-pager", f"--threshold={EXPOSURE}")
    done = analysed(*judge, units / SERVICE)
    assert done.returncode == 0, done.stdout.splitlines()[-1]
    text = (units / SERVICE).read_text()
    (units / SERVICE).write_text(re.sub(r"^(SystemCallFilter|RestrictNamespaces)=.*\n", "", text, flags=re.M))
    assert analysed(*judge, units / SERVICE).returncode != 0


def test_75_is_tried_again_and_is_no_failure() -> None:
    text = (FOLDER / SERVICE).read_text()
    assert {"SuccessExitStatus=75", "RestartForceExitStatus=75"} <= set(text.splitlines())


def test_the_program_takes_its_command() -> None:
    (command,) = re.findall(r"^ExecStart=(.*)", (FOLDER / SERVICE).read_text(), flags=re.M)
    assert str(parsed(command)["job"]) == "survey.toml"


def test_the_program_takes_the_command_of_the_cron_line() -> None:
    (line,) = re.findall(r"^\d.*", (FOLDER / "dgmmis-reprocess.cron").read_text(), flags=re.M)
    *when, user, command = re.split(r"\s+", line, maxsplit=6)
    assert len(when) == 5
    assert user == "dgmmis"
    assert str(parsed(command.partition(" > ")[0])["job"]) == "survey.toml"


@pytest.mark.parametrize(
    ("command", "complaint"),
    [
        ("dgmmis fit --qiuet survey.toml", "--qiuet"),
        ("dgmmis fit", "JOB"),
        ("dgmmis fitt survey.toml", "no command"),
        ("dask worker tcp://a:1 --nthreads many", "--nthreads"),
        ("dask scheduler --hosst a", "--hosst"),
    ],
)
def test_commands_that_the_programs_do_not_take(command: str, complaint: str) -> None:
    with pytest.raises(click.ClickException) as caught:
        parsed(command)
    assert complaint in caught.value.format_message()
