"""Tells the index of user sessions where a request comes from."""

from asgiref.sync import iscoroutinefunction, markcoroutinefunction


class ClientMiddleware:
    """
    Notes the address and the browser of each request for the list of a user's sessions. It stands after
    SessionMiddleware. It neither loads nor changes the session.

    Behind a proxy REMOTE_ADDR is the proxy's: then subclass it, and override `address` to read the header that your
    proxy sets.
    """

    sync_capable = True
    async_capable = True

    def __init__(self, get_response):
        self.get_response = get_response
        if iscoroutinefunction(get_response):
            markcoroutinefunction(self)

    def __call__(self, request):
        # Django's own engines have none, and nor has a request that came without SessionMiddleware.
        set_client = getattr(getattr(request, "session", None), "set_client", None)
        if set_client is not None:
            set_client(self.address(request), request.META.get("HTTP_USER_AGENT"))
        # A response, or the coroutine of one.
        return self.get_response(request)

    def address(self, request):
        return request.META.get("REMOTE_ADDR")
