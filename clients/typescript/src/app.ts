// A websocket to a client, read frame by frame.

import WebSocket from "ws";

export class App {
  readonly #socket: WebSocket;
  readonly #frames: (string | Buffer)[] = [];
  #waiting: (() => void) | undefined;

  private constructor(socket: WebSocket) {
    this.#socket = socket;
    socket.on("message", (data: Buffer, isBinary: boolean) => {
      this.#frames.push(isBinary ? data : data.toString("utf8"));
      this.#waiting?.();
    });
    socket.on("close", () => this.#waiting?.());
  }

  /** Connects to the client at a port of this machine. The path chooses the dialect. */
  static connect(port: number, path: string): Promise<App> {
    const socket = new WebSocket(`ws://localhost:${port}${path}`);
    const app = new App(socket);
    return new Promise((resolve, reject) => {
      socket.once("open", () => resolve(app));
      socket.once("error", reject);
    });
  }

  send(frame: string | Uint8Array): void {
    this.#socket.send(frame);
  }

  /** The next frame: a string if it is text, else bytes. */
  async next(): Promise<string | Buffer> {
    for (;;) {
      const frame = this.#frames.shift();
      if (frame !== undefined) {
        return frame;
      }
      if (this.#socket.readyState !== WebSocket.OPEN) {
        throw new Error("the client has closed the connection");
      }
      await new Promise<void>((resolve) => {
        this.#waiting = resolve;
      });
    }
  }

  close(): void {
    this.#socket.close();
  }
}

/** The ports of two clients: the arguments of the program, or those of nym-localnet. */
export function ports(): [number, number] {
  const [alice, bob] = process.argv.slice(2).map(Number);
  return [alice ?? 1977, bob ?? 1978];
}
