"""info: what is in a store or a run."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from dgmmis.cli.operations import Operation
from dgmmis.cli.output import readable, show_rows, tell
from dgmmis.cli.program import PLACE, allow_code_option, common, program

if TYPE_CHECKING:
    from dgmmis.dataset.checkpoint import Run


@program.command()
@click.argument("path", type=PLACE)
@click.option("--verify", is_flag=True, help="Read every byte of a survey store, and list the files that are damaged.")
@allow_code_option
@common
def info(path: Path, verify: bool, allow_code: bool, as_json: bool, quiet: bool) -> None:
    """Describe a survey store or a run.

    \b
    Example:
      dgmmis info survey.zarr
      dgmmis info --verify survey.zarr
    """
    from dgmmis.dataset.checkpoint import is_run, is_unfinished, latest_name, read_run
    from dgmmis.dataset.dataset import Dataset
    from dgmmis.dataset.under_way import last_checkpoint, unfinished

    if verify:
        _verified(path, as_json, quiet)
    elif is_unfinished(path):
        task, last = unfinished(path), last_checkpoint(path, allow_code=allow_code)
        failed = {"failed": task.failed} if task is not None and task.failed else {}
        if task is not None and task.tried:
            _describe_selection(path, as_json, failed)
        elif last is None:
            status = f"not finished, and without a checkpoint yet: `dgmmis resume {path}` goes on"
            tell({"status": status, "converged": False, **failed}, as_json)
        else:
            _describe(last, path, as_json, failed)
        if not as_json and is_run(path):
            click.echo("(an earlier run is there, and stays until this one is finished)")
    elif is_run(path) or latest_name(path) is not None:
        _describe(read_run(path, allow_code=allow_code), path, as_json, {})
    else:
        tell(Dataset.open(path).describe(), as_json)


def _describe_selection(path: Path, as_json: bool, failed: dict[str, str]) -> None:
    """How far a selection is, and what it tries."""
    from dgmmis.chosen import tried_in
    from dgmmis.dataset.selection_under_way import SoFar

    tried, so_far = tried_in(path), SoFar.of(path)
    status = f"not finished: {so_far}: `dgmmis resume {path}` goes on"
    about = {"status": status, "converged": False, "seconds": so_far.seconds, **failed}
    if tried is not None:
        about |= {
            "components": list(tried.components),
            "covariance_types": list(tried.covariance_types),
            "criterion": tried.criterion.name,
        }
    tell({**about, "selection": so_far.document()} if as_json else about, as_json)


def _describe(run: "Run", path: Path, as_json: bool, failed: dict[str, str]) -> None:
    """All that there is to know of a run, but for its history."""
    from dgmmis.summary import cost_lines, document_lines, model_table, survey_lines

    document = {key: value for key, value in run.document.items() if key not in ("history", "job")} | failed
    if as_json:
        tell({**document, **run.numbers()}, as_json)
        return
    said = ("survey", "selection", "background", "completeness", "completeness_error", "costs")
    with readable(path):
        lines = document_lines({k: v for k, v in document.items() if k not in said})
        lines += cost_lines(run)
        if run.record.tables or "data" in document:  # a checkpoint does not keep the survey
            lines += survey_lines(run)
        table = model_table(run)
    show_rows(lines)
    click.echo("\n" + table)


def _verified(path: Path, as_json: bool, quiet: bool) -> None:
    """Say which files of a store are damaged; an error if any is."""
    from dataclasses import asdict

    from dgmmis.dataset.dataset import Dataset
    from dgmmis.dataset.verify import damages
    from dgmmis.errors import StoreError

    with Operation(as_json=as_json, quiet=quiet) as operation:
        found = damages(path, operation.counting("verifying"))
    if as_json:
        click.echo(json.dumps({"path": str(path), "damaged": [asdict(one) for one in found]}, indent=1))
    else:
        show_rows([(one.file, f"rows {one.first_row} to {one.last_row}: {one.what}") for one in found])
    if found:
        files = len({one.file for one in found})
        raise StoreError(f"{files} damaged file{'s' if files > 1 else ''} in '{path}'", do="restore, or ingest again")
    is_old = any(segment.checksums is None for segment in Dataset.open(path).segments)
    if not as_json:
        click.echo("every chunk is whole" + (", but of old segments it is not known which" if is_old else ""))
