"""Metrics: what is counted beside the loss, a value a row, and shown as the mean over the rows."""

from __future__ import annotations

import reprlib
from dataclasses import dataclass

from fastnn.activations import canonical_name
from fastnn.kernels import codes
from fastnn.losses import Loss

_CODES = {
    "accuracy": codes.ACCURACY,
    "mean_squared_error": codes.MEAN_SQUARED_ERROR,
    "mean_absolute_error": codes.MEAN_ABSOLUTE_ERROR,
}
_ALIASES = {"mse": "mean_squared_error", "mae": "mean_absolute_error"}


@dataclass(frozen=True)
class Metric:
    """A metric by its name.

    Parameters
    ----------
    name : str
        accuracy, mean_squared_error (or mse), mean_absolute_error (or mae).

    Raises
    ------
    TypeError, ValueError
        If the name is unknown.
    """

    name: str

    def __post_init__(self) -> None:
        """Resolve the name."""
        object.__setattr__(self, "name", canonical_name("metric", self.name, _CODES, _ALIASES))

    @property
    def code(self) -> int:
        """The kernels' integer code."""
        return _CODES[self.name]


def get(spec: str | Metric, *, loss: Loss | None = None) -> Metric:
    """Turn what a user says into a `Metric`.

    Parameters
    ----------
    spec : str or Metric
        A name or an instance.
    loss : Loss or None
        The loss that the metric stands beside; None leaves out the check of the two.

    Returns
    -------
    Metric

    Raises
    ------
    TypeError
        If `spec` is neither.
    ValueError
        If the name is unknown, or the metric and the loss do not fit: accuracy is for classification,
        the errors are for regression.
    """
    if not isinstance(spec, (str, Metric)):
        raise TypeError(f"metric must be a name such as 'accuracy', or a Metric; got {reprlib.repr(spec)}.")
    metric = spec if isinstance(spec, Metric) else Metric(spec)
    if metric.name == "accuracy" and loss is not None and not loss.classification:
        raise ValueError(
            f"metric 'accuracy' needs a loss of classification; got loss={loss.name!r}. "
            "Use 'mean_absolute_error', or a loss such as 'softmax_crossentropy'."
        )
    if metric.name != "accuracy" and loss is not None and loss.name in ("poisson", "quantile", "gaussian_nll"):
        raise ValueError(
            f"metric {metric.name!r} is the error of outputs that are predictions themselves, which those of "
            f"loss={loss.name!r} are not. Leave it out."
        )
    if metric.name != "accuracy" and loss is not None and loss.classification:
        raise ValueError(
            f"metric {metric.name!r} needs a loss of regression; got loss={loss.name!r}, whose outputs are logits. "
            "Use 'accuracy'."
        )
    return metric
