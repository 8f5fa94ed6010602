/** Finds packages in the folder that PEER_MODULES names, for tests that keep them outside the checkout; also by `--import`. */

import { register } from "node:module";
import { pathToFileURL } from "node:url";
import { isMainThread } from "node:worker_threads";

const elsewhere = pathToFileURL(`${process.env.PEER_MODULES}/package.json`).href;

export async function resolve(specifier, context, next) {
  try {
    return await next(specifier, context);
  } catch (error) {
    if (error.code !== "ERR_MODULE_NOT_FOUND") throw error;
    return next(specifier, { ...context, parentURL: elsewhere });
  }
}

// The hooks run in a thread of their own, which loads this file as well.
if (isMainThread && process.env.PEER_MODULES) register(import.meta.url);
