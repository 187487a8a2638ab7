"""Select a rule by its code: functions generated from the records of `rules`.

The text has one branch per rule around the rule's own vector functions. It is generated when the entry points in
`kernels.loop` import this module, after `fastnn` has imported the modules that register the rules, and becomes a
function when one that calls it is compiled; a debugger and the error messages of Numba show the text.

The alternative, a rule's functions as arguments of one compiled loop, is used for the losses (`lanewise_row`): there it
saves a copy of the loop's text. For the activations it compiles one function more per rule and direction, which cost
0.3 to 0.8 of 15 seconds (CPU time of a first fit in float32, on a loaded machine).
"""

from __future__ import annotations

import inspect
import linecache
from collections.abc import Mapping
from typing import Any

from fastnn.kernels.lang.compiler import device_function, device_function_from
from fastnn.kernels.lang.protocols import Pointer
from fastnn.kernels.lang.simd import (
    at,
    broadcast,
    call_native,
    fma,
    lanes,
    load,
    select_finite,
    select_gt,
    store,
    sum_lanes,
)
from fastnn.kernels.nn.losses import custom_row, lanewise_row
from fastnn.kernels.nn.losses_blocked import custom_block, lanewise_block
from fastnn.kernels.nn.rules import ACTIVATIONS, CUSTOM, LOSSES, OPTIMIZERS, OptimizerRule
from fastnn.kernels.nn.softmax import clear_padding

_ACTIVATIONS = ACTIVATIONS.freeze()
_LOSSES = LOSSES.freeze()
_OPTIMIZERS = OPTIMIZERS.freeze()

#: Names that the generated texts use besides those of the rules' functions.
_COMMON = {
    "at": at,
    "broadcast": broadcast,
    "call_native": call_native,
    "custom_block": custom_block,
    "custom_row": custom_row,
    "fma": fma,
    "lanes": lanes,
    "lanewise_block": lanewise_block,
    "lanewise_row": lanewise_row,
    "load": load,
    "select_finite": select_finite,
    "select_gt": select_gt,
    "store": store,
    "sum_lanes": sum_lanes,
}


def generate(name: str, text: str, functions: Mapping[str, Any]) -> Any:
    """Return the device function `name` of a source text, which uses `functions` by their names, and `_COMMON`."""
    def make() -> Any:
        filename = f"<fastnn dispatch: {name}>"
        linecache.cache[filename] = (len(text), None, text.splitlines(keepends=True), filename)
        namespace = {"__name__": __name__, **_COMMON, **functions}
        exec(compile(text, filename, "exec"), namespace)
        return namespace[name]

    return device_function_from(make)


def ladder(branches: list[tuple[int, str, list[str]]], otherwise: list[str]) -> str:
    """Return the text of ``if code == ...`` with a branch for each code, its comment and its lines."""
    lines = []
    for k, (code, comment, body) in enumerate(branches):
        lines.append(f"    {'elif' if k else 'if'} code == {code}:  # {comment}")
        lines += [f"        {line}" for line in body]
    lines += [f"    {line}" for line in otherwise]
    return "\n".join(lines) + "\n"


def _activate() -> Any:
    branches, functions = [], {}
    for rule in _ACTIVATIONS:
        function = rule.value_and_slope or rule.forward
        if function is not None:
            functions[rule.name] = function
            body = ["for i in range(0, n, v):"]
            if rule.value_and_slope:  # the slope first: where y is z, the output overwrites it
                body += [f"    value, slope = {rule.name}(load(at(z, i)), p)", "    store(at(z, i), slope)"]
                body += ["    store(at(y, i), value)"]
            else:
                body += [f"    store(at(y, i), {rule.name}(load(at(z, i)), p))"]
            branches.append((rule.code, rule.name, body))
    branches.append((CUSTOM, "custom", ["call_native(function, z, y, y, n)"]))
    head = '''def activate(code, alpha, function, z, y, n):
    """Overwrite n elements at `y` (whole vectors) with f of those at `z`, which may be the same.

    Where the rule has `value_and_slope`, those at `z` are overwritten with f', unless they are the same. No operation
    where f is the identity or a function of rows. `function` is the address of a custom one.
    """
    v = lanes(z)
    p = broadcast(z, alpha)
'''
    return generate("activate", head + ladder(branches, []), functions)


def _activate_values() -> Any:
    branches, functions = [], {}
    for rule in _ACTIVATIONS:
        function = rule.value_and_slope or rule.forward
        if function is not None:
            functions[rule.name] = function
            value = f"{rule.name}(load(at(y, i)), p)" + "[0]" * (rule.value_and_slope is not None)
            branches.append((rule.code, rule.name, ["for i in range(0, n, v):", f"    store(at(y, i), {value})"]))
    branches.append((CUSTOM, "custom", ["call_native(function, y, y, y, n)"]))
    head = '''def activate_values(code, alpha, function, y, n):
    """Overwrite n elements at `y` (whole vectors) with f of them, and nothing else."""
    v = lanes(y)
    p = broadcast(y, alpha)
'''
    return generate("activate_values", head + ladder(branches, []), functions)


def _activate_backward() -> Any:
    branches, functions = [], {}
    for rule in _ACTIVATIONS:
        if rule.backward is not None:
            functions[rule.name] = rule.backward
            line = f"    store(at(d, i), {rule.name}(load(at(y, i)), load(at(d, i)), p))"
            branches.append((rule.code, rule.name, ["for i in range(0, n, v):", line]))
    branches.append((CUSTOM, "custom", ["call_native(function, z, d, d, n)"]))
    head = '''def activate_backward(code, alpha, function, z, y, d, n):
    """Multiply n elements at `d` (whole vectors) by f'(z), from the outputs at `y` or what `activate` left at `z`."""
    v = lanes(y)
    p = broadcast(y, alpha)
    if keeps_slope(code):
        for i in range(0, n, v):
            store(at(d, i), load(at(d, i)) * load(at(z, i)))
'''
    text = ladder(branches, []).replace("    if code", "    elif code", 1)
    return generate("activate_backward", head + text, {**functions, "keeps_slope": keeps_slope})


def _rows(what: str, arguments: str, doc: str) -> Any:
    branches, functions = [], {}
    for rule in _ACTIVATIONS:
        function = getattr(rule, what)
        if function is not None:
            functions[f"{rule.name}_{what}"] = function
            branches.append((rule.code, rule.name, [f"{rule.name}_{what}({arguments})", "return True"]))
    name = f"activate_{what}"
    return generate(
        name, f'def {name}(code, {arguments}):\n    """{doc}"""\n{ladder(branches, ["return False"])}', functions
    )


def is_one_of(name: str, codes: list[int], doc: str) -> Any:
    """Return a device function that returns whether a code is one of `codes`."""
    # Without a code to find the tuple would be empty, which Numba cannot search; no code is below CUSTOM.
    listed = ", ".join(str(code) for code in [*codes, CUSTOM - 1])
    return generate(name, f'def {name}(code):\n    """{doc}"""\n    return code in ({listed},)\n', {})


keeps_slope = is_one_of(
    "keeps_slope",
    [rule.code for rule in _ACTIVATIONS if rule.value_and_slope],
    "Return whether `activate` leaves the slopes in place of its inputs.",
)
activate = _activate()
activate_values = _activate_values()
activate_backward = _activate_backward()
activate_rows = _rows(
    "rows", "y, ld, rows, n", "Overwrite rows at `y` where f works on whole rows; return whether it does."
)
activate_rows_backward = _rows(
    "rows_backward", "y, d, ld, rows, n", "Turn dE/dy at `d` into dE/dz where f works on whole rows; return whether."
)
works_on_rows = is_one_of(
    "works_on_rows", [rule.code for rule in _ACTIVATIONS if rule.rows], "Return whether f works on whole rows."
)
is_zero_at_zero = is_one_of(
    "is_zero_at_zero",
    [rule.code for rule in _ACTIVATIONS if rule.zero_at_zero],
    "Return whether f(0) = 0, so that padding stays zero.",
)
outputs_are_distribution = is_one_of(
    "outputs_are_distribution",
    [rule.code for rule in _ACTIVATIONS if rule.probabilities == "row"],
    "Return whether the outputs of a row are probabilities of classes that exclude each other.",
)
outputs_are_probabilities = is_one_of(
    "outputs_are_probabilities",
    [rule.code for rule in _ACTIVATIONS if rule.probabilities == "each"],
    "Return whether each output is a probability.",
)


@device_function
def activate_output(
    code: int, alpha: float, function: int, z: Pointer, y: Pointer, ld: int, rows: int, n: int
) -> None:
    """Overwrite the rows at `y` by the activation of those at `z` (which may be the same).

    Where f is the identity or a function of rows they must be the same. Padding is set to zero.
    """
    if not activate_rows(code, y, ld, rows, n):
        activate(code, alpha, function, z, y, rows * ld)
        if not is_zero_at_zero(code):
            clear_padding(y, ld, rows, n)


@device_function
def activate_output_backward(
    code: int, alpha: float, function: int, z: Pointer, y: Pointer, d: Pointer, ld: int, rows: int, n: int
) -> None:
    """Replace dE/dy at `d` by dE/dz."""
    if not activate_rows_backward(code, y, d, ld, rows, n):
        activate_backward(code, alpha, function, z, y, d, rows * ld)


def _loss(form: str, head: str, whole: str, custom: str) -> Any:
    """Generate `loss_row` or `loss_block`.

    `form` is "row" or "block", `head` the text before the branches, `whole` the arguments of a record's own function,
    `custom` the line for a loss whose function is called by its address.
    """
    share = "weight / n" if form == "row" else "weight * share"
    scaled = "scale / n" if form == "row" else "scale * share"
    arguments = "u, t, p, d, n" if form == "row" else "u, t, p, n"
    branches, functions = [], {}
    for rule in _LOSSES:
        own = getattr(rule, form)
        functions[rule.name] = own or rule.value_and_slope
        if own is not None:
            line = f"return {rule.name}({whole})"
        elif rule.reduction == "sum":
            line = f"return lanewise_{form}({rule.name}, {arguments}, weight) * weight"
        else:
            line = f"return lanewise_{form}({rule.name}, {arguments}, {scaled}) * ({share})"
        branches.append((rule.code, rule.name, [line]))
    return generate(f"loss_{form}", head + ladder(branches, [custom]), functions)


loss_row = _loss(
    "row",
    '''def loss_row(code, function, u, t, label, p, d, scratch, n, weight, norm):
    """Return the loss of one row times its weight; overwrite `d` with the gradient of the batch's loss.

    Parameters
    ----------
    code, function : of the loss; address of a custom one
    u, t, d : pointers to the outputs, the targets (overwritten where label >= 0) and the gradient of the row
    label : class, or -1
    p : pointer to the parameters of the outputs
    scratch : n elements in whole vectors, overwritten
    n : number of outputs
    weight : the row's weight
    norm : sum of the weights of the batch
    """
    scale = weight / norm
''',
    "u, t, label, p, d, n, weight, norm",
    "return custom_row(function, u, t, d, scratch, n, scale / n) * (weight / n)",
)
loss_block = _loss(
    "block",
    '''def loss_block(code, function, u, t, p, n, weight, norm):
    """Return the losses of V rows times their weights, a vector; overwrite the block at `u` with the gradient.

    Parameters
    ----------
    code, function : of the loss; address of a custom one
    u, t : pointers to (n, V) blocks of outputs and targets, which may be overwritten
    p : pointer to the parameters of the outputs
    n : number of outputs
    weight : vector of the rows' weights
    norm : sum of the weights of the batch
    """
    share = broadcast(u, 1.0 / n)
    scale = weight / broadcast(u, norm)
''',
    "u, t, p, n, weight, norm",
    "return custom_block(function, u, t, n, scale * share) * (weight * share)",
)
targets_are_classes = is_one_of(
    "targets_are_classes",
    [rule.code for rule in _LOSSES if rule.targets == "classes"],
    "Return whether a loss compares with classes that exclude each other.",
)

# ---------------------------------------------------------------------------------------------------- optimizers

#: Maximum numbers of hyperparameters and of scalars of an optimizer: the lengths of their arrays.
N_HYPER = max(1, *(len(rule.hyper) for rule in _OPTIMIZERS))
N_SCALARS = max(1, *(len(rule.scalars) for rule in _OPTIMIZERS))


def n_coefficients(rule: OptimizerRule) -> int:
    """Return the number of coefficients, the arguments of `step` after gradient, weight and slots."""
    signature = inspect.signature(getattr(rule.step, "py_func", rule.step))
    return len(signature.parameters) - 2 - len(rule.slots)


#: Length of what `coefficients` returns.
N_COEFFICIENTS = 1 + max(map(n_coefficients, _OPTIMIZERS))


def _items(name: str, count: int, first: int = 0) -> list[str]:
    return [f"{name}[{k}]" for k in range(first, first + count)]


def _arguments(rule: OptimizerRule) -> list[str]:
    return _items("hyper", len(rule.hyper)) + _items("scalars", len(rule.scalars))


def _coefficients() -> Any:
    longest = N_COEFFICIENTS - 1
    branches, functions = [], {}
    for rule in _OPTIMIZERS:
        functions[f"{rule.name}_coefficients"] = rule.coefficients
        count = n_coefficients(rule)
        numbers = ["kept", *_items("c", count), *["0.0"] * (longest - count)]
        call = f"c = {rule.name}_coefficients({', '.join(['rate', 't', *_arguments(rule)])})"
        branches.append((rule.code, rule.name, [call, f"return {', '.join(numbers)}"]))
    text = '''def coefficients(code, rate, weight_decay, hyper, scalars, t):
    """Return the coefficients of update t: the factor of the weights by weight decay, and those of the rule."""
    kept = 1.0 - rate * weight_decay
''' + ladder(branches, [f"return {', '.join(['kept'] + ['0.0'] * longest)}"])
    return generate("coefficients", text, functions)


def _advance() -> Any:
    branches, functions = [], {}
    for rule in _OPTIMIZERS:
        if rule.scalars:
            assert rule.advance is not None
            functions[f"{rule.name}_advance"] = rule.advance
            count = len(rule.scalars)
            numbers = [*_items("new", count), *_items("scalars", N_SCALARS - count, count)]
            call = f"new = {rule.name}_advance({', '.join(['t', *_arguments(rule)])})"
            branches.append((rule.code, rule.name, [call, f"return ({', '.join(numbers)},)"]))
    text = '''def advance(code, hyper, scalars, t):
    """Return the scalars of update t, given those of the previous update, a tuple."""
''' + ladder(branches, ["return scalars"])
    return generate("advance", text, functions)


def _update_by(rule: OptimizerRule, *, by_lane: bool = False) -> Any:
    """Generate the update of a run of weights by one rule, with the same coefficients for all, or for each lane."""
    coefficients = [f"c{k}" for k in range(n_coefficients(rule))]
    guarded = rule.slots if rule.guarded is None else rule.guarded
    results = ["new", *(f"new_{slot}" for slot in rule.slots)]
    arguments = ["load(at(g, i))", "old * kept", *(f"old_{slot}" for slot in rule.slots), *coefficients]
    number = "load(at(rates, {} * v))" if by_lane else "broadcast(w, rates[{}])"
    kept = "select_gt(live, half, select_finite(new, {0}, {1}), {1})" if by_lane else "select_finite(new, {0}, {1})"
    lines = [f"{c} = {number.format(k + 1)}" for k, c in enumerate(coefficients)]
    lines += [f"at_{slot} = at(slots, {k} * size)" for k, slot in enumerate(rule.slots)]
    lines += ["for i in range(0, n, v):", "    old = load(at(w, i))"]
    lines += [f"    old_{slot} = load(at(at_{slot}, i))" for slot in rule.slots]
    lines += [f"    {', '.join(results)} = step({', '.join(arguments)})"]
    lines += [f"    new = fma(new_{slot}, zero, new)" for slot in guarded]
    lines += ["    bad = fma(new, zero, bad)"]
    lines += [f"    store(at(at_{slot}, i), {kept.format(f'new_{slot}', f'old_{slot}')})" for slot in rule.slots]
    lines += [f"    store(at(w, i), {kept.format('new', 'old')})"]
    lines += ["return bad" if by_lane else "return sum_lanes(bad) == 0.0"]
    name = f"update_by_{rule.name}" + "_by_lane" * by_lane
    head = f'''def {name}(rates, {"alive, " * by_lane}w, g, slots, size, n):
    """Update n weights (whole vectors) by {rule.name}; see `update{"_by_lane" * by_lane}`."""
    v = lanes(w)
    zero = broadcast(w, 0.0)
    kept = {number.format(0)}
    bad = zero
'''
    if by_lane:
        head += "    live = load(alive)\n    half = broadcast(w, 0.5)\n"
    return generate(name, head + "".join(f"    {line}\n" for line in lines), {"step": rule.step})


def _update() -> Any:
    # A function for each rule: typing one with all loops in it takes Numba four times as long.
    functions = {f"update_by_{rule.name}": _update_by(rule) for rule in _OPTIMIZERS}
    call = "return update_by_{}(rates, w, g, slots, size, n)"
    branches = [(rule.code, rule.name, [call.format(rule.name)]) for rule in _OPTIMIZERS]
    text = '''def update(code, rates, w, g, slots, size, n):
    """Update n weights (whole vectors); return whether all stayed finite.

    Reads `g`; overwrites `w` and the rule's slots, which lie at `slots`, `size` elements apart. Where a weight would
    become infinite or NaN, it and its slots keep their values. `rates` come from `coefficients`.
    """
''' + ladder(branches, ["return True"])
    return generate("update", text, functions)


def _update_by_lane() -> Any:
    functions = {f"update_by_{rule.name}_by_lane": _update_by(rule, by_lane=True) for rule in _OPTIMIZERS}
    call = "return update_by_{}_by_lane(rates, alive, w, g, slots, size, n)"
    branches = [(rule.code, rule.name, [call.format(rule.name)]) for rule in _OPTIMIZERS]
    text = '''def update_by_lane(code, rates, alive, w, g, slots, size, n):
    """Update n weights (whole vectors) of V nets, one in each lane; return zeros, and NaN where one was not finite.

    As `update`, with a vector of each coefficient at `rates`; lanes whose number at `alive` is 0 stay as they are.
    """
''' + ladder(branches, ["return load(alive)"])
    return generate("update_by_lane", text, functions)


coefficients = _coefficients()
advance = _advance()
update = _update()
update_by_lane = _update_by_lane()
read_scalars = generate(
    "read_scalars",
    f'def read_scalars(p):\n    """Return the scalars in an array as a tuple."""\n'
    f"    return ({', '.join(_items('p', N_SCALARS))},)\n",
    {},
)
