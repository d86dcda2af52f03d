// A Vite app on the packed packages, opened in Chromium: the same training steps as in Node, with one thread and with two.

import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { extname, join } from "node:path";
import { chromium } from "playwright-core";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { packedProject, root, run } from "./packed-project.ts";

const chrome = ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"].find(existsSync);

/** Trains a small model for some steps; runs in Node and in the page alike. */
const APP = `
import { cpu, kernels, nn, random, setDefaultDevice, tensor, train } from "everlong";

export async function losses(threads) {
  setDefaultDevice("cpu");
  cpu.setThreads(threads);
  const model = new nn.LanguageModel({
    key: random.key(3), vocabSize: 16, dim: 64, maxLength: 96,
    layers: ["mh-attention", "swiglu", "hyena", "swiglu"],
  });
  const ids = Int32Array.from({ length: 8 * 97 }, (_, i) => (i * i + 3 * i) % 16);
  const all = tensor(ids, [8, 97]);
  const batch = { ids: all.narrow(1, 0, 96), targets: all.narrow(1, 1, 97) };
  const seen = [];
  await train.fit({
    optimizer: new train.AdamW(model, { learningRate: 1e-3 }),
    batches: Array.from({ length: 6 }, () => batch),
    steps: 6,
    freeBatches: false,
    loss: ({ ids, targets }) => kernels.crossEntropy(model.forward(ids), targets),
    onStep: ({ loss }) => void seen.push(loss),
  });
  return { losses: seen, threads: cpu.state().threads };
}
`;

const MIME: Readonly<Record<string, string>> = {
  ".html": "text/html",
  ".js": "text/javascript",
  ".css": "text/css",
};

/** Serves a folder, with the headers that shared memory needs or without. */
async function serve(folder: string, isolated: boolean): Promise<Server> {
  const server = createServer((request, response) => {
    const { pathname } = new URL(request.url!, "http://localhost");
    const file = join(folder, pathname === "/" ? "index.html" : pathname);
    if (!existsSync(file)) {
      response.writeHead(404).end();
      return;
    }
    const isolation = {
      "Cross-Origin-Opener-Policy": "same-origin",
      "Cross-Origin-Embedder-Policy": "require-corp",
    };
    response.writeHead(200, {
      "Content-Type": MIME[extname(file)] ?? "application/octet-stream",
      ...(isolated ? isolation : {}),
    });
    response.end(readFileSync(file));
  });
  await new Promise<void>((ready) => server.listen(0, "127.0.0.1", ready));
  return server;
}

interface Answer {
  readonly losses: number[];
  readonly threads: number;
}

async function inChromium(folder: string, threads: number, isolated: boolean): Promise<Answer> {
  const server = await serve(folder, isolated);
  const browser = await chromium.launch({ executablePath: chrome!, args: ["--no-sandbox"] });
  try {
    const page = await browser.newPage();
    const problems: string[] = [];
    page.on("pageerror", (error) => problems.push(error.message));
    await page.goto(`http://127.0.0.1:${(server.address() as AddressInfo).port}/?threads=${threads}`);
    await page.waitForFunction("window.answer !== undefined", undefined, { timeout: 120_000 });
    expect(problems).toEqual([]);
    const answer = await page.evaluate<Answer | { error: string }>("window.answer");
    if ("error" in answer) throw new Error(answer.error);
    return answer;
  } finally {
    await browser.close();
    server.close();
  }
}

describe("a Vite app", () => {
  let project: string;
  let built: string;
  let inNode: Answer;

  beforeAll(() => {
    project = packedProject();
    const app = join(project, "web");
    mkdirSync(app);
    writeFileSync(join(app, "losses.js"), APP);
    writeFileSync(
      join(app, "main.js"),
      `import { losses } from "./losses.js";
       const threads = Number(new URLSearchParams(location.search).get("threads"));
       losses(threads).then((a) => { window.answer = a; }, (e) => { window.answer = { error: String(e) + e.stack }; });`,
    );
    writeFileSync(
      join(app, "index.html"),
      `<!doctype html><title>app</title><script type="module" src="./main.js"></script>`,
    );
    run(join(root, "node_modules/.bin/vite"), ["build", "web"], project);
    built = join(app, "dist");
    writeFileSync(
      join(app, "node.mjs"),
      `import { losses } from "./losses.js";
       console.log(JSON.stringify(await losses(1)));
       process.exit();`,
    );
    inNode = JSON.parse(run("node", ["web/node.mjs"], project)) as Answer;
  }, 900_000);

  afterAll(() => rmSync(project, { recursive: true, force: true }));

  test("carries no CUDA text and no Node-only package", () => {
    const assets = join(built, "assets");
    const text = readdirSync(assets)
      .map((name) => readFileSync(join(assets, name), "utf8"))
      .join("\n");
    expect(text).toContain("WebAssembly");
    expect(text).not.toContain("__global__");
    expect(text).not.toContain("koffi");
    expect(text).not.toContain("papaparse");
  });

  test("trains in Node", () => {
    expect(inNode.losses).toHaveLength(6);
    expect(inNode.losses[5]!).toBeLessThan(inNode.losses[0]!);
  });

  describe.skipIf(!chrome)(`in Chromium${chrome ? "" : " (not found)"}`, () => {
    test.each([
      { threads: 1, isolated: true },
      { threads: 2, isolated: true },
      // Without isolation there is no shared memory to give to workers: one thread does the work.
      { threads: 2, isolated: false },
    ])("the same losses: $threads threads, isolated $isolated", async ({ threads, isolated }) => {
      const answer = await inChromium(built, threads, isolated);
      expect(answer.losses).toHaveLength(6);
      answer.losses.forEach((loss, i) => expect(Math.abs(loss / inNode.losses[i]! - 1)).toBeLessThan(1e-5));
    });
  });
});
