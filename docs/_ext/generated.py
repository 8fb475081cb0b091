"""What the reference takes from the code when it is built, so that the two cannot drift apart.

* ``options`` - every option of `stomp_web.config.OPTIONS`, in groups.
* ``worker_options`` - every option of a `Worker`, as its docstring describes it.
* ``exceptions`` - the tree of `stomp_web.errors`.
* ``names`` - the public names of a module, each with the first sentence of its docstring.
* ``dialects`` - what `stomp_web.connection.dialect` knows of each broker.
* ``usage`` - what ``stomp-web COMMAND --help`` prints.

The text is built by functions that know nothing of Sphinx, so that tests can look at it.
"""

from __future__ import annotations

import contextlib
import importlib
import inspect
import io
import os
import re
import typing

from stomp_web import cli, errors
from stomp_web.config import OPTIONS, Option, coerce
from stomp_web.connection.dialect import DIALECTS, Dialect
from stomp_web.worker import Worker
from stomp_web.worker.worker import SETTINGS

# The groups of the page, and the options of each in the order of the page.
GROUPS: typing.Final[dict[str, tuple[str, ...]]] = {
    "The broker": ("url", "login", "passcode", "vhost", "heart_beat"),
    "Messages": ("serializer", "confirm", "persistent", "headers", "resend_unknown", "signing_keys"),
    "Time": ("timeout", "connect_timeout"),
    "Receiving": ("max_header_bytes", "max_headers", "max_body_bytes"),
    "The pool": ("pool_size", "max_waiting", "max_idle", "max_lifetime"),
    "Telemetry": ("telemetry",),
    "TLS": ("tls_ca", "tls_cert", "tls_key", "tls_key_password", "tls_insecure_skip_verify"),
}

# Each option as a text, as it stands in an ini file or an environment variable. `coerce` must take it.
AS_TEXT: typing.Final[dict[str, str]] = {
    "url": "stomp://mq1.example.com",
    "login": "shop",
    "passcode": "secret",
    "vhost": "orders",
    "heart_beat": "0,10000",
    "serializer": "pickle",
    "confirm": "false",
    "persistent": "false",
    "headers": "app=shop,stage=test",
    "resend_unknown": "true",
    "signing_keys": "new-key,old-key",
    "timeout": "2.5",
    "connect_timeout": "1",
    "pool_size": "16",
    "max_waiting": "100",
    "max_idle": "30",
    "max_lifetime": "600",
    "max_header_bytes": "262144",
    "max_headers": "5000",
    "max_body_bytes": "1048576",
    "telemetry": "true",
    "tls_ca": "/etc/ssl/broker-ca.pem",
    "tls_cert": "/etc/ssl/shop.pem",
    "tls_key": "/etc/ssl/shop.key",
    "tls_key_password": "secret",
    "tls_insecure_skip_verify": "true",
}


def options_text() -> str:
    """The options in Markdown. Raises `ValueError` if one was forgotten here, or is there no more."""
    grouped = [name for names in GROUPS.values() for name in names]
    for known, what in ((grouped, "GROUPS"), (list(AS_TEXT), "AS_TEXT")):
        if sorted(known) != sorted(OPTIONS):
            wrong = ", ".join(sorted(set(known) ^ set(OPTIONS))) or "one of them is there twice"
            raise ValueError(f"every option has one place in {what} of docs/_ext/generated.py; wrong there: {wrong}")
    return "\n".join(
        line
        for title, names in GROUPS.items()
        for line in (f"## {title}", "", *(part for name in names for part in _option_lines(OPTIONS[name])))
    )


def _option_lines(option: Option) -> list[str]:
    coerce(option.name, AS_TEXT[option.name])
    default = "none" if option.default in (None, (), {}) else f"`{option.default!r}`"
    unit = {"": "", "path": "Unit: a path to a file. "}.get(option.unit, f"Unit: {option.unit}. ")
    return [
        f"(option-{option.name})=",
        f"`{option.name}`",
        f": {_with_links(option.meaning)}\\",
        f"  {unit}Default: {default}.\\",
        f"  Flask: `STOMP_{option.name.upper()}`. As a text: `{option.name} = {AS_TEXT[option.name]}`.",
        "",
    ]


def _with_links(text: str) -> str:
    """*text* with a link at each option that it names."""
    return re.sub(r"`(\w+)`", lambda found: f"[`{found[1]}`](#option-{found[1]})", text)


def worker_options_text() -> str:
    """The options of a worker in Markdown. Raises `ValueError` if the docstring of `Worker` lacks one."""
    described = dict(
        re.findall(r"^\* \*(\w+)\* - (.*?)(?=\n\* |\n\n|\Z)", inspect.getdoc(Worker) or "", re.DOTALL | re.MULTILINE)
    )
    own = [name for name in inspect.signature(Worker).parameters if name not in ("url", "options")]
    if missing := [name for name in own if name not in described]:
        raise ValueError(f"the docstring of Worker does not describe {', '.join(missing)}")
    return "\n".join(
        line
        for title, names in (
            ("In settings and in the program", [name for name in own if name in SETTINGS]),
            ("In the program only", [name for name in own if name not in SETTINGS]),
        )
        for line in (
            f"### {title}",
            "",
            *(part for name in names for part in _worker_option_lines(name, described[name])),
        )
    )


def _worker_option_lines(name: str, text: str) -> list[str]:
    meaning = re.sub(r"\*(\w+)\*", r"`\1`", " ".join(text.split()).replace("``", "`"))
    return [f"(worker-option-{name})=", f"`{name}`", f": {meaning[0].upper()}{meaning[1:]}", ""]


def exceptions_text() -> str:
    """The tree of exceptions in Markdown, as nested lists."""

    def lines(error: type[BaseException], depth: int) -> typing.Iterator[str]:
        yield f"{'  ' * depth}* {{py:obj}}`~stomp_web.errors.{error.__name__}` - {first_sentence(error)}"
        for name in errors.__all__:
            child = getattr(errors, name)
            if child.__bases__[0] is error:
                yield from lines(child, depth + 1)

    return "\n".join(lines(errors.StompError, 0))


def names_text(module_name: str) -> str:
    """The names in ``__all__`` of a module in Markdown, each with a link to where it is described."""
    module = importlib.import_module(module_name)
    return "\n".join(
        f"* {{py:obj}}`~{module_name}.{name}` - {first_sentence(getattr(module, name))}"
        for name in module.__all__
        if not name.startswith("_")
    )


def dialects_text() -> str:
    """What differs between brokers, as a Markdown table."""

    def code(text: str | None) -> str:
        return f"`{text}`" if text else "-"

    def sent_type(dialect: Dialect) -> str | None:
        header = dialect.sent_type("/queue/")
        return header and header[0]

    def row(*cells: str) -> str:
        return f"| {' | '.join(cells)} |"

    return "\n".join(
        (
            row("", *(dialect.name for dialect in DIALECTS)),
            row(*["---"] * (len(DIALECTS) + 1)),
            row("`server` begins with", *(code(dialect.server) for dialect in DIALECTS)),
            row("header for `ttl`", *(code(dialect.expiry_header) for dialect in DIALECTS)),
            row(
                "its value",
                *("the moment" if dialect.expiry_is_absolute else "the duration" for dialect in DIALECTS),
            ),
            row(
                "text has a `content-length`", *("no" if dialect.text_without_length else "yes" for dialect in DIALECTS)
            ),
            row("header that limits prefetch", *(code(dialect.prefetch_header) for dialect in DIALECTS)),
            row("it counts", *("bytes" if dialect.prefetch_bytes else "messages" for dialect in DIALECTS)),
            row("header for the type of `/queue/`, `/topic/`", *(code(sent_type(dialect)) for dialect in DIALECTS)),
            row("ACK in a transaction", *("yes" if dialect.acks_in_transactions else "no" for dialect in DIALECTS)),
            row("NACK puts back", *("yes" if dialect.nack_requeues else "no" for dialect in DIALECTS)),
            row(
                "ACK of mode `client` takes those of",
                *("all subscriptions" if dialect.acks_over_all else "its subscription" for dialect in DIALECTS),
            ),
            row("same `message-id` each time", *("yes" if dialect.keeps_message_ids else "no" for dialect in DIALECTS)),
            row(
                "header against duplicates, with `resend_unknown`",
                *(code(dialect.duplicate_header) for dialect in DIALECTS),
            ),
            row("`/` in a name as `%2F`", *("yes" if dialect.quotes_destinations else "no" for dialect in DIALECTS)),
        )
    )


def usage_text(command: str) -> str:
    """What ``stomp-web COMMAND --help`` prints, as a block of text."""
    width, os.environ["COLUMNS"] = os.environ.get("COLUMNS"), "88"
    try:
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            cli.main([command, "--help"])
    finally:
        if width is None:
            del os.environ["COLUMNS"]
        else:
            os.environ["COLUMNS"] = width
    return f"```text\n{printed.getvalue().strip()}\n```"


def first_sentence(thing: object) -> str:
    """The first sentence of a docstring, as Markdown."""
    paragraph = (inspect.getdoc(thing) or "").partition("\n\n")[0].replace("\n", " ").replace("``", "`")
    end = re.search(r"[.?](?= |$)", paragraph)
    return paragraph[: end.end()] if end else paragraph.rstrip(":")


def setup(app: typing.Any) -> dict[str, bool]:
    """Register the directives with Sphinx."""
    from sphinx.util.docutils import SphinxDirective

    class Generated(SphinxDirective):
        optional_arguments = 1
        text: typing.ClassVar[typing.Callable[..., str]]

        def run(self) -> list[typing.Any]:
            try:
                text = type(self).text(*self.arguments)
            except Exception as error:
                raise self.error(str(error)) from error
            return self.parse_text_to_nodes(text, allow_section_headings=True)

    directives = {
        "options": options_text,
        "worker_options": worker_options_text,
        "exceptions": exceptions_text,
        "names": names_text,
        "dialects": dialects_text,
        "usage": usage_text,
    }
    for name, text in directives.items():
        app.add_directive(name, type(name.title(), (Generated,), {"text": staticmethod(text)}))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
