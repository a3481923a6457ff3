"""What was fitted, to what, how it converged, and what came of it."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from dgmmis.dataset.checkpoint import Run
from dgmmis.errors import counted
from dgmmis.portrait import component_rows, number, with_error
from dgmmis.report.section import Section, Table
from dgmmis.report.subject import Subject
from dgmmis.summary import completeness_lines, document_lines, fit_lines, survey_lines

MOST_COVARIANCES = 2000
"""Numbers of covariances in a table; more are in fit.json."""

MOST_CANDIDATES = 60


def model_section(subject: Subject, run: Run) -> Section:
    """The model, and how the survey came to be."""
    mixture, background = run.model.mixture, run.model.background
    k, d = mixture.means.shape
    facts = [("model", f"{counted(k, 'Gaussian component')} of {counted(d, 'feature')}")]
    facts.append(("background", "none" if background is None else _kind(background)))
    if run.model.cutoff is not None:
        facts.append(("cutoff", f"{run.model.cutoff:g} sigma"))
    if subject.is_finished:
        facts += [line for line in survey_lines(run) if line[0] not in ("completeness", "objects before selection")]
    rows = [(name, unit or "-") for name, unit in zip(run.features, run.units, strict=True)]
    return Section("What was fitted", facts=facts, tables=[Table("Features of the model", ("feature", "unit"), rows)])


def _kind(background: object) -> str:
    return {"Uniform": "uniform over a box", "FixedMixture": "a fixed mixture"}.get(
        type(background).__name__, "a fixed density"
    )


def data_section(subject: Subject) -> Section:
    """The survey, and where it came from."""
    data = subject.data
    facts = [("survey", subject.data_path or "-")]
    if data is None:
        return Section("The data", facts=facts, notes=[subject.without_data, *_inputs_note(subject)])
    about = data.describe()
    facts += [("rows", f"{data.n_rows:,}"), ("noise", str(about.get("noise", "-"))), ("storage", data.schema.storage)]
    notes = []
    n = subject.document.get("n_samples")
    if isinstance(n, (int, float)) and not data.schema.weighted and round(n) != data.n_rows:
        notes.append(f"The fit saw {n:,.0f} objects: the survey has {data.n_rows:,} rows now.")
    columns = [
        (
            str(column["name"]),
            *("-" if column[end] is None else number(column[end]) for end in ("minimum", "maximum")),
            f"{column['missing']:,}",
        )
        for column in about["columns"]
    ]
    tables = [Table("What was measured", ("value", "from", "to", "missing"), columns)]
    if data.provenance:
        tables.append(sources_table("Where the rows came from", data.provenance))
    return Section("The data", facts=facts, notes=notes, tables=tables)


def sources_table(caption: str, entries: Sequence[Mapping[str, Any]]) -> Table:
    """Where rows came from, a line for each source."""
    rows = [
        (str(number), "; ".join(f"{what.strip()} {value}".strip() for what, value in document_lines(entry)))
        for number, entry in enumerate(entries, 1)
    ]
    return Table(caption, ("", "source, with its checksum where known"), rows)


def _inputs_note(subject: Subject) -> list[str]:
    if subject.manifest is None:
        return []
    return ["What the published version was made of is listed at the end."]


def convergence_section(subject: Subject, run: Run) -> Section:
    """Status, and the starts and moves."""
    document = run.document
    facts = [("status", str(document.get("status", "-")))]
    if subject.is_finished:
        facts = [(what, value) for what, value in fit_lines(run)]
    flags = [] if document.get("converged") else [str(document.get("status", "not converged"))]
    flags += [str(sentence) for name in ("runaways", "repairs") for sentence in document.get(name, [])]
    candidates = document.get("candidates", [])
    tables = []
    if len(candidates) > 1:
        rows = [
            (
                str(one["name"]),
                "-" if one["objective"] is None else f"{one['objective']:.6f}",
                str(one.get("sentence", "")),
            )
            for one in candidates[:MOST_CANDIDATES]
        ]
        head = ("candidate", "objective per object", "what became of it")
        more = f" (the first {MOST_CANDIDATES} of {len(candidates)})" if len(candidates) > MOST_CANDIDATES else ""
        tables.append(Table(f"Starts and moves{more}", head, rows))
    return Section("How it converged", flags=flags, facts=facts, tables=tables)


def parameter_section(run: Run) -> Section:
    """The population: number, components, covariances, with errors."""
    document, mixture = run.document, run.model.mixture
    known, boot = document.get("standard_errors"), document.get("bootstrap")
    names = run.labels
    facts = [*_population(run)]
    order = [int(k) for k in np.argsort(-mixture.weights, kind="stable")]
    parameters = (mixture.weights, mixture.means, mixture.covariances)
    (head, *components), _ = component_rows(*parameters, names=names, errors=known, is_whole=True)
    tables = [Table("Components of the population, by weight", head, components)]
    if boot:
        rows = [(str(k), number(boot["weights"][k]), *map(number, boot["means"][k])) for k in order]
        tables.append(Table(f"Standard errors by a bootstrap of {boot['n_replicates']} replicates", head, rows))
    notes = [] if known else ["Standard errors are not known: there are too many parameters, or the fit is not done."]
    k, d = mixture.means.shape
    if k * d * (d + 1) // 2 > MOST_COVARIANCES:
        notes.append("Covariances are too many for a table: they are in fit.json of the run.")
    else:
        tables.append(_covariances(run, known, order))
    lead = "Corrected for noise, selection and gaps. Errors are standard errors; in brackets standard deviations."
    return Section("The population", lead=lead, facts=facts, notes=notes, tables=tables)


def _population(run: Run) -> Iterator[tuple[str, str]]:
    document = run.document
    known, boot = document.get("standard_errors") or {}, document.get("bootstrap") or {}
    n, z = document.get("n_samples"), run.completeness
    if n is not None:
        yield "objects seen", f"{n:,.6g}"
        if z < 1:
            # the error of Z by the parameters is that of the next line
            yield completeness_lines(run)[0]
            yield "objects before selection", with_error(n / z, document.get("n_objects_error"))
            if "n_objects_error" in boot:
                yield "the same, by the bootstrap", with_error(n / z, boot["n_objects_error"])
    if run.model.background is not None:
        yield "background fraction", with_error(run.model.background_fraction, known.get("background_fraction"))


def _covariances(run: Run, known: Mapping[str, Any] | None, order: Sequence[int]) -> Table:
    names, covariances = run.features, run.model.mixture.covariances
    d = len(names)
    pairs = [(i, j) for i in range(d) for j in range(i + 1)]
    errors = np.asarray(known["covariances"], dtype=float) if known else np.full(covariances.shape, np.nan)
    head = ("component", *(f"{names[i]}²" if i == j else f"{names[i]} · {names[j]}" for i, j in pairs))
    rows = [[str(k), *(with_error(covariances[k, i, j], float(errors[k, i, j])) for i, j in pairs)] for k in order]
    return Table("Covariances of the components", head, rows)


def choice_section(subject: Subject) -> Section | None:
    """The models that were tried; None for a run that was not chosen."""
    choice = subject.choice
    if choice is None:
        return None
    criterion = choice.get("criterion", {}).get("name", "bic")
    rows: list[tuple[str, ...]] = []
    marked = []
    for entry in choice["table"]:
        best = (entry["n_components"], entry["covariance_type"]) == (choice["n_components"], choice["covariance_type"])
        if best:
            marked.append(len(rows))
        values = [entry.get(name) for name in ("log_likelihood", "bic", "aic", "icl", "held_out")]
        worse = with_error(entry["worse"], entry.get("worse_error")) if entry.get("worse") is not None else "-"
        rows.append(
            (
                f"{entry['n_components']} {entry['covariance_type']}{' (best)' if best else ''}",
                f"{entry['n_parameters']:,}",
                *map(_criterion, values),
                "-" if best else worse,
                str(entry.get("status", "")),
            )
        )
    head = ("components", "parameters", "log L per object", "BIC", "AIC", "ICL", "held-out", "worse by", "status")
    table = Table(f"Candidates, by {criterion}", head, rows, marked)
    return Section("The choice", lead=str(choice.get("recommendation", "")), tables=[table])


def _criterion(value: float | None) -> str:
    """With the digits in which models differ."""
    return "-" if value is None else f"{value:,.6f}" if abs(value) < 1e3 else f"{value:,.1f}"
