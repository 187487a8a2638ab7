"""Codes of the rules and metrics as upper-case names, for tests that call kernels: `ids.RELU`, `ids.ADAM`."""

import fastnn.kernels.ids
from fastnn.kernels.nn import rules

CUSTOM = rules.CUSTOM
for registry in (rules.ACTIVATIONS, rules.LOSSES, rules.OPTIMIZERS):
    for rule in registry:
        globals()[rule.name.upper()] = rule.code
globals().update({name: code for name, code in vars(fastnn.kernels.ids).items() if name.isupper()})
