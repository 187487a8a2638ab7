"""The playground as a widget, without a notebook: its handler of messages is called."""

import pytest

pytest.importorskip("anywidget")

from fastnn.playground import Widget  # after the skip


@pytest.fixture
def sent(monkeypatch):
    """What widgets send to their page."""
    messages = []
    monkeypatch.setattr(Widget, "send", lambda self, message, buffers=None: messages.append((message, buffers)))
    return messages


def receive(widget, message):
    """Let the widget receive a message, as the comm of a notebook delivers it."""
    widget._handle_custom_msg(message, [])


def test_a_session(sent):
    widget = Widget(seed="1", networkShape=[3])
    assert widget.settings == {"seed": "1", "networkShape": [3]}
    receive(widget, {"type": "hello", "state": widget.settings})
    assert [message["type"] for message, _ in sent if message["type"] != "notice"] == ["state", "frame"]
    frame, buffers = sent[-1]
    assert [len(row) for row in frame["weights"][0]] == [3, 3]
    assert [len(buffer) for buffer in buffers] == [10_000, 400]
    receive(widget, {"type": "step"})
    assert sent[-1][0]["epoch"] == 1
    receive(widget, "nonsense")
    assert sent[-1][0]["type"] == "error"


def test_two_widgets_are_independent(sent):
    one, other = Widget(), Widget()
    receive(one, {"type": "step"})
    receive(other, {"type": "next"})
    assert [message["epoch"] for message, _ in sent if message["type"] == "frame"] == [1, 0]


def test_data_to_begin_with(sent):
    widget = Widget("1,2,a\n2,3,b\n")
    receive(widget, {"type": "hello", "state": {}})
    assert next(message for message, _ in sent if message["type"] == "state")["classNames"] == ["a", "b"]
    with pytest.raises(ValueError, match="line 1 must be"):
        Widget("1,2")
    with pytest.raises(ValueError, match=r"changes must be of .*, got 'learning_rate'"):
        Widget(learning_rate=0.1)
    with pytest.raises(ValueError, match="noise must be"):
        Widget(noise=-1)


def test_its_module_and_style_are_those_of_the_page():
    assert "export default" in str(Widget()._esm)
    assert ".fnp" in str(Widget()._css)
