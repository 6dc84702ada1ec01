"""Alice says hello to Bob: two apps, two clients, one mixnet.

usage: hello_bob.py [ALICE_PORT BOB_PORT]
"""

import asyncio
import json
import sys

import websockets


async def address_of(websocket):
    await websocket.send(json.dumps({"type": "selfAddress"}))
    return json.loads(await websocket.recv())["address"]


async def hello(alice_port, bob_port):
    async with (
        websockets.connect(f"ws://localhost:{alice_port}") as alice,
        websockets.connect(f"ws://localhost:{bob_port}") as bob,
    ):
        request = {"type": "send", "message": "Hello Bob!", "recipient": await address_of(bob)}
        await alice.send(json.dumps(request))
        confirmation = json.loads(await alice.recv())
        assert confirmation == {"type": "send"}, confirmation
        print(f"bob received {await bob.recv()}")


if __name__ == "__main__":
    ports = [int(port) for port in sys.argv[1:]] or [1977, 1978]
    asyncio.run(hello(*ports))
