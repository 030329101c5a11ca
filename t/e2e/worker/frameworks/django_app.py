# SPDX-License-Identifier: BSD-3-Clause
"""Django, in one file. `app` is for ASGI, `wsgi` for WSGI."""
import os
import tempfile

import django
from django.conf import settings
from django.core.asgi import get_asgi_application
from django.core.wsgi import get_wsgi_application
from django.http import FileResponse, JsonResponse, StreamingHttpResponse
from django.urls import path

settings.configure(DEBUG=False, SECRET_KEY="x" * 50, ROOT_URLCONF=__name__, ALLOWED_HOSTS=["*"],
                   MIDDLEWARE=[], LOGGING_CONFIG=None, DATABASES={})
django.setup()


def now(request):
    return JsonResponse({"framework": "Django"})


def about(request):
    return JsonResponse({"client": request.META["REMOTE_ADDR"], "url": request.build_absolute_uri(),
                         "user": request.META.get("REMOTE_USER")})


def upload(request):
    return JsonResponse({"bytes": len(request.body)})


def stream(request):
    file = tempfile.TemporaryFile()
    os.ftruncate(file.fileno(), int(request.GET.get("mb", "300")) << 20)
    if hasattr(request, "scope") and django.VERSION >= (4, 2):
        # There Django would make a list of all that a FileResponse yields, before it sends any.
        async def parts():
            with file:
                while part := file.read(65536):
                    yield part
        return StreamingHttpResponse(parts())
    return FileResponse(file)


def fail(request):
    raise ValueError("on purpose")


def sync(request, number):
    return JsonResponse({"number": number})


urlpatterns = [path("hot/now", now), path("hot/about", about), path("hot/upload", upload),
               path("hot/stream", stream), path("hot/fail", fail),
               path("hot/sync/<int:number>", sync)]
settings.DATA_UPLOAD_MAX_MEMORY_SIZE = 1 << 30
app = get_asgi_application()
wsgi = get_wsgi_application()
