/** Finds packages in the folder that PEER_MODULES names, for tests that keep them outside the checkout. */

import { pathToFileURL } from "node:url";

const elsewhere = pathToFileURL(`${process.env.PEER_MODULES}/package.json`).href;

export async function resolve(specifier, context, next) {
  try {
    return await next(specifier, context);
  } catch (error) {
    if (error.code !== "ERR_MODULE_NOT_FOUND") throw error;
    return next(specifier, { ...context, parentURL: elsewhere });
  }
}
