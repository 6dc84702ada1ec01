"""Alice says hello to Bob: two apps, two clients, one mixnet.

usage: hello_bob.py [ALICE_PORT BOB_PORT]
"""

import asyncio
import json
import sys

import websockets


async def address_of(port):
    # Who wants no pushes hears answers alone, and no message that has been waiting for an app.
    async with websockets.connect(f"ws://localhost:{port}/?pushes=no") as app:
        await app.send(json.dumps({"type": "selfAddress"}))
        return json.loads(await app.recv())["address"]


async def hello(alice_port, bob_port):
    message = "Hello Bob!"
    request = {"type": "send", "message": message, "recipient": await address_of(bob_port)}
    async with (
        websockets.connect(f"ws://localhost:{alice_port}/?pushes=no") as alice,
        websockets.connect(f"ws://localhost:{bob_port}") as bob,
    ):
        await alice.send(json.dumps(request))
        confirmation = json.loads(await alice.recv())
        assert confirmation == {"type": "send"}, confirmation
        async for received in bob:
            print(f"bob received {received}")
            if received == message:
                break


if __name__ == "__main__":
    ports = [int(port) for port in sys.argv[1:]] or [1977, 1978]
    asyncio.run(hello(*ports))
