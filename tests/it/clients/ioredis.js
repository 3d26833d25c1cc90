'use strict';
// ioredis against a running server: `node ioredis.js HOST PORT MAJOR`, MAJOR being 4, 5 or 6.
// Versions 4 and 5 know RESP2 only; 6 runs every case in RESP2 and in RESP3.

const assert = require('node:assert/strict');
const { main, refused, expired, within, ALL_BYTES, MEBIBYTE, SCAN_KEYS } = require('./harness');

const [host, port, major] = process.argv.slice(2);
const Redis = require(`ioredis-${major}`);
const { version } = require(`ioredis-${major}/package.json`);
const { ReplyError } = Redis;

/** The cases for one protocol: `options` is what the client takes to speak it. */
function cases(proto, options) {
  /** Runs `body` with a client and disconnects it afterwards. */
  async function withClient(more, body) {
    const client = new Redis({ host, port: Number(port), ...options, ...more });
    client.on('error', () => {});
    try {
      await body(client);
    } finally {
      client.disconnect();
    }
  }

  async function connect() {
    await withClient({ connectionName: 'ioredis-suite' }, async (client) => {
      assert.equal(await client.ping(), 'PONG');
      assert.equal(await client.echo('hello'), 'hello');
      assert.equal(await client.client('getname'), 'ioredis-suite');
      // The client has read `loading:` from INFO before it called itself ready.
      assert.equal(client.status, 'ready');
      assert.match(await client.info(), /^loading:0\r$/m);
      const list = await client.client('list');
      const self = list.split('\n').find((line) => line.includes(' name=ioredis-suite '));
      assert.ok(self, list);
      if (proto === 3) assert.match(self, / resp=3( |$)/);
      assert.ok(JSON.stringify(await client.config('get', 'databases')).includes('"16"'));
    });
  }

  async function pipeline() {
    await withClient({}, async (client) => {
      await client.flushall();
      await Promise.all(SCAN_KEYS.map((key, n) => client.set(key, n)));
      for (const batch of ['pipeline', 'multi']) {
        const calls = client[batch]();
        for (let n = 0; n < 1000; n++) calls.incr(`${batch}:count`).get(SCAN_KEYS[n]);
        const replies = await calls.exec();
        assert.equal(replies.length, 2000);
        assert.deepEqual(replies.slice(-2), [[null, 1000], [null, '999']]);
      }
      await client.mset('a', '1', 'b', '2');
      assert.deepEqual(await client.mget('a', 'b', 'absent'), ['1', '2', null]);
      assert.equal(await client.incrbyfloat('a', 0.5), '1.5');
      // One bad call in the middle leaves its neighbours' replies in place.
      const replies = await client.pipeline().set('word', 'abc').incr('word').get('word').exec();
      assert.ok(replies[1][0] instanceof ReplyError);
      assert.deepEqual([replies[0], replies[2]], [[null, 'OK'], [null, 'abc']]);
    });
  }

  async function transactions() {
    await withClient({}, (client) => withClient({}, async (rival) => {
      await client.flushall();
      await client.watch('stock');
      const replies = await client.multi().set('stock', 3).incr('stock').exec();
      assert.deepEqual(replies, [[null, 'OK'], [null, 4]]);
      await client.watch('stock');
      await rival.set('stock', 100);
      assert.equal(await client.multi().set('stock', 1).exec(), null);
      assert.equal(await client.get('stock'), '100');
      await client.watch('stock');
      await rival.set('stock', 101);
      await client.unwatch();
      assert.deepEqual(await client.multi().incr('stock').exec(), [[null, 102]]);
      await client.multi({ pipeline: false });
      assert.equal(await client.incr('stock'), 'QUEUED');
      assert.equal(await client.discard(), 'OK');
      // A call that cannot be queued aborts the whole; one that fails when it runs does not.
      await client.multi({ pipeline: false });
      await refused(client.call('incr'), ReplyError, /wrong number of arguments/);
      await refused(client.exec(), ReplyError, /^EXECABORT /);
      assert.equal(await client.get('stock'), '102');
      const mixed = await client.multi().set('stock', 'many').incr('stock').set('stock', 7).exec();
      assert.ok(mixed[1][0] instanceof ReplyError);
      assert.equal(await client.get('stock'), '7');
    }));
  }

  async function ttl() {
    await withClient({}, async (client) => {
      await client.flushall();
      await client.set('lease', 'x', 'EX', 100);
      within(await client.ttl('lease'), 99, 100);
      within(await client.pttl('lease'), 99_000, 100_000);
      assert.equal(await client.persist('lease'), 1);
      assert.deepEqual([await client.ttl('lease'), await client.ttl('absent')], [-1, -2]);
      assert.equal(await client.expire('lease', 500), 1);
      assert.equal(await client.pexpireat('lease', Date.now() + 50_000), 1);
      within(await client.pttl('lease'), 49_000, 50_000);
      await client.psetex('short', 20, 'x');
      await expired(() => client.get('short'));
      assert.equal(await client.exists('short'), 0);
    });
  }

  async function scan() {
    await withClient({}, async (client) => {
      await client.flushall();
      await client.mset(Object.fromEntries(SCAN_KEYS.map((key) => [key, 'x'])));
      await client.set('other', 'x');
      const found = new Set();
      for await (const keys of client.scanStream({ match: 'scan:*', count: 97 })) {
        for (const key of keys) found.add(key);
      }
      assert.deepEqual(found, new Set(SCAN_KEYS));
      assert.equal(await client.dbsize(), SCAN_KEYS.length + 1);
    });
  }

  async function binary() {
    await withClient({}, async (client) => {
      await client.flushall();
      await client.set(ALL_BYTES, MEBIBYTE);
      assert.ok(MEBIBYTE.equals(await client.getBuffer(ALL_BYTES)));
      assert.equal(await client.strlen(ALL_BYTES), 1 << 20);
      const ends = await client.getrangeBuffer(ALL_BYTES, 255, 257);
      assert.deepEqual(ends, Buffer.from([255, 0, 1]));
      assert.deepEqual(await client.keysBuffer('*'), [ALL_BYTES]);
      await client.set('schlüssel', 'wert ☃\r\n');
      assert.equal(await client.get('schlüssel'), 'wert ☃\r\n');
      await client.set('empty', '');
      assert.equal(await client.get('empty'), '');
    });
  }

  async function errors() {
    await withClient({}, async (client) => {
      await client.set('word', 'abc');
      const call = (...parts) => client.call(...parts);
      await refused(client.incr('word'), ReplyError, /^ERR value is not an integer/);
      await refused(call('GET'), ReplyError, /^ERR wrong number of arguments for 'get' command$/);
      await refused(call('SET', 'k', 'v', 'NX', 'XX'), ReplyError, /^ERR syntax error$/);
      await refused(call('NOSUCH'), ReplyError, /^ERR unknown command 'NOSUCH'/i);
      await refused(call('EXEC'), ReplyError, /^ERR EXEC without MULTI$/);
      assert.equal(await client.ping(), 'PONG');
    });
  }

  async function reconnect() {
    await withClient({ db: 1 }, (client) => withClient({ db: 1 }, async (other) => {
      await client.set('kept', 'here');
      const before = await client.client('id');
      const closed = new Promise((resolve) => client.once('close', resolve));
      assert.equal(await other.client('kill', 'ID', before), 1);
      await closed;
      // The call waits in the client until it is connected again, and in the same database.
      assert.equal(await client.get('kept'), 'here');
      assert.notEqual(await client.client('id'), before);
    }));
  }

  async function auth() {
    await withClient({}, async (admin) => {
      await admin.config('set', 'requirepass', 'secret');
      const once = { retryStrategy: null, maxRetriesPerRequest: 0, lazyConnect: true };
      const ping = async (client) => {
        await client.connect();
        assert.equal(await client.ping(), 'PONG');
      };
      const lost = /Connection is closed|WRONGPASS|NOAUTH/;
      try {
        await withClient({ password: 'secret', ...once }, ping);
        await withClient({ username: 'default', password: 'secret', ...once }, ping);
        await assert.rejects(withClient({ password: 'wrong', ...once }, ping), lost);
        await assert.rejects(withClient(once, ping), lost);
      } finally {
        await admin.config('set', 'requirepass', '');
      }
      await withClient(once, ping);
    });
  }

  return [connect, pipeline, transactions, ttl, scan, binary, errors, reconnect, auth];
}

// Version 4 has no `call` of its own, and 6 speaks RESP3 where it is not told otherwise.
if (!Redis.prototype.call) {
  Redis.prototype.call = function call(name, ...parts) {
    return this.sendCommand(new Redis.Command(name, parts, { replyEncoding: 'utf8' }));
  };
}
const suites = [['resp2', cases(2, major === '6' ? { protocol: 2 } : {})]];
if (major === '6') suites.push(['resp3', cases(3, {})]);
main(`ioredis ${version}`, suites);
