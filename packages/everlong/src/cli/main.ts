#!/usr/bin/env node
// Entry of the `everlong` command. What needs a new Node is imported only after the one sentence for an old one.

const NEEDED = 24;

// A reader that has seen enough, as `head`, closes the pipe: no error.
for (const stream of [process.stdout, process.stderr]) {
  stream.on("error", (error: NodeJS.ErrnoException) => {
    if (error.code !== "EPIPE") throw error;
    process.exit();
  });
}

if (Number(process.versions.node.split(".")[0]) < NEEDED) {
  console.error(`Everlong needs Node ${NEEDED} or newer (this is ${process.versions.node}).`);
  process.exitCode = 1;
} else {
  const { makeProgram } = await import("./program.ts");
  const { failureText } = await import("./failure.ts");
  try {
    await makeProgram().parseAsync();
  } catch (error) {
    console.error(failureText(error));
    process.exitCode = 1;
  }
}
