// A question and its answer in the dialect "v0.11", in binary frames: for messages of any bytes.
//
// usage: node dist/v0_11_binary.js [ALICE_PORT BOB_PORT]
//
// Integers are big-endian, lengths have 8 bytes; docs/app-api.md draws the frames.

import { App, ports } from "./app.js";

const SEND = 0;
const REPLY = 1;
const SELF_ADDRESS = 2;

const ERROR = 0;
const RECEIVED = 1;
const ADDRESS = 2;

function withLen(data: Uint8Array): Buffer {
  const len = Buffer.alloc(8);
  len.writeBigUInt64BE(BigInt(data.length));
  return Buffer.concat([len, data]);
}

function sendRequest(recipient: Uint8Array, message: Uint8Array, withReplySurb: boolean): Buffer {
  const head = Buffer.from([SEND, Number(withReplySurb)]);
  return Buffer.concat([head, recipient, withLen(message)]);
}

function replyRequest(replySurb: Uint8Array, message: Uint8Array): Buffer {
  return Buffer.concat([Buffer.from([REPLY]), withLen(replySurb), withLen(message)]);
}

/** What the next frame holds behind its tag, which has to be this one. */
async function nextFrame(app: App, tag: number): Promise<Buffer> {
  const frame = await app.next();
  if (typeof frame === "string") {
    throw new Error(`text instead of a binary frame: ${frame}`);
  }
  if (frame[0] === ERROR) {
    throw new Error(`code ${frame[1]}: ${frame.toString("utf8", 10)}`);
  }
  if (frame[0] !== tag) {
    throw new Error(`a frame of tag ${frame[0]} instead of ${tag}`);
  }
  return frame.subarray(1);
}

async function addressOf(app: App): Promise<Buffer> {
  app.send(Uint8Array.of(SELF_ADDRESS));
  return nextFrame(app, ADDRESS);
}

/** A message from the network, and the reply SURB that came with it, if any. */
async function nextMessage(app: App): Promise<{ message: Buffer; replySurb?: Buffer }> {
  const body = await nextFrame(app, RECEIVED);
  if (body[0] === 0) {
    return { message: body.subarray(9) };
  }
  const surbLen = Number(body.readBigUInt64BE(1));
  const replySurb = body.subarray(9, 9 + surbLen);
  return { message: body.subarray(9 + surbLen + 8), replySurb };
}

const [alicePort, bobPort] = ports();
const alice = await App.connect(alicePort, "/v0.11");
const bob = await App.connect(bobPort, "/v0.11");

const recipient = await addressOf(bob);
alice.send(sendRequest(recipient, Uint8Array.of(0x00, 0xff, 0x7f), true));

const { message: question, replySurb } = await nextMessage(bob);
console.log(`bob received: ${question.toString("hex")}`);
if (replySurb === undefined) {
  throw new Error("the question came without a reply SURB");
}
bob.send(replyRequest(replySurb, Buffer.from(question).reverse()));

const { message: answer } = await nextMessage(alice);
console.log(`alice received: ${answer.toString("hex")}`);
alice.close();
bob.close();
