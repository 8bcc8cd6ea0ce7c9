from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.shortcuts import redirect, render
from django.views.decorators.http import require_POST

from django_cloakroom import user_sessions


def count(request):
    # Right for requests at once too: a conflict calls the function again with the other request's count.
    visits = request.session.modify("visits", lambda visits: (visits or 0) + 1)
    return render(request, "count.html", {"visits": visits})


@login_required
def sessions(request):
    return render(request, "sessions.html")


@require_POST
@login_required
def end(request):
    if user_sessions.revoke(request.user.pk, request.POST["id"]):
        messages.info(request, "That session is logged out.")
    return redirect(sessions)


@require_POST
@login_required
def end_others(request):
    ended = user_sessions.revoke_others(request.user.pk, request.session)
    messages.info(request, f"Other sessions logged out: {ended}")
    return redirect(sessions)
