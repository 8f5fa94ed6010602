/** Types for `import`; they are the same as for `require`. */

export * from "./index.cjs";
