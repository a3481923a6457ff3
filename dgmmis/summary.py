"""Runs and documents as lines of text for people."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from dgmmis.costs import NOTICEABLE, Costs
from dgmmis.dataset.checkpoint import Run

ACTS_ON = {
    "observed": "of measured values, before any of them went missing",
    "available": "of those measured values that are there",
    "true": "of true values, before they were measured",
}

LAWS = {
    "own": "each unseen object had the noise of one that was seen: noise does not depend on where an object is",
    "nearest": "an unseen object has the noise of the nearest one that was seen: noise is a function of the position",
    "regression": "a smooth function of the true position, learned from what was seen",
}

ALIKE = 1e-4
"""Starts whose objectives differ by less, or by less than imputed points of their own account for, are as good."""

FEW, FEW_NESTED = 20, 4
"""Of a list of numbers, and of a list of lists, so many are shown: fifty covariances are for --json."""


def fit_lines(run: Run) -> list[tuple[str, str]]:
    """The numbers of a fit."""
    d = run.document
    lines = [
        ("status", d["status"]),
        ("log-likelihood", f"{d['log_likelihood']:.7f} per object, {d['n_samples']:,.6g} objects"),
        ("passes over the data", f"{d['n_passes']} in {d['seconds']:.1f} s{_compiled(d)}"),
        *_distance_lines(d),
        *cost_lines(run)[:1],
        *completeness_lines(run),
        *search_lines(run),
    ]
    if run.model.cutoff is not None:
        lines.append(("left out by the cutoff", f"{d['dropped_by_cutoff']:.2g} of the density"))
    if run.model.background is not None:
        lines.append(("background fraction", f"{d['background_fraction']:.5f}"))
    return lines


def _compiled(document: Mapping[str, Any]) -> str:
    seconds = document.get("compile_seconds", 0.0)
    return f", of which {seconds:.1f} s compiled kernels, once on a machine" if seconds >= NOTICEABLE else ""


def cost_lines(run: Run) -> list[tuple[str, str]]:
    """What the fit took, where its time went first; nothing of a run that does not say."""
    costs = Costs.of_document(run.document)
    return [] if costs is None else costs.lines()


def completeness_lines(run: Run) -> list[tuple[str, str]]:
    """What share of the objects was seen, and how many there are in all; nothing where all of them were."""
    d = run.document
    if not d["completeness"] < 1:
        return []
    number = f"{d['n_samples'] / d['completeness']:,.0f}"
    if "n_objects_error" in d:
        number += f" +- {d['n_objects_error']:,.0f}"
    share = f"{d['completeness']:.5f} (at these parameters known to {d['completeness_error']:.1g})"
    return [("completeness", share), ("objects before selection", number)]


def search_lines(run: Run) -> list[tuple[str, str]]:
    """Which start won, and by how much; which moves were taken; nothing for a single start."""
    candidates = run.document.get("candidates", [])
    starts = [c for c in candidates if c["name"].startswith("start") and c["objective"] is not None]
    lines = []
    if len(starts) > 1:
        objectives = [c["objective"] for c in starts]
        doubt = max(ALIKE, 10 * run.document["completeness_error"] / run.document["completeness"])
        alike = sum(value > max(objectives) - doubt for value in objectives)
        lines.append(("starts", f"{len(starts)}, of which {alike} came within {doubt:.1g} per object of the best"))
    moves = [c for c in candidates if not c["name"].startswith("start")]
    if moves:
        better = [c["name"] for c in moves if c["sentence"] == "better than before"]
        lines.append(("split and merge", f"{len(moves)} moves tried, {len(better)} of them better"))
    if "bootstrap" in run.document:
        replicates = run.document["bootstrap"]
        error = (
            f"{replicates['n_objects_error']:,.0f} objects before selection" if run.completeness < 1 else "in fit.json"
        )
        lines.append((f"bootstrap of {replicates['n_replicates']}", f"standard error {error}"))
    return lines


def survey_lines(run: Run) -> list[tuple[str, str]]:
    """What the survey was told to be, what that assumes, and what came of it."""
    selection, noise = run.record.tables.get("selection"), run.record.tables.get("noise")
    if selection is None:
        return [("selection", "none: everything was seen")]
    kind = {name: value for name, value in selection.items() if name != "on"}
    lines = [("selection", _selection_words(kind))]
    if "injections" not in kind:
        lines[0] = ("selection", f"{lines[0][1]}, {ACTS_ON[selection.get('on', 'observed')]}")
    if noise is not None:
        lines.append(("noise of the unseen", _noise_words(noise)))
    if len(run.noise_classes) > 1:
        lines.append(("noise classes", f"{len(run.noise_classes)}, of objects measured nearly alike"))
    return [*lines, *completeness_lines(run)]


def _selection_words(table: Mapping[str, Any]) -> str:
    ((kind, value),) = table.items()
    match kind:
        case "not":
            return f"not {_selection_words(value)}"
        case "all" | "any":
            return f"({(' and ' if kind == 'all' else ' or ').join(map(_selection_words, value))})"
        case "function":
            return f"function {value['path']}"
        case "injections":
            return "known by injections: of true positions, which were found"
        case "half_space" if value.get("softness"):
            return "graded half space"
    return str(kind.replace("_", " "))


def _noise_words(table: Mapping[str, Any]) -> str:
    ((kind, value),) = table.items()
    if kind == "unseen":
        return "one covariance for all of them" if np.any(value) else "none"
    if kind == "function":
        return f"function {value['path']} of the true position"
    return LAWS[value if kind == "law" else kind]


def model_table(run: Run, most: int = 30) -> str:
    """Components by weight: weight, mean and standard deviation of each feature."""
    mixture = run.model.mixture
    names = run.labels
    width = max(20, *(len(name) + 2 for name in names))
    rows = ["component    weight" + "".join(f"  {name:>{width}}" for name in names)]
    sigma = np.sqrt(np.diagonal(mixture.covariances, axis1=1, axis2=2))
    known = run.document.get("standard_errors")
    errors = np.asarray(known["means"]) if known else np.full(mixture.means.shape, np.nan)
    order = np.argsort(-mixture.weights, kind="stable")
    for k in order[:most]:
        values = (
            f"{m:.4g}{f' +- {e:.2g}' if known else ''} ({s:.3g})"
            for m, s, e in zip(mixture.means[k], sigma[k], errors[k], strict=True)
        )
        rows.append(f"{k:9d}  {mixture.weights[k]:8.5f}" + "".join(f"  {value:>{width}}" for value in values))
    if len(order) > most:
        rows.append(f"... and {len(order) - most} more (all in model.npz)")
    rows.append(f"mean{' +- its standard error' if known else ''} (standard deviation of the component)")
    return "\n".join(rows)


def _distance_lines(d: Mapping[str, Any]) -> list[tuple[str, str]]:
    """How far the maximum was expected to be in the end."""
    distance, arrived = d.get("distance"), d.get("arrived")
    if distance is None or arrived is None:
        return []
    return [("from the maximum", f"{distance:.2g} standard errors, as expected; asked for: {arrived:g}")]


def document_lines(document: Mapping[str, Any]) -> list[tuple[str, str]]:
    """A document of JSON values as lines; nested ones are indented."""
    lines: list[tuple[str, str]] = []
    for key, value in document.items():
        name = key.replace("_", " ")
        if isinstance(value, Mapping) and value:
            lines.append((name, ""))
            lines += [(f"  {what}", text) for what, text in document_lines(value)]
        elif isinstance(value, list) and value and all(isinstance(part, Mapping) for part in value):
            lines.append((name, ""))
            lines += [("", _in_one_line(part)) for part in value]
        else:
            lines.append((name, _text(value)))
    return lines


def _in_one_line(document: Mapping[str, Any]) -> str:
    parts = (
        f"{key.replace('_', ' ')} {'(' + _in_one_line(value) + ')' if isinstance(value, Mapping) else _text(value)}"
        for key, value in document.items()
    )
    return ", ".join(parts)


def _text(value: Any) -> str:
    match value:
        case bool():
            return "yes" if value else "no"
        case int():
            return f"{value:,}"
        case float():
            return f"{value:.7g}"
        case list() | tuple():
            return _listed(value)
        case None | "":
            return "-"
    return str(value)


def _listed(values: Sequence[Any]) -> str:
    """Words all of them; of numbers the first ones, and how many there are more."""
    parts, most, between = list(map(_text, values)), len(values), ", "
    if any(isinstance(one, (list, tuple)) for one in values):
        parts, most, between = [f"[{part}]" for part in parts], FEW_NESTED, "  "
    elif all(one is None or isinstance(one, (int, float)) for one in values):
        most = FEW
    more = [f"... and {len(parts) - most:,} more"] if len(parts) > most else []
    return between.join([*parts[:most], *more]) or "none"
