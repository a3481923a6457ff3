"""The benchmarks' own arithmetic: what they draw, count, keep and write, not how fast anything is."""

import json
import math
import sys
from pathlib import Path

import numpy as np
import pytest

from dgmmis.dataset.dataset import Dataset
from dgmmis.errors import DataError
from tests.benchmarks import components, exactness, plots, readme, table
from tests.benchmarks.comparison import Pace, compare
from tests.benchmarks.exponential import exponentials
from tests.benchmarks.floors import Rates, floor_of
from tests.benchmarks.machine import Machine
from tests.benchmarks.peers import PEERS, TRUNCATED, Peer, peers_of
from tests.benchmarks.process import Lost, Process
from tests.benchmarks.pruning import is_there, set_margin
from tests.benchmarks.results import Described, Ratio, Run, Series, Turn, latest
from tests.benchmarks.stores import write
from tests.benchmarks.works import WORKS, Work, find_work, local_work

SMALL = tuple(work.scaled(0.001) for work in WORKS)
MACHINE = Machine("A CPU, v2", 2, 8 << 30, {"python": "3", "numpy": "2", "numba": "0", "dask": "1"}, "abc1234")


def a_run(kind: str = "works", date: str = "2026-01-02") -> Run:
    ours = Series(
        "W2", "dgmmis", "threads", turns=(Turn(0.5, (0.1, 0.12, 0.11)), Turn(0.2, (0.2, 0.2, 0.2))),
        chosen=True, peaks={"process": 300_000_000}, planned=400_000_000,
    )  # fmt: skip
    peer = Series("W2", "scikit-learn", "", turns=(Turn(None, (1.1,)), Turn(None, (1.0, 1.2))), versions={"numpy": "2"})
    late = Series("W2", "gmmx", "JAX", outcome="over 75 s")
    absent = Series("W2", "Spark", "local[2]", outcome="not installed: make bench-peers")
    works = (Described("W2", "1M x 6", 1_000_000, 6, 32, 0.05, 0.18),)
    rates = {"product": 6e10, "exp": 1e9, "bandwidth": 1e10}
    return Run(kind, date, False, MACHINE, rates, works, (ours, peer, late, absent))


@pytest.mark.parametrize("work", SMALL, ids=lambda work: work.name)
def test_works_are_the_same_again(work: Work) -> None:
    for draw in (Work.points, Work.noise):
        first, second = draw(work), draw(work)
        assert (first is None) == (second is None)
        if first is not None and second is not None:
            assert first.tobytes() == second.tobytes()
            assert len(first) == work.n
    assert work.title.startswith("1k x")
    assert work.start().means.tobytes() == work.start().means.tobytes()
    assert np.any(work.start().means != work.truth().means)


def test_a_diagonal_work_has_no_covariances_between_features() -> None:
    work = find_work("W1")
    assert work.width == 2 * work.d + 1
    assert np.count_nonzero(work.truth().covariances) == work.k * work.d


def test_a_store_holds_the_work(tmp_path: Path) -> None:
    work = find_work("W3").scaled(0.01)
    files = write(work, tmp_path)
    np.testing.assert_array_equal(Dataset.open(files.store).points.compute(), work.points())
    with np.load(files.arrays) as given:
        assert {"points", "noise", "weights", "means", "covariances"} == set(given)


def test_floors_are_those_of_the_rates() -> None:
    rates = Rates(6e10, 1e8, 1e9, 1e10, {"W2": 3e10})
    assert rates.exp == 1e9
    work = find_work("W2")
    floor = floor_of(work, rates)
    assert floor.arithmetic == pytest.approx(4 * 32e6 * 28 / 3e10 + 32e6 / 1e9)
    assert floor.reading == pytest.approx(48e6 / 1e10)
    assert all(floor_of(work, rates).seconds > 0 for work in (*WORKS, local_work(100)))


def test_the_exponential_is_one() -> None:
    values = np.linspace(-700, 700, 5001)
    out = np.empty_like(values)
    exponentials(values, out)
    np.testing.assert_allclose(out, np.exp(values), rtol=1e-15)


def test_the_sum_over_all_components_is_the_likelihood() -> None:
    work = local_work(50, 1000)
    mixture, points = work.start(), work.points()
    expected = math.fsum(mixture.log_density(points)) / work.n
    assert exactness.log_likelihood(mixture, points) == pytest.approx(expected, rel=1e-13)
    found = exactness.exactness(work)
    assert found["exact"]
    assert "MORE THAN" not in exactness.sentence(found)
    assert "MORE THAN" in exactness.sentence({**found, "exact": False})


def test_components_keep_their_number_of_neighbours() -> None:
    few, many = local_work(100), local_work(800)
    assert np.divide(few.sigmas, many.sigmas) == pytest.approx(2.0)
    rows = [{"k": k, "n": 9, "ordered": True, "on": [k**0.5, k**0.5], "off": None} for k in (1, 10, 100, 1000)]
    assert components.slope(rows) == pytest.approx(0.5)
    assert "K^0.50" in components.lines(rows)[-1]


def test_a_ratio_is_of_turns_side_by_side() -> None:
    ours, peer, late, _ = a_run().series
    ratio = Ratio.of(peer, ours)
    assert ratio is not None
    assert (ratio.least, ratio.median, ratio.most) == pytest.approx((5.5, 7.75, 10.0))
    assert Ratio.of(late, ours) is None


def test_results_come_back_from_json(tmp_path: Path) -> None:
    run = a_run()
    assert Run.from_json(run.to_json()) == run
    assert run.write(tmp_path).name == "2026-01-02-a-cpu-v2-2-cores.json"
    a_run(date="2026-02-01").write(tmp_path)
    a_run("components", "2026-03-01").write(tmp_path)
    found = latest("works", tmp_path)
    assert found is not None
    assert found.date == "2026-02-01"
    assert latest("tycho", tmp_path) is None


def test_the_table_leaves_nobody_out() -> None:
    text = table.markdown({"works": a_run()})
    for words in ("scikit-learn", "over 75 s", "not installed: make bench-peers", "7.75 (5.5-10)", "300 [400]", "`*`"):
        assert words in text
    summary = table.summary(a_run())
    assert "scikit-learn 1.1 | 7.75" in summary
    assert "gmmx: over 75 s" in summary


def test_pictures_are_drawn(tmp_path: Path) -> None:
    rows = [{"k": k, "n": 9, "pruned": True, "on": [k, 2 * k], "off": [5 * k] if k < 50 else None} for k in (10, 100)]
    plots.seconds_picture(a_run(), tmp_path / "seconds.png")
    plots.components_picture(Run("components", "", False, MACHINE, extras={"components": rows}), tmp_path / "k.png")
    assert all(1_000 < path.stat().st_size < 100_000 for path in tmp_path.iterdir())


@pytest.mark.slow
def test_a_work_by_dgmmis_and_a_peer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From the drawing to the series, in processes of their own."""
    monkeypatch.setenv("DGMMIS_BENCH_PEERS", str(tmp_path))
    work = find_work("W1").scaled(0.02)
    threads, local, peer, *absent = compare(work, Pace(turns=2, passes=2), write(work, tmp_path))
    for series in (threads, local, peer):
        assert series.outcome == "measured"
        assert len(series.turns) == 2
        assert all(seconds > 0 for seconds in series.seconds)
        assert min(series.peaks.values()) > 1e7
    assert (threads.chosen, local.chosen) == (True, False)
    assert {"driver and scheduler", "worker 0"} <= set(local.peaks)
    assert all(series.outcome.startswith("not installed") for series in absent)


def test_the_readme_keeps_all_else() -> None:
    text = f"before\n{readme.BEGIN}\nold\n{readme.END}\nafter\n"
    made = readme.replaced(text, "| new |\n")
    assert made == f"before\n{readme.BEGIN}\n\n| new |\n\n{readme.END}\nafter\n"
    assert readme.replaced(made, "| new |") == made
    for broken in ("nothing", f"{readme.END}{readme.BEGIN}", text + text):
        with pytest.raises(DataError, match="no place for the table"):
            readme.replaced(broken, "")
    assert readme.replaced(readme.README.read_text(encoding="utf-8"), "")


def test_every_peer_has_a_driver_or_a_reason(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    names = {work.name for work in WORKS} | {TRUNCATED}
    drivers = Path(__file__).parent / "benchmarks" / "drivers"
    for peer in PEERS:
        assert set(peer.works) <= names
        assert peer.driver is None or (drivers / peer.driver).exists()
    assert {peer.name for peer in peers_of(find_work("W1"))} == {"scikit-learn", "gmmx", "pomegranate"}
    monkeypatch.setenv("DGMMIS_BENCH_PEERS", str(tmp_path))
    absent = Peer("a peer", "no_such_package", "nowhere", "scikit_learn.py", ("W1",))
    assert absent.command(tmp_path) is None
    assert absent.absence() == "not installed: make bench-peers"
    (tmp_path / "nowhere.reason").write_text("it is not there\n")
    assert absent.absence() == "not installed: it is not there"


CHILD = """
import json, sys, time
print(json.dumps({"versions": {}}), flush=True)
for line in sys.stdin:
    asked = json.loads(line)
    if "sleep" in asked: time.sleep(asked["sleep"])
    if "bytes" in asked: held = bytearray(asked["bytes"]); held[::4096] = b"x" * len(held[::4096]); time.sleep(5)
    if "fail" in asked: raise ValueError("as told")
    print(json.dumps({"peak_bytes": 5}), flush=True)
"""


@pytest.mark.parametrize(
    ("request_", "reason"),
    [({"sleep": 60}, "over 1 s"), ({"bytes": 1 << 29}, "out of memory: over 0 GB"), ({"fail": 1}, "failed: .*as told")],
)
def test_a_process_ends_where_its_limits_are(request_: dict[str, float], reason: str) -> None:
    process = Process([sys.executable, "-c", CHILD], seconds=1, memory=1 << 28)
    assert process.ask(nothing=0) == {"peak_bytes": 5}
    with pytest.raises(Lost, match=reason):
        process.ask(**request_)
    process.close()


@pytest.mark.skipif(not is_there(), reason="nothing is pruned yet")
def test_the_margin_reaches_the_kernels() -> None:
    before = set_margin(math.inf)
    try:
        assert set_margin(before) == math.inf
    finally:
        set_margin(before)


def test_a_machine_is_described() -> None:
    machine = Machine.here()
    assert machine.cores >= 1
    assert json.loads(json.dumps(machine.versions))["numpy"] == np.__version__
    assert machine.slug == machine.slug.lower()
