"""The page of the playground in Chromium: what it has beyond the original, and what must not happen."""

from __future__ import annotations

import json
import re
import time
from urllib.parse import urlsplit

import pytest
from playground.page_actions import SPIRAL, after, edge_place, epoch, number, pixels, settings_of, steps

from fastnn.playground.settings import SETTINGS


@pytest.mark.parametrize("optimizer", [name for name in SETTINGS["optimizer"].choices if name not in ("lbfgs", "lm")])
def test_1_optimizers(page, optimizer):
    tab = page(f"optimizer={optimizer}&dataset=gauss&learningRate=0.003&seed=1")
    before = tab.last("frame")["trainLoss"]
    steps(tab, 3)
    assert tab.last("frame")["trainLoss"] < before
    assert tab.evaluate("document.querySelector('[data-key=optimizer]').value") == optimizer


def test_1_momentum_is_pale_where_it_has_no_effect(page):
    tab = page()
    pale = "document.querySelector('[data-control=momentum]').classList.contains('idle')"
    assert tab.evaluate(pale)
    state = after(tab, lambda: tab.choose("[data-key=optimizer]", "momentum"))
    assert state["settings"]["optimizer"] == "momentum"
    assert not tab.evaluate(pale)
    assert after(tab, lambda: tab.choose("[data-key=momentum]", "0.5"))["settings"]["momentum"] == 0.5


def test_2_cross_entropy(page, ask):
    tab = page("loss=crossentropy&seed=0.5&dataset=gauss")
    steps(tab, 2)
    *_, expected = ask({"loss": "crossentropy", "seed": "0.5", "dataset": "gauss"}, {"type": "step"}, {"type": "step"})
    assert tab.text("[data-value=testLoss]") == f"{expected['testLoss']:.3f}"


@pytest.mark.parametrize("classes", [3, 6])
def test_2_classes_have_colours_shapes_and_probabilities(page, classes):
    tab = page("dataset=blobs&classes=3&seed=0.5&learningRate=0.1")
    if classes != 3:
        after(tab, lambda: tab.choose("[data-key=classes]", str(classes)), "frame")
    steps(tab, 5)
    state = tab.last("state")
    assert (state["nClasses"], state["nOutputs"]) == (classes, classes)
    assert tab.evaluate("document.querySelectorAll('.legend canvas').length") == classes
    assert tab.evaluate("document.querySelectorAll('.node[data-layer=\"2\"]').length") == classes
    assert tab.evaluate("document.querySelectorAll('.confusion td').length") == classes**2
    assert len(set(pixels(tab, ".heat", 100))) > 2 * classes


def test_3_accuracy_and_confusion(page):
    tab = page("dataset=gauss&seed=0.5")
    steps(tab, 3)
    metrics = tab.last("frame")["metrics"]
    assert f"{100 * metrics['accuracy']['test']:.1f} %" in tab.text("[data-value=metrics]")
    cells = tab.evaluate("[...document.querySelectorAll('.confusion td')].map((e) => Number(e.textContent))")
    assert cells == [count for row in metrics["confusion"] for count in row]


def test_3_r2_and_rmse_of_a_regression(page):
    tab = page("problem=regression&seed=0.5")
    steps(tab, 3)
    metrics = tab.last("frame")["metrics"]
    cells = tab.evaluate("[...document.querySelectorAll('[data-value=metrics] td')].map((e) => e.textContent)")
    shown = [metrics["r2"]["test"], metrics["r2"]["train"], metrics["rmse"]["test"], metrics["rmse"]["train"]]
    assert [number(cell) for cell in cells] == pytest.approx(shown, abs=0.006)
    assert tab.evaluate("document.querySelector('.confusion').hidden")


CSV = "a,b,label\\n" + "\\n".join(f"{i % 5},{i % 7},{'yes' if i % 5 > i % 7 else 'no'}" for i in range(40))


def test_4_a_csv_file_is_dropped(page):
    tab = page()
    state = after(
        tab,
        lambda: tab.evaluate(
            f"(() => {{ const d = new DataTransfer(); d.items.add(new File(['{CSV}'], 'own.csv'));"
            "for (const type of ['dragover', 'drop']) document.querySelector('.drop').dispatchEvent("
            "new DragEvent(type, {dataTransfer: d, bubbles: true, cancelable: true})) })()"
        ),
    )
    assert len(state["points"]) == 40
    assert state["classNames"] == ["no", "yes"]
    assert "yes" in tab.text(".legend")
    steps(tab, 1)


def test_4_points_are_set_and_removed_by_clicks(page):
    tab = page("dataset=gauss&seed=0.5")
    state = after(tab, lambda: tab.click("[data-action=clear]"))
    assert state["points"] == []
    tab.click("[data-paint='1']")
    x, y = tab.place(".map")
    added = after(tab, lambda: tab.press(x + 50, y - 100))["points"]
    assert len(added) == 1
    assert [added[0][key] for key in ("x", "y", "label")] == pytest.approx([2, 4, 1], abs=0.05)
    other = after(tab, lambda: tab.press(x - 50, y, modifiers=8))["points"]
    assert sorted(point["label"] for point in other) == [-1, 1]
    left = after(tab, lambda: tab.press(x - 60, y, modifiers=2))["points"]
    assert [point["label"] for point in left] == [1]
    tab.click("[data-paint=remove]")
    assert after(tab, lambda: tab.press(*tab.place(".map")))["points"] == []


def test_4_points_are_painted_by_a_drag_and_by_keys(page):
    tab = page("dataset=gauss&seed=0.5")
    after(tab, lambda: tab.click("[data-action=clear]"))
    tab.click("[data-paint='-1']")
    x, y = tab.place(".map")
    tab.call("Input.dispatchMouseEvent", type="mousePressed", x=x - 60, y=y, button="left", buttons=1, clickCount=1)
    for k in range(6):
        tab.call("Input.dispatchMouseEvent", type="mouseMoved", x=x - 60 + 20 * k, y=y, button="left", buttons=1)
    tab.call("Input.dispatchMouseEvent", type="mouseReleased", x=x + 40, y=y, button="left", clickCount=1)
    end = time.monotonic() + 5
    while len(tab.last("state")["points"]) < 6:
        assert time.monotonic() < end
        time.sleep(0.01)
    tab.evaluate("document.querySelector('.map').focus()")
    tab.key("ArrowUp")
    tab.key("ArrowRight")
    points = after(tab, lambda: tab.key("Enter"))["points"]
    assert len(points) == 7
    assert any((point["x"], point["y"]) == (pytest.approx(0.3), pytest.approx(0.3)) for point in points)


def test_5_activation_and_dropout_of_each_layer(page):
    tab = page()
    tab.click("[data-panel=layers] summary")
    state = after(tab, lambda: tab.choose('[data-layer-activation="1"]', "relu"))
    assert state["settings"]["layerActivations"] == ["", "relu"]
    state = after(tab, lambda: tab.choose('[data-layer-dropout="0"]', "0.2"))
    assert state["settings"]["layerDropout"] == [0.2, 0]
    assert "relu" in state["net"]
    steps(tab, 1)
    assert after(tab, lambda: tab.choose("[data-key=dropout]", "0.1"))["settings"]["dropout"] == 0.1


def test_6_schedules(page):
    tab = page("schedule=exponential&scheduleEpochs=100&seed=1")
    start = tab.last("frame")["learningRate"]
    steps(tab, 5)
    assert tab.last("frame")["learningRate"] < start


def test_6_a_learning_rate_is_found_and_taken(page):
    tab = page("dataset=gauss&seed=1")
    tab.click("[data-panel=lr_find] summary")
    found = after(tab, lambda: tab.click("[data-action=lr_find]"), "lr_find")
    curve = tab.evaluate("document.querySelector('[data-panel=lr_find] path').getAttribute('d')")
    assert len(re.findall("[ML]", curve)) > 10
    state = after(tab, lambda: tab.click("[data-action=take-rate]"))
    assert state["settings"]["learningRate"] == pytest.approx(found["suggestion"], rel=0.05)


@pytest.mark.parametrize(("key", "value"), [("stopEpochs", 50), ("stopLoss", 0.3), ("patience", 5)])
def test_7_training_stops_by_itself(page, key, value):
    tab = page("dataset=gauss&seed=0.5&learningRate=0.3&epochsPerFrame=5&noise=50&networkShape=")
    tab.click("[data-panel=run] summary")
    assert after(tab, lambda: tab.choose(f"[data-key={key}]", str(value)))["settings"][key] == value
    tab.click("[data-action=play]")
    tab.wait("document.querySelector('.notice').dataset.kind === 'stopped'")
    tab.wait("!document.querySelector('.fnp.playing')")
    frame = tab.last("frame")
    assert frame["stopped"] in tab.text(".notice")
    if key == "stopEpochs":
        assert frame["epoch"] == epoch(tab) == 50


def test_8_a_net_that_diverges_says_epoch_and_rate_and_offers_a_reset(page):
    tab = page("problem=regression&regDataset=reg-gauss&activation=linear&learningRate=10&xSquared=true&seed=1")
    tab.click("[data-action=play]")
    tab.wait("document.querySelector('.notice').dataset.kind === 'diverged'")
    frame = tab.last("frame")
    text = tab.text(".notice")
    assert str(frame["diverged"]["epoch"]) in text
    assert "10" in text
    assert not tab.evaluate("document.querySelector('.fnp').classList.contains('playing')")
    assert all(weight is not None for layer in frame["weights"] for row in layer for weight in row)
    tab.click(".notice button")
    tab.wait("document.querySelector('.notice').hidden")
    tab.wait("document.querySelector('[data-value=epoch]').textContent === '000,000'")


def test_9_speed_is_on_the_screen(page):
    tab = page(SPIRAL)
    tab.click("[data-action=play]")
    tab.wait("Number(document.querySelector('[data-value=epochsPerSecond]').textContent.replace(',', '')) > 0")
    tab.wait("Number(document.querySelector('[data-value=stepTime]').textContent) > 0")
    after(tab, lambda: tab.click("[data-action=play]"))
    assert number(tab.text("[data-value=epochsPerSecond]")) > 0
    assert number(tab.text("[data-value=stepTime]")) > 0
    tab.click("[data-panel=run] summary")
    assert after(tab, lambda: tab.choose("[data-key=epochsPerFrame]", 150))["settings"]["epochsPerFrame"] == 150


DOWNLOADS = (
    "window.files = [];"
    "URL.createObjectURL = (blob) => { blob.arrayBuffer().then((b) => files.at(-1).push(...new Uint8Array(b)));"
    "return 'data:,' }; HTMLAnchorElement.prototype.click = function () { files.push([this.download]) }"
)


@pytest.mark.parametrize(
    ("format_", "ending", "begin"),
    [("python", "py", b""), ("npz", "npz", b"PK"), ("onnx", "onnx", b"\x08"), ("c", "h", b""), ("csv", "csv", b"x")],
)
def test_10_exports(page, format_, ending, begin):
    if format_ == "onnx":
        pytest.importorskip("onnx")
    tab = page()
    tab.evaluate(DOWNLOADS)
    tab.click("[data-panel=code] summary")
    tab.click(f"[data-export={format_}]")
    name, *content = tab.wait("files[0]?.length > 100 && files[0]")
    assert name.endswith(ending)
    assert bytes(content).startswith(begin)
    if format_ == "python":
        compile(bytes(content), name, "exec")
        assert b"fastnn" in bytes(content)


def test_10_the_link_is_copied(page):
    tab = page(SPIRAL)
    tab.click("[data-panel=code] summary")
    tab.click("[data-action=link]")
    tab.wait("document.querySelector('[data-panel=code] [role=status]').textContent")


def test_10_the_network_is_saved_as_svg(page):
    tab = page()
    tab.evaluate(DOWNLOADS)
    tab.click("[data-action=svg]")
    name, *content = tab.wait("files[0]?.length > 100 && files[0]")
    assert name == "network.svg"
    shapes = tab.evaluate(
        f"(() => {{ const d = new DOMParser().parseFromString({json.dumps(bytes(content).decode())}, 'image/svg+xml');"
        "return ['path', 'image', 'text', 'parsererror'].map((n) => d.querySelectorAll(n).length) })()"
    )
    n_inputs = len(tab.last("state")["features"])
    assert shapes == [2 * 4 + 4 * 2 + 2, n_inputs + 7, n_inputs, 0]


def test_11_the_loss_curve_shows_its_values_under_the_mouse(page):
    tab = page(SPIRAL)
    steps(tab, 4)
    losses = {message["epoch"]: message for message in tab.received if message["type"] == "frame"}
    tab.move(*tab.place(".chart svg"))
    tab.wait("!document.querySelector('.chart .tip').hidden")
    expected = f"epoch 2: test {losses[2]['testLoss']:.3f}, training {losses[2]['trainLoss']:.3f}"
    assert tab.text(".chart .tip") == expected
    tab.move(5, 5)
    tab.wait("document.querySelector('.chart .tip').hidden")


def test_12_numbers_in_the_card_are_live(page):
    tab = page(SPIRAL)
    tab.move(*edge_place(tab, "0,0,0"))
    tab.wait("document.querySelector('[data-value=card]').textContent.startsWith('Weight is')")
    shown = tab.text("[data-value=card] b")
    tab.key(" ")
    tab.wait(f"document.querySelector('[data-value=card] b').textContent !== '{shown}'")
    tab.key(" ")


def test_13_keys(page):
    tab = page(SPIRAL)
    tab.key("s")
    tab.wait("document.querySelector('[data-value=epoch]').textContent === '000,001'")
    tab.key(" ")
    tab.wait("document.querySelector('.fnp.playing')")
    tab.key(" ")
    tab.wait("!document.querySelector('.fnp.playing')")
    after(tab, lambda: tab.key("r"), "frame")
    tab.wait("document.querySelector('[data-value=epoch]').textContent === '000,000'")
    points = tab.last("state")["points"]
    assert after(tab, lambda: tab.key("g"))["points"] != points
    tab.evaluate("document.querySelector('[data-key=noise]').focus()")
    assert after(tab, lambda: tab.key("ArrowRight"))["settings"]["noise"] == 5
    tab.evaluate("document.querySelector('.node[data-layer=\"0\"]').focus()")
    tab.key("Enter")
    tab.wait("document.querySelector('.card.pinned input')")
    tab.key("Escape")
    assert tab.evaluate("document.querySelector('.card').hidden")


def test_13_tab_reaches_every_control_and_all_have_names(page):
    tab = page()
    tab.evaluate("document.querySelectorAll('details').forEach((d) => (d.open = true))")
    reachable = tab.evaluate(
        "[...document.querySelectorAll('button, select, input, textarea, summary')].filter((e) => e.offsetParent"
        " && !e.disabled && e.tabIndex >= 0).length"
    )
    seen = set()
    tab.evaluate("document.body.focus()")
    for _ in range(reachable + 5):
        tab.key("Tab")
        seen.add(tab.evaluate("[...document.querySelectorAll('*')].indexOf(document.activeElement)"))
    assert len(seen) >= reachable
    nameless = tab.evaluate(
        "[...document.querySelectorAll('button, select, input, textarea')].filter((e) => e.offsetParent &&"
        " !(e.getAttribute('aria-label') || e.textContent.trim() || e.closest('label')?.textContent.trim()))"
        ".map((e) => e.outerHTML.slice(0, 100))"
    )
    assert nameless == []


def test_13_text_has_enough_contrast_in_both_themes(page):
    for dark in (False, True):
        tab = page(dark=dark)
        pairs = tab.evaluate(
            "(() => { const s = getComputedStyle(document.querySelector('.fnp'));"
            "return ['text', 'muted', 'accent', 'alert'].map((n) => ['--' + n, '--panel'].map((c) =>"
            "s.getPropertyValue(c))) })()"
        )
        for front, back in pairs:
            assert contrast(front, back) >= 4.5


def contrast(first, second):
    """Return the ratio of luminances of two colours (WCAG 2.2, contrast ratio)."""

    def luminance(colour):
        digits = colour.strip().lstrip("#")
        digits = digits if len(digits) == 6 else "".join(2 * digit for digit in digits)
        parts = [int(digits[k : k + 2], 16) / 255 for k in (0, 2, 4)]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    high, low = sorted((luminance(first), luminance(second)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def test_14_touch_at_360_pixels(page):
    tab = page(SPIRAL, width=360, height=740, touch=True)
    assert tab.evaluate("document.documentElement.scrollWidth") == 360
    tab.tap(*tab.place("[data-action=step]"))
    tab.wait("document.querySelector('[data-value=epoch]').textContent === '000,001'")
    tab.tap(*tab.place('.node[data-layer="0"][data-unit="1"]'))
    tab.wait("document.querySelector('.card.pinned')")
    tab.wait("document.querySelector('[data-value=mapTitle]').textContent === 'Layer 1, neuron 2'")
    sizes = tab.evaluate(
        "[...document.querySelectorAll('button, summary, select')]"
        ".filter((e) => e.offsetParent && !e.matches('.bias, .node'))"
        ".map((e) => e.getBoundingClientRect()).map((b) => Math.min(b.width, b.height))"
    )
    assert min(sizes) >= 24


def test_15_a_link_lifts_the_limits_of_the_buttons(page):
    tab = page("networkShape=64,3,3,3,3,3,3,3,3,3,3,3&seed=1")
    assert len(tab.last("state")["settings"]["networkShape"]) == 12
    assert tab.evaluate("document.querySelectorAll('.node[data-layer=\"0\"]').length") == 64
    steps(tab, 1)


def test_16_dark_by_preference_and_by_the_switch(page):
    tab = page(dark=True)
    dark = "document.querySelector('.fnp').classList.contains('dark')"
    assert tab.evaluate(dark)
    tab.click("[data-action=theme]")
    assert not tab.evaluate(dark)
    assert settings_of(tab)["theme"] == "light"
    tab.emulate(dark=False)
    tab.click("[data-action=theme]")
    assert tab.evaluate(dark)


def test_17_too_low_right_too_high(page):
    tab = page("dataset=gauss&seed=0.5")
    tab.click("[data-panel=rates] summary")
    tab.click("[data-action=rates]")
    assert tab.evaluate("document.querySelector('[data-action=rates]').disabled")
    tab.wait("!document.querySelector('[data-action=rates]').disabled", 60)
    runs = tab.last("rates")["runs"]
    assert len(runs) == 3
    assert runs[0]["rate"] < runs[1]["rate"] < runs[2]["rate"]
    assert runs[1]["loss"] < runs[0]["loss"]
    assert tab.evaluate("[...document.querySelectorAll('.three canvas')].map((c) => c.width)") == [100, 100, 100]
    assert all(str(run["label"]) in tab.text(".three") for run in runs)


def test_18_no_request_leaves_this_machine_and_the_page_is_small(page, address):
    tab = page()
    host = address.split("/")[2]
    asked = [url for url in tab.requests if url.startswith(("http:", "https:", "ws:", "wss:"))]
    assert asked
    assert [url for url in asked if urlsplit(url).netloc != host] == []
    tab.bytes = 0
    tab.call("Network.setCacheDisabled", cacheDisabled=True)
    page()
    time.sleep(0.2)
    assert 10_000 < tab.bytes < 60_000


# --- from ConvNetJS: warped grid, the net as text ---


def test_the_grid_is_drawn_where_two_neurons_put_it(page):
    tab = page(SPIRAL)
    grid = after(tab, lambda: tab.click("[data-panel=grid] summary"), "grid")
    assert (grid["layer"], grid["units"]) == (1, [0, 1])
    tab.wait("document.querySelector('.square').dataset.drawn === '1,0,1'")
    assert sum(pixel != 0 for pixel in pixels(tab, ".square", 300)) > 500
    tab.choose("[data-panel=grid] select", "0")
    tab.wait("document.querySelector('.square').dataset.drawn === '0,0,1'")
    tab.click("[data-action=next-pair]")
    tab.wait("document.querySelector('.square').dataset.drawn === '0,0,2'")


def test_the_net_is_edited_as_text(page):
    tab = page()
    tab.click("[data-panel=code] summary")
    tab.choose("[data-value=net]", "[(3, 'relu'), (5, 'tanh'), (2, 'tanh')]")
    state = after(tab, lambda: tab.click("[data-action=net]"))
    assert state["settings"]["networkShape"] == [3, 5, 2]
    tab.choose("[data-value=net]", "__import__('os')")
    tab.click("[data-action=net]")
    tab.wait("document.querySelector('.notice').dataset.kind === 'error'")
    assert tab.last("state")["settings"]["networkShape"] == [3, 5, 2]
    tab.click(".notice button")
    assert tab.evaluate("document.querySelector('.notice').hidden")


# --- what must not be shown, or not happen ---


def test_dashes_flow_with_the_epochs_unless_less_motion_is_wanted(page):
    style = "getComputedStyle(document.querySelector('.edge'))"
    tab = page(SPIRAL)
    assert tab.evaluate(f"{style}.strokeDasharray") == "none"
    tab.key(" ")
    tab.wait("document.querySelector('.fnp.playing')")
    assert tab.evaluate(f"{style}.strokeDasharray") == "8px, 2px"
    before = tab.evaluate(f"{style}.strokeDashoffset")
    tab.wait(f"{style}.strokeDashoffset !== '{before}'")
    tab.key(" ")
    tab = page(SPIRAL, still=True)
    tab.key(" ")
    tab.wait("document.querySelector('.fnp.playing')")
    assert tab.evaluate(f"{style}.strokeDasharray") == "none"
