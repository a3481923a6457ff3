"""What the page says of a run."""

import time
from html import escape

from dgmmis.dashboard.shown import ShownRun
from dgmmis.errors import span_named

EVENTS = 200
"""That are listed."""

COLOURS = {"warning": "#b9770e", "error": "#c0392b"}


def of_components(run: ShownRun | None) -> str:
    """How many components are drawn."""
    if run is None or run.model is None:
        return "components"
    n, k = len(run.model["weights"]), run.model["n_components"]
    return f"{k} components" if n == k else f"the heaviest {n} of {k} components"


def in_words(run: ShownRun | None) -> str:
    """The numbers of a run."""
    if run is None:
        return "<p>No fit has run on this cluster yet. The next one appears here by itself.</p>"
    last, now = run.last, run.now
    parts = [f"<b>{escape(run.job)}</b>: {escape(run.status)}"]
    if run.candidate:
        parts.append(escape(run.candidate))
    if last:
        parts += [f"pass {last['iteration']:.0f}", f"objective {last['objective']:.7f}"]
        if last["distance"] < float("inf"):
            parts.append(f"{last['distance']:.2g} standard errors to go")
        if last["completeness"] < 1:
            parts.append(f"completeness {last['completeness']:.4f} ± {last['completeness_error']:.1g}")
        if last["background_fraction"] > 0:
            parts.append(f"background {last['background_fraction']:.4f}")
    if now.get("passes"):
        parts.append(f"{now['passes']:.0f} passes over {run.about.get('n_rows') or 0:,} rows")
    if now.get("rows_per_second"):
        parts.append(f"{now['rows_per_second']:,.0f} rows/s")
    if not run.is_over and now.get("seconds_left") is not None:
        of_round = " of this round" if last and last["completeness_error"] > 0 else ""  # others may come
        parts.append(f"about {span_named(max(now['seconds_left'], 1))}{of_round} left")
    if now.get("workers_lost"):
        parts.append(f"{now['workers_lost']:.0f} workers lost")
    silent = time.time() - run.heard
    if not run.is_over and silent > 10:
        parts.append(f"last heard of {span_named(silent)} ago")
    return f"<p style='margin: 4px 8px; line-height: 1.4; font-size: 14px'>{' · '.join(parts)}</p>"


def events(run: ShownRun | None) -> str:
    """The last events, the newest first."""
    if run is None:
        return ""
    lines = []
    for at, level, sentence in list(run.events)[: -EVENTS - 1 : -1]:
        clock = time.strftime("%H:%M:%S", time.localtime(at))
        colour = COLOURS.get(level, "inherit")
        lines.append(
            f"<div><span style='color: #888'>{clock}</span> "
            f"<span style='color: {colour}'>{escape(sentence)}</span></div>"
        )
    return "<b>events</b>" + "".join(lines)
