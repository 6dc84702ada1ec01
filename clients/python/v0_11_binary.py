"""A question and its answer in the dialect *v0.11*, in binary frames: for messages of any bytes.

usage: v0_11_binary.py [ALICE_PORT BOB_PORT]

Integers are big-endian, lengths have 8 bytes; docs/app-api.md draws the frames.
"""

import asyncio
import struct
import sys

import websockets

SEND, REPLY, SELF_ADDRESS = 0, 1, 2
ERROR, RECEIVED, ADDRESS = 0, 1, 2


def with_len(data):
    return struct.pack(">Q", len(data)) + data


def send_request(recipient, message, with_reply_surb):
    return bytes([SEND, with_reply_surb]) + recipient + with_len(message)


def reply_request(reply_surb, message):
    return bytes([REPLY]) + with_len(reply_surb) + with_len(message)


async def next_frame(app):
    """The kind of the next frame, and what it holds behind its tag."""
    frame = await app.recv()
    if frame[0] == ERROR:
        raise RuntimeError(f"code {frame[1]:#04x}: {frame[10:].decode()}")
    return frame[0], frame[1:]


async def address_of(app):
    await app.send(bytes([SELF_ADDRESS]))
    kind, address = await next_frame(app)
    assert kind == ADDRESS and len(address) == 96
    return address


async def next_message(app):
    """A message from the network, and the reply SURB that came with it, if any."""
    kind, body = await next_frame(app)
    assert kind == RECEIVED
    reply_surb, start = None, 1
    if body[0] == 1:
        (surb_len,) = struct.unpack_from(">Q", body, 1)
        start = 9 + surb_len
        reply_surb = body[9:start]
    (message_len,) = struct.unpack_from(">Q", body, start)
    message = body[start + 8 :]
    assert len(message) == message_len
    return message, reply_surb


async def main(alice_port, bob_port):
    async with (
        websockets.connect(f"ws://localhost:{alice_port}/v0.11") as alice,
        websockets.connect(f"ws://localhost:{bob_port}/v0.11") as bob,
    ):
        recipient = await address_of(bob)
        await alice.send(send_request(recipient, b"\x00\xff\x7f", with_reply_surb=True))

        question, reply_surb = await next_message(bob)
        print(f"bob received: {question.hex()}")
        await bob.send(reply_request(reply_surb, question[::-1]))

        answer, _ = await next_message(alice)
        print(f"alice received: {answer.hex()}")


if __name__ == "__main__":
    ports = [int(port) for port in sys.argv[1:]] or [1977, 1978]
    asyncio.run(main(*ports))
