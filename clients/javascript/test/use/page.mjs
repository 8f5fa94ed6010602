/** A program of a page, for every bundler: the same, and nothing of Node. */

import "./program.mjs";
