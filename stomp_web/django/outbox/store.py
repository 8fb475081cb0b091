"""The operations on the outbox table with Django's ORM."""

from __future__ import annotations

import contextlib
import datetime
import json
import typing

from django.db import DatabaseError, InterfaceError, InternalError, OperationalError, connections, transaction
from django.db.models import Case, CharField, Count, Exists, F, OuterRef, QuerySet, Subquery, When
from django.db.models.functions import Length
from django.db.models.lookups import In
from django.utils import timezone

from ..._internal.log import get_logger
from ...errors import ConfigurationError
from ...outbox import FAILED, PENDING, SENT, WAITING, OutboxStats, Row, Store
from ...outbox.claim import Claim, Outcomes
from ...outbox.mysql import delete_one_by_one, lock_those_that_wait
from ...outbox.order import Candidate
from ...outbox.postgresql import COMMIT_SOON, ConnectionListener, array, can_listen
from ...outbox.rows import ROW_COLUMNS, rows_of
from ...outbox.store import Listener
from ...outbox.turn import FileTurn, database_file
from .models import OutboxMessage
from .tables import check_table

__all__ = ["DjangoStore"]

_log = get_logger("outbox")

_UNSENT: typing.Final = (PENDING, WAITING, FAILED)
# What a claim reads: instead of the body and the time, it reads two annotations.
_READ: typing.Final = tuple({"body": "read", "created_at": "since"}.get(name, name) for name in ROW_COLUMNS)


class DjangoStore(Store):
    """The outbox in the database with the alias *database*. A sent row is kept for *keep* seconds."""

    lost = (OperationalError, InterfaceError, InternalError)

    def __init__(self, database: str, *, keep: float = 0.0) -> None:
        self.database = database
        self.keep = keep
        self.name = f"{OutboxMessage._meta.db_table} in the database {database!r}"
        connection = connections[database]
        if connection.vendor == "sqlite":
            self.turn = FileTurn(database_file(str(connection.settings_dict["NAME"])))

    def check(self) -> None:
        """Raise `ConfigurationError` if the table does not exist, or if the database cannot serve a relay."""
        check_table(OutboxMessage, self.database)
        connection = connections[self.database]
        if self.turn is None and not connection.features.has_select_for_update_skip_locked:
            raise ConfigurationError(
                f"the database {self.database!r} cannot skip locked rows, which the relay needs: PostgreSQL, MariaDB "
                "from 10.6 and MySQL from 8.0 can, and SQLite has one relay at a time"
            )
        level = getattr(connection, "isolation_level", None)
        if connection.vendor == "mysql" and level != "read committed":
            raise ConfigurationError(
                f"the database {self.database!r} has the isolation level {level!r}, at which a relay would block "
                "programs that write messages; set OPTIONS['isolation_level'] to 'read committed'"
            )

    @contextlib.contextmanager
    def transaction(self) -> typing.Iterator[None]:
        """Return a context manager for a transaction. The transaction uses this thread's connection to the database."""
        with transaction.atomic(using=self.database):
            connection = connections[self.database]
            if connection.vendor == "postgresql" and len(connection.savepoint_ids) == 0:
                with connection.cursor() as cursor:
                    cursor.execute("SET TRANSACTION ISOLATION LEVEL READ COMMITTED")
            elif connection.vendor == "sqlite":
                # Write first: after a read, the write would fail at once if another transaction has written.
                self._rows.filter(id=-1).update(attempts=0)
            yield

    @contextlib.contextmanager
    def guarded(self, claim: Claim) -> typing.Iterator[Claim]:
        """See `Store.guarded`. Receivers of the signal ``message_sent`` use the connection of the claim's transaction.

        If a receiver's statement fails, PostgreSQL and Django refuse all further statements until a rollback. So the
        messages are sent in a savepoint. The outcomes are recorded after the savepoint.
        """
        if not claim.rows:
            yield claim
            return
        outcomes: list[Outcomes] = []
        connection = connections[self.database]
        sent = broken = False
        try:
            with transaction.atomic(using=self.database):
                yield Claim(claim.rows, claim.seen, claim.last, outcomes.append)
                sent, broken = True, connection.needs_rollback
        except DatabaseError:
            if not sent:
                raise
            broken = True  # the savepoint could not be released
        if connection.needs_rollback:  # nor could the transaction be rolled back to the savepoint
            raise OperationalError("the transaction of the relay has ended while messages were sent")
        if broken:
            _log.warning(
                "a statement of a receiver of message_sent or send_failed has failed in the transaction of the relay; "
                "the changes of the receivers for this batch in the database %r were rolled back. Put the statements "
                "of the receiver into transaction.atomic()",
                self.database,
            )
        for each in outcomes:
            claim.record(each)

    @property
    def _rows(self) -> QuerySet[OutboxMessage]:
        return OutboxMessage.objects.using(self.database)

    def _among(self, ids: typing.Collection[int]) -> QuerySet[OutboxMessage]:
        return self._rows.filter(_Among(F("id"), ids))

    def _locking(self, rows: QuerySet[OutboxMessage], *, skip_locked: bool = True) -> QuerySet[OutboxMessage]:
        return rows if self.turn is not None else rows.select_for_update(skip_locked=skip_locked)

    def pending(
        self, limit: int, ids: typing.Sequence[int] | None, skip: typing.Collection[str], after: int, largest: int
    ) -> tuple[list[Row], set[int]]:
        """See `Store.pending`."""
        rows = self._rows.filter(state=PENDING, next_attempt_at=None, id__gt=after).exclude(alias__in=list(skip))
        if ids is not None:
            rows = rows.filter(_Among(F("id"), ids))
        if connections[self.database].vendor == "mysql":
            # MariaDB 10.11 finds ids by the index. For whole rows, it may sort the whole table, and thereby lock it.
            rows = self._among(self._ids(rows.order_by("id"), limit)).order_by("id")
        else:
            # PostgreSQL does not see that the index is in the order of the ids where `next_attempt_at` is NULL.
            rows = self._locking(rows.order_by("next_attempt_at", "id"))
        rows = rows.annotate(
            size=Length("body"),
            read=Case(When(size__lte=largest, then="body")),
            since=Case(When(ttl__isnull=False, then="created_at")),
        )
        found = rows_of(map(_read, rows.values_list(*_READ)[:limit]))
        return found, {row.id for row in found if row.body is None}

    def unsent(self, keys: typing.Sequence[str], last: int, limit: int) -> dict[str, int]:
        """See `Store.unsent`."""
        # When MySQL locks rows, it reads them as they are now, but other rows as they were. So this query is separate.
        near = self._rows.filter(_Among(F("key"), keys), state__in=_UNSENT, id__lte=last).values("key")[:limit]
        sql, parameters = near.query.get_compiler(self.database).as_sql()
        connection = connections[self.database]
        key = connection.ops.quote_name("key")
        with connection.cursor() as cursor:
            # The ORM cannot count the rows of a slice by key.
            cursor.execute(f"SELECT {key}, COUNT(*) FROM ({sql}) AS near GROUP BY {key}", parameters)  # noqa: S608
            return dict(cursor.fetchall())

    def candidates(self, ids: typing.Sequence[int]) -> list[Candidate]:
        """See `Store.candidates`."""
        before = {f"before_{state}": self._last_before(state) for state in _UNSENT}
        rows = self._among(ids).annotate(**before, size=Length("body")).order_by("id")
        return [
            Candidate.of(id_, key, dict(zip(_UNSENT, previous, strict=True)), size)
            for id_, key, *previous, size in rows.values_list("id", "key", *before, "size")
        ]

    def _last_before(self, state: str) -> Subquery:
        """Return a subquery for the highest id below the outer row's id.

        The subquery searches only rows with the key of the outer row and the state *state*.
        """
        rows = self._rows.filter(key=OuterRef("key"), state=state, id__lt=OuterRef("id"))
        return Subquery(rows.order_by("-id").values("id")[:1])

    def load(self, ids: typing.Sequence[int]) -> list[Row]:
        """See `Store.load`."""
        return rows_of(map(_read, self._among(ids).order_by("id").values_list(*ROW_COLUMNS)))

    def _ids(self, rows: QuerySet[OutboxMessage], limit: int, *, skip_locked: bool = True) -> list[int]:
        return list(self._locking(rows, skip_locked=skip_locked).values_list("id", flat=True)[:limit])

    def lock(self, ids: typing.Collection[int], states: typing.Sequence[str]) -> set[int]:
        """See `Store.lock`."""
        return set(self._ids(self._among(ids).filter(state__in=states), len(ids)))

    def some(self, state: str, after: int, limit: int) -> list[int]:
        """See `Store.some`."""
        return self._ids(self._rows.filter(state=state, id__gt=after).order_by("id"), limit)

    def orphans(self, limit: int) -> list[int]:
        """See `Store.orphans`."""
        before = self._rows.filter(key=OuterRef("key"), id__lt=OuterRef("id")).exclude(state=SENT)
        rows = self._rows.filter(~Exists(before), state=WAITING, next_attempt_at=None)
        return self._ids(rows.order_by("id"), limit)

    def due(self, state: str, moment: datetime.datetime, limit: int) -> list[int]:
        """See `Store.due`."""
        rows = self._rows.filter(state=state, next_attempt_at__lte=_for_django(moment))
        return self._ids(rows.order_by("next_attempt_at", "id"), limit)

    def waiting_behind(self, keys: typing.Collection[str], limit: int) -> list[int]:
        """See `Store.waiting_behind`."""
        rows = self._rows.filter(_Among(F("key"), keys), state=WAITING, next_attempt_at=None).order_by("id")
        if connections[self.database].vendor == "mysql":
            ids = list(rows.values_list("id", flat=True)[:limit])
            return [id_ for (id_,) in self._execute(lock_those_that_wait, ids)] if ids else []
        return self._ids(rows, limit, skip_locked=False)

    def keys(self, ids: typing.Sequence[int]) -> set[str]:
        """See `Store.keys`."""
        rows = self._among(ids).exclude(key=None)
        return {key for key in rows.values_list("key", flat=True).distinct() if key is not None}

    def update(self, ids: typing.Sequence[int], **values: object) -> None:
        """See `Store.update`."""
        moment = values.get("next_attempt_at")
        if isinstance(moment, datetime.datetime):
            values["next_attempt_at"] = _for_django(moment)
        self._among(ids).update(**values)

    def delete(self, ids: typing.Sequence[int]) -> None:
        """See `Store.delete`."""
        if connections[self.database].vendor == "mysql":
            self._execute(delete_one_by_one, ids)
        else:
            self._among(ids).delete()

    def _execute(self, statement: typing.Callable[[str, str], str], ids: typing.Sequence[int]) -> typing.Any:
        """Execute a *statement* of `stomp_web.outbox.mysql` for the rows *ids*. Return the rows of the result."""
        connection = connections[self.database]
        table = connection.ops.quote_name(OutboxMessage._meta.db_table)
        with connection.cursor() as cursor:
            cursor.execute(statement(table, "%s"), [json.dumps(list(ids))])
            return cursor.fetchall()

    def commit_soon(self) -> None:
        """See `Store.commit_soon`."""
        connection = connections[self.database]
        if connection.vendor == "postgresql":
            with connection.cursor() as cursor:
                cursor.execute(COMMIT_SOON)

    def stats(self) -> OutboxStats:
        """See `Store.stats`."""
        counts = dict(self._rows.order_by().values_list("state").annotate(Count("id")))
        first = [
            self._rows.filter(state=state).order_by("id").values_list("created_at", flat=True).first()
            for state in _UNSENT
        ]
        return OutboxStats.of(counts, first, _for_django(datetime.datetime.now(datetime.UTC)))

    def listen(self) -> Listener | None:
        """See `Store.listen`."""
        connection = connections[self.database]
        if connection.vendor != "postgresql":
            return None
        own = connection.copy()
        own.ensure_connection()
        if not can_listen(own.connection):
            own.close()
            return None
        return ConnectionListener(own.connection, OutboxMessage._meta.db_table, own.close)

    def rest(self) -> None:
        """Close the connection if it is broken, or older than ``CONN_MAX_AGE``. A ``CONN_MAX_AGE`` of 0 is ignored.

        With a ``CONN_MAX_AGE`` of 0, the default, Django closes the connection at the end of each request. A relay has
        no requests. The relay's connection therefore stays open, and need not be made again for each batch. With
        ``CONN_HEALTH_CHECKS``, Django checks the connection before the next use.
        """
        connection = connections[self.database]
        if connection.in_atomic_block:  # of a TestCase
            return
        if connection.errors_occurred or connection.settings_dict["CONN_MAX_AGE"] != 0:
            connection.close_if_unusable_or_obsolete()
        else:
            connection.health_check_done = False  # type: ignore[attr-defined]


class _Among(In):
    """The lookup ``IN`` for ids or keys. On PostgreSQL, all values are one array parameter.

    A statement with hundreds of parameters would be slow.
    """

    def get_prep_lookup(self) -> typing.Any:
        """Return the values unchanged, because they have the column's type."""
        return list(self.rhs)

    def as_postgresql(self, compiler: typing.Any, connection: typing.Any) -> tuple[str, list[object]]:
        column, parameters = self.process_lhs(compiler, connection)
        kind = "text" if isinstance(self.lhs.output_field, CharField) else "bigint"
        return f"{column} = ANY(%s::{kind}[])", [*parameters, array(self.rhs)]


def _read(values: tuple[typing.Any, ...]) -> tuple[typing.Any, ...]:
    """Return the *values* of `ROW_COLUMNS`, with the body as bytes and the creation time as an aware datetime."""
    id_, message_id, body, key, ttl, created_at, *rest = values
    return id_, message_id, body if body is None else bytes(body), key, ttl, _aware(created_at), *rest


def _aware(moment: datetime.datetime | None) -> datetime.datetime | None:
    return moment if moment is None or timezone.is_aware(moment) else timezone.make_aware(moment)


def _for_django(moment: datetime.datetime) -> datetime.datetime:
    """Return *moment* for the ORM. If ``USE_TZ`` is false, return a naive datetime in the local time zone."""
    return moment if timezone.is_aware(timezone.now()) else timezone.make_naive(moment)
