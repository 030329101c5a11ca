#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""A chat room: model "shared", framing "lines". Redis connects the rooms of several servers.

One process runs for all clients of a server. What any of them says comes on stdin and is
published; what is published, here or elsewhere, goes to stdout and so to every client.
REDIS_URL names the Redis server, CHAT_ROOM the room. Needs Debian's python3-redis.
"""
import os
import sys
import threading

import redis

url = os.environ.get("REDIS_URL", "unix:///run/redis/redis-server.sock")
room = os.environ.get("CHAT_ROOM", "lobby")
server = redis.Redis.from_url(url, encoding_errors="replace", decode_responses=True)


def publish():
    for message in sys.stdin:
        server.publish(room, message.rstrip("\n"))
    os._exit(0)  # nobody is left; the main thread waits for Redis and would not notice


sys.stdin.reconfigure(encoding="utf-8")
sys.stdout.reconfigure(encoding="utf-8", line_buffering=True)
try:
    with server.pubsub() as subscription:
        subscription.subscribe(room)
        for event in subscription.listen():
            if event["type"] == "subscribe":
                print(f"You are in {room}.")
                threading.Thread(target=publish, daemon=True).start()
            elif event["type"] == "message":
                print(event["data"])
except redis.RedisError as error:
    sys.exit(f"Redis at {url}: {error}")  # in the error log; the sessions are closed with 1011
