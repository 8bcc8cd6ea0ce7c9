"""
What an operator can count, through the logger `django_cloakroom`. Each record has an `event`, the `engine`, and for a
merge the `retries`; none has a session key, a cookie or session data. docs/django-engine.md has the list.
"""

import logging

logger = logging.getLogger("django_cloakroom")


def merged(session, retries):
    _log(logging.DEBUG, "session saved on top of another request's changes", session, "merged", retries=retries)


def interrupted(session):
    _log(logging.DEBUG, "session not saved: it was deleted meanwhile", session, "interrupted")


def refused(session, retries):
    message = "session not saved: other requests changed it meanwhile"
    _log(logging.WARNING, message, session, "refused", retries=retries)


def unreadable(session):
    _log(logging.WARNING, "a stored session cannot be read, and stays as it is", session, "unreadable")


def _log(level, message, session, event, **values):
    if logger.isEnabledFor(level):
        logger.log(level, message, extra={"event": event, "engine": type(session).__module__, **values})
