// Starts the command line from sources. Plain JavaScript, so that an old Node can still read the one sentence below.

const major = Number(process.versions.node.split(".")[0]);
if (major < 24) {
  console.error(
    `Everlong needs Node 24 or newer (this is ${process.versions.node}). On Linux x64, "npm ci" installs it for the npm scripts; elsewhere install Node 24.`,
  );
  process.exit(1);
}
await import("../packages/everlong/src/cli/main.ts");
