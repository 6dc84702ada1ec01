"""A question and two answers in the dialect *sender tags*: the client keeps the reply SURBs.

usage: sender_tags.py [ALICE_PORT BOB_PORT]
"""

import asyncio
import json
import sys

import websockets

LANE = 7


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
        type="sendAnonymous",
        id="question",
        message="What is a mixnet?",
        recipient=recipient,
        replySurbs=2,  # the means to answer twice
        connectionId=LANE,
    )
    answers = 0
    delivered = False
    while answers < 2 or not delivered:
        frame = await next_frame(app)
        match frame["type"]:
            case "accepted":
                print("alice's client has the question, and will not lose it")
            case "laneQueueLength":
                print(f"lane {frame['lane']} holds {frame['queue_length']} packets")
            case "delivered":
                print(f"alice's question was delivered after {frame['latencyMs']} ms")
                delivered = True
            case "received":
                print(f"alice received: {frame['message']}")
                answers += 1


async def reply(app, sender_tag, message):
    """Answers by tag; waits for the SURB to come if it is still under way."""
    while True:
        await request(app, type="reply", id=message, message=message, senderTag=sender_tag)
        frame = json.loads(await app.recv())
        if frame["type"] == "accepted":
            break
        if "no reply SURB" not in frame["message"]:
            raise RuntimeError(frame["message"])
        await asyncio.sleep(0.2)
    while (await next_frame(app))["type"] != "delivered":
        pass
    print("bob's answer was delivered, to somebody")


async def answer_one(app):
    question = await next_frame(app)
    print(f"bob received: {question['message']}")
    for message in ("A network", "that hides who talks to whom."):
        await reply(app, question["senderTag"], message)


async def main(alice_port, bob_port):
    async with (
        websockets.connect(f"ws://localhost:{alice_port}/v1") as alice,
        websockets.connect(f"ws://localhost:{bob_port}/v1") as bob,
    ):
        recipient = await address_of(bob)
        await asyncio.gather(ask(alice, recipient), answer_one(bob))


if __name__ == "__main__":
    ports = [int(port) for port in sys.argv[1:]] or [1977, 1978]
    asyncio.run(main(*ports))
