import threading

from django.contrib.auth.models import User
from django.core.management import call_command
from django.db import connections
from django.test import Client, TransactionTestCase

from django_cloakroom import user_sessions

VISITORS = 10


class Shop(TransactionTestCase):
    def login(self, user_agent):
        client = Client(HTTP_USER_AGENT=user_agent)
        client.post("/login/", {"username": "ann", "password": "secret"})
        return client

    def test_requests_at_once_are_all_counted(self):
        client = Client()
        self.assertContains(client.get("/"), "Visits: 1")
        start = threading.Barrier(VISITORS)

        def visit():
            visitor = Client()
            visitor.cookies = client.cookies
            start.wait()
            visitor.get("/")
            connections.close_all()

        threads = [threading.Thread(target=visit) for _ in range(VISITORS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertContains(client.get("/"), f"Visits: {VISITORS + 2}")

    def test_a_user_logs_out_the_other_devices(self):
        User.objects.create_user("ann", password="secret")
        laptop = self.login("Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0")
        phone = self.login("Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) AppleWebKit/605 Safari/604.1")
        tablet = self.login("Mozilla/5.0 (iPad; CPU OS 18_0 like Mac OS X) AppleWebKit/605 CriOS/130 Safari/604.1")
        page = laptop.get("/sessions/")
        self.assertContains(page, "Firefox on Linux (this one)")
        self.assertContains(page, "Safari on iPhone")
        self.assertContains(page, "Chrome on iPad")
        sessions = user_sessions.list_sessions(User.objects.get().pk)
        of_phone = next(session for session in sessions if session.device == "Safari on iPhone")
        self.assertContains(laptop.post("/sessions/end/", {"id": of_phone.id}, follow=True), "is logged out")
        self.assertEqual(phone.get("/sessions/").status_code, 302)
        page = laptop.post("/sessions/end-others/", follow=True)
        self.assertContains(page, "Other sessions logged out: 1")
        self.assertEqual(tablet.get("/sessions/").status_code, 302)
        self.assertEqual(laptop.get("/sessions/").status_code, 200)

    def test_the_settings_pass_the_checks(self):
        call_command("check", databases=["default"], fail_level="WARNING")
