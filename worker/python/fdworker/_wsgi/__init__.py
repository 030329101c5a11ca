# SPDX-License-Identifier: BSD-3-Clause
"""The parts of the WSGI runner (fdworker.wsgi):

    server      the life of a request, in the loop and in threads
    request     the head, by h11; why a request is refused
    environ     what the application is told
    answer      what it answers, as HTTP
    output      the answer's way to a client that may be slow
    options     numbers within bounds, `module:app`
"""
