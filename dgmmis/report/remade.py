"""Costs, versions, seeds, and how to do it again."""

import shlex
import tomllib

from dgmmis.report.fitted import sources_table
from dgmmis.report.section import Section, Table
from dgmmis.report.subject import Subject
from dgmmis.software import software
from dgmmis.summary import cost_lines, document_lines

COSTS = ("n_passes", "seconds", "compile_seconds", "sittings", "rounds", "imputed_points", "imputation_error")
WORDS = {
    "n_passes": "passes over the data",
    "seconds": "seconds, in all",
    "compile_seconds": "of them for compiling",
    "sittings": "times begun",
    "imputed_points": "points for the unseen",
    "imputation_error": "error by these points, in statistical errors",
}

MEANINGS = (
    ("log-likelihood", "mean log density per object, given that it was seen; in nats"),
    ("weight", "share of a component in the population without the background"),
    ("mean (standard deviation)", "of a component, noise removed, in the unit of the feature"),
    ("completeness", "share of the population that the survey sees"),
    ("objects before selection", "how many there are in all, seen or not, and its standard error"),
    ("background fraction", "share of the population that belongs to no component"),
    ("±", "one standard error, by the information of the fit; the bootstrap's where it says so"),
    ("p", "how often a true model would deviate as much, or more; of all: by any of so many tests"),
    (
        "smooth test",
        "the transforms P(Y ≤ y) of a true model are even; order 1 is the mean, 2 the spread, 3 skewness, 4 tails",
    ),
    ("chi²", "of observed against expected counts in cells, the error of what is expected counted in"),
    ("BIC, AIC, ICL", "smaller is better; held-out log-likelihood: larger is better"),
)
"""What the numbers mean."""


def costs_section(subject: Subject) -> Section:
    """What it cost, and what did the work."""
    document, manifest = subject.document, subject.manifest or {}
    costs = {WORDS.get(name, name): document[name] for name in COSTS if name in document}
    costs = {what: round(value, 3) if isinstance(value, float) else value for what, value in costs.items()}
    facts = document_lines(costs) + ([] if subject.run is None else cost_lines(subject.run))
    facts += [(f"reprocessing: {what}", value) for what, value in document_lines(manifest.get("costs") or {})]
    made = manifest.get("software") or {"dgmmis": document.get("dgmmis", "-")}
    here = software()
    rows = [(name, str(made.get(name, "-")), here.get(name, "-")) for name in dict.fromkeys([*made, *here])]
    tables = [Table("Versions", ("software", "made the run", "wrote this report"), rows)]
    return Section("Costs and versions", facts=facts, tables=tables)


def again_section(subject: Subject) -> Section:
    """The job and the commands."""
    document = subject.document
    facts = [("run id", str(document.get("run_id", "-"))), ("seed", _seed(subject.job))]
    if subject.version:
        facts.append(("version of the model store", subject.version))
    job = str((subject.manifest or {}).get("job_path") or "JOB.toml")
    run, choice = shlex.quote(subject.path), subject.choice
    name = shlex.quote(job)
    if choice is not None:
        tried = ",".join(map(str, sorted({entry["n_components"] for entry in choice["table"]})))
        types = ",".join(dict.fromkeys(entry["covariance_type"] for entry in choice["table"]))
        criterion = choice.get("criterion", {}).get("name", "bic")
        fit = (
            f"dgmmis select {name} --components {tried} --covariance-types {types} --criterion {criterion} --out {run}"
        )
    elif subject.manifest is not None:
        fit = f"dgmmis reprocess {name}"
    elif subject.is_finished:
        fit = f"dgmmis fit {name} --out {run}"
    else:
        fit = f"dgmmis resume {run}"
    commands = "\n".join([fit, f"dgmmis check {run}", f"dgmmis report {run}"])
    texts = [("The commands", commands)]
    if subject.job:
        texts.append(("The job file, as it was; its relative paths are from where it was", subject.job))
    tables = []
    if subject.manifest is not None:
        tables.append(sources_table("Inputs of this version", subject.manifest.get("inputs") or []))
    return Section("How to do it again", facts=facts, tables=tables, texts=texts)


def meaning_section() -> Section:
    """A line for each number."""
    return Section("What the numbers mean", meanings=MEANINGS)


def _seed(job: str) -> str:
    try:
        return str(tomllib.loads(job).get("fit", {}).get("seed", "0 (default)")) if job else "-"
    except (tomllib.TOMLDecodeError, AttributeError):
        return "-"
