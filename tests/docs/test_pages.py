"""Every snippet of the documentation does what its page says. `tests/docs/pages.py` tells what a page may hold."""

from __future__ import annotations

import importlib.util
import re
from concurrent.futures import Future, ThreadPoolExecutor
from importlib.metadata import entry_points
from typing import TYPE_CHECKING

import pytest

from tests.docs.pages import BadPage, Page, load, page_names, parse
from tests.docs.world import TLS_HOST, World

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NEEDS = {
    "flask": r"\bflask\b",
    "django": r"\bdjango\b",
    "django.tasks": r"\bdjango\.tasks\b",  # since Django 6.0: tests/django/test_tasks_docs.py
    "sqlalchemy": r"\bsqlalchemy\b",
    "flask_sqlalchemy": r"\bflask_sqlalchemy\b",
    "flask_migrate": r"\bflask_migrate\b",
    "fastapi": r"\bfastapi\b",
    "opentelemetry.sdk": r"\bopentelemetry\.sdk\b",
    "prometheus_client": r"\bprometheus_client\b",
    "debug_toolbar": r"\bdebug_toolbar\b",
    "flask_debugtoolbar": r"\bflask_debugtoolbar\b",
    "trustme": re.escape(TLS_HOST),
}


@pytest.fixture(scope="module")
def in_the_shell(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Future[None]]]:
    """The chosen pages that only start other programs, run side by side: most of the time they wait for those."""
    here = [item for item in request.session.items if item.path == request.path and hasattr(item, "callspec")]
    chosen = {item.callspec.params.get("name") for item in here}
    with ThreadPoolExecutor(3) as executor:
        runs = {}
        for name in sorted(chosen & set(page_names())):
            page = load(name)
            if page.steps and page.only_shell and why_not(page) is None:
                runs[name] = executor.submit(run, page, tmp_path_factory.mktemp("page"))
        yield runs


def why_not(page: Page) -> str | None:
    """Why the page cannot be run here."""
    for package, sign in NEEDS.items():
        if re.search(sign, page.code) and not _is_installed(package):
            return f"it needs {package}, which is not installed"
    if re.search(r"\$ flask .* stomp ", page.code) and not entry_points(group="flask.commands", name="stomp"):
        return "stomp-web is not installed, so that Flask does not know its command"
    return None


def _is_installed(package: str) -> bool:
    try:
        return importlib.util.find_spec(package) is not None
    except ModuleNotFoundError:  # of the package above it
        return False


def run(page: Page, directory: Path) -> None:
    world = World(page, directory)
    try:
        world.run()
    finally:
        world.close()


@pytest.mark.timeout(600)  # a page may start a dozen programs; each step has a deadline of its own
@pytest.mark.parametrize("name", page_names())
def test_the_snippets_of_the_page_run(
    name: str, in_the_shell: dict[str, Future[None]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if name in in_the_shell:
        in_the_shell[name].result()
        return
    page = load(name)
    if (reason := why_not(page)) is not None:
        pytest.skip(reason)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("STOMP_URL", raising=False)
    run(page, tmp_path)


@pytest.mark.parametrize(
    "text",
    [
        "```py\n1\n```",
        "```\n1\n```",
        "```bash\nstomp-web broker\n```",
        "~~~js\n1\n~~~",
        ":::{code-block} python\n1\n:::",
        "> ```python\n> 1\n> ```",
        "text\n\n    indented = True\n",
        "<pre>x = 1</pre>",
        "```{literalinclude} shop.py\n```",
        "```{include} ../README.md\n```",
        "```{include} ../NOTHING.md\n```",
        "```{code-block} python\n:name: x\n1\n```",
        "```{code-block} js\n1\n```",
        "```{eval-rst}\n.. code-block:: python\n\n   x = 1\n```",
        "```text\nanything\n```",
        "```python\nx = 1\n",
        "% not run:\n```python\nx = 1\n```",
        "% not run: for a reason\n\ntext\n\n```python\nx = 1\n```",
        "% notrun: for a reason\n```python\nx = 1\n```",
    ],
)
def test_a_snippet_that_would_not_be_run_is_refused(text: str) -> None:
    with pytest.raises(BadPage):
        parse("page.md", text)


def test_a_file_that_nothing_runs_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadPage, match=r"shop\.py was written"):
        run(parse("page.md", "```{code-block} python\n:caption: shop.py\nx = 1\n```"), tmp_path)


def test_what_a_snippet_raises_names_the_line_of_the_page(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError) as caught:
        run(parse("page.md", "# Page\n\n```python\nx = 1\nx / 0\n```"), tmp_path)
    assert caught.traceback[-1].lineno + 1 == 5


@pytest.mark.parametrize(
    "text",
    [
        "% let: x = 1\n% check: x == 2",
        "```console\n$ echo one\ntwo\n```",
        "```console\n$ exit 1\n```",
        "```pycon\n>>> 1 + 1\n3\n```",
        '```console\n$ pip install "stomp-web[nothing]"\n```',
        "```console\n$ stomp-web listen /queue/orders\nListening ...\n```\n% stop: stomp-web listen /queue/orders\n"
        "% output of: stomp-web listen /queue/orders\n```text\ngood-bye\n```",
        "```{code-block} python\n:caption: wait.py\nimport threading\nprint(1)\nthreading.Event().wait()\n```\n"
        "```console\n$ python wait.py\n1\n```\n% stop: python wait.py",
    ],
)
def test_what_is_not_as_the_page_says_is_a_failure(text: str, tmp_path: Path) -> None:
    with pytest.raises(AssertionError):
        run(parse("page.md", text), tmp_path)


def test_an_ini_file_with_an_unknown_option_is_a_failure(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="pool_sise"):
        run(parse("page.md", "```ini\n[filter:stomp]\nuse = egg:stomp-web\npool_sise = 3\n```"), tmp_path)
