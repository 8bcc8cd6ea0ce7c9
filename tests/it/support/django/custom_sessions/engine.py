"""The engine that fills the column, and has a cookie age of its own where a test asks for one."""

import os

from django.contrib.sessions.backends.db import SessionStore as DBStore


class SessionStore(DBStore):
    @classmethod
    def get_model_class(cls):
        from custom_sessions.models import CustomSession

        return CustomSession

    def create_model_instance(self, data):
        obj = super().create_model_instance(data)
        try:
            account_id = int(data.get("_auth_user_id"))
        except (ValueError, TypeError):
            account_id = None
        obj.account_id = account_id
        return obj

    def get_session_cookie_age(self):
        age = os.environ.get("SITE_OWN_COOKIE_AGE")
        return int(age) if age else super().get_session_cookie_age()
