"""A question and its answer in the dialect *seed*: JSON requests, and messages as they are.

usage: seed.py [ALICE_PORT BOB_PORT]
"""

import asyncio
import json
import sys
import uuid

import websockets


async def address_of(app):
    await app.send(json.dumps({"type": "selfAddress"}))
    return json.loads(await app.recv())["address"]


def about(request_id, frame):
    """What the client says about a request of ours, or None for a message from the network.

    In this dialect a message comes as its sender wrote it, so it might look like an answer. An id
    that nobody can guess tells them apart.
    """
    try:
        answer = json.loads(frame)
    except ValueError:
        return None
    return answer if isinstance(answer, dict) and answer.get("id") == request_id else None


async def ask(app, recipient):
    # Nobody learns who sent a message, unless it says so: here, to get an answer.
    question = {"question": "What is a mixnet?", "answer_to": await address_of(app)}
    request_id = str(uuid.uuid4())
    request = {"type": "send", "id": request_id, "message": question, "recipient": recipient}
    await app.send(json.dumps(request))

    answered = delivered = False
    while not (answered and delivered):
        frame = await app.recv()
        answer = about(request_id, frame)
        if answer is None:
            print(f"alice received: {frame}")
            answered = True
        elif answer["type"] == "send":
            print("alice's client has the question, and will not lose it")
        elif answer["type"] == "delivered":
            print(f"alice's question was delivered after {answer['latencyMs']} ms")
            delivered = True
        else:
            raise RuntimeError(answer["message"])


async def answer_one(app):
    question = json.loads(await app.recv())
    print(f"bob received: {question['question']}")
    request = {
        "type": "send",
        "message": "A network that hides who talks to whom.",
        "recipient": question["answer_to"],
    }
    await app.send(json.dumps(request))
    confirmation = json.loads(await app.recv())
    if confirmation["type"] != "send":
        raise RuntimeError(confirmation["message"])


async def main(alice_port, bob_port):
    async with (
        websockets.connect(f"ws://localhost:{alice_port}/seed") as alice,
        websockets.connect(f"ws://localhost:{bob_port}/seed") as bob,
    ):
        recipient = await address_of(bob)
        await asyncio.gather(ask(alice, recipient), answer_one(bob))


if __name__ == "__main__":
    ports = [int(port) for port in sys.argv[1:]] or [1977, 1978]
    asyncio.run(main(*ports))
