"""The custom store of Django's `sessions_tests.models`, on our engine."""

from sessions_tests.models import CustomSession

from django_cloakroom.db import SessionStore as DatabaseStore


class SessionStore(DatabaseStore):
    @classmethod
    def get_model_class(cls):
        return CustomSession

    def create_model_instance(self, data):
        row = super().create_model_instance(data)
        try:
            row.account_id = int(data.get("_auth_user_id"))
        except (ValueError, TypeError):
            row.account_id = None
        return row

    def get_session_cookie_age(self):
        return 60 * 60 * 24
