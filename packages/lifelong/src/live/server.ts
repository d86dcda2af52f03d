// A page that follows a run: a local HTTP server with server-sent events.

import { createServer, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import type { ExperimentEvent } from "../run/experiment.ts";
import { LIVE_PAGE } from "./page.ts";

/** Events kept for viewers that come late; older experiences are thinned out. */
const KEPT = 20_000;

/** A running live view. */
export interface LiveView {
  readonly url: string;
  /** Passes an event on to all viewers. */
  send(event: ExperimentEvent): void;
  close(): Promise<void>;
}

/**
 * Starts the live view on this machine only.
 *
 * @param port 0: any free one
 */
export async function startLiveView(port = 0): Promise<LiveView> {
  let history: string[] = [];
  const viewers = new Set<ServerResponse>();
  const server = createServer((request, response) => {
    if (request.url === "/events") {
      response.writeHead(200, { "content-type": "text/event-stream", "cache-control": "no-store" });
      response.write(history.join(""));
      viewers.add(response);
      response.on("close", () => viewers.delete(response));
    } else if (request.url === "/") {
      response.writeHead(200, { "content-type": "text/html; charset=utf-8" }).end(LIVE_PAGE);
    } else {
      response.writeHead(404).end();
    }
  });
  await listen(server, port);
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/`,
    send(event) {
      const message = `data: ${JSON.stringify(event)}\n\n`;
      history.push(message);
      if (history.length > KEPT) {
        history = history.filter((text, i) => i % 2 === 0 || !text.includes('"type":"experience"'));
      }
      for (const viewer of viewers) viewer.write(message);
    },
    close: () =>
      new Promise((resolve) => {
        for (const viewer of viewers) viewer.end();
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

function listen(server: Server, port: number): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once("error", reject);
    server.listen(port, "127.0.0.1", resolve);
  });
}
