// A question and its answer in the dialect "v0.11", in JSON: Bob answers without knowing whom.
//
// usage: node dist/v0_11_text.js [ALICE_PORT BOB_PORT]

import { App, ports } from "./app.js";

type Id = string | number;

type Request =
  | { type: "selfAddress" }
  | { type: "send"; id?: Id; message: string; recipient: string; withReplySurb: boolean }
  | { type: "reply"; id?: Id; message: string; replySurb: string };

type Frame =
  | { type: "selfAddress"; address: string }
  | { type: "received"; message: string; replySurb: string | null }
  | { type: "accepted"; id: Id }
  | { type: "delivered"; id: Id; latencyMs: number };

function request(app: App, request: Request): void {
  app.send(JSON.stringify(request));
}

async function nextFrame(app: App): Promise<Frame> {
  const frame = JSON.parse(String(await app.next()));
  if (frame.type === "error" || frame.type === "failed") {
    throw new Error(frame.message);
  }
  return frame;
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
    type: "send",
    id: 1,
    message: "What is a mixnet?",
    recipient,
    // The means to answer once, without telling to whom.
    withReplySurb: true,
  });
  let answered = false;
  let delivered = false;
  while (!(answered && delivered)) {
    const frame = await nextFrame(app);
    switch (frame.type) {
      case "accepted":
        console.log("alice's client has the question, and will not lose it");
        break;
      case "delivered":
        console.log(`alice's question was delivered after ${frame.latencyMs} ms`);
        delivered = true;
        break;
      case "received":
        console.log(`alice received: ${frame.message}`);
        answered = true;
        break;
    }
  }
}

async function answerOne(app: App): Promise<void> {
  const question = await nextFrame(app);
  if (question.type !== "received" || question.replySurb === null) {
    throw new Error(`${question.type} cannot be answered`);
  }
  console.log(`bob received: ${question.message}`);
  request(app, {
    type: "reply",
    id: "my answer",
    message: "A network that hides who talks to whom.", // at most 1,610 bytes
    replySurb: question.replySurb, // works once
  });
  while ((await nextFrame(app)).type !== "delivered");
  console.log("bob's answer was delivered, to somebody");
}

const [alicePort, bobPort] = ports();
const alice = await App.connect(alicePort, "/v0.11");
const bob = await App.connect(bobPort, "/v0.11");
// Pushes come as the app spoke last: in text, after this request in text.
const recipient = await addressOf(bob);
await Promise.all([ask(alice, recipient), answerOne(bob)]);
alice.close();
bob.close();
