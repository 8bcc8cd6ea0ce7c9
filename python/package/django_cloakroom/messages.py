"""Merges the lists of messages that requests keep in one session (django.contrib.messages)."""

import json

# Where Django's SessionStorage keeps its messages: a JSON text inside the session's JSON.
KEY = "_messages"


def merge(before, after, current):
    """
    The messages after a request that loaded `before` and left `after`, now that another request left `current`.

    What this request consumed is gone, what it added comes last, and all others stay. All are the JSON text of the
    session's value, or None where there is none.
    """
    lists = [_messages(value) for value in (before, after, current)]
    if any(messages is None for messages in lists):
        # Not written by SessionStorage: as for every other key, the later change counts.
        return after
    loaded, left, there = lists
    merged = _without(there, _without(loaded, left)) + _without(left, loaded)
    return json.dumps("[%s]" % ", ".join(merged)) if merged else None


def _messages(value):
    """The text of each message; None if this is no list of messages."""
    if value is None:
        return []
    text = json.loads(value)
    if not isinstance(text, str):
        return None
    try:
        messages = json.loads(text)
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
