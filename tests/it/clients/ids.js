'use strict';
// Others' libraries read our IDs: `node ids.js HOST PORT`. Time, bytes and order must be what the
// server says, and what the libraries make the server must read.

const assert = require('node:assert/strict');
const redis = require('redis');
const KSUID = require('ksuid');
const ulid = require('ulid');
const uuid = require('uuid');
const { main } = require('./harness');

const [host, port] = process.argv.slice(2);
const COUNT = 500;
const NEAR_MS = 60_000;

/** Runs `body` with a connected client. */
async function withClient(body) {
  const client = redis.createClient({ socket: { host, port } });
  client.on('error', () => {});
  await client.connect();
  await body((...words) => client.sendCommand(words.map(String)));
  client.destroy();
}

/** IDs of a kind, with what each is in hexadecimal digits by the server's own words. */
async function taken(ask, kind) {
  const ids = await ask('ID.NEXT', kind, 'COUNT', COUNT);
  assert.deepEqual(ids, [...ids].sort());
  for (const id of ids) {
    const [ms, worker, sequence] = await ask('ID.DECODE', kind, id);
    assert.ok(Math.abs(ms - Date.now()) < NEAR_MS, `${id}: ${ms}`);
    assert.deepEqual([worker, sequence], [null, null]);
  }
  return ids;
}

async function uuids() {
  await withClient(async (ask) => {
    for (const id of await taken(ask, 'UUID7')) {
      assert.ok(uuid.validate(id), id);
      assert.equal(uuid.version(id), 7);
      assert.equal(uuid.stringify(uuid.parse(id)), id);
    }
    for (let n = 0; n < COUNT; n += 1) {
      const msecs = 1_700_000_000_000 + n * 1_000_003;
      assert.equal((await ask('ID.DECODE', 'UUID7', uuid.v7({ msecs })))[0], msecs);
    }
    await assert.rejects(ask('ID.DECODE', 'UUID7', uuid.v4()), /invalid id/);
  });
}

async function ulids() {
  await withClient(async (ask) => {
    for (const id of await taken(ask, 'ULID')) {
      assert.ok(ulid.isValid(id), id);
      assert.equal(ulid.decodeTime(id), (await ask('ID.DECODE', 'ULID', id))[0]);
    }
    for (let n = 0; n < COUNT; n += 1) {
      const ms = 1_700_000_000_000 + n * 1_000_003;
      assert.equal((await ask('ID.DECODE', 'ULID', ulid.ulid(ms)))[0], ms);
    }
  });
}

async function ksuids() {
  await withClient(async (ask) => {
    for (const id of await taken(ask, 'KSUID')) {
      const read = KSUID.parse(id);
      assert.equal(read.string, id);
      assert.equal(read.date.getTime(), (await ask('ID.DECODE', 'KSUID', id))[0]);
      const hex = read.raw.toString('hex');
      assert.equal((await ask('ID.DECODE', 'KSUID', hex, 'AS', 'HEX'))[0], read.date.getTime());
    }
    for (let n = 0; n < COUNT; n += 1) {
      const made = KSUID.randomSync();
      assert.equal((await ask('ID.DECODE', 'KSUID', made.string))[0], made.date.getTime());
    }
  });
}

main('uuid, ulid and ksuid', [['ids', [uuids, ulids, ksuids]]]);
