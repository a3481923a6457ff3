"""Which iris is it, when much of what was measured is lost?

    python examples/which_iris.py [PICTURE] [--objects N]

Fisher's irises are told apart by one Gaussian a class. Here two values in five are lost, of those that are learned from
and of those that are asked about. Filled in with the mean of all irises, a gap says that the flower is an average one,
which is what nobody knows; left as a gap it says nothing, and what is left speaks for itself. Both are judged by
flowers that they have not seen, and by the probability that they give to what each is.
"""

import sys
from pathlib import Path

import numpy as np
from command import asked
from picture import GREY, INK, PALE, RIGHT, WRONG, dots, ellipses, legend, panels, save
from sklearn.datasets import load_iris
from sklearn.discriminant_analysis import QuadraticDiscriminantAnalysis
from sklearn.impute import SimpleImputer
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.pipeline import make_pipeline

import dgmmis

COLOURS = (INK, PALE, GREY)
FOLDS = StratifiedKFold(5, shuffle=True, random_state=0)


def main(picture: Path | None, n: int) -> None:
    irises = load_iris()
    rows = np.random.default_rng(0).permutation(len(irises.data))[:n]
    flowers, species = irises.data[rows], irises.target[rows]
    gaps = np.where(np.random.default_rng(1).random(flowers.shape) < 0.4, np.nan, flowers)

    filled = make_pipeline(SimpleImputer(), QuadraticDiscriminantAnalysis())
    ways = {
        "nothing lost": (dgmmis.GMMisClassifier(), flowers),
        "gaps filled in": (filled, gaps),
        "gaps left": (dgmmis.GMMisClassifier(), gaps),
    }
    right = {}
    say = sys.stdout.write
    say(f"{len(flowers)} irises, {np.isnan(gaps).sum()} of {gaps.size} values lost\n\n")
    say(f"{'':16}{'accuracy':>10}{'log probability of what it is':>34}\n")
    for name, (classifier, values) in ways.items():
        probability = cross_val_predict(classifier, values, species, cv=FOLDS, method="predict_proba")
        right[name] = np.log(np.maximum(probability[np.arange(len(species)), species], 1e-300))
        accuracy = np.mean(probability.argmax(axis=1) == species)
        error = np.sqrt(accuracy * (1 - accuracy) / len(species))
        say(f"{name:16}{accuracy:10.3f} +- {error:.3f}{right[name].mean():25.3f}\n")
    gain = right["gaps left"] - right["gaps filled in"]
    say(f"\nGaps that are left as gaps gain {gain.mean():.3f} +- {gain.std() / np.sqrt(len(gain)):.3f} an iris.\n")
    if picture is not None:
        draw(gaps, species, right, picture)


def draw(gaps: np.ndarray, species: np.ndarray, right: dict[str, np.ndarray], picture: Path) -> None:
    figure, (left, ax) = panels("Petals of three species, where both values are there", "Probability of what it is")
    classifier = dgmmis.GMMisClassifier().fit(gaps, species)
    for kind, colour in enumerate(COLOURS):
        dots(left, *gaps[species == kind][:, 2:].T, colour=colour, size=6, alpha=1.0)
        ellipses(left, classifier.mixtures_[kind].mixture_, (2, 3), color=RIGHT)
    left.set(xlabel="petal length [cm]", ylabel="petal width [cm]", xlim=(0.5, 7.5), ylim=(-0.1, 2.9))
    styles = {"nothing_lost": {"color": INK}, "gaps_filled_in": {"color": WRONG}, "gaps_left": {"color": RIGHT}}
    for name, style in styles.items():
        ax.plot(np.sort(np.exp(right[name.replace("_", " ")])), **style)
    ax.set(xlabel="irises, the worst told first", ylabel="probability")
    legend(ax, **styles)
    save(figure, picture)


if __name__ == "__main__":
    main(*asked(__doc__, default=150))
