"""Runs and documents as lines of text for people."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from dgmmis.dataset.checkpoint import Run


def fit_lines(run: Run) -> list[tuple[str, str]]:
    """The numbers of a fit."""
    d = run.document
    lines = [
        ("status", d["status"]),
        ("log-likelihood", f"{d['log_likelihood']:.7f} per object, {d['n_samples']:,.6g} objects"),
        ("passes over the data", f"{d['n_passes']} in {d['seconds']:.1f} s"),
    ]
    if d["completeness"] < 1:
        before = d["n_samples"] / d["completeness"]
        lines.append(
            (
                "completeness",
                f"{d['completeness']:.5f} +- {d['completeness_error']:.1g} (of the imputation, at these parameters)",
            )
        )
        lines.append(("objects before selection", f"{before:,.0f}"))
    if run.model.background is not None:
        lines.append(("background fraction", f"{d['background_fraction']:.5f}"))
    return lines


def model_table(run: Run, most: int = 30) -> str:
    """Components by weight: weight, mean and standard deviation of each feature."""
    mixture = run.model.mixture
    names = [f"{name} [{unit}]" if unit else name for name, unit in zip(run.features, run.units, strict=True)]
    width = max(20, *(len(name) + 2 for name in names))
    rows = ["component    weight" + "".join(f"{name:>{width}}" for name in names)]
    sigma = np.sqrt(np.diagonal(mixture.covariances, axis1=1, axis2=2))
    order = np.argsort(-mixture.weights, kind="stable")
    for k in order[:most]:
        values = (f"{m:.4g} +- {s:.3g}" for m, s in zip(mixture.means[k], sigma[k], strict=True))
        rows.append(f"{k:9d}  {mixture.weights[k]:8.5f}" + "".join(f"{value:>{width}}" for value in values))
    if len(order) > most:
        rows.append(f"... and {len(order) - most} more (all in model.npz)")
    rows.append("(mean +- standard deviation of the component)")
    return "\n".join(rows)


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
            if any(isinstance(part, (list, tuple)) for part in value):
                return "  ".join(f"[{_text(part)}]" for part in value)
            return ", ".join(map(_text, value)) or "none"
        case None | "":
            return "-"
    return str(value)
