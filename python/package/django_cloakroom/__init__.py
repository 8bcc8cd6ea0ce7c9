"""Session engines for Django that lose no updates. In settings: SESSION_ENGINE = "django_cloakroom.db"."""

try:
    from . import _core
except ImportError as error:
    raise ImportError(
        "django_cloakroom._core, the native part of django-cloakroom, is missing or was built for another platform; "
        "install the wheel of this platform, or build it from the source package, which needs Rust 1.89 or later"
    ) from error

SessionUnreadable = _core.SessionUnreadable

__all__ = ["SessionUnreadable"]
