// Imported for its effect: device("cuda") is known.

import { registerCuda } from "./cuda.ts";

registerCuda();
