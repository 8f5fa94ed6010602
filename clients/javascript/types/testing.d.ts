/** Types of `natsbridge/testing` for `import`. */

export * from "./testing.d.cts";
