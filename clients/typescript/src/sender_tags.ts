// A question and two answers in the dialect "sender tags": the client keeps the reply SURBs.
//
// usage: node dist/sender_tags.js [ALICE_PORT BOB_PORT]

import { setTimeout as sleep } from "node:timers/promises";
import { App, ports } from "./app.js";

const LANE = 7;

type Id = string | number;

type Request =
  | { type: "selfAddress" }
  | { type: "send"; id?: Id; message: string; recipient: string; connectionId?: number }
  | {
      type: "sendAnonymous";
      id?: Id;
      message: string;
      recipient: string;
      replySurbs: number;
      connectionId?: number;
    }
  | { type: "reply"; id?: Id; message: string; senderTag: string; connectionId?: number };

type Frame =
  | { type: "selfAddress"; address: string }
  | { type: "received"; message: string; senderTag: string | null }
  | { type: "laneQueueLength"; lane: number; queue_length: number }
  | { type: "accepted"; id: Id }
  | { type: "delivered"; id: Id; latencyMs: number }
  | { type: "failed"; id: Id; message: string }
  | { type: "error"; id?: Id; message: string };

function request(app: App, request: Request): void {
  app.send(JSON.stringify(request));
}

async function nextFrame(app: App): Promise<Frame> {
  return JSON.parse(String(await app.next()));
}

async function addressOf(app: App): Promise<string> {
  request(app, { type: "selfAddress" });
  const frame = await nextFrame(app);
  if (frame.type !== "selfAddress") {
    throw new Error(`${frame.type} is no answer`);
  }
  return frame.address;
}

async function ask(app: App, recipient: string): Promise<void> {
  request(app, {
    type: "sendAnonymous",
    id: "question",
    message: "What is a mixnet?",
    recipient,
    replySurbs: 2, // the means to answer twice
    connectionId: LANE,
  });
  let answers = 0;
  let delivered = false;
  while (answers < 2 || !delivered) {
    const frame = await nextFrame(app);
    switch (frame.type) {
      case "accepted":
        console.log("alice's client has the question, and will not lose it");
        break;
      case "laneQueueLength":
        console.log(`lane ${frame.lane} holds ${frame.queue_length} packets`);
        break;
      case "delivered":
        console.log(`alice's question was delivered after ${frame.latencyMs} ms`);
        delivered = true;
        break;
      case "received":
        console.log(`alice received: ${frame.message}`);
        answers += 1;
        break;
      case "failed":
      case "error":
        throw new Error(frame.message);
    }
  }
}

/** Answers by tag; waits for the SURB to come if it is still under way. */
async function reply(app: App, senderTag: string, message: string): Promise<void> {
  for (;;) {
    request(app, { type: "reply", id: message, message, senderTag });
    const frame = await nextFrame(app);
    if (frame.type === "accepted") {
      break;
    }
    if (frame.type !== "error" || !frame.message.includes("no reply SURB")) {
      throw new Error(JSON.stringify(frame));
    }
    await sleep(200);
  }
  const end = await nextFrame(app);
  if (end.type !== "delivered") {
    throw new Error(JSON.stringify(end));
  }
  console.log("bob's answer was delivered, to somebody");
}

async function answerTwice(app: App): Promise<void> {
  const question = await nextFrame(app);
  if (question.type !== "received" || question.senderTag === null) {
    throw new Error(`${question.type} cannot be answered`);
  }
  console.log(`bob received: ${question.message}`);
  await reply(app, question.senderTag, "A network");
  await reply(app, question.senderTag, "that hides who talks to whom.");
}

const [alicePort, bobPort] = ports();
const alice = await App.connect(alicePort, "/v1");
const bob = await App.connect(bobPort, "/v1");
await Promise.all([ask(alice, await addressOf(bob)), answerTwice(bob)]);
alice.close();
bob.close();
