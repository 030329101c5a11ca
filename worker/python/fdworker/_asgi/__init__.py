# SPDX-License-Identifier: BSD-3-Clause
"""The parts of the ASGI runner (fdworker.asgi). Private: programs use the command.

options      the command line                   loading    finds and adapts the application
stream       a client's socket, with bounds     client     ... and where it came from, how it ends
http1        HTTP/1.1 requests, with h11        websocket  sessions, with wsproto
scope        what applications are told         lifespan   start and end of the application
wsgi         WSGI applications in threads       server     where connections come from; the drain
"""
