"""reprocess(): take in what is new, let the model follow, compare it with the one that holds, publish or refuse it.

All that is decided follows from what is on the disk: the sources, the segments of the survey, the versions of the
model. So the same command, run again after whatever ended it, goes on; run again with nothing new, it does nothing.
"""

import math
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import takewhile
from typing import Any

from dgmmis.callback import Callback, Callbacks, doing
from dgmmis.costs import peak_bytes
from dgmmis.dataset.checkpoint import Run
from dgmmis.dataset.folds import Fold, held_out
from dgmmis.dataset.model_store import ModelStore, Version
from dgmmis.dataset.under_way import Sitting, new_run_id, unfinished
from dgmmis.dataset.undertaking import Undertaking
from dgmmis.em import Status
from dgmmis.errors import JobError, StoreError, counted
from dgmmis.execution.cluster import connect, what_starts
from dgmmis.execution.executor import Executor
from dgmmis.job import Job
from dgmmis.job.job_tables import ReprocessTable
from dgmmis.model_selection.cross_validation import CrossValidation, HeldOut
from dgmmis.reprocess.gate import Finding, compared_with, jump
from dgmmis.reprocess.intake import Intake, Segment, drop, segment_of, take_in
from dgmmis.reprocess.noted import Noted
from dgmmis.reprocess.report import NOT_CONVERGED, NOTHING_NEW, PUBLISHED, REFUSED, Report
from dgmmis.reprocess.screening import Screened, screened
from dgmmis.runs import Given, given_by, run_job
from dgmmis.software import software

Announce = Callable[[list[tuple[str, str]]], None]

ORIGIN = ("source", "path", "bytes", "modified", "sha256", "source_rows")
"""Of what is said of a source that was taken in, what identifies it."""

ACCEPT = "`dgmmis reprocess --accept` takes it all the same"


def reprocess(
    job: Job,
    *,
    accept: bool = False,
    cold: bool = False,
    callbacks: Sequence[Callback] = (),
    announce: Announce | None = None,
    run_id: str = "",
) -> Report:
    """Let the published model of a job follow its sources.

    Args:
        job: with a table [reprocess].
        accept: publish whatever the gate finds, and take in again what was set aside.
        cold: begin where the job says, not with the model that holds.
        callbacks: that follow the steps, and the fit.
        announce: receives the plan of the fit.
        run_id: of this run; empty: a random one. That of a fit which was interrupted comes before it.

    Raises:
        JobError: the job has no [reprocess].
        LockedError: another process is at it, or holds the survey.
        DgmmisError: as in `run_job`.
    """
    table = job.reprocess
    if table is None:
        raise JobError(f"'{job.path}' has no table [reprocess]", do="add it, with `sources`; or use `dgmmis fit`")
    store, follower = ModelStore(job.models_path, job.path.parent), Callbacks(callbacks)
    with store.held():
        there = _under_way(store)
        run = (there.run_id if there is not None else "") or run_id or new_run_id()
        with Noted(store, run, follower) as noted:
            store.finish()
            if accept:
                store.take_back()
            elif store.set_aside():  # as far as a process came that was killed
                drop(job.resolve(job.data.path), _segments(store.set_aside()))
            intake = take_in(job, store, follower)
            noted.takes_in(intake)
            if not job.resolve(job.data.path).exists():
                if intake.problems:
                    raise intake.problems[0].error
                what = f"no source has come yet, and there is no survey '{job.data.path}'"
                got = f"[reprocess] sources {list(table.sources)}"
                raise StoreError(what, got=got, do="run again when one is there")
            work = _Reprocessing(job, table, store, accept=accept, cold=cold, run=run)
            report = work.report(intake, callbacks, announce)
            noted.reports(report)
            store.prune(table.keep, None if table.keep_days is None else float(table.keep_days))
            return report


def _under_way(store: ModelStore) -> Undertaking | None:
    """The fit of a candidate that was interrupted; one whose note cannot be read is given up."""
    try:
        return unfinished(store.candidate)
    except StoreError:
        shutil.rmtree(store.candidate, ignore_errors=True)
        return None


class _Reprocessing:
    """One run of it, after the sources were taken in."""

    def __init__(
        self, job: Job, table: ReprocessTable, store: ModelStore, *, accept: bool, cold: bool, run: str
    ) -> None:
        self._job, self._table, self._store, self._accept, self._run = job, table, store, accept, run
        self._began = time.monotonic()
        self._given = given_by(job)
        self._data = self._given.data
        self._fold = Fold(job.fit.seed, table.n_folds, 0)
        self._holds = store.latest()
        self._published = None if self._holds is None else self._holds.run(allow_code=job.allow_code)
        self._cold = cold or self._published is None or not self._is_alike(self._published)
        self._fitted = self._essence()

    def report(self, intake: Intake, callbacks: Sequence[Callback], announce: Announce | None) -> Report:
        store, holds = self._store, self._holds
        name = None if holds is None else holds.name
        made = [store.newest(), None if self._accept else store.refused()]
        if any(one is not None and one.manifest.get("fitted") == self._fitted for one in made):
            return Report(NOTHING_NEW, self._nothing_new(intake), intake, name)
        given, limits = replace(self._given, without=self._fold), self._table.limits()
        tell = Callbacks(callbacks).on_notice
        tell(doing(what_starts(self._job.cluster_spec(), small=given.work.is_small)))
        executor = connect(self._job.cluster_spec(), small=given.work.is_small)
        try:
            if self._published is not None:
                tell(doing("judging the model that holds"))
            usual = self._held_out(self._published, executor)
            seen = Screened({})
            if self._published is not None:
                way: dict[str, Any] = {"fold": self._fold, "survey": given.survey, "executor": executor}
                new = tuple(self._arrived())
                tell(doing(f"screening {counted(len(new), 'new segment')}"))
                before = None if self._accept or usual is None else usual.log_likelihood
                seen = screened(self._data, new, self._published.model, before, limits, **way)
            if not seen.bad:
                run = self._fit(self._started(given, seen), executor, callbacks, announce)
                tell(doing("comparing with the model that holds" if self._published is not None else ""))
                compared = self._held_out(run, executor)
        finally:
            executor.close()
        if seen.bad:
            return self._without(seen.bad, intake, callbacks, announce)
        if not run.document["converged"]:
            return Report(NOT_CONVERGED, f"not converged, and not published: {run.document['status']}", intake, name)
        findings = list(seen.findings.values())
        if self._published is not None and usual is not None and compared is not None:
            findings += compared_with(run, self._published, compared - usual, usual.n_samples, limits)
        if self._published is not None and not self._cold:  # then components have the numbers that they had
            findings += jump(run.model, self._published.model, self._published.document, limits)
        if not self._accept and not all(finding.is_fine for finding in findings):
            return self._refused(run, findings, intake)
        tell(doing("publishing"))
        version = store.publish(self._manifest(run, findings))
        return Report(PUBLISHED, _sentence(version, run, findings), intake, version.name, tuple(findings))

    def _held_out(self, run: Run | None, executor: Executor) -> CrossValidation | None:
        """A run on rows of before that neither has seen; None where there are none, or it has other features.

        Which rows are held out goes by their places: those before the first segment that was written anew still are.
        """
        before = self._unchanged()
        if self._published is None or run is None or run.features != self._published.features or not before:
            return None
        rows = held_out(self._data.part(before), self._fold)
        way: dict[str, Any] = {"survey": self._given.survey, "status": Status.CONVERGED, "executor": executor}
        return CrossValidation((HeldOut.of(rows, self._fold, run.model, **way),))

    def _started(self, given: Given, seen: Screened) -> Given:
        """Where the fit begins."""
        published = self._published
        if self._cold or published is None:
            return given
        # what it summed must all be there
        is_whole = self._holds is not None and len(self._unchanged()) == len(_segments_of(self._holds))
        sums = published.moments if is_whole else None
        model = seen.next_model(published.model, sums, self._job.constraints())
        fraction = model.background_fraction or given.start.background_fraction
        return replace(given, start=replace(given.start, method=model.mixture, background_fraction=fraction))

    def _fit(self, given: Given, executor: Executor, callbacks: Sequence[Callback], announce: Announce | None) -> Run:
        job, out = self._job, self._store.candidate
        if not self._cold:  # follows the maximum that was published, and its components keep their numbers
            job = replace(job, fit=replace(job.fit, n_starts=1, split_merge=0))
        about = {
            "fitted": self._fitted,
            "holds": None if self._holds is None else self._holds.name,
            "cold": self._cold,
        }
        made = self._store.candidate_of(about, allow_code=job.allow_code)
        if made is not None and made.document["converged"]:
            return made
        if made is not None:  # goes on from where it ended
            given = replace(given, start=replace(given.start, method=made.model.mixture))
        there = unfinished(out)
        sitting = Sitting(
            overwrite=there is not None and there.difference(given.undertaking(job)) is not None,
            run_id=self._run,
            goes_on=f"dgmmis reprocess {job.path.name}",
        )
        options: dict[str, Any] = {"callbacks": callbacks, "announce": announce, "executor": executor}
        return run_job(job, out, given=given, sitting=sitting, **options)

    def _without(
        self,
        bad: Mapping[Segment, Finding],
        intake: Intake,
        callbacks: Sequence[Callback],
        announce: Announce | None,
    ) -> Report:
        """Leave segments out that are not as before, and go on with the others."""
        self._leave_out({segment: finding.about for segment, finding in bad.items()})
        options: dict[str, Any] = {"accept": self._accept, "cold": self._cold, "run": self._run}
        other = _Reprocessing(self._job, self._table, self._store, **options)
        report = other.report(intake, callbacks, announce)
        findings = (*bad.values(), *report.findings)
        # rows that the survey could not have are not taken by any word
        do = f" ({ACCEPT})" if any(math.isfinite(finding.value) for finding in bad.values()) else ""
        sentence = f"set aside: {'; '.join(finding.about for finding in bad.values())}{do}; {report.sentence}"
        left_out = (*(self._arrived()[segment] for segment in bad), *report.left_out)
        return replace(report, left_out=left_out, findings=findings, sentence=sentence)

    def _refused(self, run: Run, findings: Sequence[Finding], intake: Intake) -> Report:
        """Leave all out that came in, say why, and keep the run to be looked at."""
        why = "; ".join(finding.about for finding in findings if not finding.is_fine)
        manifest, new = self._manifest(run, findings), self._arrived()
        if len(new) == len(self._data.segments):  # nothing would be left
            new = {}
        self._leave_out(dict.fromkeys(new, why))
        self._store.refuse(manifest)
        holds = None if self._holds is None else self._holds.name
        aside = f"{len(new)} set aside, " if new else ""
        kept = f"the model is kept in {self._store.refused_path}"
        sentence = f"refused: {why} ({aside}{kept}; {ACCEPT}); {holds} holds"
        return Report(REFUSED, sentence, intake, holds, tuple(findings), tuple(new.values()))

    def _leave_out(self, why: Mapping[Segment, str]) -> None:
        """Set the sources of segments aside, and take their rows out of the survey."""
        entries: list[dict[str, Any]] = []
        for entry in self._data.provenance:
            segment = segment_of(entry)
            if segment is not None and segment in why:
                of_origin = {key: value for key, value in entry.items() if key in ORIGIN}
                entries.append({**of_origin, "segment": segment, "why": why[segment]})
        if entries:
            self._store.leave_out(entries)
            drop(self._data.path, list(why))

    def _arrived(self) -> dict[Segment, str]:
        """Segments all of whose rows came in since the model which holds was made, and the names of their sources.

        Rows go on in other segments when some are withdrawn, or segments are joined: what a source is goes by what the
        provenance says of it.
        """
        if self._holds is None:
            return {}
        seen = {_source_of(entry) for entry in self._holds.manifest["inputs"]}
        names: dict[Segment, list[str]] = {segment: [] for segment in self._data.identities}
        for entry in self._data.provenance:
            segment = segment_of(entry)
            if segment is None or segment not in names:
                continue
            if _source_of(entry) in seen or not entry.get("path"):  # rows of no file could not be taken in again
                del names[segment]
            else:
                names[segment].append(str(entry.get("source", segment[0])))
        return {segment: ", ".join(of) for segment, of in names.items() if of}

    def _unchanged(self) -> tuple[Segment, ...]:
        """The first segments, as far as the model which holds has seen the same, in the same places and folds."""
        if self._holds is None or self._holds.manifest["fitted"].get("fold") != repr(self._fold):
            return ()
        pairs = zip(self._data.identities, _segments_of(self._holds), strict=False)
        return tuple(one for one, _ in takewhile(lambda pair: pair[0] == pair[1], pairs))

    def _is_alike(self, published: Run) -> bool:
        """Whether the job's model could be that of a run."""
        same = published.model.mixture.n_components == self._job.model.n_components
        return same and published.features == self._data.schema.features

    def _essence(self) -> dict[str, Any]:
        """What decides the answer, as JSON values: with the same there is nothing to do."""
        task = self._given.undertaking(self._job)
        segments = [list(one) for one in task.segments]
        return {"essence": task.essence, "inputs": task.inputs, "segments": segments, "fold": repr(self._fold)}

    def _manifest(self, run: Run, findings: Sequence[Finding]) -> dict[str, Any]:
        """What made a run."""
        seen = [] if self._holds is None else [_source_of(entry) for entry in self._holds.manifest["inputs"]]
        document = run.document
        results = ("status", "log_likelihood", "completeness", "n_samples", "n_objects", "background_fraction")
        return {
            "fitted": self._fitted,
            "inputs": [{**entry, "is_new": _source_of(entry) not in seen} for entry in self._data.provenance],
            "starts_from": None if self._cold or self._holds is None else self._holds.name,
            "job": self._job.text,
            "job_path": str(self._job.path),
            "seed": self._job.fit.seed,
            "software": software(),
            "costs": {
                "seconds": time.monotonic() - self._began,
                "passes": document["n_passes"],
                "driver_peak_bytes": peak_bytes(),
            },
            "results": {name: document[name] for name in results if name in document},
            "gate": [finding.document() for finding in findings],
            "accepted": self._accept,
        }

    def _nothing_new(self, intake: Intake) -> str:
        holds = "nothing is published" if self._holds is None else f"{self._holds.name} holds"
        n_without = sum(taken.n_rows == 0 for taken in intake.taken)
        looked = f"{counted(n_without, 'source')} without new rows, " if n_without else ""
        aside = f", {len(intake.set_aside)} set aside" if intake.set_aside else ""
        nowhere = f"; no file matches {', '.join(intake.unmatched)}" if intake.unmatched else ""
        return f"nothing new: {looked}{self._data.n_rows:,} rows{aside}; {holds}{nowhere}"


def _segments_of(version: Version) -> list[Segment]:
    return [(str(name), str(identity)) for name, identity in version.manifest["fitted"]["segments"]]


def _source_of(entry: Mapping[str, Any]) -> tuple[Any, ...]:
    """What tells a source from others, the same one that was taken in again included."""
    return entry.get("path"), entry.get("source"), entry.get("written")


def _segments(entries: Sequence[Mapping[str, Any]]) -> list[Segment]:
    return [segment for entry in entries if (segment := segment_of(entry)) is not None]


def _sentence(version: Version, run: Run, findings: Sequence[Finding]) -> str:
    """A line about what was published. Its sources may have been taken in before this process was begun."""
    new = [entry for entry in version.manifest["inputs"] if entry["is_new"] and "withdrawn" not in entry]
    rows, left_out = (sum(entry.get(name, 0) for entry in new) for name in ("rows", "left_out"))
    known = f" ({left_out:,} were there)" if left_out else ""
    costs, gate = version.manifest["costs"], "; ".join(finding.about for finding in findings)
    return (
        f"published {version.name}: {counted(len(new), 'new source')}, {rows:,} rows{known}; "
        f"log-likelihood {run.document['log_likelihood']:.5f}; {costs['passes']} passes, {costs['seconds']:.1f} s"
        f"{'; ' + gate if gate else ''}"
    )
