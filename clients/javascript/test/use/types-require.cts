/** The types as a CommonJS module sees them. */

import natsbridge = require("natsbridge");
import testing = require("natsbridge/testing");

export const bridge: natsbridge.Bridge = new natsbridge.Bridge(new testing.MemoryBroker().connect());
export const sent: Promise<[natsbridge.Envelope, string]> = natsbridge.smartsend("x", [["a", "b", "text"]]);
