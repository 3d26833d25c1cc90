'use strict';
// What the suites of the JavaScript clients share: they are called with HOST and PORT, run their
// cases in order, print one line a case, `ok <case>`, and exit with status 1 at the first that
// fails or when the whole takes too long. They flush the server they are pointed at.

const assert = require('node:assert/strict');

const TIMEOUT_MS = 60_000;
const EXPIRY_WAIT_MS_MAX = 5_000;

const ALL_BYTES = Buffer.from(Array.from({ length: 256 }, (_, byte) => byte));
const MEBIBYTE = Buffer.alloc(1 << 20, ALL_BYTES);
const SCAN_KEYS = Array.from({ length: 1000 }, (_, n) => `scan:${n}`);

/** Runs `suites`, a list of [protocol name, list of cases], one case after the other. */
async function main(title, suites) {
  console.log(`# ${title}, node ${process.versions.node}`);
  const overtime = setTimeout(() => {
    console.error(`not done after ${TIMEOUT_MS} ms`);
    process.exit(1);
  }, TIMEOUT_MS);
  for (const [protocol, cases] of suites) {
    for (const test of cases) {
      try {
        await test();
      } catch (error) {
        console.error(error);
        console.log(`not ok ${protocol} ${test.name}`);
        process.exit(1);
      }
      console.log(`ok ${protocol} ${test.name}`);
    }
  }
  clearTimeout(overtime);
}

/** `promise` must fail with an error of `type`, the client's own, and a message like `text`. */
async function refused(promise, type, text) {
  let reply;
  try {
    reply = await promise;
  } catch (error) {
    assert.ok(error instanceof type, `${error.constructor.name}: ${error.message}`);
    assert.match(error.message, text);
    return;
  }
  assert.fail(`replied ${JSON.stringify(reply)}, wanted ${type.name}: ${text}`);
}

/** Asks `get` until it answers null. */
async function expired(get) {
  const deadline = performance.now() + EXPIRY_WAIT_MS_MAX;
  while ((await get()) !== null) {
    assert.ok(performance.now() < deadline, 'a key of 20 ms does not expire');
  }
}

/** Asserts `min <= found <= max`. */
function within(found, min, max) {
  assert.ok(min <= found && found <= max, `${found} is not within ${min}..=${max}`);
}

module.exports = { main, refused, expired, within, ALL_BYTES, MEBIBYTE, SCAN_KEYS };
