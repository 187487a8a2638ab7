"""Links to the documentation in the HTML of the estimators."""

from __future__ import annotations

from importlib import metadata

import pytest

pytest.importorskip("sklearn", minversion="1.7")

from fastnn import MLPClassifier, MLPRegressor
from fastnn.estimators import _base


@pytest.fixture
def site(monkeypatch):
    """Set the metadata of the installed package."""

    class Metadata:
        urls = ("Documentation, https://example.org/docs/", "Issues, https://example.org/issues")

        def get_all(self, name):
            assert name == "Project-URL"
            return list(self.urls) or None

    monkeypatch.setattr(metadata, "metadata", lambda name: Metadata())
    _base.documentation_site.cache_clear()
    yield Metadata
    _base.documentation_site.cache_clear()


def test_the_html_links_to_the_page_of_the_estimator(site):
    for kind in (MLPClassifier, MLPRegressor):
        link = f"https://example.org/docs/reference/generated/fastnn.{kind.__name__}.html"
        assert kind()._get_doc_link() == link
        assert link in kind()._repr_html_()


def test_without_a_site_there_is_no_link(site):
    site.urls = ()
    assert MLPClassifier()._get_doc_link() == ""
    assert "generated/fastnn" not in MLPClassifier()._repr_html_()


def test_a_checkout_that_is_not_installed_has_no_link(monkeypatch):
    def missing(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "metadata", missing)
    _base.documentation_site.cache_clear()
    assert MLPClassifier()._get_doc_link() == ""
    _base.documentation_site.cache_clear()
