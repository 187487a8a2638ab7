"""Adversarial examples: rows changed as little as eps allows so that a net errs, and training against them.

`fgsm` and `pgd` attack a Model or an estimator, `accuracy_under_attack` measures what they achieve. `FGSM` and `PGD`,
given to `Model.fit` as `adversary`, train on attacked rows. The names of the arguments are those of the Adversarial
Robustness Toolbox.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from fastnn._adversary import FGSM, PGD, as_feature_limits
from fastnn._figure import panels_for
from fastnn._validation import (
    as_seed,
    as_sequence,
    canonical_name,
    check_bool,
    integer,
    must_be,
    number_in,
    positive_integer,
)
from fastnn._validation.names import explained
from fastnn.model import subject_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

__all__ = ["FGSM", "PGD", "RobustAccuracy", "accuracy_under_attack", "fgsm", "pgd"]


def __dir__() -> list[str]:
    return __all__


Array: TypeAlias = npt.NDArray[Any]
Norm: TypeAlias = float | Literal["inf"]


@explained
def fgsm(
    model: Any,
    X: Any,
    y: Any = None,
    *,
    eps: float,
    norm: Norm = np.inf,
    targeted: bool = False,
    clip_values: tuple[Any, Any] | None = None,
) -> Array:
    """Attack by the fast gradient sign method: one step of size `eps` against the net.

    Parameters
    ----------
    model : Model, MLPClassifier or MLPRegressor
        Not changed.
    X : array-like, (n, n_features)
        Rows to attack.
    y : array-like or None
        The targets of the rows, as for `fit`, from which the net is led away; if `targeted`, those that it is led to.
        None is the classes that the net predicts.
    eps : float
        Largest distance of an attacked row from the row, at least 0: of each feature for the norm inf, Euclidean
        for the norm 2.
    norm : inf or 2
        The norm of the distance.
    targeted : bool
        Whether y are targets to reach.
    clip_values : (lowest, highest) or None
        Limits of the attacked features, numbers or arrays (n_features,); X must be within them.

    Returns
    -------
    ndarray, (n, n_features)
        X + eps sign(dE/dX), or for the norm 2 X + eps g, g = dE/dX over its norm; with a minus if `targeted`; of the
        model's dtype. A row whose derivative is 0 is not moved: that of a loss which rounding has made 0.

    Raises
    ------
    ValueError, TypeError
        If an argument is invalid, or y is None for a net without classes.

    References
    ----------
    .. [1] I. J. Goodfellow, J. Shlens, C. Szegedy, "Explaining and harnessing adversarial examples", ICLR, 2015.

    Examples
    --------
    >>> import fastnn
    >>> X, y, X_test, y_test = fastnn.datasets.load_digits()
    >>> model = fastnn.Model([32, 10], loss="softmax_crossentropy", seed=0)
    >>> history = model.fit(X, y, epochs=10)
    >>> attacked = fastnn.robust.fgsm(model, X_test, y_test, eps=0.2, clip_values=(0, 1))
    >>> bool(model.evaluate(attacked, y_test)["accuracy"] < 0.5)
    True
    """
    radius = number_in("eps", eps, "[0, inf)")
    attack = _Attack(model, X, y, norm=norm, targeted=targeted, clip_values=clip_values)
    return attack.run(attack.X, attack.targets, radius, eps_step=radius, max_iter=1)


@explained
def pgd(
    model: Any,
    X: Any,
    y: Any = None,
    *,
    eps: float,
    eps_step: float | None = None,
    max_iter: int = 40,
    norm: Norm = np.inf,
    targeted: bool = False,
    num_random_init: int = 1,
    clip_values: tuple[Any, Any] | None = None,
    seed: int = 0,
) -> Array:
    """Attack by projected gradient descent: steps against the net, each back into the ball of radius `eps` [1]_.

    Parameters
    ----------
    model, X, y, eps, norm, targeted, clip_values
        As for `fgsm`.
    eps_step : float or None
        Size of each step; None is 2.5 eps / max_iter.
    max_iter : int
        Number of steps.
    num_random_init : int
        Number of random starts in the ball; 0 is one start at X. Of several, each row keeps one at which the net errs,
        and among those that with the greatest loss (the least, if `targeted`).
    seed : int
        Seed of the random starts.

    Returns
    -------
    ndarray, (n, n_features)
        Attacked rows, of the model's dtype.

    Raises
    ------
    ValueError, TypeError
        If an argument is invalid, or y is None for a net without classes.

    References
    ----------
    .. [1] A. Madry, A. Makelov, L. Schmidt, D. Tsipras, A. Vladu, "Towards deep learning models resistant to
       adversarial attacks", ICLR, 2018.
    """
    radius = number_in("eps", eps, "[0, inf)")
    attack = _Attack(model, X, y, norm=norm, targeted=targeted, clip_values=clip_values)
    return _Steps(eps_step, max_iter, num_random_init, seed).run(attack, attack.X, attack.targets, radius)


@explained
def accuracy_under_attack(
    model: Any,
    X: Any,
    y: Any,
    *,
    eps: Any,
    attack: Literal["pgd", "fgsm"] = "pgd",
    max_iter: int = 40,
    norm: Norm = np.inf,
    num_random_init: int = 1,
    clip_values: tuple[Any, Any] | None = None,
    seed: int = 0,
) -> RobustAccuracy:
    """Measure the share of rows whose class is predicted right although they are attacked, over the radius.

    Parameters
    ----------
    model : Model or MLPClassifier
        A net of classes.
    X, y : array-like
        Rows and their classes.
    eps : sequence of float, or float
        Radii, each at least 0; 0 is the accuracy without an attack.
    attack : {"pgd", "fgsm"}
        The attack; "fgsm" takes one step and is weaker.
    norm, max_iter, num_random_init, clip_values, seed
        As for `pgd`.

    Returns
    -------
    RobustAccuracy
        The accuracy at each radius, in rising order of these. It never rises with the radius, as a row that a smaller
        change turns counts as turned.

    Raises
    ------
    ValueError, TypeError
        If an argument is invalid, or the net has no classes.

    Notes
    -----
    An attack that fails proves nothing: the true accuracy, under the best attack, is at most the one that is returned.

    Examples
    --------
    >>> import fastnn
    >>> X, y, X_test, y_test = fastnn.datasets.load_digits()
    >>> model = fastnn.Model([32, 10], loss="softmax_crossentropy", seed=0)
    >>> history = model.fit(X, y, epochs=10)
    >>> found = fastnn.robust.accuracy_under_attack(model, X_test, y_test, eps=[0, 0.1, 0.2], clip_values=(0, 1))
    >>> bool(found.accuracy[0] > 0.9 and found.accuracy[2] < 0.5)
    True
    """
    given = as_sequence("eps", "a number or a sequence of numbers", eps) if isinstance(eps, Iterable) else (eps,)
    if not given:
        raise ValueError(must_be("eps", "a number or a sequence of numbers", eps))
    name = canonical_name("attack", attack, ("pgd", "fgsm"), {})
    radii = sorted(number_in(f"eps[{k}]", radius, "[0, inf)") for k, radius in enumerate(given))
    one = _Attack(model, X, y, norm=norm, targeted=False, clip_values=clip_values)
    steps = _Steps(None, max_iter, num_random_init, seed)
    if name == "fgsm":
        steps = _Steps(None, 1, 0, seed)
    if not one.subject.classifies:
        raise ValueError(
            "accuracy_under_attack needs a net of classes, with a cross-entropy or a last layer of softmax or sigmoid."
        )
    standing = np.flatnonzero(one.subject.is_right(one.X, one.targets))
    accuracy = []
    for radius in radii:
        if radius > 0.0 and len(standing):
            rows, targets = one.X[standing], one.targets[standing]
            standing = standing[one.subject.is_right(steps.run(one, rows, targets, radius), targets)]
        accuracy.append(len(standing) / len(one.X))
    return RobustAccuracy(np.array(radii), np.array(accuracy), name, one.norm)


@dataclass(frozen=True, eq=False)
class RobustAccuracy:
    """Result of `accuracy_under_attack`.

    Parameters
    ----------
    eps : ndarray of float64, (k,)
        Radii, in rising order.
    accuracy : ndarray of float64, (k,)
        Share of the rows whose class is predicted right under the attack.
    attack : {"pgd", "fgsm"}
        The attack.
    norm : float
        The norm of the radii, inf or 2.
    """

    eps: npt.NDArray[np.float64]
    accuracy: npt.NDArray[np.float64]
    attack: str
    norm: float

    def plot(self, ax: Axes | None = None, *, label: str | None = None) -> Figure | SubFigure:
        """Draw the accuracy over the radius.

        Parameters
        ----------
        ax : matplotlib.axes.Axes or None
            Axes to draw in, for instance those of another result; None makes a new figure.
        label : str or None
            Name of the line in the legend; None draws no legend.

        Returns
        -------
        matplotlib.figure.Figure
            It shows itself in notebooks.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        """
        with panels_for("ax", ax) as (panel,):
            panel.plot(self.eps, self.accuracy, ".-", label=label)
            panel.set_xlabel("eps, largest change of a feature" if self.norm == np.inf else "eps, Euclidean distance")
            panel.set_ylabel(f"accuracy under {self.attack}")
            panel.set_ylim(-0.02, 1.02)
            panel.grid(visible=True)
            if label is not None:
                panel.legend(loc="best", frameon=True)
        figure: Figure | SubFigure = panel.figure
        return figure


class _Attack:
    """The validated arguments that attacks share, and their steps."""

    def __init__(self, model: Any, X: Any, y: Any, *, norm: Any, targeted: Any, clip_values: Any) -> None:
        if (type(norm) is str and norm == "inf") or (isinstance(norm, float | int) and norm in (np.inf, 2)):
            self.norm = float(norm)
        else:
            raise ValueError(must_be("norm", "inf or 2", norm))
        self.targeted = check_bool(targeted, "targeted")
        self.subject = subject_of(model)
        self.X = self.subject.features(X)
        self.limits = None if clip_values is None else as_feature_limits(clip_values, self.X)
        if y is not None:
            self.targets = self.subject.targets(self.X, y)
        elif self.targeted:
            raise ValueError("targeted is True, but y is None: give the targets to reach.")
        elif not self.subject.classifies:
            raise ValueError("y must be given for a net of values, whose loss has no slope at its predictions.")
        else:
            self.targets = self.subject.predicted(self.X)

    def run(
        self, X: Array, targets: Array, eps: float, *, eps_step: float, max_iter: int,
        random: np.random.Generator | None = None,
    ) -> Array:  # fmt: skip
        """Return the rows after `max_iter` steps from X, or from a random point of the ball."""
        for name, length in (("eps", eps), ("eps_step", eps_step)):
            if length > np.finfo(X.dtype).max:
                raise ValueError(must_be(name, f"within the range of {X.dtype.name}", length))
        moved = X.copy() if random is None else self._inside(X, X + self._starts(X, eps, random), eps)
        if eps == 0.0:
            return moved
        step = X.dtype.type(-eps_step if self.targeted else eps_step)
        for _ in range(max_iter):
            slope = self.subject.model.input_gradient(moved, targets)
            moved = self._inside(X, moved + step * self._direction(slope), eps)
        return moved

    def _direction(self, slope: Array) -> Array:
        """Return the step of size 1 in the norm along which the loss rises fastest; 0 where the slope is."""
        if self.norm == np.inf:
            return np.asarray(np.sign(slope))
        scaled = _over(slope, np.abs(slope).max(axis=1))  # squares of small numbers would be 0
        return _over(scaled, np.linalg.norm(scaled, axis=1))

    def _inside(self, X: Array, moved: Array, eps: float) -> Array:
        """Return `moved`, back in the ball around X and within the limits, which contain X."""
        radius = X.dtype.type(eps)
        moves = moved - X
        if self.norm == np.inf:
            moves = np.clip(moves, -radius, radius)
        else:
            moves *= _over(np.full((len(X), 1), radius), np.maximum(np.linalg.norm(moves, axis=1), radius))
        return X + moves if self.limits is None else np.clip(X + moves, *self.limits)

    def _starts(self, X: Array, eps: float, random: np.random.Generator) -> Array:
        """Return points of the ball of radius eps around 0, uniform in it, one per row of X."""
        if self.norm == np.inf:
            return np.asarray(eps * random.uniform(-1.0, 1.0, X.shape), X.dtype)
        normal = random.standard_normal(X.shape)
        lengths = eps * random.uniform(size=(len(X), 1)) ** (1.0 / X.shape[1])
        return np.asarray(lengths * normal / np.linalg.norm(normal, axis=1, keepdims=True), X.dtype)

    def achieved(self, moved: Array, targets: Array) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.float64]]:
        """Return whether each row is turned, False without classes, and its loss, or its negative if targeted."""
        losses = self.subject.losses(moved, targets)
        if not self.subject.classifies:
            return np.zeros(len(moved), np.bool_), -losses if self.targeted else losses
        right = self.subject.is_right(moved, targets)
        return (right, -losses) if self.targeted else (~right, losses)


class _Steps:
    """The validated settings of `pgd`."""

    def __init__(self, eps_step: Any, max_iter: Any, num_random_init: Any, seed: Any) -> None:
        self.eps_step = None if eps_step is None else number_in("eps_step", eps_step, "(0, inf)")
        self.max_iter = positive_integer(max_iter, "max_iter")
        self.num_random_init = integer("num_random_init", num_random_init, least=0)
        self.seed = as_seed(seed)

    def run(self, attack: _Attack, X: Array, targets: Array, eps: float) -> Array:
        """Return the attacked rows, of all starts the best of each row."""
        size = 2.5 * eps / self.max_iter if self.eps_step is None else self.eps_step
        random = np.random.default_rng(self.seed)
        best: Array | None = None
        for _ in range(max(1, self.num_random_init)):
            source = random if self.num_random_init else None
            moved = attack.run(X, targets, eps, eps_step=size, max_iter=self.max_iter, random=source)
            if self.num_random_init < 2:
                return moved
            success, loss = attack.achieved(moved, targets)
            if best is None:
                best, best_success, best_loss = moved, success, loss
                continue
            better = np.where(success == best_success, loss > best_loss, success)
            best[better], best_success[better], best_loss[better] = moved[better], success[better], loss[better]
        assert best is not None
        return best


def _over(a: Array, b: Array) -> Array:
    """Return the rows of a over the elements of b; 0 where those are 0."""
    return np.divide(a, b[:, None], out=np.zeros_like(a), where=b[:, None] > 0)
