"""The examples run as the README says, and what they show is so."""

import re
import subprocess
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from PIL import Image

EXAMPLES = Path(__file__).parents[1] / "examples"
TEAL = (95, 227, 208)
"""What dgmmis finds is drawn in it."""

ROW = re.compile(r"^(.{30}) *([\d,.-]+) +([\d,.-]+) +([+-][\d.]+) +([\d,.-]+) +\+- +([\d,.]+) +([+-][\d.]+)$", re.M)
"""Of a table: name, truth, the wrong way, how far it is off, dgmmis, error, how far that is off."""

LINE = re.compile(r"^(.{22})(.{36})(.{21})\s+([\d,.-]+)\s+([\d,.-]+)\s+([\d,.-]+)\s+([+-][\d.]+)\s+([+-][\d.]+)$", re.M)


@pytest.fixture(scope="module")
def lines() -> dict[str, tuple[float, float]]:
    """Of a small survey: what a fit believes -> how far off it is, and dgmmis is, in standard errors."""
    script = EXAMPLES / "what_goes_wrong.py"
    done = subprocess.run(
        [sys.executable, script, "--objects", "4000"], capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "did not converge" not in done.stdout
    return {match[2].strip(): (float(match[7]), float(match[8])) for match in LINE.finditer(done.stdout)}


def test_every_effect_matters_but_where_it_is_said_not_to(lines: dict[str, tuple[float, float]]) -> None:
    assert len(lines) == 9
    strong = (
        "measured values are the true ones",
        "everything was seen",
        "all belong to the two clumps",
        "they had none",
    )
    for belief in (*strong, "the mean will do for them"):
        assert abs(lines[belief][0]) > 5, belief  # with three times as many objects they are off by 15 and more
    for belief in ("it was the mean noise of the seen", "incomplete rows can be dropped"):
        assert abs(lines[belief][0]) < 4, belief


def test_with_everything_every_parameter_is_right(lines: dict[str, tuple[float, float]]) -> None:
    worst, _ = lines["(dgmmis, with everything)"]
    assert abs(worst) < 4  # of 13 normal parameters one is beyond in 8e-4 of all surveys; the seed is pinned


class Example(NamedTuple):
    """A script, its arguments, what the wrong way gets wrong, and what is said at the end."""

    script: str
    arguments: Sequence[str]
    wrong: Sequence[str]
    says: str


ASKED = (
    Example(
        "how_many_giants.py",
        ("--objects", "8000"),
        ("stars in all", "giants: share", "dwarfs: mean of magnitude", "dwarfs: mean of modulus"),
        r"of the stars are giants; of those seen, [23]\d%\.",
    ),
    Example(
        "how_do_stars_move.py",
        ("--objects", "3000"),
        ("thin disc: spread of U", "thin disc: mean of V", "thick disc: mean of V"),
        r"with zeros for what is missing it seems",
    ),
    Example(
        "how_many_kinds_of_eruptions.py",
        ("--objects", "1000"),
        ("short: spread of duration", "long: spread of duration"),
        r"There are 2 kinds; with the errors ignored there seem to be [3-5]\.",
    ),
    Example(
        "what_is_beyond_the_detector.py",
        ("--objects", "6000"),
        ("cells put aside", "neither: mean of marker 1", "neither: mean of marker 2"),
        r"cells are beyond the detector",
    ),
    Example(
        "is_the_slope_too_flat.py",
        ("--objects", "500"),
        ("slope", "scatter about the line"),
        r"The slope is [12]\.\d+ \+- 0\.\d+; least squares says 1\.\d+\.\n.*, 6[5-9]\..% have y within",
    ),
    Example(
        "does_a_bad_night_matter.py",
        ("--nights", "8"),
        ("mean y of the second kind",),
        r"night  4: version 000003 holds, .*, and its file is set aside\nnight  5: version 000004 holds, [^,]*$",
    ),
    Example(
        "what_did_penguins_weigh.py",
        ("--replicates", "60"),
        ("mean mass [g]", "correlation with the flipper"),
        r"On average they weigh",
    ),
    Example(
        "how_many_components.py",
        (),
        ("component 0: spread of i-z", "component 1: spread of i-z", "component 2: spread of i-z"),
        r"There are 4; with the errors ignored there seem to be [56]\.",
    ),
)

SLOW = ("how_many_components.py",)
"""Those that start a cluster."""

PENGUINS = "the penguins are in a package of their own: pip install --no-deps palmerpenguins"


def offs(text: str) -> dict[str, tuple[float, float]]:
    """Parameter -> how many standard errors the wrong way is off, and dgmmis; those of a component with its name."""
    found, kind = {}, ""
    for match in ROW.finditer(text):
        name = match[1].rstrip()
        if ":" in name:
            kind = name.partition(":")[0]
        found[f"{kind}: {name.lstrip()}" if name.startswith(" ") else name] = float(match[4]), float(match[7])
    return found


def run(script: str, *arguments: str | Path) -> str:
    """What a script prints, without warnings."""
    command = [sys.executable, EXAMPLES / script, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    assert "Warning:" not in done.stderr, done.stderr
    return done.stdout


def require_drawn(picture: Path) -> None:
    """That a picture has what dgmmis found in it."""
    pixels = np.asarray(Image.open(picture).convert("RGB"), dtype=float)
    assert min(pixels.shape[:2]) > 300
    assert np.mean(np.abs(pixels - TEAL).max(axis=2) < 40) > 5e-4


@pytest.mark.parametrize(
    "example",
    [pytest.param(one, id=one.script, marks=[pytest.mark.slow] if one.script in SLOW else []) for one in ASKED],
)
def test_the_question_is_answered(example: Example, tmp_path: Path) -> None:
    if "penguins" in example.script and find_spec("palmerpenguins") is None:
        pytest.skip(PENGUINS)
    text = run(example.script, tmp_path / "picture.png", *example.arguments)
    assert re.search(example.says, text, re.M), text
    found = offs(text)
    assert found
    for name, (_, off) in found.items():
        assert abs(off) < 4, (name, text)  # of up to 28 parameters; the seeds are pinned
    for name in example.wrong:
        assert abs(found[name][0]) > 5, (name, text)
    require_drawn(tmp_path / "picture.png")


def test_gaps_that_are_left_tell_irises_apart_better(tmp_path: Path) -> None:
    text = run("which_iris.py", tmp_path / "picture.png")
    accuracy = {name.strip(): float(value) for name, value in re.findall(r"^(.{16}) +([\d.]+) \+-", text, re.M)}
    assert accuracy["nothing lost"] > 0.95
    assert accuracy["nothing lost"] > accuracy["gaps left"] > accuracy["gaps filled in"] + 0.05
    gain = re.search(r"gain ([\d.]+) \+- ([\d.]+) an iris", text)
    assert gain is not None, text
    assert float(gain[1]) > 3 * float(gain[2])
    require_drawn(tmp_path / "picture.png")
