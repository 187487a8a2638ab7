"""Augmentation: rows that training changes at random, anew in each epoch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numba
import numpy as np

from fastnn._data.rows import AugmentationPlan
from fastnn._validation import CONVERSION_ERRORS, must_be, number_in, reason
from fastnn._validation.names import explained
from fastnn.custom import MachineCode, compiled, row_code
from fastnn.kernels.lang.compile_thread import in_compile_thread
from fastnn.kernels.nn.stochastic import ROW_RANDOMS
from fastnn.optimizers import Optimizer

__all__ = ["Augmentation"]


def __dir__() -> list[str]:
    return __all__


#: Quantiles of the share of a row in its mixture.
N_QUANTILES = 1024


@explained
@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """How each row is changed when it is read for a step of training, in this order.

    It is given to `Model.fit`; validation, evaluation and prediction use the rows unchanged. The random changes depend
    only on the model's seed, the number of the step and the row's place, so results are the same for any number of
    threads.

    Parameters
    ----------
    mixup : float
        Above 0: each row and its target are mixed with another one's, x = s x + (1 - s) x', t likewise, with s from the
        Beta distribution of both parameters `mixup` [1]_, or 1 - s where that is more; 0.2 is usual. Labels become
        shares of two classes. 0 is no mixture.
    function : callable or None
        ``function(x, random)`` changes a row of features, a 1-D array, in place; `random` holds 16 numbers from
        [0, 1), to be used instead of a generator of its own. Compiled by Numba; it may be compiled already.
    noise : float
        Standard deviation of normal noise that is added to each feature; 0 for none.

    Raises
    ------
    TypeError, ValueError
        If a number is out of range, or `function` is none or cannot be compiled.

    References
    ----------
    .. [1] H. Zhang, M. Cisse, Y. Dauphin, D. Lopez-Paz, "mixup: beyond empirical risk minimization", ICLR, 2018.

    Examples
    --------
    >>> import fastnn
    >>> def brighter(x, random):
    ...     x *= 0.8 + 0.4 * random[0]
    >>> X, y, X_test, y_test = fastnn.datasets.load_digits()
    >>> model = fastnn.Model([64, 10], loss="softmax_crossentropy", seed=0)
    >>> history = model.fit(X, y, epochs=3, augmentation=fastnn.Augmentation(function=brighter, noise=0.1))
    >>> bool(model.evaluate(X_test, y_test)["accuracy"] > 0.8)
    True
    """

    mixup: float = 0.0
    function: Any = None
    noise: float = 0.0

    def __post_init__(self) -> None:
        """Check the numbers."""
        for name in ("mixup", "noise"):
            object.__setattr__(self, name, number_in(name, getattr(self, name), "[0, inf)"))
        if self.function is not None:
            compiled(self.function, "function")

    def changes(self, n_features: int, dtype: np.dtype[Any]) -> AugmentationPlan:
        """Return the plan that the engine reads.

        Parameters
        ----------
        n_features : int
            Length of a row.
        dtype : dtype
            Type of the rows, float32 or float64.

        Returns
        -------
        AugmentationPlan
            The quantiles of mixup, the compiled function and the noise.

        Raises
        ------
        ValueError
            If `function` cannot be compiled for rows of `dtype`, or leaves a row that is not finite.
        """
        mixing = np.empty(0)
        if self.mixup:
            from scipy import special  # where used: it costs some 60 ms to import

            middle = (np.arange(N_QUANTILES) + 0.5) / N_QUANTILES
            mixing = special.betaincinv(self.mixup, self.mixup, middle)
        code: MachineCode | None = None
        if self.function is not None:
            function = compiled(self.function, "function")
            self._try(function, n_features, dtype)
            code = row_code(function, ROW_RANDOMS, dtype)
        return AugmentationPlan(mixing=mixing, function=code, noise=self.noise)

    @staticmethod
    def _try(function: Any, n_features: int, dtype: np.dtype[Any]) -> None:
        """Call the function once, so that errors come before training."""
        row, random = np.zeros(n_features, dtype), np.full(ROW_RANDOMS, 0.5, dtype)
        try:
            in_compile_thread(function, row, random)
        except (*CONVERSION_ERRORS, numba.NumbaError) as error:
            raise ValueError(
                f"function of the augmentation fails for {n_features} zeros ({type(error).__name__}: {reason(error)}); "
                "it must be function(x, random) that changes x in place and can be compiled by Numba."
            ) from error
        if not np.isfinite(row).all():
            raise ValueError("function of the augmentation makes NaN or infinity of a row of zeros.")


def check_augmentation(augmentation: Any, optimizer: Optimizer) -> None:
    """Validate the augmentation of a fit, which full-batch solvers refuse; None is no augmentation."""
    if augmentation is None:
        return
    if not isinstance(augmentation, Augmentation):
        raise TypeError(must_be("augmentation", "a fastnn.Augmentation, or None", augmentation))
    if optimizer.full_batch:
        raise ValueError(
            f"augmentation is {augmentation!r}, but optimizer={optimizer!r} needs the same rows in each "
            "iteration: leave augmentation out, or take an optimizer such as 'adam'."
        )
