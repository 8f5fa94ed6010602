/**
 * Drives the page in a headless Chromium, as a person would: fills the form, sends, and reads what others send.
 *
 * `drive.mjs [--host NAME] --port N --ws URL --files URL --image FILE --file FILE [--screenshot FILE]` prints `{"sent": …}` when the page
 * shows its own message, and `{"shown": …}` when it shows one of somebody else. Run by `cargo xtask examples`.
 */

import { createHash } from "node:crypto";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";

import { FLAGS, browserPath } from "../../../testdata/peers/javascript/browser/chromium.mjs";
import { serve } from "./serve.mjs";

if (process.env.PEER_MODULES) await import("../../../testdata/peers/javascript/modules.mjs");
const { chromium } = await import("playwright-core");

const string = { type: "string" };
const options = { host: string, port: string, ws: string, files: string, image: string, file: string, screenshot: string };
const { host = "127.0.0.1", port, ws, files, image, file, screenshot } = parseArgs({ options }).values;

const say = (line) => process.stdout.write(`${JSON.stringify(line)}\n`);

/** What a message's element shows, read from the page itself */
async function shownIn(article) {
  await article.waitFor();
  const texts = async (selector) => (await article.locator(selector).allTextContents()).map((text) => text.trim());
  const rows = await article.locator("table tr").all();
  const saved = article.locator("a[download]");
  const download = (await saved.count()) ? await readFile(await saveOf(saved)) : null;
  return {
    sender: (await texts("header strong"))[0],
    about: await texts("h3"),
    text: await texts(".payload p"),
    images: await article.locator("img").evaluateAll(async (images) => {
      await Promise.all(images.map((image) => image.decode()));
      return images.map((image) => [image.naturalWidth, image.naturalHeight]);
    }),
    table: await Promise.all(rows.map((row) => row.locator("th, td").allTextContents())),
    file: download && { size: download.length, sha256: createHash("sha256").update(download).digest("hex") },
  };
}

async function saveOf(link) {
  const [download] = await Promise.all([page.waitForEvent("download"), link.click()]);
  return await download.path();
}

const server = await serve(Number(port));
const profile = await mkdtemp(join(tmpdir(), "natsbridge-web-"));
const context = await chromium.launchPersistentContext(profile, {
  executablePath: browserPath(), headless: true, args: FLAGS, acceptDownloads: true, viewport: { width: 1100, height: 900 },
});
context.setDefaultTimeout(60_000);
const page = await context.newPage();
try {
  page.on("pageerror", (error) => process.stderr.write(`${error.stack}\n`));
  page.on("console", (message) => process.stderr.write(`${message.text()}\n`));
  await page.goto(`http://${host}:${port}/?${new URLSearchParams({ ws, files, name: "a page" })}`);
  await page.getByText("connected", { exact: true }).waitFor();

  await page.getByLabel("Text").fill("hello from a page, grüß dich");
  await page.getByLabel("Image").setInputFiles(image);
  await page.getByLabel("Table").fill("sensor,celsius\nkitchen,21.5\ncellar,12");
  await page.getByLabel("Any file").setInputFiles(file);
  await page.getByRole("button", { name: "Send" }).click();
  say({ sent: await shownIn(page.locator("article.mine")) });

  const other = page.locator("article:not(.mine)");
  say({ shown: await shownIn(other.first()) });
  if (screenshot) {
    for (const colorScheme of ["light", "dark"]) {
      await page.emulateMedia({ colorScheme });
      await page.screenshot({ path: screenshot.replace(/(?=\.png$)/, colorScheme === "dark" ? "-dark" : "") });
    }
  }
} finally {
  await context.close();
  await rm(profile, { recursive: true, force: true, maxRetries: 5 });
  server.close();
}
