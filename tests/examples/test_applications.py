"""Nets inside programs."""

import pytest

pytestmark = pytest.mark.slow


def test_curves_are_fitted_in_a_few_steps(run):
    errors, printed = run("applications/curve_fitting", adam_epochs=200, iterations=60)
    assert errors["Levenberg-Marquardt"] < 0.005
    assert errors["L-BFGS"] < 0.2
    assert errors["Levenberg-Marquardt"] < errors["Adam"]
    assert "60 epochs" in printed


def test_a_c_program_maps_two_spirals(run):
    results, printed = run("applications/net_in_c")
    assert results["accuracy"] > 0.9
    if "no C compiler" not in printed:
        assert results["difference"] < 1e-3
        assert "ns per point" in printed


def test_a_net_inside_an_integrator_finds_the_wells_of_the_equation(run):
    results, printed = run("applications/surrogate_in_integrator", points=20, steps=300, iterations=60)
    assert results["agree"] > 0.9
    assert results["difference from Python"] == 0.0
    assert "per call of the net" in printed


def test_a_net_solves_a_boundary_value_problem(run):
    errors, printed = run("applications/boundary_value_problem", steps=1200)
    assert errors["largest error"] < 0.1
    assert errors["mean error"] < 0.02
    assert "none of which was given" in printed


def test_a_policy_learns_to_balance_a_pole(run):
    steps, printed = run("applications/cart_pole", rounds=50)
    assert steps["first"] < 50
    assert steps["last"] > 200
    assert "ns per step" in printed
