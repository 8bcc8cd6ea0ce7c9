"""Merges the lists of messages that requests keep in one session (django.contrib.messages)."""

import json

# Where Django's SessionStorage keeps its messages: a JSON text inside the session's JSON.
KEY = "_messages"


# For a key that is no longer there.
ABSENT = object()


def merge(before, after, current):
    """
    The messages after a request that loaded `before` and left `after`, now that another request left `current`.

    What this request consumed is gone, what it added comes last, and all others stay. All are values of the session, or
    None where there is none. Where nothing is left, ABSENT.
    """
    lists = [_messages(value) for value in (before, after, current)]
    if any(messages is None for messages in lists):
        # Not written by SessionStorage: as for every other key, the later change counts.
        return ABSENT if after is None else after
    loaded, left, there = lists
    merged = _without(there, _without(loaded, left)) + _without(left, loaded)
    return "[%s]" % ", ".join(merged) if merged else ABSENT


def _messages(value):
    """The text of each message; None if this is no list of messages."""
    if value is None:
        return []
    if not isinstance(value, str):
        return None
    try:
        messages = json.loads(value)
    except ValueError:
        return None
    if not isinstance(messages, list):
        return None
    return [json.dumps(message) for message in messages]


def _without(messages, others):
    """The messages that are not among the others; of equal ones, as many as there are more of."""
    others = list(others)
    left = []
    for message in messages:
        if message in others:
            others.remove(message)
        else:
            left.append(message)
    return left
