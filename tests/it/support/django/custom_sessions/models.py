"""The table: Django's, and whose session it is."""

from django.contrib.sessions.base_session import AbstractBaseSession
from django.db import models


class CustomSession(AbstractBaseSession):
    account_id = models.IntegerField(null=True, db_index=True)

    @classmethod
    def get_session_store_class(cls):
        from custom_sessions.engine import SessionStore

        return SessionStore
