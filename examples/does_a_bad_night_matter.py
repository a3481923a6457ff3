"""Does a bad night matter? A month of a survey that grows every night, and the model that follows it.

    python examples/does_a_bad_night_matter.py [PICTURE] [--nights N]

Every night brings a file, and `reprocess` is run, as a scheduler would (`dgmmis reprocess job.toml`): new rows come in,
the published model follows, a new version holds. In the night of a thunderstorm the calibration is off. Its file is set
aside, no version is published, and the next night goes on as if nothing had been; fitted with all the others, it would
put the mean off by many standard errors.
"""

import csv
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from command import asked
from comparison import Row, table
from picture import INK, RIGHT, TRUE, WRONG, legend, panels, save

import dgmmis
from dgmmis.job import read_job
from dgmmis.reprocess import reprocess

TRUTH = dgmmis.GaussianMixture([0.6, 0.4], [[0.0, 0.0], [4.0, 1.0]], [np.eye(2), [[1.0, 0.5], [0.5, 2.0]]])
OBJECTS = 500
"""In a night."""

JOB = """
[data]
path = "survey.zarr"
[model]
n_components = 2
[cluster]
kind = "threads"
[reprocess]
sources = ["nights/*.csv"]
columns = { features = ["x", "y"], errors = ["e_x", "e_y"], row_id = "id" }
"""


@dataclass(frozen=True)
class Morning:
    """What there is after a night: the version that holds, the mean y of the second kind, and its error."""

    version: str
    mean: float
    error: float
    is_set_aside: bool


def observe(folder: Path, night: int, *, off: float) -> np.ndarray:
    """Write the file of a night, whose y may be off; returns its rows: x, y, and their errors (n, 4)."""
    rng = np.random.default_rng(night)
    sigma = rng.uniform(0.2, 0.8, (OBJECTS, 2))
    measured = TRUTH.sample(OBJECTS, rng) + [0.0, off] + sigma * rng.standard_normal((OBJECTS, 2))
    rows = np.hstack([measured, sigma])
    with (folder / "nights" / f"{night:02d}.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "x", "y", "e_x", "e_y"])
        writer.writerows([OBJECTS * night + i, *row] for i, row in enumerate(rows.tolist()))
    return rows


def follow(folder: Path) -> Morning:
    """What the scheduler's command does, and what holds then."""
    report = reprocess(read_job(folder / "job.toml"))
    run = dgmmis.read_run(folder / "job.models")
    second = int(np.argmax(run.model.mixture.means[:, 0]))
    error = run.document["standard_errors"]["means"][second][1]
    return Morning(str(report.version), run.model.mixture.means[second, 1], error, bool(report.left_out))


def main(picture: Path | None, nights: int) -> None:
    say, bad = sys.stdout.write, nights // 2
    mornings, rows = [], []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "nights").mkdir()
        (folder / "job.toml").write_text(JOB)
        for night in range(1, nights + 1):
            rows.append(observe(folder, night, off=5.0 if night == bad else 0.0))
            mornings.append(follow(folder))
            now = mornings[-1]
            aside = ", and its file is set aside" if now.is_set_aside else ""
            say(f"night {night:2}: version {now.version} holds, mean {now.mean:+.3f} +- {now.error:.3f}{aside}\n")
    everything = np.concatenate(rows)
    naive = dgmmis.GMMis(2).fit(everything[:, :2], noise_covariance=everything[:, 2:] ** 2)
    wrong, last = naive.means_[np.argmax(naive.means_[:, 0]), 1], mornings[-1]
    say("\n" + table("with all nights", [Row("mean y of the second kind", 1.0, wrong, last.mean, last.error)]))
    if picture is not None:
        draw(mornings, bad, wrong, picture)


def draw(mornings: list[Morning], bad: int, wrong: float, picture: Path) -> None:
    figure, (ax,) = panels("The mean that is published, night by night")
    night = np.arange(1, len(mornings) + 1)
    mean, error = np.array([[one.mean, one.error] for one in mornings]).T
    ax.axhline(1.0, **TRUE)
    ax.axvspan(bad - 0.4, bad + 0.4, color=WRONG, alpha=0.4, linewidth=0)
    ax.errorbar(night, mean, error, fmt="o-", color=RIGHT, markersize=3, linewidth=1, elinewidth=1)
    new = [i == 0 or mornings[i].version != mornings[i - 1].version for i in range(len(mornings))]
    ax.plot(night[~np.array(new)], mean[~np.array(new)], "o", color=INK, markersize=7, markerfacecolor="none")
    ax.axhline(wrong, color=WRONG, linestyle="--")
    ax.set(xlabel="night", ylabel="mean y of the second kind")
    entries = {"published": {"color": RIGHT, "marker": "o"}, "no_new_version": {"color": INK, "marker": "o"}}
    bad_night = {"color": WRONG, "alpha": 0.5, "linewidth": 6}
    legend(ax, truth=TRUE, **entries, bad_night=bad_night, with_all_nights={"color": WRONG, "linestyle": "--"})
    save(figure, picture)


if __name__ == "__main__":
    main(*asked(__doc__, count="nights", default=30))
