"""`manage.py usersessions`: words, output and exit codes of the Rust library's `cloakroom user-sessions`."""

import json
import sys
from datetime import timezone
from importlib import import_module

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone as django_timezone

from django_cloakroom import user_sessions
from django_cloakroom.user_session_index import RedisIndex, index_of

LEAST_DIGITS = 4


class Command(BaseCommand):
    help = "List and end a user's sessions through the index of user sessions; rebuild and clean the index."

    def add_arguments(self, parser):
        commands = parser.add_subparsers(dest="command", required=True)
        listing = commands.add_parser("list", help="List where a user is logged in, the last seen first")
        revoke = commands.add_parser("revoke", help="End one session of a user, the others, or all of them")
        rebuild = commands.add_parser("rebuild", help="Add all logins, and remove entries whose session is gone")
        clean = commands.add_parser("clean", help="Remove entries whose session is gone")
        commands.add_parser("create-table", help="Create the index's table, as `migrate` does")
        for command in (listing, revoke):
            command.add_argument("--user", required=True, metavar="ID", help="The user's primary key")
        which = revoke.add_mutually_exclusive_group()
        which.add_argument("--id", help="Only the session with this public id, as `list` shows it, or its first digits")
        which.add_argument("--except", dest="kept", metavar="ID", help="All sessions but the one with this public id")
        for command in (revoke, clean):
            command.add_argument("--dry-run", action="store_true", help="Change nothing; print how many there are")
        for command in (listing, revoke, rebuild, clean):
            command.add_argument("--json", action="store_true", help="Write JSON")

    def handle(self, *, command, **options):
        if not user_sessions.is_enabled():
            raise CommandError("This site keeps no index: CLOAKROOM_USER_SESSIONS is not True in its settings.")
        try:
            self.index = index_of(import_module(settings.SESSION_ENGINE).SessionStore)
        except ImproperlyConfigured as error:
            raise CommandError(str(error)) from error
        if command in ("rebuild", "clean") and isinstance(self.index, RedisIndex):
            raise CommandError(f"On Redis the index is gone through by `cloakroom user-sessions {command}`.")
        getattr(self, command.replace("-", "_"))(options)

    def create_table(self, options):
        self.stdout.write("table created" if self.index.create_table() else "the table is there already")

    def list(self, options):
        for session in user_sessions.list_sessions(options["user"]):
            self.stdout.write(json.dumps(_values(session)) if options["json"] else _line(session))
        self._complain_of_not_genuine(options["user"])

    def revoke(self, options):
        user, dry_run = options["user"], options["dry_run"]
        listed = user_sessions.list_sessions(user)
        wanted = listed
        if options["id"] is not None:
            wanted = self._of_id(listed, options["id"])
        elif options["kept"] is not None:
            kept = self._of_id(listed, options["kept"])
            if not kept:
                raise CommandError("The session to keep is none of this user's. Nothing was changed.")
            wanted = [session for session in listed if session not in kept]
        if dry_run:
            found = len(wanted)
            self._say(
                options, {"revoked": 0, "found": found}, f"{found} sessions of user {user} found; nothing was revoked"
            )
        elif options["id"] is not None:
            revoked = sum(user_sessions.revoke(user, session.id) for session in wanted)
        elif options["kept"] is not None:
            revoked = user_sessions.revoke_others(user, _Kept(kept[0]))
        else:
            revoked = user_sessions.revoke_all(user)
        if not dry_run:
            sessions = "session" if revoked == 1 else "sessions"
            self._say(options, {"revoked": revoked}, f"{revoked} {sessions} of user {user} revoked")
        if options["id"] is not None and not wanted:
            sys.exit(1)
        self._complain_of_not_genuine(user)

    def rebuild(self, options):
        read, logged_in, unread = user_sessions.rebuild()
        _, removed = user_sessions.clean()
        values = {"sessions": read, "logged_in": logged_in, "unread": unread, "removed": removed}
        text = f"{read} sessions looked at, {logged_in} with a user are in the index, {removed} entries removed"
        self._say(options, values, text)
        if unread:
            self.stderr.write(f"{unread} sessions could not be read, and may be missing in the index")
            sys.exit(3)

    def clean(self, options):
        dry_run = options["dry_run"]
        checked, removed = user_sessions.clean(dry_run)
        if dry_run:
            values = {"entries": checked, "removed": 0, "found": removed}
            self._say(options, values, f"{checked} entries checked, {removed} found; nothing was removed")
        else:
            self._say(
                options, {"entries": checked, "removed": removed}, f"{checked} entries checked, {removed} removed"
            )

    def _of_id(self, listed, id):
        digits = id.lower()
        if len(digits) < LEAST_DIGITS or set(digits) - set("0123456789abcdef"):
            raise CommandError(
                "a session's id has 12 digits of 0 to 9 and a to f, such as 3f9a0c61b2d4, of which the first "
                f"{LEAST_DIGITS} or more are enough",
                returncode=2,
            )
        found = [session for session in listed if session.id.startswith(digits)]
        if len(found) > 1:
            ids = ", ".join(session.id[:12] for session in found)
            message = (
                f"{len(found)} sessions of this user have an id that begins with {digits}: {ids}; give more digits."
            )
            raise CommandError(message + " Nothing was changed.", returncode=2)
        return found

    def _say(self, options, values, text):
        self.stdout.write(json.dumps(values) if options["json"] else text)

    def _complain_of_not_genuine(self, user):
        count = user_sessions.not_genuine(user)
        if count:
            self.stderr.write(
                f"{count} sessions of this user in the index are not signed with this secret, and were passed by; "
                "`manage.py check --database default` tells more"
            )
            sys.exit(3)


class _Kept:
    """Stands for the session that stays."""

    def __init__(self, session):
        self.session_key = session._entry.session_key


def _time(time):
    if time is None:
        return None
    if django_timezone.is_naive(time):
        time = django_timezone.make_aware(time, django_timezone.get_default_timezone())
    return time.astimezone(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def _values(session):
    return {
        "id": session.id[:12],
        "user": session.user_id,
        "first_seen": _time(session.first_seen),
        "last_seen": _time(session.last_seen),
        "expire_date": _time(session.expire_date),
        "address": session.address,
        "user_agent": session.user_agent,
    }


def _line(session):
    address, user_agent = (_printable(text) or "-" for text in (session.address, session.user_agent))
    times = f"{_time(session.first_seen)}  {_time(session.last_seen)}"
    return f"{session.id[:12]}  {times}  {address:<15}  {user_agent}"


def _printable(text):
    # A visitor chose it: it must not act on the terminal.
    return text and "".join(letter if letter.isprintable() else "?" for letter in text)
