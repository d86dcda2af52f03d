import { expect, test } from "vitest";
import { startLiveView } from "./server.ts";

test("viewers get what happened before they came and what happens after", async () => {
  const view = await startLiveView();
  try {
    const page = await (await fetch(view.url)).text();
    expect(page).toContain("EventSource");
    view.send({ lifetime: 0, type: "block-end", block: 0, blocks: 2 });
    const abort = new AbortController();
    const response = await fetch(`${view.url}events`, { signal: abort.signal });
    expect(response.headers.get("content-type")).toBe("text/event-stream");
    const reader = response.body!.pipeThrough(new TextDecoderStream()).getReader();
    let text = (await reader.read()).value!;
    view.send({ lifetime: 1, type: "block-end", block: 1, blocks: 2 });
    while (text.split("\n\n").length < 3) text += (await reader.read()).value!;
    const events = text
      .trim()
      .split("\n\n")
      .map((line) => JSON.parse(line.replace("data: ", "")) as { lifetime: number });
    expect(events.map((event) => event.lifetime)).toEqual([0, 1]);
    expect((await fetch(`${view.url}other`)).status).toBe(404);
    abort.abort();
  } finally {
    await view.close();
  }
});
