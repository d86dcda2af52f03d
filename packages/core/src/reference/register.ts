// Imported for its effect: device("reference") always exists.

import { registerReference } from "./device.ts";

registerReference();
