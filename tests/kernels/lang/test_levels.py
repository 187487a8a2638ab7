"""Levels of processors: which one fits, and which one is compiled for."""

from __future__ import annotations

import pytest

from fastnn.kernels.lang import levels

X86 = levels.levels_of("x86_64")
V4, V3 = (frozenset(level.features) for level in X86)


@pytest.mark.parametrize(("features", "expected"), [
    (V4, "x86-64-v4"), (V4 | {"avx512vnni"}, "x86-64-v4"), (V3, "x86-64-v3"), (V3 | {"sha"}, "x86-64-v3"),
    (V3 - {"fma"}, None), (V3 | {"avx512f"}, None), (V4 - {"avx512bw"}, None), (frozenset(), None),
])  # fmt: skip
def test_the_level_has_the_vectors_of_the_processor(features, expected):
    found = levels.fitting_level(X86, features)
    assert (found and found.name) == expected


@pytest.mark.parametrize("level", X86, ids=lambda level: level.name)
def test_the_settings_of_a_level_are_recognised(level):
    text = ",".join(f"+{name}" for name in level.features)
    assert levels.chosen_level(X86, level.name, text) is level
    for name, features in ((None, text), ("haswell", text), (level.name, None), (level.name, text + ",+sha")):
        assert levels.chosen_level(X86, name, features) is None


def test_other_kinds_of_processors():
    assert [level.name for level in levels.levels_of("arm64")] == ["generic"]
    assert levels.fitting_level(levels.levels_of("aarch64"), frozenset()).name == "generic"
    assert levels.levels_of("riscv64") == ()
