"""
The list of a user's sessions, for a page "where you are logged in":

    {% load cloakroom %}
    {% user_sessions as sessions %}
    {% for session in sessions %}
      {{ session.device|default:"unknown" }}, last seen {{ session.last_seen }}
      {% if session.is_current %}(this one){% endif %}
    {% endfor %}
"""

from django import template

from django_cloakroom import user_sessions as of_users

register = template.Library()


@register.simple_tag(takes_context=True)
def user_sessions(context):
    """
    The sessions of the user who is logged in in this request, the last seen first; none if nobody is. Each has `id`,
    `device`, `first_seen`, `last_seen`, `expire_date`, `address`, `user_agent` and `is_current`.
    """
    session = context["request"].session
    user_id = of_users.user_id_in(session)
    return of_users.list_sessions(user_id, session) if isinstance(user_id, str) else []
