"""Values as bytes and the journal of answers: the same bits come back, and any torn end is only a shorter journal."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dgmmis.dataset.encoding import decoded, encoded
from dgmmis.dataset.journal import Journal
from dgmmis.errors import DivergedError, StoreError
from dgmmis.moments import Moments


@dataclass(frozen=True)
class _Pair:
    first: Any
    second: Any


CLASSES = {"_Pair": _Pair, "Moments": Moments}

SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text()
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(st.text(), inner, max_size=3)
        | st.builds(_Pair, inner, inner)
    ),
    max_leaves=8,
)


def same(one: Any, other: Any) -> bool:
    """Whether two values are the same, types, bits and order in memory."""
    if type(one) is not type(other):
        return False
    match one:
        case np.ndarray() | np.generic():
            alike = one.dtype == other.dtype and one.shape == other.shape and one.tobytes() == other.tobytes()
            orders = [a.flags.f_contiguous for a in (one, other)], [a.flags.c_contiguous for a in (one, other)]
            return alike and all(a == b for a, b in orders)
        case float():
            return np.float64(one).tobytes() == np.float64(other).tobytes() or (one != one and other != other)
        case list() | tuple():
            return len(one) == len(other) and all(map(same, one, other))
        case dict():
            return list(one) == list(other) and all(same(one[key], other[key]) for key in one)
        case _Pair():
            return same(one.first, other.first) and same(one.second, other.second)
    return bool(one == other)


@given(VALUES)
def test_values_come_back(value: Any) -> None:
    assert same(decoded(encoded(value), CLASSES), value)


@pytest.mark.parametrize(
    "array",
    [
        np.array([1.0, -0.0, np.nan, np.inf, 5e-324]),
        np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        np.arange(24.0).reshape(2, 3, 4),
        np.zeros((0, 3)),
        np.array(7.0),
        np.float64(0.1),
        np.bool_(True),
        np.arange(3, dtype=">i4"),
        np.array(["one", "two"]),
    ],
)
def test_arrays_come_back_as_they_lie_in_memory(array: Any) -> None:
    assert same(decoded(encoded([array, array]), {}), [array, array])


def test_a_view_comes_back_as_a_whole() -> None:
    view = np.arange(12.0).reshape(3, 4)[:, ::2]
    back = decoded(encoded(view), {})
    assert back.flags.c_contiguous
    assert np.array_equal(back, view)


@pytest.mark.parametrize("value", [object(), np.array([object()]), {1, 2}, 1j])
def test_other_kinds_are_refused(value: Any) -> None:
    with pytest.raises(TypeError, match="cannot encode"):
        encoded(value)


def test_only_known_classes_are_made() -> None:
    with pytest.raises(ValueError, match="_Pair"):
        decoded(encoded(_Pair(1, 2)), {})


def test_what_could_not_be_read_back_is_not_written() -> None:
    """Or else who reads it takes it for another version's, and does the work again without a word."""
    with pytest.raises(TypeError, match="cannot encode _Pair"):
        encoded([_Pair(1, 2)], {})
    assert encoded([_Pair(1, 2)], {"_Pair": _Pair}) == encoded([_Pair(1, 2)])


@given(st.binary(max_size=200))
def test_other_bytes_are_an_error(content: bytes) -> None:
    try:
        decoded(content, CLASSES)
    except ValueError:
        return


@given(st.integers(0, 10**6), st.integers(0, 255))
def test_a_changed_byte_runs_nothing(place: int, byte: int) -> None:
    whole = bytearray(encoded({"a": [np.arange(4.0), _Pair(1, 2.5)], "b": ("x", None)}))
    whole[place % len(whole)] = byte
    try:
        decoded(bytes(whole), CLASSES)
    except ValueError:
        return


def noted(path: Path, interval: float = 0.0) -> list[Moments]:
    """A journal of three answers; and these."""
    rng = np.random.default_rng(1)
    answers = [
        Moments(rng.normal(size=3), rng.normal(size=(3, 2)), rng.normal(size=(3, 3)), 0.1, n, 5.0) for n in range(3)
    ]
    with Journal(path, CLASSES, interval) as journal:
        for n, answer in enumerate(answers):
            assert journal.answer(f"question {n}", lambda answer=answer: {"sum": answer})["sum"] is answer
        journal.flush()
    return answers


def again(path: Path) -> tuple[list[Any], int]:
    """The answers when the three questions are asked again, and how many of them the journal did not have."""
    asked = []
    with Journal(path, CLASSES) as journal:
        found = [journal.answer(f"question {n}", lambda n=n: asked.append(n)) for n in range(3)]
        journal.flush()
    return found, len(asked)


def test_answers_come_back_without_being_asked_for(tmp_path: Path) -> None:
    answers = noted(tmp_path / "journal")
    found, n_asked = again(tmp_path / "journal")
    assert n_asked == 0
    for one, other in zip(found, answers, strict=True):
        assert encoded(one["sum"]) == encoded(other)


def test_any_torn_end_is_a_shorter_journal(tmp_path: Path) -> None:
    """At every byte: what is whole before it is given, and what follows is asked for and noted in its place."""
    path = tmp_path / "journal"
    answers = noted(path)
    whole = path.read_bytes()
    frame = len(whole) // 3
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        found, n_asked = again(path)
        assert n_asked == 3 - length // frame
        for one, other in zip(found[: length // frame], answers, strict=False):
            assert encoded(one["sum"]) == encoded(other)
        assert again(path)[1] == 0


def test_a_changed_byte_ends_a_journal(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    noted(path)
    whole = path.read_bytes()
    for place in range(0, len(whole), 7):
        changed = bytearray(whole)
        changed[place] ^= 1
        path.write_bytes(bytes(changed))
        assert again(path)[1] == 3 - 3 * place // len(whole)


def test_answers_wait_for_the_interval(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    with Journal(path, CLASSES, 3600.0) as journal:
        journal.answer("one", lambda: 1)
        assert path.stat().st_size == 0
        journal.flush()
        assert path.stat().st_size > 0


def test_another_question_is_not_answered(tmp_path: Path) -> None:
    noted(tmp_path / "journal")
    with Journal(tmp_path / "journal", CLASSES) as journal, pytest.raises(DivergedError, match="other questions"):
        journal.answer("question of another fit", lambda: None)


@pytest.mark.parametrize("interval", [0.0, 3600.0])
def test_a_doubtful_answer_is_forgotten(tmp_path: Path, interval: float) -> None:
    path = tmp_path / "journal"
    with Journal(path, CLASSES, interval) as journal:
        journal.answer("question 0", lambda: 1)
        journal.answer("question 1", lambda: 2)
        journal.doubt()
        journal.flush()
        assert journal.n_answers == 1
    found, n_asked = again(path)
    assert found[0] == 1
    assert n_asked == 2


@pytest.mark.parametrize(("n_given", "n_asked"), [(3, 1), (2, 0)])
def test_only_the_last_answer_of_a_journal_is_forgotten(tmp_path: Path, n_given: int, n_asked: int) -> None:
    path = tmp_path / "journal"
    noted(path)
    with Journal(path, CLASSES) as journal:
        for n in range(n_given):
            journal.answer(f"question {n}", lambda: None)
        journal.doubt()
    assert again(path)[1] == n_asked


def test_a_flush_that_was_interrupted_is_done_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "journal"
    with Journal(path, CLASSES, 3600.0) as journal:
        journal.answer("question 0", lambda: 1)
        journal.answer("question 1", lambda: 2)
        with monkeypatch.context() as patch:
            patch.setattr("dgmmis.dataset.journal.os.fsync", lambda _: (_ for _ in ()).throw(KeyboardInterrupt))
            with pytest.raises(KeyboardInterrupt):
                journal.flush()
        journal.flush()
        journal.answer("question 2", lambda: 3)
        journal.flush()
    assert again(path) == ([1, 2, 3], 0)


def test_a_journal_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="cannot be opened"):
        Journal(tmp_path / "nowhere" / "journal", CLASSES)
