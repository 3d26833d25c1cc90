'use strict';
// node-redis against a running server: `node node_redis.js HOST PORT`, in RESP2 and in RESP3.

const assert = require('node:assert/strict');
const redis = require('redis');
const { version } = require('redis/package.json');
const { main, refused, expired, within, ALL_BYTES, MEBIBYTE, SCAN_KEYS } = require('./harness');

const [host, port] = process.argv.slice(2);

/** The cases for one protocol, 2 or 3. */
function cases(RESP) {
  /** Runs `body` with a connected client and destroys it afterwards. */
  async function withClient(options, body) {
    const client = redis.createClient({ socket: { host, port }, RESP, ...options });
    client.on('error', () => {});
    try {
      await client.connect();
      await body(client);
    } finally {
      if (client.isOpen) client.destroy();
    }
  }

  async function connect() {
    await withClient({ name: 'node-redis-suite' }, async (client) => {
      assert.equal(await client.ping(), 'PONG');
      assert.equal(await client.echo('hello'), 'hello');
      assert.equal(await client.clientGetName(), 'node-redis-suite');
      assert.equal((await client.hello()).proto, RESP);
      assert.deepEqual({ ...(await client.configGet('databases')) }, { databases: '16' });
      assert.match(await client.info(), /^redis_version:[789]\./m);
    });
  }

  async function pipeline() {
    await withClient({}, async (client) => {
      await client.flushAll();
      const keys = SCAN_KEYS;
      await Promise.all(keys.map((key, n) => client.set(key, n)));
      const read = await Promise.all(keys.map((key) => client.get(key)));
      assert.deepEqual(read, keys.map((_, n) => String(n)));
      for (const exec of ['exec', 'execAsPipeline']) {
        const multi = client.multi();
        for (let n = 0; n < 1000; n++) multi.incr(`${exec}:count`);
        const replies = await multi[exec]();
        assert.deepEqual(replies, keys.map((_, n) => n + 1));
      }
      await client.mSet({ a: '1', b: '2' });
      assert.deepEqual(await client.mGet(['a', 'b', 'absent']), ['1', '2', null]);
      assert.equal(await client.incrByFloat('a', 0.5), '1.5');
    });
  }

  async function transactions() {
    await withClient({}, (client) => withClient({}, async (rival) => {
      await client.flushAll();
      await client.watch('stock');
      assert.deepEqual(await client.multi().set('stock', 3).incr('stock').exec(), ['OK', 4]);
      await client.watch('stock');
      await rival.set('stock', 100);
      await refused(client.multi().set('stock', 1).exec(), redis.WatchError, /watched/);
      assert.equal(await client.get('stock'), '100');
      await client.watch('stock');
      await rival.set('stock', 101);
      await client.unwatch();
      assert.deepEqual(await client.multi().incr('stock').exec(), [102]);
      // A call that cannot be queued aborts the whole; one that fails when it runs does not.
      const aborted = client.multi().set('stock', 0).addCommand(['INCR']);
      await assert.rejects(aborted.exec(), redis.ErrorReply);
      assert.equal(await client.get('stock'), '102');
      const failing = client.multi().set('stock', 'many').incr('stock').set('stock', 7);
      await assert.rejects(failing.exec(), (error) => {
        assert.ok(error instanceof redis.MultiErrorReply);
        assert.deepEqual(error.errorIndexes, [1]);
        return true;
      });
      assert.equal(await client.get('stock'), '7');
    }));
  }

  async function ttl() {
    await withClient({}, async (client) => {
      await client.flushAll();
      await client.set('lease', 'x', { expiration: { type: 'EX', value: 100 } });
      within(await client.ttl('lease'), 99, 100);
      within(await client.pTTL('lease'), 99_000, 100_000);
      assert.equal(await client.expire('lease', 500, 'GT'), 1);
      assert.equal(await client.expire('lease', 400, 'GT'), 0);
      assert.equal(await client.persist('lease'), 1);
      assert.deepEqual([await client.ttl('lease'), await client.ttl('absent')], [-1, -2]);
      const at = Math.floor(Date.now() / 1000) + 1000;
      assert.equal(await client.expireAt('lease', at), 1);
      assert.equal(await client.expireTime('lease'), at);
      await client.set('short', 'x', { expiration: { type: 'PX', value: 20 } });
      await expired(() => client.get('short'));
      assert.equal(await client.exists('short'), 0);
    });
  }

  async function scan() {
    await withClient({}, async (client) => {
      await client.flushAll();
      await client.mSet(SCAN_KEYS.map((key) => [key, 'x']));
      await client.set('other', 'x');
      const found = new Set();
      for await (const keys of client.scanIterator({ MATCH: 'scan:*', COUNT: 97 })) {
        for (const key of keys) found.add(key);
      }
      assert.deepEqual(found, new Set(SCAN_KEYS));
      assert.equal(await client.dbSize(), SCAN_KEYS.length + 1);
    });
  }

  async function binary() {
    await withClient({}, async (text) => {
      await text.flushAll();
      const client = text.withTypeMapping({ [redis.RESP_TYPES.BLOB_STRING]: Buffer });
      await client.set(ALL_BYTES, MEBIBYTE);
      assert.ok(MEBIBYTE.equals(await client.get(ALL_BYTES)));
      assert.equal(await client.strLen(ALL_BYTES), 1 << 20);
      assert.deepEqual(await client.getRange(ALL_BYTES, 255, 257), Buffer.from([255, 0, 1]));
      assert.deepEqual(await client.keys('*'), [ALL_BYTES]);
      await text.set('schlüssel', 'wert ☃\r\n');
      assert.equal(await text.get('schlüssel'), 'wert ☃\r\n');
      await text.set('empty', '');
      assert.equal(await text.get('empty'), '');
    });
  }

  async function errors() {
    await withClient({}, async (client) => {
      await client.set('word', 'abc');
      const send = (...call) => client.sendCommand(call);
      const { SimpleError } = redis;
      await refused(client.incr('word'), SimpleError, /^ERR value is not an integer/);
      await refused(send('GET'), SimpleError, /^ERR wrong number of arguments for 'get' command$/);
      await refused(send('SET', 'k', 'v', 'NX', 'XX'), SimpleError, /^ERR syntax error$/);
      await refused(send('NOSUCH'), SimpleError, /^ERR unknown command 'NOSUCH'/);
      await refused(send('EXEC'), SimpleError, /^ERR EXEC without MULTI$/);
      assert.equal(await client.ping(), 'PONG');
    });
  }

  async function reconnect() {
    await withClient({}, (client) => withClient({}, async (other) => {
      await client.set('kept', 'here');
      const before = await client.clientId();
      const again = new Promise((resolve) => client.once('ready', resolve));
      assert.equal(await other.clientKill({ filter: 'ID', id: before }), 1);
      await again;
      assert.equal(await client.get('kept'), 'here');
      assert.notEqual(await client.clientId(), before);
    }));
  }

  async function auth() {
    await withClient({}, async (admin) => {
      await admin.configSet('requirepass', 'secret');
      const ping = async (client) => assert.equal(await client.ping(), 'PONG');
      const once = (password) => ({ password, socket: { host, port, reconnectStrategy: false } });
      try {
        await withClient(once('secret'), ping);
        await withClient({ username: 'default', ...once('secret') }, ping);
        await refused(withClient(once('wrong'), ping), redis.SimpleError, /^WRONGPASS /);
        await refused(withClient(once(undefined), ping), redis.SimpleError, /^NOAUTH /);
      } finally {
        await admin.configSet('requirepass', '');
      }
      await withClient({}, ping);
    });
  }

  return [connect, pipeline, transactions, ttl, scan, binary, errors, reconnect, auth];
}

main(`node-redis ${version}`, [['resp2', cases(2)], ['resp3', cases(3)]]);
