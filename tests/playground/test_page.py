"""The page of the playground in Chromium: what TensorFlow Playground has, as a user sees and touches it."""

from __future__ import annotations

import re
import time

import pytest
from playground.page_actions import SPIRAL, after, edge_place, epoch, number, pixels, settings_of, steps

# --- P1 to P15: what TensorFlow Playground has ---


def test_p1_data_sets_are_chosen_and_made_anew(page, ask):
    tab = page("seed=0.5&noise=10")
    names = tab.evaluate("[...document.querySelectorAll('[data-set]')].map((e) => e.dataset.set)")
    assert {"circle", "xor", "gauss", "spiral"} <= set(names)
    for name in names[1:4]:
        state = after(tab, lambda name=name: tab.click(f'[data-set="{name}"]'))
        expected = ask({"dataset": name, "seed": "0.5", "noise": 10})[0]
        assert state["points"] == expected["points"]
        assert tab.evaluate(f"document.querySelector('[data-set={name}]').getAttribute('aria-pressed')") == "true"
    old = tab.last("frame")
    new = after(tab, lambda: tab.click("[data-action=regenerate]"))
    assert new["points"] != state["points"]
    assert after(tab, lambda: tab.click("[data-action=step]"), "frame")["epoch"] == old["epoch"] + 1
    state = after(tab, lambda: tab.choose("[data-key=problem]", "regression"))
    assert {"reg-plane", "reg-gauss"} <= set(state["sets"])
    assert state["sets"] == tab.evaluate("[...document.querySelectorAll('[data-set]')].map((e) => e.dataset.set)")
    state = after(tab, lambda: tab.click('[data-set="reg-gauss"]'))
    assert state["settings"]["regDataset"] == "reg-gauss"
    assert len(state["points"]) == 1200


def test_p1_a_data_set_button_shows_its_points(page):
    tab = page()
    inked = tab.evaluate(
        "[...document.querySelectorAll('[data-set] canvas')].map((c) => {"
        "const d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data;"
        "return d.filter((v, i) => i % 4 === 3 && v > 0).length })"
    )
    assert min(inked) > 100


@pytest.mark.parametrize("unit", range(7))
def test_p2_features_are_switched_on_the_picture(page, unit):
    tab = page()
    keys = ["x", "y", "xSquared", "ySquared", "xTimesY", "sinX", "sinY"]
    before = tab.last("state")["features"][unit]
    assert before["key"] == keys[unit]
    state = after(tab, lambda: tab.click(f'.node[data-layer="-1"][data-unit="{unit}"]'))
    assert state["features"][unit]["on"] is not before["on"]
    n_on = sum(feature["on"] for feature in state["features"])
    assert tab.evaluate("document.querySelectorAll('.edge').length") == n_on * 4 + 8 + 2


@pytest.mark.parametrize(("key", "value"), [("percTrainData", 30), ("noise", 25), ("batchSize", 1)])
def test_p3_sliders_change_the_data_and_the_batch(page, key, value):
    tab = page()
    state = after(tab, lambda: tab.choose(f"[data-key={key}]", value))
    assert state["settings"][key] == value
    assert tab.text(f'[data-control="{key}"] output').startswith(str(value))
    if key == "percTrainData":
        assert sum(not point["test"] for point in state["points"]) == 150


@pytest.mark.parametrize(
    ("key", "value"),
    [("activation", "relu"), ("activation", "sigmoid"), ("activation", "linear"), ("regularization", "L1"),
     ("regularization", "L2"), ("regularizationRate", 0.1), ("learningRate", 3), ("problem", "regression")],
)  # fmt: skip
def test_p4_settings_are_chosen_from_lists(page, key, value):
    tab = page()
    options = tab.evaluate(f"[...document.querySelector('[data-key={key}]').options].map((o) => o.value)")
    assert str(value) in options
    assert after(tab, lambda: tab.choose(f"[data-key={key}]", str(value)))["settings"][key] == value
    assert settings_of(tab)[key] == str(value)


def test_p4_offers_the_rates_of_the_original(page):
    tab = page()
    rates = tab.evaluate("[...document.querySelector('[data-key=learningRate]').options].map((o) => Number(o.value))")
    assert rates == [1e-5, 1e-4, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10]


def test_p5_layers_and_neurons_by_buttons(page):
    tab = page()
    for _ in range(4):
        state = after(tab, lambda: tab.click('[aria-label="Add a layer"]'))
    assert state["settings"]["networkShape"] == [4, 2, 2, 2, 2, 2]
    assert tab.evaluate("document.querySelector('[aria-label=\"Add a layer\"]').disabled")
    for n in range(5, 9):
        state = after(tab, lambda: tab.click('[aria-label="Add a neuron to layer 1"]'))
        assert state["settings"]["networkShape"][0] == n
    assert tab.evaluate("document.querySelector('[aria-label=\"Add a neuron to layer 1\"]').disabled")
    state = after(tab, lambda: tab.click('[aria-label="Remove a neuron from layer 2"]'))
    assert state["settings"]["networkShape"] == [8, 1, 2, 2, 2, 2]
    for n in range(5, -1, -1):
        state = after(tab, lambda: tab.click('[aria-label="Remove a layer"]'))
        assert len(state["settings"]["networkShape"]) == n
    assert tab.evaluate("document.querySelectorAll('.edge').length") == 2
    assert tab.evaluate("document.querySelector('[aria-label=\"Remove a layer\"]').disabled")


def test_p6_play_pause_step_reset(page):
    tab = page(SPIRAL)
    steps(tab, 2)
    tab.click("[data-action=play]")
    tab.wait("document.querySelector('.fnp.playing')")
    tab.wait("document.querySelector('[data-value=epoch]').textContent > '000,100'")
    after(tab, lambda: tab.click("[data-action=play]"))
    shown = epoch(tab)
    time.sleep(0.2)
    assert epoch(tab) == shown
    steps(tab, 1)
    after(tab, lambda: tab.click("[data-action=reset]"), "frame")
    assert epoch(tab) == 0


def test_p6_step_pauses_first(page):
    tab = page(SPIRAL)
    tab.click("[data-action=play]")
    tab.wait("document.querySelector('[data-value=epoch]').textContent > '000,020'")
    after(tab, lambda: tab.click("[data-action=step]"))
    tab.wait("!document.querySelector('.fnp.playing')")
    time.sleep(0.1)
    shown = epoch(tab)
    time.sleep(0.2)
    assert epoch(tab) == shown


def test_p7_losses_are_those_of_a_session_in_python(page, ask):
    tab = page("seed=0.5&dataset=xor&batchSize=7")
    steps(tab, 3)
    *_, expected = ask({"seed": "0.5", "dataset": "xor", "batchSize": 7}, *[{"type": "step"}] * 3)
    assert expected["epoch"] == 3
    assert tab.text("[data-value=testLoss]") == f"{expected['testLoss']:.3f}"
    assert tab.text("[data-value=trainLoss]") == f"{expected['trainLoss']:.3f}"
    lines = tab.evaluate("['train', 'test'].map((n) => document.querySelector(`.chart path.${n}`).getAttribute('d'))")
    assert all(len(re.findall("[ML]", line)) == 4 for line in lines)


def test_p8_every_node_has_its_map_and_hover_enlarges_it(page):
    tab = page(SPIRAL)
    steps(tab, 1)
    maps = tab.evaluate(
        "[...document.querySelectorAll('.node canvas')].map((c) =>"
        "[c.width, ...c.getContext('2d').getImageData(0, 0, 10, 10).data].join())"
    )
    assert len(maps) >= 7 + 4 + 2 + 1
    assert len(set(maps)) == len(maps)
    output = pixels(tab, ".heat", 100)
    frame = after(tab, lambda: tab.move(*tab.place('.node[data-layer="0"][data-unit="2"]')), "frame")
    assert frame["selected"] == {"layer": 0, "unit": 2}
    tab.wait("document.querySelector('[data-value=mapTitle]').textContent === 'Layer 1, neuron 3'")
    assert pixels(tab, ".heat", 100) != output
    after(tab, lambda: tab.move(5, 5), "frame")
    tab.wait("document.querySelector('[data-value=mapTitle]').textContent === 'Output'")
    assert pixels(tab, ".heat", 100) == output


def test_p9_edges_and_bias_squares_follow_the_weights(page):
    tab = page(SPIRAL)
    steps(tab, 1)
    frame = tab.last("frame")
    for layer, weights in enumerate(frame["weights"]):
        for row, of_row in enumerate(weights):
            for to, weight in enumerate(of_row):
                width, colour = tab.evaluate(
                    f"(() => {{ const e = document.querySelector('[data-edge=\"{layer},{row},{to}\"]');"
                    "return [e.getAttribute('stroke-width'), e.getAttribute('stroke')] })()"
                )
                assert float(width) == pytest.approx(min(10, 1 + 1.8 * abs(weight)), abs=0.06)
                red, _, blue = map(int, re.findall(r"\d+", colour))
                assert (red > blue) is (weight < 0)
    assert tab.evaluate("document.querySelectorAll('.bias').length") == 7
    colour = tab.evaluate("document.querySelector('.bias').style.background")
    red, _, blue = map(int, re.findall(r"\d+", colour))
    assert (red > blue) is (frame["biases"][0][0] < 0)


def test_p10_weights_and_biases_are_edited_in_the_live_net(page):
    tab = page(SPIRAL)
    place = edge_place(tab, "0,1,3")
    tab.move(*place)
    weight = tab.last("frame")["weights"][0][1][3]
    tab.wait("document.querySelector('[data-value=card]').textContent.startsWith('Weight is')")
    assert number(tab.text("[data-value=card] b")) == pytest.approx(weight, rel=0.01)
    tab.press(*place)
    tab.type("2.5")
    frame = after(tab, lambda: tab.key("Enter"), "frame")
    assert frame["weights"][0][1][3] == 2.5
    assert tab.evaluate("document.querySelector('[data-value=card]').hidden")
    tab.click('.bias[data-layer="1"][data-unit="0"]')
    tab.wait("document.querySelector('[data-value=card]').textContent.startsWith('Bias is')")
    tab.type("-1.25")
    assert after(tab, lambda: tab.key("Enter"), "frame")["biases"][1][0] == -1.25
    steps(tab, 1)
    assert tab.last("frame")["weights"][0][1][3] == pytest.approx(2.5, abs=0.3)


def test_p11_test_points_and_discrete_output_on_demand(page):
    tab = page(SPIRAL)
    few = sum(pixel != 0 for pixel in pixels(tab, ".dots", 300))
    after(tab, lambda: tab.click("[data-key=showTestData]"))
    assert sum(pixel != 0 for pixel in pixels(tab, ".dots", 300)) > 1.3 * few
    assert len(set(pixels(tab, ".heat", 100))) > 5
    after(tab, lambda: tab.click("[data-key=discretize]"))
    assert len(set(pixels(tab, ".heat", 100))) <= 2


def test_p12_a_link_of_tensorflow_playground_is_valid_here(page):
    link = (
        "activation=relu&regularization=L2&batchSize=15&dataset=xor&regDataset=reg-gauss&learningRate=0.1"
        "&regularizationRate=0.003&noise=20&networkShape=5,3,2&seed=0.36823&showTestData=true&discretize=true&percTrainData=70&x=true&y=false&xTimesY=true"
        "&xSquared=false&ySquared=false&cosX=false&sinX=true&cosY=false&sinY=false&collectStats=false&problem=classification"
        "&initZero=false&hideText=false&noise_hide=true&playButton_hide=true"
    )
    tab = page(link)
    settings = tab.last("state")["settings"]
    assert settings["networkShape"] == [5, 3, 2]
    assert (settings["activation"], settings["regularization"], settings["batchSize"]) == ("relu", "L2", 15)
    assert (settings["dataset"], settings["noise"], settings["percTrainData"]) == ("xor", 20, 70)
    assert [f["key"] for f in tab.last("state")["features"] if f["on"]] == ["x", "xTimesY", "sinX"]
    hidden = tab.evaluate(
        "[...document.querySelectorAll('[data-control]')].filter((e) => e.hidden).map((e) => e.dataset.control)"
    )
    assert hidden == ["playButton", "noise"]
    kept = settings_of(tab)
    given = dict(pair.split("=") for pair in link.split("&"))
    assert {key: kept.get(key) for key in given} == given


def test_p12_controls_are_hidden_by_check_boxes(page):
    tab = page()
    tab.click("[data-action=class]")
    tab.click("[data-hide=dataset]")
    assert settings_of(tab)["dataset_hide"] == "true"
    assert tab.evaluate("document.querySelector('.sets').hidden")
    tab.click("[data-hide=dataset]")
    assert "dataset_hide" not in settings_of(tab)
    assert not tab.evaluate("document.querySelector('.sets').hidden")


def test_p12_the_settings_of_the_hash_survive_reload(page):
    tab = page(SPIRAL)
    after(tab, lambda: tab.choose("[data-key=activation]", "relu"))
    link = tab.evaluate("location.href")
    points = tab.last("state")["points"]
    tab.received.clear()
    tab.go(link)
    tab.wait("document.querySelector('.edge')?.getAttribute('stroke')")
    assert tab.last("state")["settings"]["activation"] == "relu"
    assert tab.last("state")["points"] == points


def test_p13_the_network_is_drawn_anew_at_another_size(page):
    tab = page()
    width = "document.querySelector('.net').clientWidth"
    wide = tab.evaluate(width)
    tab.emulate(width=1100)
    tab.wait(f"{width} < {wide}")
    right = tab.evaluate(
        "[document.querySelector('.net').getBoundingClientRect().right,"
        "...[...document.querySelectorAll('.node')].map((e) => e.getBoundingClientRect().right)]"
    )
    assert max(right[1:]) <= right[0]
    assert tab.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_p14_the_learning_rate_acts_without_reset(page):
    tab = page(SPIRAL)
    steps(tab, 2)
    before = tab.last("frame")["weights"]
    frame = after(tab, lambda: tab.choose("[data-key=learningRate]", "0.003"), "frame")
    assert (frame["epoch"], frame["weights"]) == (2, before)
    frame = after(tab, lambda: tab.choose("[data-key=activation]", "relu"), "frame")
    assert frame["epoch"] == 0


def test_p15_legend_and_help(page):
    tab = page()
    assert "orange" in tab.evaluate("document.querySelector('.legend .ramp').getAttribute('aria-label')").lower()
    tab.click("[data-action=help]")
    tab.wait("document.querySelector('dialog[open]')")
    assert "Test data are points that training never sees" in tab.text("dialog[open]")
    tab.key("Escape")
    assert tab.evaluate("document.querySelector('dialog[open]') === null")
