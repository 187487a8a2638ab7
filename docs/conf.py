"""Sphinx configuration: ``python -m sphinx -W --keep-going -b html docs build/html``."""

from __future__ import annotations

import doctest
import io
import re
import warnings
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

# The gallery resolves the names in examples, also in those that it does not run.
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sphinx.application import Sphinx
from sphinx.util import logging
from sphinx_gallery.sorting import ExplicitOrder

from fastnn._figure.palette import Palette, house_colours

HERE = Path(__file__).parent
PICTURES = HERE / "auto_examples" / "pictures"

project = "fastnn"
author = "fastnn developers"
copyright = author
release = version = installed_version("fastnn-mlp")

extensions = [
    "sphinx.ext.autodoc", "sphinx.ext.autosummary", "sphinx.ext.doctest",
    "numpydoc", "myst_parser", "sphinx_copybutton", "sphinx_gallery.gen_gallery",
]  # fmt: skip
templates_path = ["_templates"]
exclude_patterns = ["auto_examples/**/*.py", "auto_examples/**/*.ipynb"]
default_role = "autolink"  # `Model` in a docstring is a link if there is such an object, and emphasized otherwise
nitpicky = True
nitpick_ignore_regex = [
    ("py:obj", r"[a-z_]+"),  # parameters, in single backticks
    ("py:obj", r"sklearn\..*|History\.stopped"),
]

autosummary_generate = True
autodoc_typehints = "none"  # the numpydoc sections state the types
autodoc_member_order = "bysource"
numpydoc_show_class_members = False  # the class template lists the members
numpydoc_class_members_toctree = False
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3
suppress_warnings = ["config.cache"]  # the gallery's settings hold functions
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True
doctest_test_doctest_blocks = "default"
# An example in a docstring may use the names of its module.
doctest_global_setup = "\n".join(
    f"from fastnn{module} import *" for module in ("", ".datasets", ".history", ".losses", ".metrics", ".schedules")
)

html_theme = "pydata_sphinx_theme"
html_title = f"fastnn {release}"
html_static_path = ["_static"]
html_css_files = ["fastnn.css"]
html_show_sourcelink = False
html_sidebars = {  # they have no pages below
    page: [] for page in ("index", "start", "course", "coming_from", "playground")
}
html_theme_options = {
    "navigation_with_keys": False,
    "show_toc_level": 2,
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": ["copyright"],
    "footer_end": [],
    "header_links_before_dropdown": 7,
}


#: Section and name of the examples, in the order in which course.md lists them.
COURSE = re.findall(r"\(auto_examples/(\w+)/(\w+)\.rst\)", (HERE / "course.md").read_text(encoding="utf-8"))


class CourseOrder:
    """Key that sorts the examples of a section as course.md does."""

    def __init__(self, folder: str) -> None:
        self.section = Path(folder).name

    def __call__(self, file: str) -> int:
        """Return the position of an example."""
        return COURSE.index((self.section, Path(file).stem))


#: Examples that also write a film, if the name of the picture ends so.
FILMS = {"hidden_space_unfolding": ".gif"}


def picture_argument(gallery_conf: dict[str, Any], script_vars: dict[str, Any]) -> list[str]:
    """Return the arguments an example runs with: where to write its picture."""
    PICTURES.mkdir(parents=True, exist_ok=True)
    return [str(PICTURES / (Path(script_vars["src_file"]).stem + ".png"))]


def shrink(source: Any, target: Path) -> None:
    """Write a picture with 256 colours, which takes a third of the bytes: most are mixtures at the edges of lines."""
    with Image.open(source) as image:
        pixels = np.array(image.convert("RGB"))
    Palette(pixels, house_colours(), 256).apply(pixels).save(target, optimize=True)


def picture_scraper(block: Any, block_vars: dict[str, Any], gallery_conf: dict[str, Any]) -> str:
    """Put the picture that an example has written into the gallery, make its film; return the text that shows them."""
    from sphinx_gallery.scrapers import figure_rst

    name = Path(block_vars["src_file"]).stem
    written = PICTURES / f"{name}.png"
    if not written.exists():
        return ""
    targets = [next(block_vars["image_path_iterator"])]
    shrink(written, Path(targets[0]))
    written.unlink()
    if name in FILMS:
        targets.append(str(Path(next(block_vars["image_path_iterator"])).with_suffix(FILMS[name])))
        block_vars["example_globals"]["main"](targets[1])
    return "".join(figure_rst([target], gallery_conf["src_dir"]) for target in targets)


def draw_guide(app: Sphinx) -> None:
    """Run the code of the guide's page on pictures, and write what a block leaves as `figure` or `film`.

    A link to a picture behind a block names the file. The files are kept until the page is newer.
    """
    page = HERE / "guide" / "pictures.md"
    blocks = re.findall(
        r"^```pycon\n(.*?)^```$(?:\n\n!\[[^]]*\]\((.*?)\))?", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE
    )
    files = [page.parent / file for _, file in blocks if file]
    if all(file.exists() and file.stat().st_mtime > page.stat().st_mtime for file in files):
        return
    files[0].parent.mkdir(exist_ok=True)
    names: dict[str, Any] = {}
    for block, file in blocks:
        for example in doctest.DocTestParser().get_examples(block):
            exec(example.source, names)
        if file.endswith(".gif"):
            names["film"].save(page.parent / file)
        elif file:
            picture = io.BytesIO()
            names["figure"].savefig(picture)
            shrink(picture, page.parent / file)


sphinx_gallery_conf = {
    "examples_dirs": str(HERE.parent / "examples"),
    "gallery_dirs": "auto_examples",
    "subsection_order": ExplicitOrder([f"../examples/{section}" for section in dict(COURSE)]),
    "within_subsection_order": CourseOrder,
    "filename_pattern": r"\.py$",
    "reset_argv": picture_argument,
    "image_scrapers": (picture_scraper,),
    "capture_repr": (),
    "download_all_examples": False,
    "show_signature": False,
    "write_computation_times": False,
    "abort_on_example_error": True,
    "only_warn_on_example_error": False,
}
warnings.filterwarnings("error", category=RuntimeWarning, module="fastnn")


def check_offline(app: Sphinx, error: Exception | None) -> None:
    """Warn of every script, style or picture that a page would load from the network."""
    if error is not None or app.builder.format != "html":
        return
    loads = re.compile(
        r"<(?:script|img|iframe)[^>]*\ssrc=\"(?:https?:)?//[^>]*>|<link[^>]*\shref=\"(?:https?:)?//[^>]*>"
    )
    for page in sorted(Path(app.outdir).rglob("*.html")):
        for found in loads.findall(page.read_text(encoding="utf-8")):
            logging.getLogger(__name__).warning("%s loads from the network: %s", page.name, found)


def record_playground(app: Sphinx, error: Exception | None) -> None:
    """Write the page that plays a recorded run of the playground."""
    if error is None and app.builder.format == "html":
        from fastnn.playground import record

        record(Path(app.outdir) / "_static" / "playground.html")


def skip_foreign(app: Sphinx, what: str, name: str, member: Any, skip: bool, options: Any) -> bool | None:
    """Leave out what the estimators inherit from scikit-learn, whose pages describe it."""
    defined_in = getattr(member, "__module__", "") or ""
    return True if defined_in.startswith("sklearn.") else None


def protect(line: str) -> str:
    """Escape initials at the start of a reference, which would begin a list, and bars, which mark a substitution."""
    line = re.sub(r"^(\s*\.\. \[[^\]]+\] )([A-Z])\.", r"\1\2\\.", line)
    return line if "``" in line else re.sub(r"\|(\w+)\|", r"\\|\1\\|", line)


def align(table: list[str]) -> list[str]:
    """Align the columns of a simple table again, in which numpydoc has made the names of references longer."""
    rows = [re.split(r" {2,}", line.strip()) for line in table]
    n_columns = max(map(len, rows))
    widths = [max(len(row[k]) for row in rows if k < len(row) and row[k].strip("=")) for k in range(n_columns)]
    border = "  ".join("=" * width for width in widths)
    indent = " " * (len(table[0]) - len(table[0].lstrip()))
    aligned = []
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=False)]
        aligned.append(indent + ("  ".join(cells).rstrip() if row[0].strip("=") else border))
    return aligned


def repair_docstring(app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Escape plain text and align tables, after numpydoc."""
    lines[:] = [protect(line) for line in lines]
    borders = [k for k, line in enumerate(lines) if re.fullmatch(r"\s*=+( +=+)+\s*", line)]
    while borders:
        begin = end = borders.pop(0)
        while borders and all(lines[k].strip() for k in range(begin, borders[0])):
            end = borders.pop(0)
        lines[begin : end + 1] = align(lines[begin : end + 1])


def find_in_fastnn(app: Sphinx, env: Any, node: Any, contnode: Any) -> Any:
    """Resolve a reference such as `Model.fit` from a module that imports `Model`."""
    if node.get("refdomain") != "py":
        return None
    target = f"fastnn.{node['reftarget']}"
    return env.get_domain("py").resolve_xref(env, node["refdoc"], app.builder, "obj", target, node, contnode)


def setup(app: Sphinx) -> None:
    """Connect the functions above."""
    app.connect("builder-inited", draw_guide)
    app.connect("missing-reference", find_in_fastnn)
    app.connect("autodoc-skip-member", skip_foreign)
    app.connect("autodoc-process-docstring", repair_docstring, priority=900)  # after numpydoc
    app.connect("build-finished", record_playground)
    app.connect("build-finished", check_offline)
