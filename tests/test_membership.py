"""Which component objects belong to: sums of responsibilities, chunk by chunk, and their colours."""

import numpy as np
import pytest

from dgmmis.background import Uniform
from dgmmis.chunk import CHUNK_ROWS
from dgmmis.dataset.arrays import ArrayDataset
from dgmmis.latent_draw import Observing
from dgmmis.linalg import unpack
from dgmmis.mixture import GaussianMixture
from dgmmis.model import Model
from dgmmis.noise_classes import mean_noise
from dgmmis.plotting import membership_figure
from dgmmis.plotting.membership import Members
from dgmmis.plotting.palette import COMPONENTS, colour_numbers, rgb
from dgmmis.plotting.shown import Shown
from dgmmis.plotting.triangle import Triangle
from dgmmis.scoring import score_rows
from dgmmis.simulate import PRESETS

matplotlib = pytest.importorskip("matplotlib")
from matplotlib.patches import StepPatch  # noqa: E402

MODEL = Model(
    GaussianMixture([0.5, 0.5], [[-3.0, 0.0], [3.0, 0.0]], [np.eye(2), np.eye(2)]),
    Uniform(np.full(2, -10.0), np.full(2, 10.0)),
    0.2,
)


def test_responsibilities_are_summed_over_all_chunks() -> None:
    """With noise, weights and gaps: against those of the model as it is plainly written."""
    n, rng = CHUNK_ROWS + 500, np.random.default_rng(1)
    y, noise = MODEL.sample(n, 2) + rng.normal(size=(n, 2)), np.eye(2)
    y[rng.random(n) < 0.1, 1] = np.nan
    weights = rng.integers(1, 3, n).astype(float)
    data = ArrayDataset.of(y, noise, sample_weight=weights)
    edges = np.linspace(-8.0, 8.0, 17)
    triangle = Triangle(Shown.of(MODEL, data, None), (0, 1), np.stack([edges, edges]))
    told: list[int] = []
    members = Members.of(data, triangle, lambda done, of: told.append(done))
    assert told == [CHUNK_ROWS, n]
    signal = 0.8 * np.exp(MODEL.mixture.log_density(y, noise) - MODEL.log_density(y, noise))
    q = np.column_stack([signal[:, None] * MODEL.mixture.responsibilities(y, noise), 1 - signal]) * weights[:, None]
    both = ~np.isnan(y[:, 1])
    for v in range(3):
        along = np.histogram(y[:, 0], edges, weights=q[:, v])[0]
        np.testing.assert_allclose(members.along[0, :, v], along, rtol=1e-9, atol=1e-9)
        over = np.histogram2d(y[both, 1], y[both, 0], bins=(edges, edges), weights=q[both, v])[0]
        np.testing.assert_allclose(members.over[0, :, :, v], over, rtol=1e-9, atol=1e-9)


def test_colours_are_those_of_the_most_probable_and_fade() -> None:
    figure = membership_figure(MODEL, MODEL.sample(60_000, 3))
    image = figure.axes[1].images[0]
    pixels, (left, right, bottom, top) = np.asarray(image.get_array()), image.get_extent()
    first, second = rgb(COMPONENTS)[colour_numbers(MODEL.mixture)]

    def colour(x: float, y: float) -> np.ndarray:
        column, row = (x - left) / (right - left) * pixels.shape[1], (y - bottom) / (top - bottom) * len(pixels)
        return pixels[int(row), int(column)]

    np.testing.assert_allclose(colour(-3.0, 0.0)[:3], first, atol=0.05)
    np.testing.assert_allclose(colour(3.0, 0.0)[:3], second, atol=0.05)
    grey = colour(8.0, 8.0)[:3]
    assert np.ptp(grey) < 0.01
    assert grey.max() < 0.6
    between = colour(0.0, -2.0)[:3]
    assert between.min() > 0.5  # nobody's: paler than anything that is sure
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["component 0", "component 1", "background"]
    assert [text.get_text() for text in figure.axes[1].texts] == ["0", "1"]


def test_histograms_are_stacked_to_what_was_seen() -> None:
    y = MODEL.sample(5_000, 4)
    figure = membership_figure(MODEL, y)
    ax = figure.axes[0]
    top = max(
        (patch for patch in ax.patches if isinstance(patch, StepPatch)), key=lambda patch: patch.get_data()[0].sum()
    )
    values, edges, _ = top.get_data()
    np.testing.assert_allclose(values, np.histogram(y[:, 0], edges)[0], atol=1e-9)


def test_cells_without_objects_are_empty() -> None:
    y = np.concatenate([MODEL.sample(500, 5), [[9.9, 9.9]]])
    image = np.asarray(membership_figure(MODEL, y).axes[1].images[0].get_array())
    assert set(np.unique(image[..., 3])) == {0.0, 1.0}


def test_rows_that_were_selected_on_what_is_missing_count() -> None:
    """A fading survey with gaps and own errors: their responsibilities are means over latent points."""
    preset = PRESETS["one-likelihood"]
    rng = np.random.default_rng(6)
    objects = preset.objects(600, rng)
    assert preset.survey.selection is not None
    kept = (rng.random(600) < preset.survey.selection(objects.selected_on)) & ~np.isnan(objects.points).all(axis=1)
    noise = objects.noise.take(np.flatnonzero(kept))
    data = ArrayDataset.of(objects.points[kept], unpack(noise.packed(range(2)).T))
    shown = Shown.of(preset.model, data, preset.survey)
    assert shown.typical is not None
    edges = np.linspace(-1e3, 1e3, 3)
    members = Members.of(data, Triangle(shown, (0, 1), np.stack([edges, edges])))
    q = score_rows(preset.model, data.whole, Observing(shown.survey, mean_noise(shown.typical))).responsibilities
    known = ~np.isnan(data.whole.points[:, 0])
    found = members.along[0].sum(axis=0)
    np.testing.assert_allclose(found[:2], q[known].sum(axis=0), rtol=0.02)
    assert found.sum() == pytest.approx(known.sum())


def test_near_components_have_other_colours() -> None:
    mixture = PRESETS["many-components"].model.mixture
    numbers = colour_numbers(mixture)
    assert set(numbers) == set(range(len(COMPONENTS)))
    apart = np.linalg.norm(mixture.means[:, None] - mixture.means, axis=2)
    np.fill_diagonal(apart, np.inf)
    assert np.all(numbers != numbers[apart.argmin(axis=1)])
    few = GaussianMixture(np.full(4, 0.25), np.zeros((4, 1)), np.ones((4, 1, 1)))
    assert len(set(colour_numbers(few))) == 4


def test_one_feature_is_a_histogram() -> None:
    mixture = GaussianMixture([0.5, 0.5], [[-3.0], [3.0]], np.ones((2, 1, 1)))
    figure = membership_figure(mixture, mixture.sample(1_000, 0))
    (ax,) = figure.axes
    assert len(ax.patches) >= 2
    assert ax.get_xlabel() == "x0"
