from django.contrib.auth.views import LoginView, LogoutView
from django.urls import path

from . import views

urlpatterns = [
    path("", views.count),
    path("sessions/", views.sessions),
    path("sessions/end/", views.end),
    path("sessions/end-others/", views.end_others),
    path("login/", LoginView.as_view(template_name="login.html")),
    path("logout/", LogoutView.as_view()),
]
