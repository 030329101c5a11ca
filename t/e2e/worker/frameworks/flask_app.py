# SPDX-License-Identifier: BSD-3-Clause
"""Flask, by --interface wsgi."""
from flask import Flask, Response, request

app = Flask(__name__)


@app.get("/hot/now")
def now():
    return {"framework": "Flask"}


@app.get("/hot/about")
def about():
    return {"client": request.remote_addr, "url": request.url,
            "user": request.environ.get("REMOTE_USER")}


@app.post("/hot/upload")
def upload():
    return {"bytes": len(request.get_data())}


@app.get("/hot/stream")
def stream():
    mb = int(request.args.get("mb", "300"))
    return Response(bytes(65536) for _ in range(mb * 16))


@app.get("/hot/sync/<int:number>")
def sync(number):
    return {"number": number}


@app.get("/hot/fail")
def fail():
    raise ValueError("on purpose")
