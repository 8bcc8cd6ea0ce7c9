"""The SQL statements of the save protocol, on Django's own connection, alias and router."""

from django.db import IntegrityError, connections, models, router, transaction
from django.db.models.lookups import Exact
from django.db.models.signals import post_delete, post_save, pre_delete, pre_save
from django.utils import timezone

from . import user_sessions


class Conflict(Exception):
    """Rolls a transaction back in which the session turned out to be changed."""


class Statements:
    """
    The statements of one save; `_core.save` calls them.

    None of them reads before it writes: the condition of the UPDATE is the comparison. So two requests cannot both see
    the old text and both write, whatever the isolation level.
    """

    def __init__(self, session, data, now):
        self.session = session
        self.model = session.model
        # The request's dictionary, and its text. The core hands back another text when it had to merge.
        self.data = data
        self.now = now
        self.reread_any = False
        # How often another request had changed the row.
        self.conflicts = 0

    def reread(self, session_key):
        """
        The row as the next UPDATE will find it. Inside of a transaction a plain SELECT may see the row of its
        beginning for ever (REPEATABLE READ), so there it is a locking one, on the alias that is written to.
        """
        self.reread_any = True
        using = router.db_for_write(self.model)
        connection = connections[using]
        rows = self.model.objects.using(using).filter(session_key=session_key, expire_date__gt=timezone.now())
        if connection.in_atomic_block and connection.features.has_select_for_update:
            rows = rows.select_for_update()
        row = rows.first()
        if row is None:
            return None
        encoding = self.session._cloakroom_encoding
        if encoding.codec is not None:
            return row.session_data, None
        return row.session_data, encoding.read(row.session_data).json

    def update(self, session_key, expected, json, text):
        if not expected:
            # Loaded from a copy, so the row has to be read before anything can be compared.
            return None
        row, using = self._row(json, text)
        user_sessions.see(self.session, self.written, session_key)
        return row.session_data if self._counted(self._write(row, using, session_key, expected)) else None

    def overwrite(self, session_key, text):
        """Writes whatever is stored; False if nothing is."""
        row, using = self._row(self.now, text)
        user_sessions.see(self.session, self.written, session_key)
        return row.session_data if self._write(row, using, session_key, None) else None

    def rotate(self, session_key, expected, new_session_key, json, text):
        if not expected:
            return None
        # A key that cycle_key() has promised is kept.
        new_session_key = self.session._cloakroom_next_key or new_session_key
        self.session._session_key = new_session_key
        try:
            row, using = self._row(json, text)
            user_sessions.see(self.session, self.written, new_session_key, session_key)
            written = self._counted(self._move(row, using, session_key, expected))
        except BaseException:
            self.session._session_key = session_key
            raise
        self.session._session_key = new_session_key if written else session_key
        return row.session_data if written else None

    def _row(self, json, text):
        """The model's instance, by the class's own `create_model_instance`, and the alias to write it to."""
        session = self.session
        if not self.reread_any:
            self.written = self.data
            row = session._cloakroom_instance(self.data, text)
        else:
            # The expiry and a subclass's columns come from the merged dictionary.
            own, merged = self.data, session._cloakroom_encoding.loads(json)
            session._session_cache = self.written = merged
            try:
                row = session._cloakroom_instance(merged, text)
            finally:
                session._session_cache = own
        return row, router.db_for_write(self.model, instance=row)

    def _counted(self, is_written):
        self.conflicts += not is_written
        return is_written

    def _write(self, row, using, session_key, expected):
        if _is_watched(self.model, pre_save, post_save):
            return _save_where(row, using, expected)
        rows = self.model._base_manager.using(using).filter(pk=session_key)
        return bool(rows.filter(*_is_stored(using, expected)).update(**_values(row)))

    def _move(self, row, using, session_key, expected):
        rows = self.model._base_manager.using(using).filter(pk=session_key).filter(*_is_stored(using, expected))
        if _is_watched(self.model, pre_save, post_save, pre_delete, post_delete) or self.model._meta.related_objects:
            # Signals, or rows of other tables that refer to the session: as Django does it, but all or nothing.
            try:
                with transaction.atomic(using=using):
                    if not rows.delete()[0]:
                        raise Conflict
                    row.save(force_insert=True, using=using)
            except Conflict:
                return False
            return True
        return bool(rows.update(session_key=row.session_key, **_values(row)))


def insert(row, using):
    """Inserts a row; False if its key is taken."""
    try:
        if connections[using].in_atomic_block:
            with transaction.atomic(using=using):
                row.save(force_insert=True, using=using)
        else:
            row.save(force_insert=True, using=using)
    except IntegrityError:
        return False
    return True


def _values(row):
    """What obj.save() would write, except for the key."""
    fields = [field for field in row._meta.concrete_fields if not field.primary_key]
    fields = [field for field in fields if not getattr(field, "generated", False)]
    return {field.attname: field.pre_save(row, False) for field in fields}


def _is_stored(using, expected):
    """The condition that the row is still as it was read."""
    if expected is None:
        return []
    if connections[using].vendor == "mysql":
        # Its collations take texts for equal that differ in case or in trailing spaces.
        return [Exact(_binary(models.F("session_data")), _binary(models.Value(expected)))]
    return [models.Q(session_data=expected)]


def _binary(expression):
    return models.Func(expression, template="CAST(%(expressions)s AS BINARY)", output_field=models.TextField())


def _is_watched(model, *signals):
    """Whether code of the site's own must see the model being saved: then a bare UPDATE is not enough."""
    names = ("save", "save_base", "_do_update", "delete")
    is_overridden = any(getattr(model, name) is not getattr(models.Model, name) for name in names)
    return is_overridden or any(signal.has_listeners(model) for signal in signals)


def _save_where(row, using, expected):
    """obj.save() with one more condition in its UPDATE; False if it found no such row."""
    found = []

    def do_update(rows, *arguments):
        found.append(type(row)._do_update(row, rows.filter(*_is_stored(using, expected)), *arguments))
        return found[-1]

    row._do_update = do_update
    try:
        # A savepoint, because Django marks a transaction as broken when a forced UPDATE finds nothing.
        with transaction.atomic(using=using):
            row.save(force_update=True, using=using)
    except Exception:
        if found and not found[-1]:
            return False
        raise
    finally:
        del row._do_update
    return True
