// The user's home folder.

import { homedir } from "node:os";

/** Undefined for a user that the system does not know, as in containers that run under any number. */
export function homeFolder(): string | undefined {
  try {
    return homedir() || undefined;
  } catch {
    return undefined;
  }
}
