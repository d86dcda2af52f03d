import { defineConfig } from "vitest/config";

const conditions = ["everlong-source", "node", "import", "module", "default"];
const shared = { resolve: { conditions }, ssr: { resolve: { conditions } } };

export default defineConfig({
  ...shared,
  test: {
    execArgv: ["--conditions=everlong-source"],
    projects: [
      {
        ...shared,
        test: {
          name: "node",
          include: ["packages/*/src/**/*.test.ts"],
          exclude: ["**/*.slow.test.ts"],
          testTimeout: 30_000,
        },
      },
      {
        ...shared,
        test: {
          name: "slow",
          include: ["packages/*/src/**/*.slow.test.ts"],
          testTimeout: 900_000,
        },
      },
    ],
  },
});
