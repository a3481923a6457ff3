"""Binding: the columns that were asked for, as one source has them; what to read, and what becomes of it."""

from collections.abc import Mapping
from functools import cached_property

import numpy as np

from dgmmis.dataset.columns import Columns
from dgmmis.dataset.schema import Schema
from dgmmis.dataset.sources import Field
from dgmmis.errors import DataError, JobError, ShapeError, nearest_name, rows_named
from dgmmis.linalg import packed_indices, packed_size


class Binding:
    """Columns as one source has them.

    Raises:
        JobError: a column that does not exist (the nearest name is given), or a factor for one that is not used.
        DataError: a column that is not numeric, or that has another number of rows.
        ShapeError: arrays that do not fit one another.
    """

    def __init__(self, columns: Columns, available: Mapping[str, Field]) -> None:
        self.columns = columns
        self.available = available
        self._measured = tuple(columns.features)
        arrays = [name for name in (columns.noise, columns.projection) if name is not None]
        named = [*columns.errors, *columns.variances, *columns.covariances]
        named += [name for name in (columns.weight, columns.row_id) if name is not None]
        whole = self._measured if columns.points is None else (columns.points,)
        absent = [name for name in dict.fromkeys([*whole, *named, *arrays]) if not self._is_there(name)]
        if len(absent) > 1:  # of one, the nearest name is told
            raise JobError(f"no columns {', '.join(map(repr, absent))}", do=nearest_name("", available))
        if columns.points is not None:
            m = self._width(columns.points)
            self._measured = tuple(f"{columns.points}:{i}" for i in range(m))
        named = [*self._measured, *named]
        self._places = {name: self._place(name) for name in named}
        for name in arrays:
            self._known(name)
        self.names = tuple(dict.fromkeys([place[0] for place in self._places.values()] + arrays))
        unused = [name for name in columns.scale if name not in {*named, *arrays, columns.points}]
        if unused:
            raise JobError(f"scale for '{unused[0]}', which is not used", do=nearest_name(unused[0], named))
        rows = {name: self.available[name].n_rows for name in self.names}
        if len(set(rows.values())) > 1:
            raise DataError("arrays of unequal length", expected="one length", got=rows, do="choose arrays that match")
        self.n_rows = next(iter(rows.values()))

    @cached_property
    def schema(self) -> Schema:
        """Of the store that these columns make."""
        columns, m = self.columns, len(self._measured)
        names, measured = tuple(columns.features) or self._measured, None
        if columns.projection is not None:
            tail = self.available[columns.projection].tail
            if len(tail) != 2 or tail[0] != m:
                raise ShapeError(
                    f"'{columns.projection}' has the wrong shape", expected=f"(n, {m}, d)", got=("n", *tail)
                )
            names, measured = tuple(columns.features) or tuple(f"x:{i}" for i in range(tail[1])), self._measured
            if len(names) != tail[1]:
                raise ShapeError("features", expected=f"{tail[1]} names, as the projection says", got=names)
        elif len(names) != m:
            raise ShapeError("features", expected=f"{m} names for the columns of '{columns.points}'", got=names)
        noise = "none" if columns.shared_noise is None else "shared"
        if columns.errors or columns.variances:
            noise = "diagonal"
        if columns.covariances:
            noise = "full"
        if columns.noise is not None:
            # the last: for one feature, a variance is its own packed covariance
            tails: dict[tuple[int, ...], str] = {(m, m): "full", (packed_size(m),): "full", (m,): "diagonal"}
            tail = self.available[columns.noise].tail
            if tail not in tails:
                raise ShapeError(
                    f"'{columns.noise}' has the wrong shape",
                    expected=f"(n, {m}), (n, {packed_size(m)}) or (n, {m}, {m})",
                    got=("n", *tail),
                )
            noise = tails[tail]
        units = tuple(columns.units) or self.units
        return Schema(names, units, noise, columns.shared_noise, columns.weight is not None, measured)

    @property
    def units(self) -> tuple[str, ...]:
        """Of the features, as the source says; "" where it does not, or where they are scaled. () with a projection."""
        if self.columns.projection is not None:
            return ()
        plain = [name if self._factor(name) == 1 else None for name in self._measured]
        return tuple("" if name is None else self.available[self._places[name][0]].unit for name in plain)

    @property
    def row_id_names(self) -> tuple[str, ...]:
        """What to read for the row ids alone."""
        return () if self.columns.row_id is None else (self._places[self.columns.row_id][0],)

    def row_ids(self, batch: Mapping[str, np.ndarray], first: int) -> np.ndarray:
        """The row ids, where they have a column; `first` is the number of the first row.

        Raises:
            DataError: some are missing, or not whole.
        """
        assert self.columns.row_id is not None
        return _whole(self._column(batch, self.columns.row_id), self.columns.row_id, first)

    def rows(self, batch: Mapping[str, np.ndarray], first: int) -> dict[str, np.ndarray]:
        """What `SurveyWriter.write` takes, from arrays of the source; `first` is the number of the first row.

        Raises:
            DataError: errors that are missing on measured features, or negative; row numbers that are not whole.
        """
        columns = self.columns
        out = {"points": self._table(batch, self._measured) * [self._factor(name) for name in self._measured]}
        noise = self._noise(batch, out["points"], first)
        if noise is not None:
            out["noise"] = noise
        if columns.weight is not None:
            out["weights"] = self._table(batch, (columns.weight,))[:, 0] * self._factor(columns.weight)
        if columns.row_id is not None:
            out["row_ids"] = self.row_ids(batch, first)
        if columns.projection is not None:
            out["projection"] = np.asarray(batch[columns.projection], dtype=float) * self._factor(columns.projection)
        return out

    def _noise(self, batch: Mapping[str, np.ndarray], points: np.ndarray, first: int) -> np.ndarray | None:
        columns, seen = self.columns, ~np.isnan(points)
        factors = np.array([self._factor(name) for name in self._measured])
        i, j = packed_indices(len(factors))
        if columns.noise is not None:
            values = np.asarray(batch[columns.noise], dtype=float)
            shape = values.shape[1:]
            if len(shape) == 2:
                wanted, scale = seen[:, :, None] & seen[:, None, :], np.multiply.outer(factors, factors)
            elif shape == factors.shape:
                wanted, scale = seen, factors**2
            else:
                wanted, scale = seen[:, i] & seen[:, j], factors[i] * factors[j]
            _require_noise(values, wanted, (columns.noise,), first)
            return np.asarray(values * columns.scale.get(columns.noise, scale))
        names = tuple(columns.errors or columns.variances or columns.covariances)
        if not names:
            return None
        values = self._table(batch, names)
        if columns.covariances:
            wanted, scale = seen[:, i] & seen[:, j], factors[i] * factors[j]
        else:
            wanted, scale = seen, np.abs(factors) if columns.errors else factors**2
        _require_noise(values, wanted, names, first)
        values *= np.array([columns.scale.get(name, factor) for name, factor in zip(names, scale, strict=True)])
        if not columns.errors:
            return values
        bad = np.flatnonzero(np.any(seen & (values < 0), axis=1))  # their squares would look like variances
        if len(bad):
            raise DataError(
                f"negative errors in {rows_named(bad + first)}",
                expected=f"{', '.join(names)} >= 0 where the feature is measured",
                got=np.array2string(values[bad[0]], precision=4),
                do="correct them, or leave the feature empty where it was not measured",
            )
        with np.errstate(over="ignore"):  # an error whose square overflows is reported as infinite
            return np.asarray(np.square(values))

    def _factor(self, name: str) -> float:
        whole = self.columns.points
        array = 1.0 if whole is None or not name.startswith(f"{whole}:") else self.columns.scale.get(whole, 1.0)
        return float(self.columns.scale.get(name, array))

    def _table(self, batch: Mapping[str, np.ndarray], names: tuple[str, ...]) -> np.ndarray:
        return np.column_stack([np.asarray(self._column(batch, name), dtype=float) for name in names])

    def _column(self, batch: Mapping[str, np.ndarray], name: str) -> np.ndarray:
        array, index = self._places[name]
        return batch[array] if index is None else batch[array][:, index]

    def _is_there(self, name: str) -> bool:
        array, _, index = name.rpartition(":")
        return name in self.available or (index.isdigit() and array in self.available)

    def _place(self, name: str) -> tuple[str, int | None]:
        """The array that holds a column, and where in it."""
        array, _, index = name.rpartition(":")
        if name not in self.available and index.isdigit() and array in self.available:
            if int(index) < self._width(array):
                return array, int(index)
            raise JobError(f"no column '{name}'", expected=f"less than {self._width(array)} after the colon", got=index)
        if self._known(name).tail:
            raise ShapeError(
                f"'{name}' has more than one column", expected="(n,)", got=("n", *self.available[name].tail),
                do=f"name one as '{name}:0', or give points='{name}'",
            )  # fmt: skip
        return name, None

    def _width(self, name: str) -> int:
        tail = self._known(name).tail
        if len(tail) != 1:
            raise ShapeError(f"'{name}' is not a table", expected="(n, m)", got=("n", *tail))
        return tail[0]

    def _known(self, name: str) -> Field:
        if name not in self.available:
            raise JobError(f"no column '{name}'", do=nearest_name(name, self.available))
        if not self.available[name].numeric:
            raise DataError(f"column '{name}' is not numeric", expected="real numbers", got=self.available[name].type)
        return self.available[name]


def _require_noise(values: np.ndarray, wanted: np.ndarray, names: tuple[str, ...], first: int) -> None:
    absent = np.isnan(values) & wanted
    bad = np.flatnonzero(absent.reshape(len(values), -1).any(axis=1))
    if len(bad):
        which = (
            [name for name, column in zip(names, absent.T, strict=True) if column.any()] if len(names) > 1 else names
        )
        raise DataError(
            f"no error on a measured feature in {rows_named(bad + first)}",
            expected=f"a number in {', '.join(which)}",
            got="none",
            do="give it, or leave the feature empty in those rows, so that it counts as missing",
        )


def _whole(values: np.ndarray, name: str, first: int) -> np.ndarray:
    if values.dtype.kind == "f":
        fine = np.isfinite(values) & (np.abs(values) <= 2**53) & (values == np.round(values))
    else:
        fine = values <= np.iinfo(np.int64).max
    bad = np.flatnonzero(~fine)
    if len(bad):
        raise DataError(
            f"'{name}' is missing or not a whole number of 64 bits in {rows_named(bad + first)}",
            expected="row numbers",
            got=values[bad[0]],
            do="correct it, or leave row_id out",
        )
    return values.astype(np.int64)
