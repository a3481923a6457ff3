"""What is said of rows with noise of their own, in passes of EM over them: ratios, in one process, in turns."""

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from dgmmis.chunk import Chunk
from dgmmis.dataset.arrays import ArrayDataset
from dgmmis.estep import leaf_moments
from dgmmis.execution.blas import one_blas_thread
from dgmmis.latent_draw import Observing
from dgmmis.model import Model
from dgmmis.noise_classes import mean_noise
from dgmmis.observed import laid_out
from dgmmis.scoring import log_densities, score_rows
from dgmmis.survey import Survey
from dgmmis.true_posterior import posterior_moments
from tests.benchmarks.works import Work, find_work

TURNS = 7


def predictions(work: Work, turns: int = TURNS) -> list[dict[str, Any]]:
    """Each prediction's seconds over those of the pass before it, of one core, leaf by leaf."""
    model = Model(work.start())
    chunk = ArrayDataset.of(work.points(), work.noise()).whole
    observing, leaves = Observing(Survey(), mean_noise(chunk)), list(chunk.leaf_chunks())
    laid = [laid_out(leaf, number, None) for number, leaf in enumerate(leaves)]
    asked: dict[str, Callable[[Chunk], object]] = {
        "log densities": lambda leaf: log_densities(model, leaf, observing),
        "responsibilities": lambda leaf: score_rows(model, leaf, observing),
        "true values": lambda leaf: posterior_moments(model, leaf, observing),
    }
    ratios: dict[str, list[float]] = {name: [] for name in asked}
    with one_blas_thread():
        for turn in range(turns + 1):  # the first one compiles
            for name, ask in asked.items():
                began = time.perf_counter()
                for leaf in laid:
                    leaf_moments(model, leaf)
                middle = time.perf_counter()
                for rows in leaves:
                    ask(rows)
                if turn:
                    ratios[name].append((time.perf_counter() - middle) / (middle - began))
    return [{"work": work.title, "what": name, "ratios": found} for name, found in ratios.items()]


def lines(found: Sequence[Mapping[str, Any]]) -> list[str]:
    """A table: the median, and the range."""
    rows = ["| prediction | rows | in passes: median (min-max) |", "|---|---|---|"]
    for one in found:
        ratios = one["ratios"]
        middle = f"{statistics.median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f})"
        rows.append(f"| {one['what']} | {one['work']} | {middle} |")
    return rows


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure W3b, and show it."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks predictions", description=__doc__)
    parser.add_argument("--scale", type=float, default=1.0, help="of the rows")
    given = parser.parse_args(arguments)
    sys.stdout.write("\n".join(lines(predictions(find_work("W3b").scaled(given.scale)))) + "\n")
