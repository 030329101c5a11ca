# SPDX-License-Identifier: BSD-3-Clause
"""The reference for WSGI: waitress with odd_apps on a port of 127.0.0.1."""
import sys

import odd_apps
import waitress

waitress.serve(odd_apps.app, host="127.0.0.1", port=int(sys.argv[1]), threads=4)
