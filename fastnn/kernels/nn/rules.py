"""Records of the activations, losses and optimizers.

A rule is one record beside its arithmetic, which is written once, over vectors. The records are made and registered in
`fastnn.activations`, `fastnn.losses` and `fastnn.optimizers`; `dispatch` generates from them the functions that select
a rule by its code. Everything else (names, tables of the documentation, facts that other modules depend on) reads the
records, too. Codes count the rules in the order of registration and are never saved.
"""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Generic, Protocol, TypeVar

#: Code of an activation or a loss whose functions are called by address; it has no record in a registry.
CUSTOM = -1


class Rule(Protocol):
    """Interface of a record in a registry."""

    @property
    def name(self) -> str:
        """Canonical name."""

    @property
    def aliases(self) -> tuple[str, ...]:
        """Other names."""

    @property
    def code(self) -> int:
        """Number in the order of registration."""


R = TypeVar("R", bound=Rule)


class Registry(Generic[R]):
    """The rules of one kind, in the order of registration.

    Parameters
    ----------
    kind : str
        Singular noun for error messages, such as "activation".
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._rules: list[R] = []
        self._by_name: dict[str, R] = {}
        self._frozen = False

    def add(self, rule: R) -> R:
        """Register a rule and return it with its code.

        Raises
        ------
        ValueError
            If its name or an alias is taken.
        RuntimeError
            If the dispatch has been generated already: the rule would be unknown to the kernels.
        """
        if self._frozen:
            raise RuntimeError(
                f"{self.kind} {rule.name!r} must be registered before the kernels are generated, in "
                "fastnn/activations.py, fastnn/losses.py or fastnn/optimizers.py. See fastnn.custom for functions of "
                "your own."
            )
        for name in (rule.name, *rule.aliases):
            if name in self._by_name:
                raise ValueError(f"{self.kind} name {name!r} is taken by {self._by_name[name].name!r}.")
        registered: R = replace(rule, code=len(self._rules))  # type: ignore[type-var]
        self._rules.append(registered)
        self._by_name.update(dict.fromkeys((rule.name, *rule.aliases), registered))
        return registered

    def freeze(self) -> tuple[R, ...]:
        """Return all rules, and refuse further ones.

        Raises
        ------
        RuntimeError
            If there is none: the module that registers them has not been imported.
        """
        if not self._rules:
            raise RuntimeError(f"no {self.kind} is registered: import fastnn before fastnn.kernels.nn.dispatch.")
        self._frozen = True
        return tuple(self._rules)

    def __iter__(self) -> Iterator[R]:
        """Iterate over the rules in the order of registration."""
        return iter(self._rules)

    def __len__(self) -> int:
        """Return the number of rules."""
        return len(self._rules)

    def __getitem__(self, name: str) -> R:
        """Return the rule of a canonical name or an alias."""
        return self._by_name[name]

    @property
    def names(self) -> tuple[str, ...]:
        """Canonical names."""
        return tuple(rule.name for rule in self._rules)

    @property
    def aliases(self) -> dict[str, str]:
        """Canonical name of each alias."""
        return {alias: rule.name for rule in self._rules for alias in rule.aliases}


@dataclass(frozen=True, kw_only=True)
class ActivationRule:
    """An activation y = f(z).

    Either over vectors, lane by lane (`forward` and `backward`, or `value_and_slope`), or over whole rows (`rows`,
    `rows_backward`), or without any function, for the identity.

    Parameters
    ----------
    name : str
    formula : str
        For the documentation: f, in one line.
    reference : str
        Where it was published; optional.
    aliases : tuple of str
    forward : device function (z, alpha) -> y
        Vectors; `alpha` holds the activation's number in all lanes.
    backward : device function (y, d, alpha) -> dE/dz
        Vectors; d is dE/dy. For functions whose output determines the derivative exactly.
    value_and_slope : device function (z, alpha) -> (y, dy/dz)
        Vectors. In place of the two; training keeps the slope, which costs memory as large as y.
    zero_at_zero : bool
        Whether f(0) = 0. Where not, the padding of rows is cleared after f.
    alpha : float or None
        Default of the activation's number, which must be above 0; None where it has no number.
    initializer : str
        The initializer for ``kernel_initializer="auto"``.
    rows : device function (y, ld, rows, n)
        Overwrites n elements of each row, at row stride ld, and sets the padding to zero.
    rows_backward : device function (y, d, ld, rows, n)
        Overwrites dE/dy at `d` with dE/dz.
    jet : device function z -> (y, first, second, third derivative)
        Vectors. For smooth functions of lanes; optional, used by second derivatives of a net alone.
    rows_jet : device function (y, z, gap, ld, rows, n, directions, order)
    rows_jet_backward : device function (y, z, d, gap, ld, rows, n, directions, order)
        The same for functions of rows; see `kernels.nn.jets`.
    probabilities : str
        "each" where every output is the probability of a class (class 1 from 0.5 on), "row" where those of a row are
        probabilities of classes that exclude each other; "" otherwise.
    """

    name: str
    formula: str
    reference: str = ""
    aliases: tuple[str, ...] = ()
    forward: Callable[..., Any] | None = None
    backward: Callable[..., Any] | None = None
    value_and_slope: Callable[..., Any] | None = None
    zero_at_zero: bool = False
    alpha: float | None = None
    initializer: str = "glorot_uniform"
    rows: Callable[..., Any] | None = None
    rows_backward: Callable[..., Any] | None = None
    jet: Callable[..., Any] | None = None
    rows_jet: Callable[..., Any] | None = None
    rows_jet_backward: Callable[..., Any] | None = None
    probabilities: str = ""
    code: int = CUSTOM

    @property
    def is_smooth(self) -> bool:
        """Whether there are second derivatives."""
        return self.jet is not None or self.rows_jet is not None


ACTIVATIONS: Registry[ActivationRule] = Registry("activation")


def keeps_more_than_output(code: int) -> bool:
    """Return whether training keeps another array as large as the output: the slopes, or a custom function's input."""
    return code == CUSTOM or any(rule.code == code and rule.value_and_slope for rule in ACTIVATIONS)


def activation_code(name: str) -> int:
    """Return the code of an activation of this package."""
    return ACTIVATIONS[name].code


@dataclass(frozen=True, kw_only=True)
class LossRule:
    """A loss E(u, t) of outputs u and targets t.

    Either output by output (`value_and_slope`), or over a row or a block of rows (`row` and `block`).

    Parameters
    ----------
    name : str
    formula : str
        For the documentation: E, in one line.
    reference : str
        Where it was published; optional.
    aliases : tuple of str
    value_and_slope : device function (u, t, p, total) -> (total + value, slope)
        Vectors of outputs, targets, parameters and the sum so far. A NaN in u must reach both results.
    reduction : str
        "mean" over rows and outputs, or "sum" over both; with "rows" the mean over rows, where `row` and `block` are
        given and weight their results themselves.
    row : device function (u, t, label, p, d, n, weight, norm) -> value times weight
        Overwrites n elements at `d` (padding with zeros) with the gradient of the batch's loss; `t` may be overwritten.
        `label` is the class, or -1 where `t` holds targets; `norm` is the sum of the weights of the batch.
    block : device function (u, t, p, n, weight, norm) -> values times weights
        The same for V rows: u and t are (n, V) blocks, u is overwritten with the gradient; weight is a vector.
    link : str
        Name of the activation that the loss contains, so that u is the sum before it; "" for none.
    targets : str
        "numbers"; "counts", which are not negative; "binary", 0 to 1 per output; "classes", labels or one row of
        probabilities per sample.
    predictions : bool
        Whether u, after the link, estimates t itself, so that errors u - t are a metric.
    least_squares : bool
        Whether E is proportional to the weighted sum of (u - t)^2.
    identity_only : bool
        Whether the last layer must be without an activation.
    settings : tuple of str
        Fields of `fastnn.losses.Loss` that the loss uses.
    parameters : function (loss, n_outputs) -> (n_outputs,) numbers
        The p of each output; None for zeros.
    outputs_per_target : function (loss) -> int
        None for 1.
    prepare : function (loss, targets) -> (n, n_outputs)
        Converts targets (n, T) to the form of the outputs; None if they have it.
    """

    name: str
    formula: str
    reference: str = ""
    aliases: tuple[str, ...] = ()
    value_and_slope: Callable[..., Any] | None = None
    reduction: str = "mean"
    row: Callable[..., Any] | None = None
    block: Callable[..., Any] | None = None
    link: str = ""
    targets: str = "numbers"
    predictions: bool = True
    least_squares: bool = False
    identity_only: bool = False
    settings: tuple[str, ...] = ()
    parameters: Callable[[Any, int], tuple[float, ...]] | None = None
    outputs_per_target: Callable[[Any], int] | None = None
    prepare: Callable[[Any, Any], Any] | None = None
    code: int = CUSTOM


LOSSES: Registry[LossRule] = Registry("loss")


@dataclass(frozen=True, kw_only=True)
class OptimizerRule:
    """An update of weights from a gradient.

    Parameters
    ----------
    name : str
    formula : str
        For the documentation, in one line.
    hyper : tuple of str
        Hyperparameters: fields of the class in `fastnn.optimizers`.
    coefficients : device function (rate, t, *hyper, *scalars) -> tuple of floats
        The numbers of update t = 1, 2, ..., computed once per step; `rate` is the learning rate.
    step : device function (g, w, *slots, *coefficients) -> w or (w, *slots)
        Vectors: the gradient, the weights (after the weight decay), the slots; the new ones are returned. Where a new
        weight is infinite or NaN, the weight and its slots keep their values.
    slots : tuple of str
        Names of the arrays, as large as the weights, that are kept between steps; zero before the first.
    guarded : tuple of str or None
        Slots whose overflow would not make the weight infinite or NaN by itself; None for all.
    scalars : tuple of (str, float)
        Name and first value of the numbers that are kept between steps, under which models are saved.
    advance : device function (t, *hyper, *scalars) -> tuple of floats
        The scalars of update t from those of the update before; needed where there are scalars.
    """

    name: str
    formula: str
    coefficients: Callable[..., Any]
    step: Callable[..., Any]
    hyper: tuple[str, ...] = ()
    slots: tuple[str, ...] = ()
    guarded: tuple[str, ...] | None = None
    scalars: tuple[tuple[str, float], ...] = ()
    advance: Callable[..., Any] | None = None
    aliases: tuple[str, ...] = ()
    code: int = CUSTOM


OPTIMIZERS: Registry[OptimizerRule] = Registry("optimizer")


def initial_scalars(code: int) -> tuple[float, ...]:
    """Return the first values of the numbers that an optimizer keeps between steps."""
    return next(tuple(value for _, value in rule.scalars) for rule in OPTIMIZERS if rule.code == code)


def check_slots(code: int, n_slots: int) -> None:
    """Raise RuntimeError unless there are the slots that the step of an optimizer reads and writes."""
    rule = next(rule for rule in OPTIMIZERS if rule.code == code)
    if n_slots < len(rule.slots):
        raise RuntimeError(f"{rule.name} has {len(rule.slots)} slots per weight, but there are {n_slots}.")


C = TypeVar("C", bound=type)


def documented(rules: Registry[Any]) -> Callable[[C], C]:
    """Return a decorator of a class that fills its docstring from the records.

    It replaces ``{names}`` (with the aliases), ``{with_alpha}``, ``{table}`` (of name and formula) and
    ``{references}``. References are numbered in the order of the records, after those the docstring has already.
    """

    def fill(cls: C) -> C:
        text = cls.__doc__
        if text is None:  # python -OO
            return cls
        names, rows, references = [], [], []
        number = text.count("\n    .. [")
        for rule in rules:
            names.append(rule.name + (f" (or {', '.join(rule.aliases)})" if rule.aliases else ""))
            title = rule.name
            if rule.reference:
                number += 1
                title += f" [{number}]_"
                references += textwrap.wrap(f".. [{number}] {rule.reference}", 112, subsequent_indent="   ")
            rows.append((title, rule.formula))
        width = max(len(title) for title, _ in rows)
        line = "=" * width + "  " + "=" * max(len(formula) for _, formula in rows)
        table = [line, *(f"{title:{width}}  {formula}" for title, formula in rows), line]
        listed = ", ".join(names[:-1]) + " or " + names[-1]
        parts = {
            "names": "\n        ".join(textwrap.wrap(listed, 110)),
            "with_alpha": " and ".join(rule.name for rule in rules if getattr(rule, "alpha", None) is not None),
            "table": "\n    ".join(table),
            "references": "\n    ".join(references),
        }
        for key, part in parts.items():
            text = text.replace(f"{{{key}}}", part)
        cls.__doc__ = text
        return cls

    return fill
