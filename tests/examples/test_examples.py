"""Every example is in the course and tested, and works as a command."""

import ast
import re
import runpy
import subprocess
import sys
from pathlib import Path
from unittest import mock

import pytest

from fastnn.script import run_script

ROOT = Path(__file__).parents[2]
PATHS = sorted((ROOT / "examples").rglob("*.py"))
NAMES = [path.relative_to(ROOT / "examples").with_suffix("").as_posix() for path in PATHS]


def test_the_course_lists_each_example_once():
    listed = re.findall(r"\(auto_examples/(\w+/\w+)\.rst\)", (ROOT / "docs" / "course.md").read_text(encoding="utf-8"))
    assert len(NAMES) > 10
    assert sorted(listed) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_every_example_is_tested(name):
    section = name.partition("/")[0]
    assert f'run("{name}"' in (Path(__file__).parent / f"test_{section}.py").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", NAMES)
def test_the_docstring_has_a_title_and_the_command(name):
    title, line, *_ = (text := (ROOT / "examples" / f"{name}.py").read_text(encoding="utf-8")).splitlines()
    assert set(line) == {"="}
    assert len(line) >= len(title.removeprefix('"""'))
    assert f"``python examples/{name}.py [picture.png]``" in text
    assert len(text.splitlines()) <= 160


@pytest.mark.parametrize("name", NAMES)
def test_only_public_names_are_used(name):
    """Readers copy examples."""
    nodes = list(ast.walk(ast.parse((ROOT / "examples" / f"{name}.py").read_text(encoding="utf-8"))))
    imported = [node.module for node in nodes if isinstance(node, ast.ImportFrom)]
    imported += [alias.name for node in nodes if isinstance(node, ast.Import | ast.ImportFrom) for alias in node.names]
    assert {"fastnn.script", "run_script"} <= set(imported)
    used = [*(part for path in imported for part in path.split(".")),
            *(node.attr for node in nodes if isinstance(node, ast.Attribute))]  # fmt: skip
    private = [name for name in used if name.startswith("_") and not name.startswith("__")]
    assert not private


@pytest.mark.parametrize("name", NAMES)
def test_help_is_the_docstring(name, capsys):
    path = str(ROOT / "examples" / f"{name}.py")
    with mock.patch.object(sys, "argv", [path, "--help"]), pytest.raises(SystemExit) as left:
        runpy.run_path(path, run_name="__main__")
    assert left.value.code == 0
    assert f"python examples/{name}.py [picture.png]" in capsys.readouterr().out


def command(*arguments, needs=()):
    """Call `run_script` with these arguments and return the paths that reach `main`."""
    paths = []

    def main(picture):
        paths.append(picture)

    with mock.patch.object(sys, "argv", ["example.py", *map(str, arguments)]):
        run_script(main, needs=needs)
    return paths


def test_without_arguments_nothing_is_drawn(capsys):
    assert command() == [None]
    assert capsys.readouterr().err == ""


def test_the_folder_of_a_picture_is_made(tmp_path, capsys):
    pytest.importorskip("matplotlib")
    picture = tmp_path / "new" / "folder" / "picture.png"
    assert command(picture) == [str(picture)]
    assert picture.parent.is_dir()
    assert capsys.readouterr().err == f"written to {picture}\n"


def test_what_cannot_be_written_is_refused_before_the_training(tmp_path, capsys):
    pytest.importorskip("matplotlib")
    (tmp_path / "file").touch()
    (tmp_path / "folder.png").mkdir()
    for arguments, said in (
        (["--picture"], "unrecognized arguments: --picture"),
        (["a.png", "b.png"], "unrecognized arguments: b.png"),
        ([tmp_path / "picture"], "must end in one of"),
        ([tmp_path / "picture.mp3"], "must end in one of"),
        ([tmp_path / "file" / "picture.png"], "a folder that can be made"),
        ([tmp_path / "folder.png"], "must be a file"),
    ):
        with pytest.raises(SystemExit) as left:
            command(*arguments)
        assert left.value.code == 2
        assert said in capsys.readouterr().err


def test_a_missing_package_is_named(capsys):
    with mock.patch("importlib.util.find_spec", return_value=None):
        for arguments, said in (({"needs": ["sklearn"]}, "pip install scikit-learn"), ({}, "pip install matplotlib")):
            with pytest.raises(SystemExit) as left:
                command("picture.png", **arguments)
            assert left.value.code == 2
            assert said in capsys.readouterr().err


@pytest.mark.slow
def test_a_copied_script_runs_elsewhere(tmp_path):
    pytest.importorskip("matplotlib")
    script = tmp_path / "xor.py"
    script.write_bytes((ROOT / "examples" / "neuron" / "nonlinear_separability.py").read_bytes())
    done = subprocess.run([sys.executable, script, "new/picture.png"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stderr.endswith("written to new/picture.png\n")
    assert (tmp_path / "new" / "picture.png").stat().st_size > 5000
