"""redis-py against a running server: `redis_py.py HOST PORT`.

Every case runs in RESP2 and in RESP3. Prints one line a case, `ok <protocol> <case>`, and exits
with status 1 at the first that fails. It flushes the server it is pointed at.
"""

import asyncio
import faulthandler
import sys
import time
import traceback

import redis
import redis.asyncio
from redis.backoff import NoBackoff
from redis.retry import Retry

TIMEOUT_S = 60
EXPIRY_WAIT_S_MAX = 5
KEYS_SCANNED = 1000
ALL_BYTES = bytes(range(256))


class Server:
    """Where the server listens, and which protocol a case speaks to it."""

    def __init__(self, host, port, protocol):
        self.host, self.port, self.protocol = host, port, protocol

    def options(self, **more):
        return dict(host=self.host, port=self.port, protocol=self.protocol, **more)

    def client(self, **more):
        # The client's own default waits seconds between its attempts to connect anew.
        return redis.Redis(**self.options(retry=Retry(NoBackoff(), 3), **more))


def equal(found, wanted):
    assert found == wanted, f"found {found!r}, wanted {wanted!r}"


def refused(error_type, text, call, *args, **named):
    """`call` must raise exactly `error_type`, the client's own, with `text` in its message."""
    try:
        reply = call(*args, **named)
    except redis.RedisError as error:
        equal(type(error), error_type)
        assert text in str(error), f"{text!r} is not in {str(error)!r}"
        return
    raise AssertionError(f"replied {reply!r}, wanted {error_type.__name__}: {text}")


def connect(server):
    client = server.client(client_name="redis-py-suite", decode_responses=True)
    equal(client.ping(), True)
    equal(client.echo("hello"), "hello")
    equal(client.client_getname(), "redis-py-suite")
    hello = client.execute_command("HELLO")
    if server.protocol == 2:
        hello = dict(zip(hello[::2], hello[1::2]))
    equal(hello["proto"], server.protocol)
    info = client.info()
    assert int(info["redis_version"].split(".")[0]) >= 7, info["redis_version"]
    equal(info["loading"], 0)
    equal(client.config_get("databases"), {"databases": "16"})


def pipeline(server):
    client = server.client()
    client.flushall()
    for transaction in (False, True):
        calls = client.pipeline(transaction=transaction)
        for n in range(1000):
            calls.set(f"pipe:{n}", n)
            calls.incr("pipe:count")
        replies = calls.execute()
        equal(len(replies), 2000)
        equal(set(replies[::2]), {True})
        equal(client.mget("pipe:0", "pipe:999", "pipe:1000"), [b"0", b"999", None])
    equal(client.get("pipe:count"), b"2000")
    # One bad call in the middle leaves its neighbours' replies in place.
    calls = client.pipeline(transaction=False)
    replies = calls.set("word", "abc").incr("word").get("word").execute(raise_on_error=False)
    equal(type(replies[1]), redis.ResponseError)
    equal((replies[0], replies[2]), (True, b"abc"))


def transactions(server):
    client, rival = server.client(), server.client()
    client.flushall()
    client.set("stock", 3)
    with client.pipeline() as calls:
        calls.watch("stock")
        stock = int(calls.get("stock"))
        calls.multi()
        calls.set("stock", stock - 1)
        equal(calls.execute(), [True])
    with client.pipeline() as calls:
        calls.watch("stock")
        rival.set("stock", 100)
        calls.multi()
        calls.set("stock", 1)
        refused(redis.WatchError, "Watched variable changed", calls.execute)
    equal(client.get("stock"), b"100")
    with client.pipeline() as calls:
        calls.watch("stock")
        rival.set("stock", 101)
        calls.unwatch()
        calls.multi()
        calls.incr("stock")
        equal(calls.execute(), [102])
    # A call that cannot be queued aborts the whole; one that fails when it runs does not.
    calls = client.pipeline().set("stock", 0).execute_command("INCR")
    refused(redis.ResponseError, "wrong number of arguments", calls.execute)
    equal(client.get("stock"), b"102")
    calls = client.pipeline().set("stock", "many").incr("stock").set("stock", 7)
    replies = calls.execute(raise_on_error=False)
    equal(type(replies[1]), redis.ResponseError)
    equal(client.get("stock"), b"7")


def ttl(server):
    client = server.client()
    client.flushall()
    client.set("lease", "x", ex=100)
    assert 99 <= client.ttl("lease") <= 100
    assert 99_000 <= client.pttl("lease") <= 100_000
    equal(client.expire("lease", 500, gt=True), True)
    equal(client.expire("lease", 400, gt=True), False)
    equal(client.persist("lease"), True)
    equal((client.ttl("lease"), client.ttl("absent")), (-1, -2))
    at = int(time.time()) + 1000
    equal(client.expireat("lease", at), True)
    equal(client.expiretime("lease"), at)
    equal(client.getex("lease", persist=True), b"x")
    equal(client.ttl("lease"), -1)
    client.set("short", "x", px=20)
    deadline = time.monotonic() + EXPIRY_WAIT_S_MAX
    while client.get("short") is not None:
        assert time.monotonic() < deadline, "a key of 20 ms does not expire"
    equal(client.exists("short"), 0)


def scan(server):
    client = server.client()
    client.flushall()
    wanted = {f"scan:{n}".encode() for n in range(KEYS_SCANNED)}
    client.mset({key: "x" for key in wanted})
    client.set("other", "x")
    equal(set(client.scan_iter(match="scan:*")), wanted)
    equal(set(client.scan_iter(count=97, _type="string")), wanted | {b"other"})
    equal(client.dbsize(), KEYS_SCANNED + 1)
    equal(len(client.keys("scan:99?")), 10)


def binary(server):
    client = server.client()
    client.flushall()
    large = ALL_BYTES * 4096
    equal(client.set(ALL_BYTES, large), True)
    equal(client.get(ALL_BYTES), large)
    equal(client.strlen(ALL_BYTES), 1 << 20)
    equal(client.getrange(ALL_BYTES, 255, 257), b"\xff\x00\x01")
    equal(client.keys(), [ALL_BYTES])
    equal(client.set("empty", b""), True)
    equal(client.get("empty"), b"")
    text = server.client(decode_responses=True)
    text.set("schlüssel", "wert \N{SNOWMAN}\r\n")
    equal(text.get("schlüssel"), "wert \N{SNOWMAN}\r\n")


def errors(server):
    client = server.client()
    client.flushall()
    client.set("word", "abc")
    refused(redis.ResponseError, "value is not an integer or out of range", client.incr, "word")
    call = client.execute_command
    refused(redis.ResponseError, "wrong number of arguments for 'get' command", call, "GET")
    refused(redis.ResponseError, "syntax error", call, "SET", "k", "v", "NX", "XX")
    refused(redis.ResponseError, "unknown command 'NOSUCH'", call, "NOSUCH")
    refused(redis.ResponseError, "without MULTI", call, "EXEC")
    equal(client.ping(), True)


def reconnect(server):
    client, other = server.client(), server.client()
    client.set("kept", "here")
    before = client.client_id()
    equal(other.client_kill_filter(_id=before), 1)
    equal(client.get("kept"), b"here")
    assert client.client_id() != before, "the killed connection still answers"


def auth(server):
    admin = server.client()
    admin.config_set("requirepass", "secret")
    try:
        equal(server.client(password="secret").ping(), True)
        equal(server.client(username="default", password="secret").ping(), True)
        refused(redis.AuthenticationError, "", server.client(password="wrong").ping)
        refused(redis.AuthenticationError, "", server.client().ping)
    finally:
        admin.config_set("requirepass", "")
    equal(server.client().ping(), True)


def async_client(server):
    async def run():
        async with redis.asyncio.Redis(**server.options()) as client:
            await client.flushall()
            calls = client.pipeline()
            for n in range(100):
                calls.incr("async:count")
            equal(await calls.execute(), list(range(1, 101)))
            wanted = {f"async:{n}".encode() for n in range(50)}
            await asyncio.gather(*(client.set(key, key) for key in wanted))
            equal({key async for key in client.scan_iter()}, wanted | {b"async:count"})

    asyncio.run(run())


CASES = [
    connect, pipeline, transactions, ttl, scan, binary, errors, reconnect, auth, async_client,
]


def main():
    faulthandler.dump_traceback_later(TIMEOUT_S, exit=True)
    host, port = sys.argv[1], int(sys.argv[2])
    print(f"# redis-py {redis.__version__}, Python {sys.version.split()[0]}")
    for protocol in (2, 3):
        for case in CASES:
            try:
                case(Server(host, port, protocol))
            except Exception:
                traceback.print_exc()
                print(f"not ok resp{protocol} {case.__name__}")
                sys.exit(1)
            print(f"ok resp{protocol} {case.__name__}")
    faulthandler.cancel_dump_traceback_later()


main()
