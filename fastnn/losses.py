"""Losses: E(u, t), how far the net's output u is from the target t.

Each loss is its arithmetic over vectors (device functions), followed by one record; nothing else in the package lists
them. Below stand the class and the functions that a user calls.

A loss with settings is made by a function of its name: ``huber(delta=2.0)``, ``quantile(0.1, 0.5, 0.9)``,
``softmax_crossentropy(label_smoothing=0.1)``.
"""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from fastnn._validation import as_sequence, finite_number, must_be, number_in, shown
from fastnn._validation.names import explained, hint_for_object, resolved_name
from fastnn.kernels.lang.compiler import device_function
from fastnn.kernels.lang.simd import (
    absolute,
    at,
    broadcast,
    fma,
    lanes,
    load,
    load_scalar,
    mask_tail,
    max_lanes,
    maximum,
    minimum,
    select_gt,
    store,
    store_scalar,
    sum_lanes,
)
from fastnn.kernels.maths.elementary import exp, exp_factors, exp_nonpositive, log, log1p
from fastnn.kernels.nn.losses import fill_one_hot_row
from fastnn.kernels.nn.rules import ACTIVATIONS, LOSSES, ActivationRule, LossRule, documented
from fastnn.kernels.nn.softmax import exp_shifted, largest, scale_row

__all__ = ["Loss", "binary_crossentropy", "get", "huber", "quantile", "softmax_crossentropy"]


def __dir__() -> list[str]:
    return __all__


Targets: TypeAlias = npt.NDArray[np.floating]


# ------------------------------------------------------------------------------------------------- the rules
#
# u, t, the output's parameter p and the sum so far, `total`, are vectors. A NaN in u must reach both results.


@device_function
def squared_error(u: Any, t: Any, p: Any, total: Any) -> Any:
    """Return total + e^2 and 2 e, e = u - t."""
    e = u - t
    return fma(e, e, total), e + e


LOSSES.add(
    LossRule(
        name="squared_error",
        aliases=("mse", "mean_squared_error"),
        formula="E = 1/(n O) sum_r sum_o e^2",
        value_and_slope=squared_error,
        least_squares=True,
    )
)


@device_function
def half_square(u: Any, t: Any, p: Any, total: Any) -> Any:
    """Return total + e^2 / 2 and e = u - t."""
    e = u - t
    return fma(e * broadcast(u, 0.5), e, total), e


LOSSES.add(
    LossRule(
        name="sum_of_squares",
        aliases=("half_sum_of_squares",),
        formula="E = 1/2 sum_r sum_o e^2",
        value_and_slope=half_square,
        reduction="sum",
        least_squares=True,
    )
)


@device_function
def logistic(u: Any, t: Any, p: Any, total: Any) -> Any:
    """Return total + ln(1 + e^u) - t u and sigmoid(u) - t; ln(1 + e^u) = max(u, 0) + ln(1 + e^-|u|) cannot overflow."""
    zero = broadcast(u, 0.0)
    one = broadcast(u, 1.0)
    e = exp_nonpositive(zero - absolute(u))
    return total + (maximum(zero, u) - u * t + log1p(e)), select_gt(zero, u, e, one) / (one + e) - t


def _smoothed(loss: Loss, targets: Targets, n_classes: int) -> Targets:
    """Return targets of which the share `label_smoothing` is spread over the classes."""
    if not loss.label_smoothing:
        return targets
    kept = targets.dtype.type(1.0 - loss.label_smoothing)
    return targets * kept + targets.dtype.type(loss.label_smoothing / n_classes)


LOSSES.add(
    LossRule(
        name="binary_crossentropy",
        aliases=("bce",),
        formula="E = -1/(n O) sum_r sum_o [t log p + (1 - t) log(1 - p)], p = sigmoid(u)",
        value_and_slope=logistic,
        link="sigmoid",
        targets="binary",
        settings=("label_smoothing",),
        prepare=lambda loss, targets: _smoothed(loss, targets, 2),
    )
)


@device_function
def log_scalar(x: Any, like: Any) -> Any:
    """Return the natural logarithm of one number; `like` is a pointer of its type."""
    return max_lanes(log(broadcast(like, x)))


@device_function
def softmax_crossentropy_label_row(u: Any, label: int, d: Any, n: int, scale: float) -> Any:
    """Overwrite `d` with scale * (softmax(u) - one_hot(label)); return -ln softmax(u)[label]."""
    top = largest(u, n)
    total = exp_shifted(u, top, d, n)
    scale_row(d, scale / total, n)
    hit = at(d, label)
    store_scalar(hit, load_scalar(hit) - scale)
    return log_scalar(total, u) + (top - load_scalar(at(u, label)))


@device_function
def softmax_crossentropy_targets_row(u: Any, t: Any, d: Any, n: int, scale: float) -> Any:
    """Overwrite `d` with scale * (softmax(u) sum t - t); return sum t (ln sum e^u - u)."""
    v = lanes(u)
    zero = broadcast(u, 0.0)
    half = broadcast(u, 0.5)
    top = largest(u, n)
    total = exp_shifted(u, top, d, n)
    below = broadcast(u, -0.5 * top)
    mass = zero
    dot = zero
    for j in range(0, n, v):
        y = load(at(t, j))
        mass = mass + y
        # Half of u - top: the difference itself may overflow, and infinity times a target of 0 would be NaN.
        dot = fma(fma(mask_tail(load(at(u, j)), n - j, zero), half, below), y, dot)
    whole = sum_lanes(mass)
    by = broadcast(u, scale * whole / total)
    down = broadcast(u, -scale)
    for j in range(0, n, v):
        store(at(d, j), fma(load(at(t, j)), down, load(at(d, j)) * by))
    return whole * log_scalar(total, u) - sum_lanes(dot + dot)


@device_function
def softmax_crossentropy_row(u: Any, t: Any, label: int, p: Any, d: Any, n: int, weight: Any, norm: Any) -> Any:
    """Row form; ln sum e^u = m + ln sum e^(u - m) with m = max u cannot overflow."""
    scale = weight / norm
    off = load_scalar(p)
    if label >= 0 and off == 0.0:
        return softmax_crossentropy_label_row(u, label, d, n, scale) * weight
    if label >= 0:
        fill_one_hot_row(t, label, n, off)
    return softmax_crossentropy_targets_row(u, t, d, n, scale) * weight


@device_function
def softmax_crossentropy_block(u: Any, t: Any, p: Any, n: int, weight: Any, norm: Any) -> Any:
    """Overwrite the (n, V) block at `u` with the gradient; return the weighted values sum t (ln sum e^u - u)."""
    scale = weight / broadcast(u, norm)
    v = lanes(u)
    top = load(u)
    for j in range(1, n):
        top = maximum(load(at(u, j * v)), top)
    total = broadcast(u, 0.0)
    mass = total
    dot = total
    half = broadcast(u, 0.5)
    below = broadcast(u, -0.5) * top
    for j in range(n):
        x = fma(load(at(u, j * v)), half, below)  # half of u - top, see the row form
        y = load(at(t, j * v))
        e = exp_nonpositive(x + x)
        store(at(u, j * v), e)
        total = total + e
        mass = mass + y
        dot = fma(x, y, dot)
    by = mass / total
    for j in range(n):
        p = load(at(u, j * v)) * by
        store(at(u, j * v), (p - load(at(t, j * v))) * scale)
    return (mass * log(total) - (dot + dot)) * weight


LOSSES.add(
    LossRule(
        name="softmax_crossentropy",
        aliases=("categorical_crossentropy", "sparse_categorical_crossentropy"),
        formula="E = -1/n sum_r sum_o t_ro log p_ro, p = softmax of row r of u",
        reduction="rows",
        row=softmax_crossentropy_row,
        block=softmax_crossentropy_block,
        link="softmax",
        targets="classes",
        settings=("label_smoothing",),
        parameters=lambda loss, n_outputs: (loss.label_smoothing / n_outputs,) * n_outputs,
        prepare=lambda loss, targets: _smoothed(loss, targets, targets.shape[1]),
    )
)


@device_function
def sided(e: Any, above: Any, below: Any, zero: Any, total: Any) -> Any:
    """Return total + c e and c, which is `above` where e > 0, `below` where e < 0, else `zero`."""
    c = select_gt(e, zero, above, select_gt(zero, e, below, zero))
    return total + c * e, c


@device_function
def absolute_error(u: Any, t: Any, p: Any, total: Any) -> Any:
    """Return total + |e| and its sign, e = u - t."""
    zero = u - u  # NaN for a NaN
    one = broadcast(u, 1.0)
    return sided(u - t, one, zero - one, zero, total)


LOSSES.add(
    LossRule(
        name="absolute_error",
        aliases=("mae", "mean_absolute_error"),
        formula="E = 1/(n O) sum_r sum_o |e|",
        value_and_slope=absolute_error,
    )
)


@device_function
def huber_loss(u: Any, t: Any, p: Any, total: Any) -> Any:
    """Return total + c (e - c / 2) and c, the error e clipped to +-p."""
    zero = u - u  # NaN for a NaN
    e = u - t
    c = maximum(zero - p, minimum(p, e))
    return total + c * (e - (c + c) * broadcast(u, 0.25)), c


LOSSES.add(
    LossRule(
        name="huber",
        formula="E = 1/(n O) sum_r sum_o (e^2 / 2 where |e| <= delta, delta (|e| - delta / 2) elsewhere)",
        reference='P. J. Huber, "Robust estimation of a location parameter", Annals of Mathematical Statistics 35, '
        "1964.",
        value_and_slope=huber_loss,
        settings=("delta",),
        parameters=lambda loss, n_outputs: (loss.delta,) * n_outputs,
    )
)


@device_function
def poisson(u: Any, t: Any, p: Any, total: Any) -> Any:
    """Return total + e^u - t u and e^u - t."""
    rate = exp(u)
    return total + (rate - t * u), rate - t


LOSSES.add(
    LossRule(
        name="poisson",
        formula="E = 1/(n O) sum_r sum_o exp(u) - t u",
        value_and_slope=poisson,
        link="exponential",
        targets="counts",
        predictions=False,
    )
)


@device_function
def pinball(u: Any, t: Any, p: Any, total: Any) -> Any:
    """Return total + c e and c, which is 1 - p above the target and -p below it."""
    zero = u - u  # NaN for a NaN
    return sided(u - t, broadcast(u, 1.0) - p, zero - p, zero, total)


LOSSES.add(
    LossRule(
        name="quantile",
        aliases=("pinball",),
        formula="E = 1/(n O) sum_r sum_o max(q_o (t - u), (1 - q_o) (u - t))",
        reference='R. Koenker, G. Bassett, "Regression quantiles", Econometrica 46, 1978.',
        value_and_slope=pinball,
        predictions=False,
        settings=("quantiles",),
        parameters=lambda loss, n_outputs: loss.quantiles * (n_outputs // len(loss.quantiles)),
        outputs_per_target=lambda loss: len(loss.quantiles),
        prepare=lambda loss, targets: np.repeat(targets, len(loss.quantiles), axis=1),
    )
)


@device_function
def gaussian(m: Any, s: Any, t: Any) -> Any:
    """Value, and slopes with respect to mean and log-variance, lane by lane."""
    half = broadcast(m, 0.5)
    e = m - t
    most, scale = exp_factors(s - s - s)
    scaled = e * most
    square = (e * scale) * scaled
    return half * (s + square), scaled * scale, half - half * square


@device_function
def gaussian_nll_row(u: Any, t: Any, label: int, p: Any, d: Any, n: int, weight: Any, norm: Any) -> Any:  # fmt: skip
    """Row form, one target after the other."""
    factor = 2.0 * (weight / norm) / n
    v = lanes(u)
    half = n // 2
    total = broadcast(u, 0.0)
    for j in range(0, n, v):
        store(at(d, j), broadcast(u, 0.0))
    for j in range(half):
        m = broadcast(u, load_scalar(at(u, j)))
        s = broadcast(u, load_scalar(at(u, half + j)))
        value, d_mean, d_log_variance = gaussian(m, s, broadcast(u, load_scalar(at(t, j))))
        total = total + value
        store_scalar(at(d, j), factor * max_lanes(d_mean))
        store_scalar(at(d, half + j), factor * max_lanes(d_log_variance))
    return max_lanes(total) * (2.0 * weight / n)


@device_function
def gaussian_nll_block(u: Any, t: Any, p: Any, n: int, weight: Any, norm: Any) -> Any:
    """Block form."""
    share = broadcast(u, 1.0 / n)
    scale = weight / broadcast(u, norm)
    factor = (scale + scale) * share
    v = lanes(u)
    half = n // 2
    total = broadcast(u, 0.0)
    for j in range(half):
        mean = at(u, j * v)
        log_variance = at(u, (half + j) * v)
        value, d_mean, d_log_variance = gaussian(load(mean), load(log_variance), load(at(t, j * v)))
        store(mean, d_mean * factor)
        store(log_variance, d_log_variance * factor)
        total = total + value
    return total * ((weight + weight) * share)


LOSSES.add(
    LossRule(
        name="gaussian_nll",
        formula="E = 1/(n T) sum_r sum_k (s_k + (t_k - m_k)^2 exp(-s_k)) / 2",
        reference='D. A. Nix, A. S. Weigend, "Estimating the mean and variance of the target probability '
        'distribution", ICNN, 1994.',
        row=gaussian_nll_row,
        block=gaussian_nll_block,
        predictions=False,
        identity_only=True,
        outputs_per_target=lambda _: 2,
        prepare=lambda _, targets: np.hstack([targets, np.zeros_like(targets)]),
    )
)


# ------------------------------------------------------------------------------------------- what a user states


@explained
@documented(LOSSES)
@dataclass(frozen=True)
class Loss:
    """A loss by its name.

    Parameters
    ----------
    name : str
        {names}.
    delta : float
        huber: the error from which on it grows linearly, above 0; 1 unless given. None for the others.
    quantiles : tuple of float
        quantile: the levels, each between 0 and 1; (0.5,) unless given. Empty for the others.
    label_smoothing : float
        For the two cross-entropies: the share, from 0 up to 1, of each target that is spread evenly over the classes.

    Raises
    ------
    TypeError, ValueError
        If the name is unknown or a setting does not fit it.

    Notes
    -----
    With n rows r of O outputs o each, and e = u - t:

    {table}

    The two cross-entropies take logits, so u is the sum before the activation; poisson takes the logarithm of the
    rate in the same way, the sum before an "exponential" last layer. quantile has an output for each level of each
    target: those of the first target, then those of the second. gaussian_nll has two outputs a target: first the
    means m of all targets, then the logarithms s of their variances.

    References
    ----------
    {references}
    """

    name: str
    _: KW_ONLY
    delta: float | None = None
    quantiles: tuple[float, ...] = ()
    label_smoothing: float = 0.0

    def __post_init__(self) -> None:
        """Resolve the name and check the settings."""
        name = resolved_name("loss", self.name, LOSSES.names, LOSSES.aliases)
        object.__setattr__(self, "name", name)
        object.__setattr__(self, "delta", self._checked_delta())
        object.__setattr__(self, "quantiles", self._checked_quantiles())
        smoothing = number_in("label_smoothing", self.label_smoothing, "[0, 1)")
        if smoothing and "label_smoothing" not in self.rule.settings:
            raise ValueError(f"label_smoothing has no meaning for {name}, got {smoothing!r}. Leave it out.")
        object.__setattr__(self, "label_smoothing", smoothing)

    def _checked_delta(self) -> float | None:
        if "delta" not in self.rule.settings:
            if self.delta is not None:
                raise ValueError(f"delta has no meaning for {self.name}, got {shown(self.delta)}. Leave it out.")
            return None
        delta = 1.0 if self.delta is None else self.delta
        return number_in("delta", delta, "(0, inf)", "For small deltas there is 'absolute_error'.")

    def _checked_quantiles(self) -> tuple[float, ...]:
        given = as_sequence("quantiles", "levels such as (0.1, 0.5, 0.9)", self.quantiles)
        levels = tuple(finite_number(f"quantiles[{k}]", level) for k, level in enumerate(given))
        if "quantiles" not in self.rule.settings:
            if levels:
                raise ValueError(f"quantiles have no meaning for {self.name}, got {shown(levels)}. Leave them out.")
            return ()
        if not all(0.0 < q < 1.0 for q in levels):
            raise ValueError(must_be("quantiles", "above 0 and below 1", levels))
        if len(set(levels)) < len(levels):
            raise ValueError(must_be("quantiles", "different from each other", levels))
        return levels or (0.5,)

    @property
    def rule(self) -> LossRule:
        """The record that holds the facts and the arithmetic."""
        return LOSSES[self.name]

    @property
    def link(self) -> ActivationRule | None:
        """The activation that the loss contains; None for none."""
        return ACTIVATIONS[self.rule.link] if self.rule.link else None

    @property
    def classification(self) -> bool:
        """Whether the targets are classes or their probabilities."""
        return self.rule.targets in ("binary", "classes")

    @property
    def outputs_per_target(self) -> int:
        """Number of outputs per column of the targets."""
        return self.rule.outputs_per_target(self) if self.rule.outputs_per_target else 1

    def parameters(self, n_outputs: int) -> tuple[float, ...]:
        """Return the numbers that the kernels take.

        Parameters
        ----------
        n_outputs : int
            Outputs of the net.

        Returns
        -------
        tuple of float
            One per output.
        """
        return self.rule.parameters(self, n_outputs) if self.rule.parameters else (0.0,) * n_outputs

    def prepare(self, targets: Targets) -> Targets:
        """Convert validated targets into the form that the kernels compare with the outputs.

        Parameters
        ----------
        targets : ndarray, (n, n_targets)

        Returns
        -------
        ndarray, (n, n_outputs)
            A copy if they change.
        """
        return self.rule.prepare(self, targets) if self.rule.prepare else targets


@explained
def huber(delta: float = 1.0) -> Loss:
    """Return the loss of Huber: squared for errors up to `delta`, linear beyond.

    Parameters
    ----------
    delta : float
        Above 0, in units of the targets.

    Returns
    -------
    Loss
        With this delta.

    Raises
    ------
    TypeError, ValueError
        If it is no such number.
    """
    return Loss("huber", delta=delta)


@explained
def quantile(*quantiles: float) -> Loss:
    """Return the quantile (pinball) loss for one or several levels.

    Parameters
    ----------
    *quantiles : float
        The levels, each above 0 and below 1; the median, 0.5, when none is given. The net has an output for each
        level of each target: those of the first target, then those of the second.

    Returns
    -------
    Loss
        With these levels.

    Raises
    ------
    TypeError, ValueError
        If a level is no such number, or given twice.

    Examples
    --------
    >>> quantile(0.1, 0.5, 0.9).quantiles
    (0.1, 0.5, 0.9)
    """
    return Loss("quantile", quantiles=quantiles)


@explained
def softmax_crossentropy(label_smoothing: float = 0.0) -> Loss:
    """Return the cross-entropy of classes that exclude each other, with label smoothing [1]_.

    Parameters
    ----------
    label_smoothing : float
        The share, at least 0 and below 1, of each target that is spread evenly over the classes.

    Returns
    -------
    Loss
        With this smoothing.

    Raises
    ------
    TypeError, ValueError
        If it is no such number.

    References
    ----------
    .. [1] C. Szegedy et al., "Rethinking the Inception architecture for computer vision", CVPR, 2016, section 7.
    """
    return Loss("softmax_crossentropy", label_smoothing=label_smoothing)


@explained
def binary_crossentropy(label_smoothing: float = 0.0) -> Loss:
    """Return the binary cross-entropy per output (multi-label), with label smoothing towards 1/2.

    Parameters
    ----------
    label_smoothing : float
        The share s, at least 0 and below 1: a target t becomes (1 - s) t + s / 2.

    Returns
    -------
    Loss
        With this smoothing.

    Raises
    ------
    TypeError, ValueError
        If it is no such number.
    """
    return Loss("binary_crossentropy", label_smoothing=label_smoothing)


def get(spec: str | Loss) -> Loss:
    """Return the `Loss` of a name.

    Parameters
    ----------
    spec : str or Loss
        A name or an instance.

    Returns
    -------
    Loss
        The instance given, or one with the default settings.

    Raises
    ------
    TypeError
        If `spec` is neither.
    ValueError
        If the name is unknown.
    """
    if isinstance(spec, Loss):
        return spec
    if not isinstance(spec, str):
        hint = hint_for_object("loss", spec, LOSSES.names, LOSSES.aliases)
        if not hint and callable(spec):
            hint = "A function of your own is fastnn.custom.loss(value, gradient)."
        raise TypeError(must_be("loss", "a name such as 'squared_error', or a Loss", spec, hint))
    return Loss(spec)
