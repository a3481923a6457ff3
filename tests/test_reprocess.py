"""The published model follows a survey that grows: what is new comes in, what is bad stays out, nothing twice."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from dgmmis.dataset.append import append
from dgmmis.dataset.checkpoint import read_run
from dgmmis.dataset.compact import compact
from dgmmis.dataset.dataset import Dataset
from dgmmis.dataset.folds import Fold, training
from dgmmis.dataset.model_store import ModelStore
from dgmmis.dataset.withdraw import withdraw
from dgmmis.errors import JobError, LockedError, StoreError
from dgmmis.execution.serial import Threads
from dgmmis.fit import evaluate
from dgmmis.job import read_job
from dgmmis.prediction import score_run
from dgmmis.reprocess import Report, reprocess
from tests.nights import JOB, night


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "job.toml").write_text(JOB)
    night(tmp_path, 1, 2000)
    return tmp_path


def again(folder: Path, **options: bool) -> Report:
    return reprocess(read_job(folder / "job.toml"), **options)


def store_of(folder: Path) -> ModelStore:
    return ModelStore(folder / "job.models")


def rows(folder: Path) -> int:
    return Dataset.open(folder / "survey.zarr").n_rows


def test_it_publishes_what_is_new_and_only_that(folder: Path) -> None:
    first = again(folder)
    assert (first.outcome, first.version, first.exit_code) == ("published", "000001", 0)
    nothing = again(folder)
    assert (nothing.outcome, nothing.version, nothing.exit_code) == ("nothing new", "000001", 0)
    night(folder, 2)
    second = again(folder)
    assert (second.outcome, second.version) == ("published", "000002")
    assert rows(folder) == 2400
    assert {finding.name for finding in second.findings} == {"fall", "arrivals", "completeness", "jump"}
    manifest = store_of(folder).latest().manifest
    assert manifest["starts_from"] == "000001"
    assert [(entry["source"], entry["is_new"]) for entry in manifest["inputs"]] == [
        ("001.csv", False),
        ("002.csv", True),
    ]
    assert all(len(entry["sha256"]) == 64 for entry in manifest["inputs"])
    assert manifest["software"]["dgmmis"]
    assert manifest["seed"] == 0
    assert manifest["costs"]["passes"] > 0
    assert "[reprocess]" in manifest["job"]


def test_the_published_model_is_that_of_a_fit_of_all_rows(folder: Path) -> None:
    again(folder)
    night(folder, 2)
    again(folder)
    other = folder / "other"
    shutil.copytree(folder / "nights", other / "nights")
    (other / "job.toml").write_text(JOB)
    again(other)
    mixtures = [read_run(place / "job.models").model.mixture for place in (folder, other)]
    followed, fitted = (one.means[np.argsort(one.means[:, 0])] for one in mixtures)
    np.testing.assert_allclose(followed, fitted, atol=5e-3)


def test_a_model_store_is_a_run_for_every_command(folder: Path) -> None:
    again(folder)
    assert np.isfinite(score_run(folder / "job.models", folder / "survey.zarr")["log_likelihood"])


def test_the_sums_of_old_and_new_rows_are_those_of_all(folder: Path) -> None:
    again(folder)
    run, before = read_run(folder / "job.models"), Dataset.open(folder / "survey.zarr").identities
    night(folder, 2)
    again(folder)
    data, fold = Dataset.open(folder / "survey.zarr"), Fold(0, 10, 0)
    new = data.part([one for one in data.identities if one not in before])
    both = run.moments + evaluate(training(new, fold), run.model, executor=Threads(1)).moments
    whole = evaluate(training(data, fold), run.model, executor=Threads(1)).moments
    for name in ("weight", "mean_score", "covariance_score", "log_likelihood", "n_samples"):
        np.testing.assert_allclose(getattr(both, name), getattr(whole, name), rtol=1e-10, atol=1e-8)


def test_a_bad_night_is_set_aside_and_the_next_one_is_not(folder: Path) -> None:
    again(folder)
    night(folder, 2, shift=30.0)
    bad = again(folder)
    assert (bad.outcome, bad.version, bad.exit_code) == ("nothing new", "000001", 1)
    assert "set aside: log-likelihood of the 360 objects of 002.csv" in bad.sentence
    assert rows(folder) == 2000
    nothing = again(folder)
    assert (nothing.outcome, nothing.exit_code) == ("nothing new", 0)
    assert "1 set aside" in nothing.sentence
    night(folder, 3)
    assert again(folder).version == "000002"
    assert rows(folder) == 2400
    accepted = again(folder, accept=True)
    assert (accepted.outcome, rows(folder)) == ("published", 2800)


def test_of_several_nights_the_bad_one_is_set_aside(folder: Path) -> None:
    again(folder)
    night(folder, 2, shift=30.0)
    night(folder, 3)
    both = again(folder)
    assert (both.outcome, both.version, both.exit_code, both.left_out) == ("published", "000002", 1, ("002.csv",))
    assert [entry["source"] for entry in store_of(folder).set_aside()] == ["002.csv"]
    assert rows(folder) == 2400


def test_a_model_that_is_worse_for_what_was_known_is_refused(folder: Path) -> None:
    text = JOB + "[reprocess.gate]\narrivals = inf\n"
    (folder / "job.toml").write_text(text)
    again(folder)
    night(folder, 2, shift=30.0)
    bad = again(folder)
    assert (bad.outcome, bad.version, bad.exit_code, bad.left_out) == ("refused", "000001", 1, ("002.csv",))
    assert "held-out log-likelihood -" in bad.sentence
    assert rows(folder) == 2000
    assert store_of(folder).refused().run().document["converged"]
    assert again(folder).outcome == "nothing new"


def test_a_set_aside_source_that_a_killed_process_left_in_the_survey_goes(folder: Path) -> None:
    again(folder)
    night(folder, 2)
    again(folder)
    store, data = store_of(folder), Dataset.open(folder / "survey.zarr")
    shutil.rmtree(store.path / "versions" / "000002")  # as if it had been refused
    store._point_to("000001")
    with store.held():
        store.leave_out([{**data.provenance[1], "why": "killed"}])
    assert again(folder).outcome == "nothing new"
    assert rows(folder) == 2000


def test_late_and_duplicated_rows_are_told_by_their_ids(folder: Path) -> None:
    again(folder)
    lines = night(folder, 2).read_text().splitlines()
    (folder / "nights" / "002.csv").write_text("\n".join(lines[:301]) + "\n")
    assert rows_after(folder) == 2300
    (folder / "nights" / "002.csv").write_text("\n".join(lines) + "\n")  # the rest came late
    report = again(folder)
    assert [(taken.n_rows, taken.n_left_out) for taken in report.intake.taken] == [(100, 300)]
    shutil.copy(folder / "nights" / "002.csv", folder / "nights" / "copy.csv")
    assert again(folder).outcome == "nothing new"
    (folder / "nights" / "sent-again.csv").write_text("\n".join([lines[0], *lines[5:50]]) + "\n")
    nothing = again(folder)
    assert (nothing.outcome, rows(folder)) == ("nothing new", 2400)
    assert again(folder).intake.taken == ()  # and is not looked at each time


def rows_after(folder: Path) -> int:
    assert again(folder).outcome == "published"
    return rows(folder)


def test_without_ids_a_source_that_changed_is_refused_or_read_on(folder: Path) -> None:
    text = JOB.replace('row_id = "id"\n', "")
    (folder / "job.toml").write_text(text)
    again(folder)
    file = folder / "nights" / "001.csv"
    with file.open("a") as stream:
        stream.writelines(line + "\n" for line in night(folder, 2).read_text().splitlines()[1:])
    (folder / "nights" / "002.csv").unlink()
    report = again(folder)
    assert (report.outcome, report.exit_code) == ("nothing new", 65)
    assert "has changed since it was taken in" in str(report.intake.problems[0].error)
    (folder / "job.toml").write_text(text.replace("held_out", "grows = true\nheld_out"))
    assert again(folder).outcome == "published"
    assert rows(folder) == 2400
    file.write_text("\n".join(file.read_text().splitlines()[:100]) + "\n")
    lost = again(folder)
    assert (lost.outcome, lost.exit_code, rows(folder)) == ("nothing new", 65, 2400)
    assert "has lost rows: expected 2,400 or more, got 99" in str(lost.intake.problems[0].error)


def test_one_bad_file_does_not_keep_the_others_out(folder: Path) -> None:
    again(folder)
    night(folder, 3)
    bad = night(folder, 2)
    bad.write_text(bad.read_text().replace("id,x,y", "id,x,z"))
    report = again(folder)
    assert (report.outcome, report.exit_code, rows(folder)) == ("published", 65, 2400)
    assert [problem.path.name for problem in report.intake.problems] == ["002.csv"]
    assert "'y'" in str(report.intake.problems[0].error)
    night(folder, 2)  # mended
    assert (again(folder).exit_code, rows(folder)) == (0, 2800)


def test_versions_are_kept_pruned_and_rolled_back(folder: Path) -> None:
    for number in range(2, 7):
        again(folder)
        night(folder, number)
    store = store_of(folder)
    assert store.names() == ["000003", "000004", "000005"]
    assert store.roll_back().name == "000004"
    assert store.latest().name == "000004"
    with store.held():  # which finishes what was begun, and this was not
        assert store.latest().name == "000004"
    again(folder)
    assert store.latest().name == "000006"
    assert store.latest().manifest["starts_from"] == "000004"
    assert store.roll_back("000004").name == "000004"
    assert again(folder).outcome == "nothing new"
    with pytest.raises(JobError, match="no version '000001'"):
        store.roll_back("000001")


def test_a_publication_that_was_cut_short_is_finished(folder: Path) -> None:
    again(folder)
    night(folder, 2)
    before = (folder / "job.models" / "latest").read_text()
    again(folder)
    (folder / "job.models" / "latest").write_text(before)
    nothing = again(folder)
    assert (nothing.outcome, nothing.version) == ("nothing new", "000002")


def test_a_candidate_that_was_finished_is_not_made_twice(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    again(folder)
    night(folder, 2)

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(ModelStore, "publish", killed)
        with pytest.raises(KeyboardInterrupt):
            again(folder)
    with monkeypatch.context() as patch:
        patch.setattr("dgmmis.reprocess.flow.run_job", killed)
        assert again(folder).version == "000002"


def test_a_fit_that_did_not_converge_is_gone_on_with(folder: Path) -> None:
    (folder / "job.toml").write_text(JOB + "[fit]\nmax_iter = 4\n")
    codes = [again(folder).exit_code]
    while codes[-1] == 3 and len(codes) < 8:
        codes.append(again(folder).exit_code)
    assert (codes[0], codes[-1]) == (3, 0)


def test_another_job_is_fitted_anew(folder: Path) -> None:
    again(folder)
    (folder / "job.toml").write_text(JOB.replace("n_components = 2", "n_components = 3"))
    report = again(folder)
    assert report.outcome in ("published", "refused")
    assert store_of(folder).newest().manifest["starts_from"] is None


def test_a_survey_that_was_compacted_or_lost_rows_is_fitted_again(folder: Path) -> None:
    again(folder)
    night(folder, 2)
    again(folder)
    assert compact(folder / "survey.zarr").n_made == 1
    joined = again(folder)
    assert (joined.outcome, joined.version, joined.exit_code) == ("published", "000003", 0)
    assert again(folder).outcome == "nothing new"
    withdraw(folder / "survey.zarr", np.arange(20_000, 20_010))
    assert (again(folder).outcome, rows(folder)) == ("published", 2390)
    assert again(folder).outcome == "nothing new"  # and the rows do not come back


def test_nothing_of_before_is_set_aside_with_a_bad_night(folder: Path) -> None:
    """Where rows were withdrawn, or segments joined, the rest is in other segments, and known all the same."""
    again(folder)
    night(folder, 2)
    again(folder)
    withdraw(folder / "survey.zarr", np.arange(20_000, 20_010))
    night(folder, 3, shift=30.0)
    bad = again(folder)
    assert (bad.left_out, rows(folder)) == (("003.csv",), 2390)
    night(folder, 4, shift=30.0)
    append(folder / "nights" / "004.csv", folder / "survey.zarr", unique=True)
    compact(folder / "survey.zarr")  # with what was there: it cannot be set aside any more
    assert again(folder).left_out == ()
    assert rows(folder) == 2790


def test_after_a_rollback_what_came_since_is_looked_at_again(folder: Path) -> None:
    text = JOB + "[reprocess.gate]\narrivals = inf\nfall = inf\njump = inf\n"
    (folder / "job.toml").write_text(text)
    again(folder)
    night(folder, 2, shift=30.0)
    assert again(folder).version == "000002"
    store_of(folder).roll_back()
    (folder / "job.toml").write_text(JOB)
    night(folder, 3)
    report = again(folder)
    assert (report.outcome, report.left_out, rows(folder)) == ("published", ("002.csv",), 2400)


def test_a_set_aside_file_that_was_corrected_is_taken_in(folder: Path) -> None:
    (folder / "job.toml").write_text(JOB.replace('row_id = "id"\n', ""))
    again(folder)
    night(folder, 2, shift=30.0)
    assert again(folder).left_out == ("002.csv",)
    night(folder, 2)
    assert (again(folder).outcome, rows(folder)) == ("published", 2400)


def test_of_a_file_that_grows_what_was_set_aside_stays_out(folder: Path) -> None:
    (folder / "job.toml").write_text(JOB.replace('row_id = "id"', "").replace("held_out", "grows = true\nheld_out"))
    again(folder)
    file = folder / "nights" / "001.csv"
    for number, shift in ((2, 30.0), (3, 0.0)):
        more = night(folder, number, shift=shift)
        with file.open("a") as stream:
            stream.writelines(line + "\n" for line in more.read_text().splitlines()[1:])
        more.unlink()
        again(folder)
    assert rows(folder) == 2400


def test_without_a_pointer_somebody_has_to_say_which_version_holds(folder: Path) -> None:
    again(folder)
    night(folder, 2)
    again(folder)
    store = store_of(folder)
    for damaged in ("", "{}"):
        (store.path / "latest").write_text(damaged)
        with pytest.raises(StoreError, match="rollback --to VERSION"):
            again(folder)
        with store.held():
            assert store.roll_back("000001").name == "000001"


def test_rows_that_the_survey_could_not_have_are_taken_by_no_word(folder: Path) -> None:
    """Not even where rows were withdrawn, and there are none to compare with."""
    box = "[selection]\nbox = { lower = [-9.0, -9.0], upper = [12.0, 12.0] }\n"
    (folder / "job.toml").write_text(JOB.replace("[cluster]", box + "[cluster]"))
    assert again(folder).outcome == "published"
    withdraw(folder / "survey.zarr", np.arange(10_000, 10_010))
    night(folder, 2, shift=30.0)
    night(folder, 3)
    report = again(folder)
    assert (report.outcome, report.left_out, rows(folder)) == ("published", ("002.csv",), 2390)
    assert "--accept" not in report.sentence
    accepted = again(folder, accept=True)
    assert (accepted.left_out, rows(folder)) == (("002.csv",), 2390)
    (folder / "nights" / "002.csv").unlink()
    assert again(folder).intake.set_aside == ()


def test_a_pattern_without_files_is_said(folder: Path) -> None:
    again(folder)
    (folder / "job.toml").write_text(JOB.replace("nights/*.csv", "nihgts/*.csv"))
    assert "no file matches nihgts/*.csv" in again(folder).sentence


def test_two_at_once_are_one_after_the_other(folder: Path) -> None:
    store = store_of(folder)
    with store.held(), pytest.raises(LockedError):
        again(folder)


def test_a_job_says_what_it_wants_reprocessed(folder: Path) -> None:
    (folder / "job.toml").write_text(JOB[: JOB.index("[reprocess]")])
    with pytest.raises(JobError, match=r"no table \[reprocess\]"):
        again(folder)
    for wrong, said in (
        ('sources = ["nights/*.csv"]\nhold_out = 0.1', "Did you mean 'held_out'"),
        ("sources = []", "sources"),
        ('sources = ["a.csv"]\nheld_out = 0.9', "held_out"),
        ('sources = ["a.csv"]\ngate = { fal = 1 }', "Did you mean 'fall'"),
        ('sources = ["a.csv"]\ncolumns = { feature = ["x"] }', "Did you mean 'features'"),
    ):
        (folder / "job.toml").write_text(JOB[: JOB.index("[reprocess]")] + "[reprocess]\n" + wrong)
        with pytest.raises(JobError, match=said):
            again(folder)


def test_the_manifest_is_json(folder: Path) -> None:
    again(folder)
    manifest = json.loads((folder / "job.models" / "versions" / "000001" / "manifest.json").read_text())
    assert manifest["version"] == "000001"
    assert manifest["previous"] is None
