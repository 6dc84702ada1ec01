// A question and its answer in the dialect "seed": JSON requests, and messages as they are.
//
// usage: node dist/seed.js [ALICE_PORT BOB_PORT]

import { randomUUID } from "node:crypto";
import { App, ports } from "./app.js";

type Answer =
  | { type: "send"; id?: string }
  | { type: "delivered"; id: string; latencyMs: number }
  | { type: "failed" | "error"; id?: string; message: string };

async function addressOf(app: App): Promise<string> {
  app.send(JSON.stringify({ type: "selfAddress" }));
  return JSON.parse(String(await app.next())).address;
}

// In this dialect a message comes as its sender wrote it, so it might look like an answer. An id
// that nobody can guess tells them apart.
function about(id: string, frame: string): Answer | undefined {
  try {
    const answer = JSON.parse(frame);
    return answer?.id === id ? answer : undefined;
  } catch {
    return undefined;
  }
}

async function ask(app: App, recipient: string): Promise<void> {
  // Nobody learns who sent a message, unless it says so: here, to get an answer.
  const message = { question: "What is a mixnet?", answerTo: await addressOf(app) };
  const id = randomUUID();
  app.send(JSON.stringify({ type: "send", id, message, recipient }));

  let answered = false;
  let delivered = false;
  while (!(answered && delivered)) {
    const frame = String(await app.next());
    const answer = about(id, frame);
    if (answer === undefined) {
      console.log(`alice received: ${frame}`);
      answered = true;
      continue;
    }
    switch (answer.type) {
      case "send":
        console.log("alice's client has the question, and will not lose it");
        break;
      case "delivered":
        console.log(`alice's question was delivered after ${answer.latencyMs} ms`);
        delivered = true;
        break;
      default:
        throw new Error(answer.message);
    }
  }
}

async function answerOne(app: App): Promise<void> {
  const { question, answerTo } = JSON.parse(String(await app.next()));
  console.log(`bob received: ${question}`);
  const message = "A network that hides who talks to whom.";
  app.send(JSON.stringify({ type: "send", message, recipient: answerTo }));
  const confirmation: Answer = JSON.parse(String(await app.next()));
  if (confirmation.type !== "send") {
    throw new Error(JSON.stringify(confirmation));
  }
}

const [alicePort, bobPort] = ports();
const alice = await App.connect(alicePort, "/seed");
const bob = await App.connect(bobPort, "/seed");
await Promise.all([ask(alice, await addressOf(bob)), answerOne(bob)]);
alice.close();
bob.close();
