"""Carries the lab's API server to 127.0.0.1 for the user's kubectl and browser.

Runs as `relay.py HOST PORT` inside the network namespace of the API server. File descriptor 3 is
a listening socket that was made in the machine's own namespace: a socket stays in the namespace
that it was created in, so one process joins the two without an address of its own.
"""

import asyncio
import socket
import sys

LISTENER_FD = 3


async def pump(reader, writer):
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
        if writer.can_write_eof():
            writer.write_eof()
    except (ConnectionError, OSError):
        writer.transport.abort()


async def serve(reader, writer, target):
    try:
        onward = await asyncio.wait_for(asyncio.open_connection(*target), 10)
    except (TimeoutError, OSError):
        writer.transport.abort()
        return
    for end in (writer, onward[1]):
        end.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    try:
        await asyncio.gather(pump(reader, onward[1]), pump(onward[0], writer))
    finally:
        writer.close()
        onward[1].close()


async def main(host, port):
    listener = socket.socket(fileno=LISTENER_FD)
    listener.setblocking(False)
    server = await asyncio.start_server(
        lambda reader, writer: serve(reader, writer, (host, port)), sock=listener
    )
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2])))
