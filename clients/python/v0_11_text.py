"""A question and its answer in the dialect *v0.11*, in JSON: Bob answers without knowing whom.

usage: v0_11_text.py [ALICE_PORT BOB_PORT]
"""

import asyncio
import json
import sys

import websockets


async def request(app, **members):
    await app.send(json.dumps(members))


async def next_frame(app):
    frame = json.loads(await app.recv())
    if frame["type"] in ("error", "failed"):
        raise RuntimeError(frame["message"])
    return frame


async def address_of(app):
    await request(app, type="selfAddress")
    return (await next_frame(app))["address"]


async def ask(app, recipient):
    await request(
        app,
        type="send",
        id=1,
        message="What is a mixnet?",
        recipient=recipient,
        # The means to answer once, without telling to whom.
        withReplySurb=True,
    )
    answered = delivered = False
    while not (answered and delivered):
        frame = await next_frame(app)
        match frame["type"]:
            case "accepted":
                print("alice's client has the question, and will not lose it")
            case "delivered":
                print(f"alice's question was delivered after {frame['latencyMs']} ms")
                delivered = True
            case "received":
                print(f"alice received: {frame['message']}")
                answered = True


async def answer_one(app):
    question = await next_frame(app)
    print(f"bob received: {question['message']}")
    await request(
        app,
        type="reply",
        id="my answer",
        message="A network that hides who talks to whom.",  # at most 1,610 bytes
        replySurb=question["replySurb"],  # works once
    )
    while (await next_frame(app))["type"] != "delivered":
        pass
    print("bob's answer was delivered, to somebody")


async def main(alice_port, bob_port):
    async with (
        websockets.connect(f"ws://localhost:{alice_port}/v0.11") as alice,
        websockets.connect(f"ws://localhost:{bob_port}/v0.11") as bob,
    ):
        # Pushes come as the app spoke last: in text, after this request in text.
        recipient = await address_of(bob)
        await asyncio.gather(ask(alice, recipient), answer_one(bob))


if __name__ == "__main__":
    ports = [int(port) for port in sys.argv[1:]] or [1977, 1978]
    asyncio.run(main(*ports))
