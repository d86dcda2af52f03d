// Where CUDA's libraries lie when the loader does not know them: the toolkit, pip's and conda's usual places.

import { existsSync, readdirSync } from "node:fs";
import { dirname, join } from "node:path";
import { homeFolder } from "./home-folder.ts";

const list = (folder: string): string[] => {
  try {
    return readdirSync(folder);
  } catch {
    return [];
  }
};

/** Folders of Python packages below a prefix such as `/usr/local`. */
function pythonFolders(prefix: string): string[] {
  return list(join(prefix, "lib"))
    .filter((name) => name.startsWith("python3"))
    .flatMap((name) => ["site-packages", "dist-packages"].map((p) => join(prefix, "lib", name, p)));
}

/** Candidate folders, the most specific first. */
export function libraryFolders(environment: NodeJS.ProcessEnv = process.env): string[] {
  const home = homeFolder();
  const prefixes = [
    environment["VIRTUAL_ENV"],
    environment["CONDA_PREFIX"],
    ...(environment["PATH"] ?? "")
      .split(":")
      .filter((folder) => folder && existsSync(join(folder, "python3")))
      .map(dirname),
    home && join(home, ".local"),
    "/usr",
    "/usr/local",
  ].filter((p): p is string => Boolean(p));
  const toolkits = [
    environment["CUDA_HOME"],
    environment["CUDA_PATH"],
    "/usr/local/cuda",
    ...list("/usr/local")
      .filter((name) => /^cuda-\d/.test(name))
      .sort()
      .reverse()
      .map((name) => join("/usr/local", name)),
  ].filter((p): p is string => Boolean(p));
  const python = prefixes
    .flatMap(pythonFolders)
    .flatMap((folder) => list(join(folder, "nvidia")).map((name) => join(folder, "nvidia", name, "lib")));
  return [
    ...new Set([
      ...toolkits.flatMap((t) => [join(t, "lib64"), join(t, "targets", "x86_64-linux", "lib")]),
      ...prefixes.map((p) => join(p, "lib")),
      ...python,
      "/usr/lib/x86_64-linux-gnu",
    ]),
  ];
}

/** Paths to try for a library, in order: bare names for the loader, then files that exist. */
export function libraryCandidates(names: readonly string[], environment?: NodeJS.ProcessEnv): string[] {
  const files = libraryFolders(environment).flatMap((folder) =>
    names.map((name) => join(folder, name)).filter((path) => existsSync(path)),
  );
  return [...names, ...files];
}
