// SPDX-License-Identifier: BSD-3-Clause
// uWebSockets itself, as Bun contains it: echoes messages in its own event loop.
//
// Usage: bun uwebsockets.js      prints the port it listens on
const longest = 64 * 1024 * 1024;  // bytes, of a message, and for a client that does not read

const server = Bun.serve({
  hostname: "127.0.0.1",
  port: 0,
  fetch(request, server) {
    return server.upgrade(request) ? undefined : new Response("WebSocket only", { status: 426 });
  },
  websocket: {
    maxPayloadLength: longest,
    backpressureLimit: longest,
    message(client, message) {
      client.send(message);
    },
  },
});
console.log(server.port);
