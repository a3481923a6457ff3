"""The messages of named bad inputs: kept in MESSAGES.md, so that a change of one is seen, and read."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ENVIRONMENT = {key: value for key, value in os.environ.items() if key != "PYTHONWARNINGS"}
ENVIRONMENT["PYTHONPATH"] = f"{HERE.parent.parent}{os.pathsep}{HERE.parent}"

ROW = re.compile(r"\| (?P<name>.*?) \| (?P<error>[\w.]+) \| (?P<code>\d+) \| (?P<message>.*) \|")


def test_the_table_of_messages_is_up_to_date(tmp_path: Path) -> None:
    """Writes it to a folder, that of DGMMIS_MESSAGES where one is named, and compares it with the one that is kept."""
    command = [sys.executable, "-m", "fuzzing.cases"]
    made = subprocess.run(command, capture_output=True, text=True, env=ENVIRONMENT, timeout=300, check=False)
    assert made.returncode == 0, made.stderr[-3000:]
    folder = Path(os.environ.get("DGMMIS_MESSAGES", tmp_path))
    (folder / "MESSAGES.md").write_text(made.stdout)
    kept = (HERE / "MESSAGES.md").read_text()
    assert made.stdout.splitlines() == kept.splitlines(), f"see {folder / 'MESSAGES.md'}, and if it is right, keep it"


def test_every_bad_input_is_refused_in_words_that_help() -> None:
    rows = [found for line in (HERE / "MESSAGES.md").read_text().splitlines() if (found := ROW.fullmatch(line))]
    assert len(rows) > 150
    assert [row["name"] for row in rows if row["error"] == "none"] == []
    assert {int(row["code"]) for row in rows} <= {2, 65, 69, 74}
    ours = [row for row in rows if not row["error"].startswith("click")]
    assert [row["name"] for row in ours if len(row["message"]) < 20] == []
    # what was got, or what to do; most say both
    helpful = [row for row in ours if re.search(r"got |[.?]$", row["message"])]
    assert [row["name"] for row in ours if row not in helpful] == [
        "ball without a radius",
        "projection that is infinite",
    ]


def dgmmis(*arguments: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "dgmmis", *map(str, arguments)]
    environment = {**ENVIRONMENT, "PYTHONPATH": str(HERE.parent.parent)}
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, env=environment, timeout=120, check=False)


COMMANDS = [
    ("simulate new.zarr --preset boks", 2),
    ("simulate new.zarr -n 99999999999999999999", 74),
    ("simulate new.zarr -n none", 2),
    ("simulate no/such/new.zarr -n 50", 74),
    ("ingest t.csv new.zarr", 2),
    ("ingest t.csv new.zarr --features a,zz", 2),
    ("ingest none.csv new.zarr --features a", 74),
    ("ingest words.csv new.zarr --features a", 65),
    ("ingest nan\udcff.csv new.zarr --features a", 74),
    ("info none.zarr", 74),
    ("info words.csv", 74),
    ("plan bad.toml", 2),
    ("plan binary.toml", 2),
    ("plan many.toml", 65),
    ("fit many.toml --quiet", 65),
    ("fit bad.toml", 2),
    ("fit init.toml --quiet", 2),
    ("plan init.toml", 2),
    ("score none.run s.zarr", 74),
    ("predict broken.run s.zarr labels.zarr", 74),
    ("sample broken.run 3 drawn.zarr", 74),
    ("sample broken.run 0 drawn.zarr", 2),
    ("info broken.run --json", 74),
    ("nonsense", 2),
]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a survey and things that are wrong."""
    folder = tmp_path_factory.mktemp("commands")
    assert dgmmis("simulate", "s.zarr", "-n", "100", cwd=folder).returncode == 0
    (folder / "t.csv").write_text("a,b\n1,2\n")
    (folder / "words.csv").write_text("a,b\nx,2\n")
    (folder / "bad.toml").write_text("[data]\npath = 3\n")
    (folder / "binary.toml").write_bytes(bytes(range(256)))
    (folder / "many.toml").write_text('[data]\npath = "s.zarr"\n[model]\nn_components = 1000000000000\n')
    (folder / "init.toml").write_text('[data]\npath = "s.zarr"\n[model]\nn_components = 2\ninit = "kmean"\n')
    (folder / "broken.run").mkdir()
    (folder / "broken.run" / "model.npz").write_bytes(b"PK\x03\x04 and no more")
    return folder


@pytest.mark.parametrize(
    ("line", "code"),
    [pytest.param(*one, marks=() if number % 3 == 0 else pytest.mark.slow) for number, one in enumerate(COMMANDS)],
)
def test_commands_say_one_sentence_and_the_right_code(place: Path, line: str, code: int) -> None:
    done = dgmmis(*line.split(), cwd=place)
    assert done.returncode == code, done.stderr
    assert done.stderr.strip()
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    # on a slow machine it has said what it was doing before
    assert re.search(r"^(Error|dgmmis): ", done.stderr, re.MULTILINE)


def test_debug_shows_the_traceback(place: Path) -> None:
    done = dgmmis("--debug", "ingest", "words.csv", "new.zarr", "--features", "a", cwd=place)
    assert done.returncode != 0
    assert "Traceback (most recent call last)" in done.stderr
