"""The microcircuit in time: where it settles, how fast, and what plasticity gathers meanwhile."""

import math
from itertools import pairwise

import numpy as np
import pytest
from oracles import assert_close, normal

from nnref.backend import to_device, xp
from nnref.feedback import FeedbackAlignment
from nnref.layers import Linear, Sequential, Sigmoid
from nnref.losses import mean_squared_error
from nnref.measure import weight_layers
from nnref.rules.microcircuit import Microcircuit
from nnref.rules.microcircuit_ode import Circuit, Conductances, nudge

SIZES = 7, 6, 5, 4
PHI = Sigmoid().forward


def weights(rng):
    """(W, B) of a circuit of these sizes."""
    shapes = list(pairwise(SIZES))
    return [normal(rng, shape) for shape in shapes], [normal(rng, shape) for shape in shapes[1:]]


def settled(rng, g=Conductances(), u_trgt=None, rows=3):
    """A circuit after 60 ms, which is for ever, and its input."""
    circuit, r0 = Circuit(*weights(rng), PHI, g, rows), normal(rng, (rows, SIZES[0]))
    circuit.show(r0, u_trgt, ms=60, dt=0.2)
    return circuit, r0


def steady(circuit, r0, g):
    """The same network as a Microcircuit, after its forward pass."""
    rng, layers = np.random.default_rng(0), []
    for k, (W, a) in enumerate(zip(circuit.W, circuit.basal, strict=True)):
        layer = Linear(*W.shape, rng, feedback=FeedbackAlignment(), bias=False, dtype="float64")
        layer.params["W"][:] = a * W
        if k:
            layer.feedback.B[:] = circuit.B[k - 1]
            layers.append(Sigmoid())
        layers.append(layer)
    model = Microcircuit(Sequential(*layers), **g.mixing)
    model.forward(r0)
    return model


def test_two_conductances_make_the_current_of_a_nudge(rng):
    u, u_trgt, gsom = (to_device(rng.uniform(-2, 2, 100)) for _ in range(3))
    assert_close(
        nudge(u, u_trgt, gsom, 14 / 3, -1 / 3), gsom * (u_trgt - u), rtol=1e-12, atol=1e-13
    )


def test_without_a_teacher_it_settles_in_the_forward_pass_and_apical_dendrites_fall_silent(rng):
    """Whatever the conductances: W comes out times gB / (glk + gB + gA), without gA at the top."""
    g = Conductances(0.2, 0.9, 0.7, 1.1, 0.6)
    circuit, r0 = settled(rng, g)
    model = steady(circuit, r0, g)
    for u, v in zip(circuit.u, model.v, strict=True):
        assert_close(u, v, rtol=1e-12, atol=1e-13)
    for uI, u in zip(circuit.uI, circuit.u[1:], strict=True):
        assert_close(uI, u, rtol=1e-12, atol=1e-13)
    _, vA, _ = circuit.dendrites(r0)
    assert max(float(abs(v).max()) for v in vA) < 1e-13
    for products in circuit.products(r0).values():
        assert max(float(abs(product).max()) for product in products) < 1e-13


def test_with_a_teacher_it_settles_where_the_mixing_factors_say(rng):
    g = Conductances()
    u_trgt = normal(rng, (3, 4))
    circuit, r0 = settled(rng, g, u_trgt)
    vB, vA, vI = circuit.dendrites(r0)
    lam, lamI, lamN = g.mixing.values()
    for k in (0, 1):
        assert_close(circuit.u[k], circuit.basal[k] * vB[k] + lam * vA[k], rtol=1e-12, atol=1e-13)
        uI = (1 - lamI) * g.gD / (g.glk + g.gD) * vI[k] + lamI * circuit.u[k + 1]
        assert_close(circuit.uI[k], uI, rtol=1e-12, atol=1e-13)
    u = (1 - lamN) * circuit.basal[2] * vB[2] + lamN * u_trgt
    assert_close(circuit.u[2], u, rtol=1e-12, atol=1e-13)


def test_its_changes_come_to_those_of_the_steady_state_as_lambda_falls(rng):
    """The loop of rates, which one sweep down leaves out, is an error of order lambda squared."""
    found = []
    for size in (0.08, 0.008):
        g, rng = Conductances(gA=size, gsom=size), np.random.default_rng(0)
        u_trgt = normal(rng, (3, 4))
        circuit, r0 = settled(rng, g, u_trgt)
        model = steady(circuit, r0, g)
        # the rate of linear output cells is their potential: that of the circuit's is a sigmoid
        model.phi[-1] = PHI
        model.backward(mean_squared_error(model.v[-1], u_trgt)[1])
        lam, lamI, left = g.mixing.values()
        errors = []
        products = circuit.products(r0)["W"]
        for layer, product in reversed(list(zip(weight_layers(model), products, strict=True))):
            change = -layer.grads["W"] * left
            errors.append(float(abs(product - change).max() / abs(change).max()))
            left *= lam * (1 - lamI)
        found.append(errors)
    coarse, fine = np.array(found)
    assert (coarse < 0.01).all()
    assert (fine < 0.02 * coarse).all()


def test_eulers_rule_comes_to_the_exact_solution_as_dt_falls(rng):
    """One population: u = u_inf (1 - exp(-t / tau)), tau = 1 / (glk + gB) ms."""
    W, r0 = [normal(rng, (7, 4))], normal(rng, (3, 7))
    exact = r0 @ W[0] / 1.1 * (1 - math.exp(-1.1 * 2))
    errors = []
    for dt in (0.1, 0.05, 0.025):
        circuit = Circuit(W, [], PHI, rows=3)
        circuit.show(r0, None, ms=2, dt=dt)
        errors.append(float(abs(circuit.u[0] - exact).max()))
    assert errors[0] < 0.1
    assert errors[0] / errors[1] == pytest.approx(2, abs=0.1)
    assert errors[1] / errors[2] == pytest.approx(2, abs=0.1)


def test_the_filter_of_plasticity_conserves_the_sum_of_all_changes(rng):
    """A product that lasts 10 ms changes W as much as without a filter, but for 100 ms or more."""
    circuit, r0, product = Circuit(*weights(rng), PHI), normal(rng, (1, 7)), normal(rng, (7, 6))
    start, now = circuit.W[0].copy(), 1.0
    circuit.products = lambda r0: {"W": [now * product]}
    for t in range(1000):
        now = float(t < 20)
        circuit.learn(r0, {"W": [0.01]}, dt=0.5)
        if t == 19:
            half_way = circuit.W[0] - start
    assert_close(circuit.W[0] - start, 0.01 * 10 * product, rtol=1e-6, atol=1e-9)
    assert abs(half_way).max() < 0.2 * abs(circuit.W[0] - start).max()


def test_a_switched_on_input_teaches_false_errors_until_it_has_settled(rng):
    """The learning lag: nobody teaches, yet weights change, unless plasticity waits."""
    changes, r0 = [], normal(rng, (1, 7))
    for lag in (0, 30):
        circuit = Circuit(*weights(np.random.default_rng(0)), PHI)
        start = circuit.W[0].copy()
        circuit.show(r0, None, 40, etas={"W": [0.1, 0.1, 0.1]}, lag=lag)
        changes.append(float(abs(circuit.W[0] - start).max()))
    assert changes[0] > 0.01
    assert changes[1] < 1e-6 * changes[0]


def test_it_learns_in_time_what_a_teacher_shows(rng):
    """One pattern, all three populations plastic, no phases: the free output nears the target."""
    W, B = weights(rng)
    circuit, r0 = Circuit([w / 2 for w in W], B, PHI), normal(rng, (1, 7))
    u_trgt, free = xp.full((1, 4), 0.5), []
    for taught in (0, 150, 400):
        rates = {"W": [0.1, 0.04, 0.03], "WIP": [0.04, 0.03]}
        circuit.show(r0, u_trgt, taught, dt=0.4, etas=rates, lag=20)
        circuit.show(r0, None, 30, dt=0.4)
        free.append(float(abs(circuit.u[-1] - u_trgt).max()))
    assert free[2] < 0.5 * free[0]
    assert free[2] < free[1] < free[0]
