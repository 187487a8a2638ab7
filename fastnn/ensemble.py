"""Ensemble: nets that are trained apart and predict together."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from fastnn import _chunks, population
from fastnn._compatibility import BatchSize
from fastnn._data.arrays import as_sample_weight
from fastnn._data.class_weight import ClassWeight
from fastnn._data.prepare import ValidationData, prepare, split_validation
from fastnn._data.take import same_rows, take_rows
from fastnn._persistence.npz import PathOrFile, label_of
from fastnn._results import Scores
from fastnn._training import objective
from fastnn._validation import check_bool, number_in
from fastnn._validation.names import explained
from fastnn.callbacks import Callback
from fastnn.layers import Dense
from fastnn.losses import Loss
from fastnn.metrics import Metric, MetricFunction
from fastnn.model import Model, net_of
from fastnn.optimizers import Optimizer
from fastnn.population import Population, PopulationHistory
from fastnn.regularizers import Regularizer

__all__ = ["Ensemble", "load_ensemble"]


def __dir__() -> list[str]:
    return __all__


Array: TypeAlias = npt.NDArray[Any]
Numbers: TypeAlias = npt.NDArray[np.float64]

#: Range of the temperature.
_COLDEST, _HOTTEST = 0.01, 100.0
#: Least probability whose logarithm is taken, of a last layer that computes probabilities.
_LEAST = float(np.finfo(np.float32).tiny)


@explained
class Ensemble:
    """Several nets, each a `Model`, that are trained apart and whose predictions are averaged.

    Parameters
    ----------
    layers : sequence of Dense, Dropout or int, or a list of such sequences
        As for `Population`.
    n : int
        Number of nets.
    loss, optimizer, regularizer, metrics, seed, dtype, n_threads
        As for `Population`: net k has the seed ``seed + k``.
    bootstrap : bool
        Whether each net trains on a bootstrap sample of its own: rows are drawn with replacement, by the net's seed. By
        default the nets differ in their start weights and orders of rows alone, which is usually better [1]_.

    Attributes
    ----------
    members : Population
        The nets.
    temperature : float
        Divides the logits of the averaged probabilities; 1 before `calibrate`. `fit` does not change it: call
        `calibrate` again after further training.
    bootstrap : bool

    Raises
    ------
    ValueError, TypeError
        If an argument is invalid or inconsistent with the others.

    References
    ----------
    .. [1] B. Lakshminarayanan, A. Pritzel, C. Blundell, "Simple and scalable predictive uncertainty estimation using
       deep ensembles", NeurIPS, 2017.

    Examples
    --------
    >>> import fastnn
    >>> X, y, X_test, y_test = fastnn.datasets.load_digits()
    >>> ensemble = fastnn.Ensemble([32, 10], 4, loss="softmax_crossentropy", seed=0)
    >>> history = ensemble.fit(X, y, epochs=5)
    >>> ensemble.predict_proba(X_test).shape
    (1797, 10)
    """

    __slots__ = ("bootstrap", "members", "temperature")

    members: Population
    bootstrap: bool
    temperature: float

    def __init__(
        self,
        layers: Any,
        n: int = 8,
        *,
        loss: str | Loss | Sequence[str | Loss],
        optimizer: str | Optimizer | Sequence[str | Optimizer] = "adam",
        regularizer: str | Regularizer | Sequence[str | Regularizer | None] | None = None,
        metrics: Sequence[str | Metric | MetricFunction] | None = None,
        seed: int | Sequence[int] | None = None,
        dtype: npt.DTypeLike = "float32",
        n_threads: int | None = None,
        bootstrap: bool = False,
    ) -> None:
        self.bootstrap = check_bool(bootstrap, "bootstrap")
        self.temperature = 1.0
        self.members = Population(
            layers,
            n,
            loss=loss,
            optimizer=optimizer,
            regularizer=regularizer,
            metrics=metrics,
            seed=seed,
            dtype=dtype,
            n_threads=n_threads,
        )
        _check_outputs(self.members)

    @classmethod
    def of(cls, models: Iterable[Model] | Population, *, n_threads: int | None = None) -> Ensemble:
        """Make an ensemble of models that exist, such as the best of a population.

        Parameters
        ----------
        models : Population or iterable of Model
            No copies are made.
        n_threads : int or None
            As for `Population`.

        Returns
        -------
        Ensemble
            It trains them without bootstrap samples.

        Raises
        ------
        TypeError, ValueError
            As for `Population.of`, and if the outputs of the models have different meanings.
        """
        made = cls.__new__(cls)
        made.bootstrap, made.temperature = False, 1.0
        made.members = Population.of(models, n_threads=n_threads)
        _check_outputs(made.members)
        return made

    def __len__(self) -> int:
        """Count the nets."""
        return len(self.members)

    def __repr__(self) -> str:
        """Return the number of nets and a description of the first."""
        drawn = ", on bootstrap samples" if self.bootstrap else ""
        return f"Ensemble({len(self)} nets{drawn}, the first: {self.members[0]!r})"

    # ------------------------------------------------------------------------------------------ training

    @explained
    def fit(
        self,
        X: Any,
        y: Any,
        *,
        epochs: int = 1,
        batch_size: BatchSize = "auto",
        shuffle: bool = True,
        sample_weight: Any = None,
        class_weight: ClassWeight | None = None,
        validation_data: ValidationData | None = None,
        validation_split: float = 0.0,
        callbacks: Callback | Iterable[Callback] | None = None,
        n_jobs: int | None = None,
        verbose: bool | int | Literal["auto"] = "auto",
    ) -> PopulationHistory:
        """Train all nets for `epochs` epochs from their present state.

        Parameters
        ----------
        X, y, epochs, batch_size, shuffle, class_weight, validation_data, callbacks, verbose
            As for `Population.fit`.
        sample_weight : array-like (n,), or None
            Weight of each row.
        validation_split : float
            Fraction of the rows, drawn by the seed of the first net, that no net is trained on.
        n_jobs : int or None
            Number of workers of joblib that share the nets, as for joblib.Parallel; -1 is all processors. None is
            one, which uses all processors by threads, unless a joblib.parallel_config states others. The results are
            the same to the bit.

        Returns
        -------
        PopulationHistory
            The epochs of this call.

        Raises
        ------
        ValueError, TypeError
            If something given makes no sense; the nets are then as before.
        ImportError
            If `n_jobs` asks for joblib, which is not installed.
        """
        first = self.members[0]
        fraction = number_in("validation_split", validation_split, "[0, 1)")
        n = same_rows(X, y)
        weights = None
        if sample_weight is not None or self.bootstrap:
            weights = as_sample_weight(
                np.ones(n) if sample_weight is None else sample_weight, n_rows=n, dtype=np.float64
            )
        if fraction:
            if validation_data is not None:
                raise ValueError("validation_data and validation_split are both given; one of them is enough.")
            kept, held = split_validation(n, fraction, first.seed, name="validation_split")
            validation_data = take_rows(X, held), take_rows(y, held)
            if weights is not None and sample_weight is not None:
                validation_data = (*validation_data, weights[held])
            X, y, n = take_rows(X, kept), take_rows(y, kept), len(kept)
            weights = None if weights is None else weights[kept]
        if self.bootstrap:
            assert weights is not None
            weights = weights * bootstrap_counts(self.members, n)
        settings = {
            "epochs": epochs, "batch_size": batch_size, "shuffle": shuffle, "class_weight": class_weight,
            "validation_data": validation_data, "callbacks": callbacks, "verbose": verbose,
        }  # fmt: skip
        group = _chunks.Group(list(self.members), X, y, weights, settings)
        return _chunks.fit([group], n_jobs=n_jobs, n_threads=self.members.n_threads)[0]

    @explained
    def calibrate(self, X: Any, y: Any) -> Ensemble:
        """Choose the `temperature` with which the probabilities fit rows best that were not trained on.

        The logits of the averaged probabilities are divided by it. It is the one with the lowest cross-entropy,
        between 0.01 and 100; the most probable class of no row changes.

        Parameters
        ----------
        X, y
            As for `fit`: rows that no net was trained on.

        Returns
        -------
        Ensemble
            This ensemble.

        Raises
        ------
        ValueError, TypeError
            As for `predict_proba`, and if y is invalid.

        References
        ----------
        C. Guo, G. Pleiss, Y. Sun, K. Weinberger, "On calibration of modern neural networks", ICML, 2017; after the
        average: R. Rahaman, A. H. Thiery, "Uncertainty quantification and deep ensembles", NeurIPS, 2021.
        """
        logits = self._logits(X, "calibrate")
        net = net_of(self.members[0])
        targets = prepare(X, y, net.form).targets
        wanted = np.eye(logits.shape[1])[targets.labels] if targets.labels.size else targets.values.astype(np.float64)
        of_rows = objective.link_of(net.spec).probabilities == "row"

        def slope(log_scale: float) -> float:
            """Return the derivative of the cross-entropy by the inverse of the temperature, which rises with it."""
            return float(((_activated(logits * np.exp(log_scale), of_rows) - wanted) * logits).sum())

        low, high = -np.log(_HOTTEST), -np.log(_COLDEST)
        if slope(low) >= 0.0:
            scale = low
        elif slope(high) <= 0.0:
            scale = high
        else:
            from scipy.optimize import brentq  # where used: it costs some 100 ms to import

            scale = brentq(slope, low, high, xtol=1e-6)
        self.temperature = float(np.exp(-scale))
        return self

    # ---------------------------------------------------------------------------------------- prediction

    def predict_all(self, X: Any) -> Array:
        """Return the outputs of all nets.

        Parameters
        ----------
        X : array-like, (n, n_features)

        Returns
        -------
        ndarray, (nets, n, n_outputs)
            See `Population.predict`.
        """
        return self.members.predict(X)

    def predict(self, X: Any) -> Array:
        """Return the mean of the outputs of all nets.

        Parameters
        ----------
        X : array-like, (n, n_features)

        Returns
        -------
        ndarray, (n, n_outputs)
            With "gaussian_nll" means and log-variances of the mixture of the nets' distributions; with a linear last
            layer and a cross-entropy mean logits, see `predict_proba`.

        Raises
        ------
        ValueError, TypeError
            If X is invalid, a net has no weights yet, or the nets have different numbers of outputs.
        """
        outputs = self.members.predict(X)
        if not self._is_gaussian():
            return np.asarray(outputs.mean(axis=0, dtype=np.float64), outputs.dtype)
        mean, variance = _mixture(outputs)
        return np.concatenate([mean, np.log(variance)], axis=1).astype(outputs.dtype)

    def predict_std(self, X: Any) -> Array:
        """Return the standard deviation of the outputs over the nets, a measure of what the data leave open.

        Parameters
        ----------
        X : array-like, (n, n_features)

        Returns
        -------
        ndarray, (n, n_outputs)
            With "gaussian_nll", where each net predicts noise, too, that of the mixture, (n, n_targets).

        Raises
        ------
        ValueError, TypeError
            As for `predict`.
        """
        outputs = self.members.predict(X)
        if not self._is_gaussian():
            return np.asarray(outputs.std(axis=0, dtype=np.float64), outputs.dtype)
        return np.sqrt(_mixture(outputs)[1]).astype(outputs.dtype)

    def predict_quantiles(self, X: Any, q: float | Sequence[float]) -> Array:
        """Return quantiles of the outputs over the nets.

        Parameters
        ----------
        X : array-like, (n, n_features)
        q : float or sequence of float
            From 0 to 1.

        Returns
        -------
        ndarray, (n, n_outputs), or (len(q), n, n_outputs)
            With "gaussian_nll" those of a normal distribution with the mean and the deviation of the mixture; 0 and 1
            are then infinite.

        Raises
        ------
        ValueError, TypeError
            As for `predict`, and if a level is not between 0 and 1.
        """
        several = isinstance(q, Sequence | np.ndarray) and np.ndim(q) > 0
        given: Any = q if several else [q.item() if isinstance(q, np.ndarray) else q]
        levels = np.array([number_in("q", level, "[0, 1]") for level in given])
        outputs = self.members.predict(X)
        if self._is_gaussian():
            from scipy import special

            mean, variance = _mixture(outputs)
            found = mean + np.sqrt(variance) * special.ndtri(levels)[:, None, None]
        else:
            found = np.quantile(outputs.astype(np.float64), levels, axis=0)
        found = found.astype(outputs.dtype)
        return found if several else found[0]

    def predict_proba(self, X: Any) -> Array:
        """Return the mean of the probabilities of all nets, calibrated by the `temperature`.

        Parameters
        ----------
        X : array-like, (n, n_features)

        Returns
        -------
        ndarray, (n, n_outputs)
            See `Model.predict_proba`.

        Raises
        ------
        ValueError, TypeError
            As for `predict`, and if a net does not output probabilities.
        """
        logits = self._logits(X, "predict_proba") / self.temperature
        spec = net_of(self.members[0]).spec
        return _activated(logits, objective.link_of(spec).probabilities == "row").astype(spec.dtype)

    def predict_classes(self, X: Any) -> npt.NDArray[np.int64]:
        """Return the most probable class of each row.

        Parameters
        ----------
        X : array-like, (n, n_features)

        Returns
        -------
        ndarray of int64
            See `Model.predict_classes`.

        Raises
        ------
        ValueError, TypeError
            As for `predict_proba`.
        """
        return objective.classes(net_of(self.members[0]).spec, self.predict_proba(X))

    @explained
    def evaluate(self, X: Any, y: Any, *, sample_weight: Any = None) -> Scores:
        """Return loss and metrics of the averaged predictions.

        Parameters
        ----------
        X, y, sample_weight
            As for `Model.evaluate`.

        Returns
        -------
        dict of str to float
            Those of `predict_proba` for nets that output probabilities, else those of `predict`. Without the penalty of
            a regularizer. ``ensemble.members.evaluate`` returns those of each net.

        Raises
        ------
        ValueError, TypeError
            If something given makes no sense, or a net has no weights yet.
        """
        spec = net_of(self.members[0]).spec
        # A layer that passes its inputs on has the same losses and metrics as the nets.
        activation: Any = spec.layers[-1].activation
        if objective.link_of(spec).probabilities:
            inputs = self._logits(X, "evaluate") / self.temperature
        else:
            inputs = self.predict(X).astype(np.float64)
            if activation.rule is spec.loss.link:
                inputs = np.log(np.maximum(inputs, _LEAST))  # the exponential of "poisson"
            else:
                activation = None
        n_outputs = inputs.shape[1]
        judge = Model([Dense(n_outputs, activation)], loss=spec.loss, metrics=spec.metrics, dtype="float64", seed=0)
        judge.build(n_outputs)
        judge.weights[0], judge.biases[0] = np.eye(n_outputs), np.zeros(n_outputs)
        return judge.evaluate(inputs, y, sample_weight=sample_weight)

    def _is_gaussian(self) -> bool:
        return net_of(self.members[0]).spec.loss.name == "gaussian_nll"

    def _logits(self, X: Any, call: str) -> Numbers:
        """Return the logits of the averaged probabilities: of classes by their logarithms, or of each output."""
        nets = [net_of(model) for model in self.members]
        for net in nets:
            net.built()
            objective.check_probabilities(net.spec, call)
        from scipy import special  # where used: it costs some 60 ms to import

        outputs = self.members.predict(X)
        of_rows = objective.link_of(nets[0].spec).probabilities == "row"
        logs, rests = [], []  # of p, and of 1 - p
        for net, given in zip(nets, outputs, strict=True):
            one = given.astype(np.float64)
            if net.spec.layers[-1].activation.rule is objective.link_of(net.spec):
                logs.append(np.log(np.maximum(one, _LEAST)))
                rests.append(np.log(np.maximum(1.0 - one, _LEAST)))
            else:
                logs.append(special.log_softmax(one, axis=1) if of_rows else special.log_expit(one))
                rests.append(special.log_expit(-one))
        log = special.logsumexp(logs, axis=0)
        return np.asarray(log - (np.log(len(nets)) if of_rows else special.logsumexp(rests, axis=0)))

    # --------------------------------------------------------------------------------------- persistence

    def save(self, path: PathOrFile) -> None:
        """Write the ensemble into one file, optimizer states and histories included; no pickle.

        `fastnn.load_ensemble` reads it; `fastnn.load_population` reads its members.

        Parameters
        ----------
        path : path or binary file

        Raises
        ------
        TypeError, ValueError, OSError
            As for `Model.save`.
        """
        own = {"bootstrap": self.bootstrap, "temperature": self.temperature}
        population.write(path, self.members, {"ensemble": own})


@explained
def load_ensemble(path: PathOrFile, *, n_threads: int | None = None) -> Ensemble:
    """Read an ensemble that `Ensemble.save` wrote.

    Nothing in the file is executed.

    Parameters
    ----------
    path : path or binary file
    n_threads : int or None
        As for `Ensemble`.

    Returns
    -------
    Ensemble
        It predicts and trains on as the saved one would.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file is truncated or damaged, holds something else, or is of another format or a later version.
    """
    members, header = population.read(path, n_threads=n_threads)
    own = header.get("ensemble")
    if not isinstance(own, dict):
        raise ValueError(f"{label_of(path)} holds a population, and no ensemble: call fastnn.load_population.")
    made = Ensemble.of(members, n_threads=n_threads)
    made.members = members
    try:
        made.bootstrap = check_bool(own["bootstrap"], "bootstrap")
        made.temperature = number_in("temperature", own["temperature"], "(0, inf)")
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{label_of(path)} is a fastnn file, but its content is no valid ensemble.") from error
    return made


def _check_outputs(members: Iterable[Model]) -> None:
    """Raise ValueError if a mean of the outputs of the nets would have no meaning."""
    found = []
    for model in members:
        spec = net_of(model).spec
        last = spec.layers[-1].activation.rule if spec.layers else None  # without layers the output is linear
        link = spec.loss.link if spec.loss.link is not None and spec.loss.link.probabilities else last
        of_probabilities = None if link is None or not link.probabilities else (link, last is link)
        found.append((of_probabilities, spec.loss.name == "gaussian_nll", spec.loss.quantiles))
    for k, meaning in enumerate(found):
        if meaning != found[0]:
            raise ValueError(
                f"net {k} has outputs of another kind than net 0, so that their mean has no meaning: nets of one "
                "ensemble need losses and last layers that fit together."
            )


def bootstrap_counts(members: Iterable[Model], n_rows: int) -> Numbers:
    """Return how often each row is in the bootstrap sample of each net, by its seed; (nets, n_rows)."""
    return np.array([
        np.bincount(np.random.default_rng(model.seed).integers(n_rows, size=n_rows), minlength=n_rows)
        for model in members
    ]).astype(np.float64)  # fmt: skip


def _mixture(outputs: Array) -> tuple[Numbers, Numbers]:
    """Return mean and variance of the mixture of normal distributions, from means and log-variances."""
    wide = outputs.astype(np.float64)
    means, log_variances = np.split(wide, 2, axis=2)
    mean = means.mean(axis=0)
    return mean, (np.exp(log_variances) + np.square(means - mean)).mean(axis=0)


def _activated(logits: Numbers, of_rows: bool) -> Numbers:
    """Return the softmax of rows, or the sigmoid of each number."""
    from scipy import special

    return np.asarray(special.softmax(logits, axis=1) if of_rows else special.expit(logits))
