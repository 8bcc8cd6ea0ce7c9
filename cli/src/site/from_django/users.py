"""Run by `manage.py shell -c`: answers for users and back ends, a line of JSON for a line of JSON, the session auth hashes
under each secret. No password hash leaves this process."""


def _cloakroom_users():
    import json
    import sys

    from django.conf import settings
    from django.contrib.auth import get_user_model, load_backend
    from django.contrib.auth.backends import ModelBackend
    from django.contrib.auth.base_user import AbstractBaseUser
    from django.core.exceptions import ObjectDoesNotExist, ValidationError
    from django.db import reset_queries
    from django.utils.crypto import salted_hmac
    from django.utils.encoding import force_bytes

    def text(secret):
        try:
            return secret.decode()
        except UnicodeDecodeError:
            return secret

    # The secret, then the older ones. They are the project's own, unless options of the command name others.
    secrets = [settings.SECRET_KEY, *getattr(settings, "SECRET_KEY_FALLBACKS", [])]
    asked = [bytes.fromhex(secret) for secret in json.loads(sys.stdin.readline())]
    if [force_bytes(secret) for secret in secrets] != asked:
        secrets = [text(secret) for secret in asked]
        settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = secrets[0], secrets[1:]
    model = get_user_model()
    key_salt = "django.contrib.auth.models.AbstractBaseUser.get_session_auth_hash"

    def with_secret(secret, hash_of):
        settings.SECRET_KEY = secret
        try:
            return hash_of()
        finally:
            settings.SECRET_KEY = secrets[0]

    def hashes(user):
        """For each secret the hashes that are taken with it, the one to write first. None of a user without any."""
        if not hasattr(user, "get_session_auth_hash"):
            return []
        found = [[with_secret(secret, user.get_session_auth_hash)] for secret in secrets]
        if len(secrets) > 1 and hasattr(user, "get_session_auth_fallback_hash"):
            for number, fallback in enumerate(user.get_session_auth_fallback_hash(), 1):
                found[min(number, len(secrets) - 1)].append(fallback)
        # As Django before 3.1 made them; from a model that hashes in another way, nobody has one.
        if getattr(type(user), "get_session_auth_hash", None) is AbstractBaseUser.get_session_auth_hash:
            for secret, known in zip(secrets, found):
                known.append(salted_hmac(key_salt, user.password, secret=secret).hexdigest())
        return found

    def key_of(user_id):
        try:
            return model._meta.pk.to_python(user_id)
        except (ValidationError, ValueError, TypeError, OverflowError):
            return None

    def own_backend(path):
        """The back end, if it finds users in a way of its own."""
        if path in settings.AUTHENTICATION_BACKENDS:
            backend = load_backend(path)
            if getattr(type(backend), "get_user", None) is not ModelBackend.get_user:
                return backend
        return None

    def user_of(backend, user_id):
        try:
            return backend.get_user(key_of(user_id))
        except (ObjectDoesNotExist, ValueError, TypeError):
            return None

    backends = {}
    for line in sys.stdin:
        wanted = json.loads(line)
        for _, path in wanted:
            if path not in backends:
                backends[path] = own_backend(path)
        keys = {key_of(user_id) for user_id, path in wanted if backends[path] is None} - {None}
        users = model._default_manager.in_bulk(list(keys)) if keys else {}
        answers = []
        for user_id, path in wanted:
            backend = backends[path]
            user = users.get(key_of(user_id)) if backend is None else user_of(backend, user_id)
            answers.append(None if user is None else hashes(user))
        print("\ncloakroom-users " + json.dumps(answers), flush=True)
        reset_queries()


_cloakroom_users()
