/** Types of `natsbridge/testing` for `import`. */

export * from "./testing.cjs";
