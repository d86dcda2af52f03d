// Imported for its effect: device("cpu") exists.

import { registerCpu } from "./cpu.ts";

registerCpu();
