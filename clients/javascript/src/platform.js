/** What differs between Node and a browser; `node.js` and `browser.js` choose it before anything else runs. */

/**
 * Members: `env`, `isBrowser`, `headers` (of each request), `request`, `hasher`, `digest`, `uuid`, `random`, `toBase64`,
 * `fromBase64`, `byteLength`, `encode`, `fileSource`, `spool`, `saver`, `blobClass`, `streamClass`, `importArrow`.
 */
export const platform = {};

/** Chooses the platform */
export function choosePlatform(chosen) {
  Object.defineProperties(platform, Object.getOwnPropertyDescriptors(chosen)); // `env` is a getter
}
