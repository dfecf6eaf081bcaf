"""What makes a Django application multi-tenant behind pgwarden: one middleware, which shows the request's API key in a
comment of each statement. pgwarden takes it out and looks it up; the server never sees it."""

import re

from django.db import connection
from django.http import HttpResponse


def show_api_key(get_response):
    def middleware(request):
        key = request.headers.get("X-Api-Key")
        if key is None:  # the default organisation
            return get_response(request)
        # It goes into SQL: nothing may be in it that could end the comment.
        if not re.fullmatch(r"[A-Za-z0-9._-]+", key):
            return HttpResponse(status=401)
        with connection.execute_wrapper(
            lambda execute, sql, params, many, context: execute(f"{sql} /*pgwarden_token='{key}'*/", params, many, context)
        ):
            return get_response(request)

    return middleware
